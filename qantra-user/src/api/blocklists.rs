//! Feeds over the control socket: what people ask about block lists, and what they change.

use std::net::IpAddr;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::channel::Channel;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Control, ControlError,
    server::{PIECES_MAX, Peer, Shared, body, error, run, status_of},
};
use crate::intel::{FeedError, FeedSource, FeedSpec};

/// About how much of a streamed answer is sent at once.
const PIECE_BYTES: usize = 16 * 1024;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/blocklists", get(list).post(add).delete(remove))
        .route("/v1/blocklists/refresh", post(refresh))
        .route("/v1/blocklists/rejected", get(rejected))
        .route("/v1/blocklists/check", get(check))
}

/// Which feeds are to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefreshFeeds {
    /// This one; `None`: all.
    pub name: Option<String>,
    /// Take a list however short it has become.
    pub believe: bool,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn list(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(control.feeds().list())).await
}

/// A file is read by the daemon, and `rejected` shows its lines: that is for those who may read it anyway.
async fn add(State(shared): State<Shared>, ConnectInfo(peer): ConnectInfo<Peer>, bytes: Bytes) -> Response {
    let spec: FeedSpec = match body(&bytes) {
        Ok(spec) => spec,
        Err(answer) => return answer,
    };
    run(shared, move |control| {
        let source = spec.check().map_err(FeedError::from)?;
        if matches!(source, FeedSource::File(_)) && !peer.is_root() {
            return Err(ControlError::OnlyRoot);
        }
        control.feeds().add(spec)?;
        Ok(control.feeds().list())
    })
    .await
}

async fn remove(State(shared): State<Shared>, Query(query): Query<Named>) -> Response {
    run(shared, move |control| {
        control.feeds().remove(&query.name)?;
        Ok(control.feeds().list())
    })
    .await
}

async fn refresh(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body::<RefreshFeeds>(&bytes) {
        Ok(which) => {
            run(shared, move |control| Ok(control.feeds().refresh(which.name.as_deref(), which.believe)?)).await
        }
        Err(answer) => answer,
    }
}

#[derive(Deserialize)]
struct Address {
    ip: IpAddr,
}

async fn check(State(shared): State<Shared>, Query(query): Query<Address>) -> Response {
    run(shared, move |control| Ok(control.feeds().check(query.ip))).await
}

/// One complaint a line, as they are found: a list may have millions.
async fn rejected(State(shared): State<Shared>, Query(query): Query<Named>) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    let (tell, told) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut tell = Some(tell);
        // The first piece shows that there is a list; without one, the end shows what went wrong.
        let done = read_rejected(&*shared.control, &query.name, &mut |piece| {
            tell.take().is_none_or(|tell| tell.send(Ok(())).is_ok())
                && runtime.block_on(sender.send_data(piece)).is_ok()
        });
        if let Some(tell) = tell {
            // Whoever asked is gone when it cannot be told.
            let _ = tell.send(done);
        }
    });
    match told.await {
        Ok(Ok(())) => ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response(),
        Ok(Err(problem)) => error(status_of(&problem), problem.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed at this; see its log".into()),
    }
}

fn read_rejected(control: &dyn Control, name: &str, send: &mut dyn FnMut(Bytes) -> bool) -> Result<(), ControlError> {
    let mut piece = Vec::with_capacity(PIECE_BYTES * 2);
    control.feeds().rejected(name, &mut |complaint| {
        if serde_json::to_writer(&mut piece, complaint).is_err() {
            return false;
        }
        piece.push(b'\n');
        // The reader is gone when it cannot be sent: then there is nobody to read on for.
        piece.len() < PIECE_BYTES || send(std::mem::take(&mut piece).into())
    })?;
    if !piece.is_empty() {
        send(piece.into());
    }
    Ok(())
}
