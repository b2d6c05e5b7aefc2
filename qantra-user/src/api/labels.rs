//! Labels over the control socket: what a person says of a finding, and what is handed to training and to other boxes.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::channel::Channel;
use serde::{Deserialize, Serialize};

use super::{
    Control, ControlError,
    server::{PIECES_MAX, Shared, body, run},
};
use crate::{
    clock::Now,
    decide::DecisionId,
    detect::Finding,
    learn::{Label, Merged, Sample, TEXT_BYTES_MAX, Voucher, id, kind_of},
    store::{Store, StoreError, StoredDecision, Write},
};

/// Largest body of an import.
const IMPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest request id.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// What this box is hashed from, with its seed.
const BOX: &str = "box";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/labels", get(export).post(label))
        .route("/v1/labels/import", post(import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)))
}

/// A person's word on a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// A decision's id, or a request's.
    pub id: String,
    /// What its findings are.
    pub label: Label,
}

/// What was labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelled {
    /// The fields that were labelled.
    pub samples: Vec<Sample>,
    /// What was not, one line each.
    pub warnings: Vec<String>,
}

/// Samples of other boxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PooledSamples {
    /// The samples.
    pub samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct ExportQuery {
    /// Also what a quorum sends.
    #[serde(default)]
    quorum: bool,
}

async fn label(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(new) => run(shared, move |control| label_now(control, &new, Now::read())).await,
        Err(answer) => answer,
    }
}

fn label_now(control: &dyn Control, new: &NewLabel, now: Now) -> Result<Labelled, ControlError> {
    let (request_id, decisions) = find(control.store(), &new.id)?;
    let is_meant = |finding: &&Finding| {
        let request = finding.evidence.request.as_ref();
        request_id.is_none_or(|id| request.is_some_and(|request| request.id == id))
    };
    let sketcher = control.sketcher();
    let (mut samples, mut warnings) = (Vec::new(), Vec::new());
    for finding in decisions.iter().flat_map(|stored| &stored.decision.findings).filter(is_meant) {
        let source = id(sketcher.source(finding.source));
        let Some(sample) = sample(finding, new.label, source, id(sketcher.text(BOX)), now) else { continue };
        match sample.check() {
            Ok(()) if sample.is_masked() => {
                warnings
                    .push(format!("{}: its value is masked as a secret, there is nothing to learn from", sample.name));
            }
            Ok(()) if samples.contains(&sample) => {}
            Ok(()) => samples.push(sample),
            Err(reason) => warnings.push(format!("{}: {reason}", sample.name)),
        }
    }
    if samples.is_empty() && warnings.is_empty() {
        return Err(ControlError::BadRequest {
            what: format!("`{}` has no finding of the request models", new.id),
            hint: "only those can be labelled; for a rule write [[inspect.exclude]], for a detector change [detect]",
        });
    }
    if !samples.is_empty() {
        control.store().commit(Write::Label(samples.clone()))?;
    }
    Ok(Labelled { samples, warnings })
}

/// The decisions that are meant, and the request when it was named.
fn find<'a>(store: &Store, text: &'a str) -> Result<(Option<&'a str>, Vec<StoredDecision>), ControlError> {
    if let Ok(id) = text.parse::<DecisionId>()
        && let Some(stored) = store.decision(id)?
    {
        return Ok((None, vec![stored]));
    }
    let is_id =
        !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let decisions = if is_id { store.decisions_about(text)? } else { Vec::new() };
    if decisions.is_empty() {
        let shown: String = text.chars().filter(|letter| !letter.is_control()).take(80).collect();
        return Err(ControlError::BadRequest {
            what: format!("there is no decision or request `{shown}`"),
            hint: "`qantra decisions list --all` shows decisions, `qantra explain ID` their requests",
        });
    }
    Ok((Some(text), decisions))
}

/// What can be learnt from a finding: the field that weighed most. Its value was masked when it was found.
fn sample(finding: &Finding, label: Label, source: String, origin: String, now: Now) -> Option<Sample> {
    finding.evidence.request.as_ref()?;
    let (name, value) = (finding.evidence.field.as_ref()?, finding.evidence.value.as_ref()?);
    Some(Sample {
        label,
        class: (label == Label::Malicious).then(|| finding.class.as_str().to_owned()),
        kind: kind_of(name),
        name: name.clone(),
        text: value[..value.floor_char_boundary(TEXT_BYTES_MAX)].to_owned(),
        source,
        origin,
        labelled_unix_ms: now.unix_ms,
        by: Voucher::Person,
    })
}

/// What was labelled, one sample a line.
async fn export(State(shared): State<Shared>, Query(query): Query<ExportQuery>) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(PIECES_MAX);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let labels = shared.control.store().labels().unwrap_or_else(|error| {
            tracing::warn!(%error, "labels cannot be read");
            Vec::new()
        });
        let quorum = if query.quorum { shared.control.benign() } else { Vec::new() };
        for sample in labels.iter().chain(&quorum) {
            let Ok(mut line) = serde_json::to_vec(sample) else { continue };
            line.push(b'\n');
            if runtime.block_on(sender.send_data(line.into())).is_err() {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response()
}

async fn import(State(shared): State<Shared>, bytes: Bytes) -> Response {
    match body(&bytes) {
        Ok(pooled) => run(shared, move |control| Ok(import_now(control.store(), pooled)?)).await,
        Err(answer) => answer,
    }
}

/// What is labelled here stays: others know less of this box's traffic.
fn import_now(store: &Store, pooled: PooledSamples) -> Result<Merged, StoreError> {
    let known: std::collections::HashMap<String, Label> =
        store.labels()?.into_iter().map(|sample| (sample.key(), sample.label)).collect();
    let mut merged = Merged::default();
    let mut fresh = Vec::new();
    for sample in pooled.samples.into_iter().filter(|sample| sample.check().is_ok()) {
        match known.get(&sample.key()) {
            Some(label) if *label != sample.label => merged.conflicts += 1,
            Some(_) => merged.known += 1,
            None => fresh.push(sample),
        }
    }
    merged.added = fresh.len() as u64;
    store.commit(Write::Pool(fresh))?;
    Ok(merged)
}
