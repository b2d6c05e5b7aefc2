//! The HTTP side of the control socket: routes, limits, who may.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State, connect_info::Connected},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use http_body_util::channel::Channel;
use qantra_common::DropReason;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::UnixListener, sync::Semaphore};

use super::{
    Access, CaptureQuery, CapturedDrop, Control, ControlError, ControlSocket, ErrorAnswer, Simulation, Tap, batch,
    blocklists, desk, labels, learned, models, rules,
};
use crate::{clock::Now, config::parse_net, decide::DecisionId, intel::FeedError};

/// Largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of an import: its decisions with reasons of full length.
const IMPORT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Pieces of a streamed answer that wait for a slow reader; then the writer waits.
pub(super) const PIECES_MAX: usize = 4;
/// Most streams at once, each of which lasts as long as someone looks.
const STREAMS_MAX: usize = 4;
/// Shortest and longest time between two looks of one watcher; that it went is noticed at the next one.
const LOOK_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// How soon a client that went is noticed while nothing is captured.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Most drops in one piece of a capture: some 200 KiB.
const DROPS_AT_ONCE: usize = 256;
/// Interfaces whose names a capture remembers.
const NAMES_MAX: usize = 256;
/// Longest a request may take: loading models is the slowest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Most requests at once; each may hold a thread.
const REQUESTS_MAX: usize = 16;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) control: Arc<dyn Control>,
    access: Access,
    slots: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// Answers on the control socket until `shutdown` is done.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    socket: ControlSocket,
    control: Arc<dyn Control>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let shared = Shared {
        control,
        access: socket.access.clone(),
        slots: Arc::new(Semaphore::new(REQUESTS_MAX)),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
    };
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/decisions", get(decisions).post(add_decision).delete(delete_decisions))
        .route("/v1/decisions/import", post(import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)))
        .route("/v1/decisions/export", get(export))
        .route("/v1/decisions/{id}", get(explain))
        .route("/v1/allowlist", get(allowlist).post(allow).delete(disallow))
        .route("/v1/check", get(check))
        .route("/v1/top", get(top))
        .route("/v1/capture", get(capture))
        .route("/v1/simulation", get(simulation).put(set_simulation))
        .route("/v1/reload", post(reload))
        .merge(blocklists::routes())
        .merge(labels::routes())
        .merge(learned::routes())
        .merge(models::routes())
        .merge(rules::routes())
        .fallback(async || error(StatusCode::NOT_FOUND, "there is no such endpoint".into()))
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared);
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}

/// The process at the other end, as the kernel vouches for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(Option<(u32, u32)>);

impl Peer {
    /// Whether it may do all that the daemon may.
    pub(super) fn is_root(self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.0.is_some_and(|(uid, _)| uid == 0 || uid == own)
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| (credentials.uid(), credentials.gid())))
    }
}

async fn guard(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !peer.is_some_and(|(uid, gid)| shared.access.permits(uid, gid)) {
        tracing::warn!(?peer, "refused on the control socket");
        return error(StatusCode::FORBIDDEN, "only root and `daemon.control_group` may use the control socket".into());
    }
    let Ok(_slot) = shared.slots.try_acquire() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy with other commands; try again".into());
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => error(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())),
    }
}

pub(super) fn error(status: StatusCode, error: String) -> Response {
    json(status, &ErrorAnswer { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Runs what may block on a thread of its own.
pub(super) async fn run<T, F>(shared: Shared, work: F) -> Response
where
    T: Serialize + Send + 'static,
    F: FnOnce(&dyn Control) -> Result<T, ControlError> + Send + 'static,
{
    match tokio::task::spawn_blocking(move || work(&*shared.control)).await {
        Ok(Ok(value)) => json(StatusCode::OK, &value),
        Ok(Err(problem)) => error(status_of(&problem), problem.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed at this; see its log".into()),
    }
}

pub(super) const fn status_of(problem: &ControlError) -> StatusCode {
    match problem {
        ControlError::BadRequest { .. } => StatusCode::BAD_REQUEST,
        ControlError::UnknownDecision(_) | ControlError::UnknownAllow(_) | ControlError::UnknownRequest(_) => {
            StatusCode::NOT_FOUND
        }
        ControlError::Refused(_) => StatusCode::CONFLICT,
        ControlError::Config(_) | ControlError::Reload(_) | ControlError::Model(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ControlError::OnlyRoot => StatusCode::FORBIDDEN,
        ControlError::Feed(FeedError::Bad(_)) => StatusCode::BAD_REQUEST,
        ControlError::Feed(FeedError::Unknown(_) | FeedError::NoList(_)) => StatusCode::NOT_FOUND,
        ControlError::Feed(FeedError::Taken(_) | FeedError::TooMany) => StatusCode::CONFLICT,
        ControlError::Store(_) | ControlError::Feed(FeedError::Keep { .. } | FeedError::Read { .. }) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Reads a JSON body; an empty one stands for `{}`.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Response> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|problem| error(StatusCode::BAD_REQUEST, problem.to_string()))
}

async fn status(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(control.status())).await
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    all: bool,
    ip: Option<IpAddr>,
}

async fn decisions(State(shared): State<Shared>, Query(query): Query<ListQuery>) -> Response {
    run(shared, move |control| desk::list(control, query.all, query.ip)).await
}

async fn add_decision(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(new) => run(shared, move |control| desk::add(control, new, Now::read())).await,
        Err(answer) => answer,
    }
}

async fn delete_decisions(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(which) => run(shared, move |control| desk::delete(control, &which, Now::read())).await,
        Err(answer) => answer,
    }
}

async fn import(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(new) => run(shared, move |control| batch::import(control, new, Now::read())).await,
        Err(answer) => answer,
    }
}

async fn export(State(shared): State<Shared>) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        batch::export(&*shared.control, |piece| runtime.block_on(sender.send_data(piece)).is_ok());
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response()
}

async fn explain(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    match id.parse::<DecisionId>() {
        Ok(id) => run(shared, move |control| desk::explain(control, id, Now::read())).await,
        Err(problem) => error(StatusCode::BAD_REQUEST, problem.to_string()),
    }
}

async fn allowlist(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(desk::allowlist(control))).await
}

async fn allow(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(new) => run(shared, move |control| desk::allow(control, new, Now::read())).await,
        Err(answer) => answer,
    }
}

#[derive(Deserialize)]
struct NetQuery {
    net: String,
}

async fn disallow(State(shared): State<Shared>, Query(query): Query<NetQuery>) -> Response {
    match parse_net(&query.net) {
        Ok(net) => run(shared, move |control| desk::disallow(control, net, Now::read())).await,
        Err(problem) => error(StatusCode::BAD_REQUEST, problem.to_string()),
    }
}

#[derive(Deserialize)]
struct CheckQuery {
    ip: IpAddr,
}

async fn check(State(shared): State<Shared>, Query(query): Query<CheckQuery>) -> Response {
    run(shared, move |control| desk::check(control, query.ip)).await
}

#[derive(Deserialize)]
struct TopQuery {
    interval_ms: u64,
}

/// One snapshot a line, once an interval, until the client goes.
async fn top(State(shared): State<Shared>, Query(query): Query<TopQuery>) -> Response {
    if !LOOK_MS.contains(&query.interval_ms) {
        return error(StatusCode::BAD_REQUEST, "the interval must be from 0.1 s to 60 s".into());
    }
    let Ok(slot) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS_MAX} others watch already; close one"));
    };
    let (mut sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    tokio::spawn(async move {
        let _slot = slot;
        let mut watcher = shared.control.watch();
        let mut clock = tokio::time::interval(Duration::from_millis(query.interval_ms));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for look in 0_u64.. {
            clock.tick().await;
            let looked = tokio::task::spawn_blocking(move || (watcher.look(), watcher)).await;
            let Ok((snapshot, back)) = looked else { return };
            watcher = back;
            // The first look only takes the counts that the second is compared with.
            let Ok(mut line) = serde_json::to_vec(&snapshot) else { return };
            line.push(b'\n');
            if look > 0 && sender.send_data(line.into()).await.is_err() {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response()
}

/// Sampled drops, one a line, until the client goes. An empty line is sent where nothing comes, so that a client that
/// went is noticed and its sampling ends.
async fn capture(State(shared): State<Shared>, Query(query): Query<CaptureQuery>) -> Response {
    if let Some(reason) = query.reason.as_ref().filter(|name| DropReason::ALL.iter().all(|r| r.as_str() != **name)) {
        let known = DropReason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ");
        return error(StatusCode::BAD_REQUEST, format!("there is no drop reason `{reason}`; known are {known}"));
    }
    let Ok(slot) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS_MAX} others watch already; close one"));
    };
    let tap = match shared.control.tap(query.sample) {
        Ok(tap) => tap,
        Err(problem) => return error(status_of(&problem), problem.to_string()),
    };
    let (mut sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    tokio::spawn(async move {
        let _slot = slot;
        let Tap { mut drops, lost, guard: _guard } = tap;
        let started = Now::read();
        let mut names: HashMap<u32, String> = HashMap::new();
        let mut events = Vec::with_capacity(DROPS_AT_ONCE);
        loop {
            events.clear();
            let waited = tokio::time::timeout(HEARTBEAT, drops.recv_many(&mut events, DROPS_AT_ONCE)).await;
            if waited == Ok(0) {
                return;
            }
            let mut piece = vec![];
            for event in &events {
                let interface = names.entry(event.ifindex).or_insert_with(|| {
                    shared.control.interface_name(event.ifindex).unwrap_or_else(|| format!("#{}", event.ifindex))
                });
                let drop = CapturedDrop::new(event, interface.clone(), started, &lost);
                let is_meant = query.interface.as_ref().is_none_or(|name| *name == drop.interface)
                    && query.reason.as_ref().is_none_or(|reason| *reason == drop.reason);
                if is_meant && let Ok(line) = serde_json::to_vec(&drop) {
                    piece.extend(line);
                    piece.push(b'\n');
                }
            }
            if names.len() > NAMES_MAX || events.is_empty() {
                // Interfaces come and go, and an index may be another one's next time.
                names.clear();
            }
            if piece.is_empty() {
                piece.push(b'\n');
            }
            if sender.send_data(piece.into()).await.is_err() {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response()
}

async fn simulation(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(Simulation { on: control.enforcer().is_simulation() })).await
}

async fn set_simulation(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body::<Simulation>(&bytes) {
        Ok(wanted) => {
            run(shared, move |control| {
                control.set_simulation(wanted.on);
                Ok(Simulation { on: control.enforcer().is_simulation() })
            })
            .await
        }
        Err(answer) => answer,
    }
}

async fn reload(State(shared): State<Shared>) -> Response {
    run(shared, Control::reload).await
}
