//! What the box has learnt of its sites, for people.

use axum::{Router, extract::State, response::Response, routing::get};
use serde::{Deserialize, Serialize};

use super::server::{Shared, run};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/learned", get(learned))
}

/// What was learnt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Learned {
    /// Sites and their endpoints, busiest first.
    pub places: Vec<LearnedPlace>,
    /// Parameters of which something is known.
    pub known_parameters: u64,
    /// Requests that a threshold rests on.
    pub requests_min: u64,
    /// Sources that must agree.
    pub sources_min: u32,
    /// What is missing, one line each.
    pub warnings: Vec<String>,
}

/// A site or an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedPlace {
    /// The site's name.
    pub site: String,
    /// Method and shape of the path; `None`: the whole site.
    pub endpoint: Option<String>,
    /// Requests counted.
    pub requests: u64,
    /// Requests not counted because their source had its share.
    pub left_out: u64,
    /// Distinct sources, at least.
    pub sources: u32,
    /// When counting began, Unix ms; `None`: an older version began it. Another classifier begins anew.
    #[serde(default)]
    pub since_unix_ms: Option<u64>,
    /// The confidence from which a request is an attack here: the shipped one, or the site's own where it is higher;
    /// above 1: none is enough. `None`: not enough was seen, the shipped one is in force.
    pub threshold: Option<f32>,
}

async fn learned(State(shared): State<Shared>) -> Response {
    run(shared, |control| Ok(control.learned())).await
}
