//! Models over the control socket: versions in, versions out, and what is done with them. Files come as bytes: the daemon
//! opens no path that a client names.

use std::path::Path;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::{
    ControlError,
    server::{Shared, body, error, run, status_of},
};
use crate::model::{BUNDLE_BYTES_MAX, Bundle, LifeVerb, ModelError, VersionName};

/// What came of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Under which name it is kept.
    pub version: VersionName,
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/models", get(list).post(act))
        // A byte more, so that what is too large is refused with its limit.
        .route("/v1/models/versions", post(install).layer(DefaultBodyLimit::max(BUNDLE_BYTES_MAX + 1)))
        .route("/v1/models/bundle", get(export))
}

fn model(error: ModelError) -> ControlError {
    ControlError::Model(Box::new(error))
}

async fn list(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(control.models().list())).await
}

async fn act(State(shared): State<Shared>, bytes: Bytes) -> Response {
    let verb: LifeVerb = match body(&bytes) {
        Ok(verb) => verb,
        Err(answer) => return answer,
    };
    run(shared, move |control| {
        control.models().act(&verb).map_err(model)?;
        Ok(control.models().list())
    })
    .await
}

async fn install(State(shared): State<Shared>, bytes: Bytes) -> Response {
    run(shared, move |control| {
        let bundle = Bundle::from_tar(&bytes, Path::new("bundle")).map_err(model)?;
        Ok(Installed { version: control.models().install(&bundle).map_err(model)? })
    })
    .await
}

#[derive(Deserialize)]
struct Named {
    version: String,
}

async fn export(State(shared): State<Shared>, Query(query): Query<Named>) -> Response {
    let work = move || shared.control.models().export(&query.version)?.to_tar();
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(tar)) => ([(header::CONTENT_TYPE, "application/x-tar")], tar).into_response(),
        Ok(Err(problem)) => {
            let problem = model(problem);
            error(status_of(&problem), problem.to_string())
        }
        Err(problem) => error(axum::http::StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()),
    }
}
