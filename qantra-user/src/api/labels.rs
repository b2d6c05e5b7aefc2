//! Labels over the control socket: what a person says of a finding, and what is handed to training and to other boxes.

use std::net::IpAddr;

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
    Control, ControlError, RuledRequest,
    server::{PIECES_MAX, Shared, body, run},
};
use crate::{
    clock::Now,
    decide::DecisionId,
    detect::{AttackClass, Finding, RuleEvidence},
    learn::{Label, Merged, Sample, TEXT_BYTES_MAX, Voucher, id, kind_of},
    store::{Store, StoreError, Write},
};

/// Largest body of an import.
const IMPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest request id.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Where rules find what is a field of a request, and has a name there.
const FIELD_PLACES: [&str; 7] = ["args", "query", "form", "cookie", "header", "multipart", "xml"];
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
    // A block page may be answered faster than its decision reaches the disk.
    control.store().flush()?;
    let found = find(control, &new.id)?;
    let sketcher = control.sketcher();
    let (mut samples, mut warnings) = (Vec::new(), Vec::new());
    for (field, source) in found {
        let sample = field.sample(new.label, id(sketcher.source(source)), id(sketcher.text(BOX)), now);
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
            what: format!("`{}` has no finding about a field of a request", new.id),
            hint: "what request models or rules found can be labelled; for a detector change [detect]",
        });
    }
    if !samples.is_empty() {
        control.store().commit(Write::Label(samples.clone()))?;
    }
    Ok(Labelled { samples, warnings })
}

/// The fields that are meant and who sent them: those of a decision's findings, or of one request, which may have led to no
/// decision when rules alone refused it.
fn find(control: &dyn Control, text: &str) -> Result<Vec<(FoundField, IpAddr)>, ControlError> {
    let of = |finding: &Finding| Some((FoundField::of_finding(finding)?, finding.source));
    if let Ok(id) = text.parse::<DecisionId>()
        && let Some(stored) = control.store().decision(id)?
    {
        return Ok(stored.decision.findings.iter().filter_map(of).collect());
    }
    let is_id =
        !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let decisions = if is_id { control.store().decisions_about(text)? } else { Vec::new() };
    let findings = decisions.iter().flat_map(|stored| &stored.decision.findings);
    let is_meant = |finding: &&Finding| finding.evidence.request.as_ref().is_some_and(|request| request.id == text);
    let mut found: Vec<_> = findings.filter(is_meant).filter_map(of).collect();
    let ruled = if is_id { control.ruled_request(text) } else { Vec::new() };
    if found.is_empty() {
        let fields = ruled.iter().filter(|ruled| !ruled.is_response);
        found.extend(fields.filter_map(|ruled| Some((FoundField::of_rules(ruled)?, ruled.source))));
    }
    if decisions.is_empty() && ruled.is_empty() {
        let shown: String = text.chars().filter(|letter| !letter.is_control()).take(80).collect();
        return Err(ControlError::BadRequest {
            what: format!("there is no decision or request `{shown}`"),
            hint: "`qantra decisions list --all` and `qantra rules recent` show them",
        });
    }
    Ok(found)
}

/// A field that something was found in. Its value was masked when it was found.
struct FoundField {
    name: String,
    value: String,
    class: Option<AttackClass>,
}

impl FoundField {
    /// The field that weighed most.
    fn of_finding(finding: &Finding) -> Option<Self> {
        finding.evidence.request.as_ref()?;
        let (name, value) = (finding.evidence.field.clone()?, finding.evidence.value.clone()?);
        Some(Self { name, value, class: Some(finding.class) })
    }

    /// The field of the request that most rules matched; of several the first.
    fn of_rules(ruled: &RuledRequest) -> Option<Self> {
        let is_field = |rule: &&RuleEvidence| {
            let (place, key) = rule.field.split_once('.').unwrap_or((&rule.field, ""));
            // Without a key it is a whole query, or all headers: no field.
            matches!(place, "path" | "body") || FIELD_PLACES.contains(&place) && !key.is_empty()
        };
        let count = |field: &str| ruled.rules.iter().filter(|rule| rule.field == field).count();
        let rule = ruled.rules.iter().filter(is_field).rev().max_by_key(|rule| count(&rule.field))?;
        Some(Self { name: rule.field.clone(), value: rule.value.clone(), class: ruled.class })
    }

    fn sample(self, label: Label, source: String, origin: String, now: Now) -> Sample {
        let class = self.class.filter(|_| label == Label::Malicious);
        Sample {
            label,
            class: class.map(|class| class.as_str().to_owned()),
            kind: kind_of(&self.name),
            text: self.value[..self.value.floor_char_boundary(TEXT_BYTES_MAX)].to_owned(),
            name: self.name,
            source,
            origin,
            labelled_unix_ms: now.unix_ms,
            by: Voucher::Person,
        }
    }
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
