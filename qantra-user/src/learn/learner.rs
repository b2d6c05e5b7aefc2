//! Enters: sketches of requests. Leaves: [`Knowledge`], what the box knows of its own sites. Owned by one thread; time is
//! an argument.

use std::collections::HashMap;

use super::{
    calibrate::{Calibration, Quorum},
    parameter::{KnownParameter, Parameter},
    shape::Endpoint,
    sketch::{FieldSketch, RequestSketch, Sketcher},
};
use crate::{
    flow::{BoundedTable, DAY_MS, Worth},
    inspect::FieldKind,
};

/// Most endpoints of all sites together; 1.2 KiB each.
pub(super) const ENDPOINTS_MAX: usize = 512;
/// Most sites; further ones have the shipped thresholds.
pub(super) const SITES_MAX: usize = 256;
/// Most parameters; up to 500 bytes each.
pub(super) const PARAMETERS_MAX: usize = 4_096;
/// Most sources that are told apart.
const SOURCES_MAX: usize = 8_192;
/// Requests of a source before anything is learnt from it.
const PROBATION: u32 = 20;
/// A source is learnt from while no more than one in so many of its requests looks like an attack.
const HONEST_SHARE: u32 = 10;
/// Endpoints and parameters that one source may bring up between two times of forgetting.
const FRESH_MAX: u16 = 64;
/// Most values that are kept to train on; some 200 bytes each.
const BENIGN_MAX: usize = 4_096;
/// How often what no quorum vouched for is forgotten.
const FORGET_MS: u64 = 7 * DAY_MS;

/// What is counted of the learner's own doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnerStats {
    /// Requests that were learnt from.
    pub learnt: u64,
    /// Requests of sources that were not learnt from: too new, or too many of theirs look like attacks.
    pub not_vouched: u64,
    /// Endpoints and parameters that had to make room, and shapes that found none.
    pub evicted: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    requests: u32,
    high: u32,
    fresh: u16,
    touched_ms: u64,
}

impl Worth for Source {
    fn worth(&self, _now_ms: u64) -> i64 {
        self.touched_ms as i64
    }
}

impl Source {
    const fn is_honest(&self) -> bool {
        self.requests > PROBATION && self.high <= self.requests / HONEST_SHARE
    }
}

/// An endpoint, or a whole site.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) site: u64,
    pub(super) name: Option<Endpoint>,
    pub(super) calibration: Calibration,
    /// When the first request was counted, Unix ms; 0: an older version did not say.
    pub(super) since_ms: u64,
    pub(super) touched_ms: u64,
}

impl Place {
    fn since(&self) -> Option<u64> {
        (self.since_ms != 0).then_some(self.since_ms)
    }
}

impl Worth for Place {
    /// A week of not being asked for outweighs ten thousand requests.
    fn worth(&self, _now_ms: u64) -> i64 {
        self.touched_ms as i64 + self.calibration.counted().min(10_000) as i64 * (7 * DAY_MS as i64 / 10_000)
    }
}

/// A value that may be kept to train on.
#[derive(Debug, Clone)]
pub struct BenignText {
    /// Who sent it.
    pub source: u64,
    /// Its shape.
    pub field: FieldSketch,
    /// The kind of its field.
    pub kind: FieldKind,
    /// The field's name.
    pub name: String,
    /// The value, with secrets masked.
    pub text: String,
}

/// Learns what is usual on each site.
#[derive(Debug)]
pub struct Learner {
    pub(super) seed: u64,
    pub(super) model: String,
    pub(super) sites: BoundedTable<u64, Place>,
    pub(super) endpoints: BoundedTable<u64, Place>,
    pub(super) parameters: BoundedTable<u64, Parameter>,
    sources: BoundedTable<u64, Source>,
    pub(super) forgot_ms: u64,
    stats: LearnerStats,
    benign: Vec<BenignText>,
    random: u64,
}

impl Learner {
    /// One that knows nothing.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            model: String::new(),
            sites: BoundedTable::new(SITES_MAX, seed),
            endpoints: BoundedTable::new(ENDPOINTS_MAX, seed ^ 1),
            parameters: BoundedTable::new(PARAMETERS_MAX, seed ^ 2),
            sources: BoundedTable::new(SOURCES_MAX, seed ^ 3),
            forgot_ms: 0,
            stats: LearnerStats::default(),
            benign: Vec::new(),
            random: seed | 1,
        }
    }

    /// What makes sketches for it.
    #[must_use]
    pub const fn sketcher(&self) -> Sketcher {
        Sketcher::new(self.seed)
    }

    /// Says which model the scores come from: those of another cannot be compared, and are forgotten.
    pub fn set_model(&mut self, model: &str) {
        if self.model != model {
            model.clone_into(&mut self.model);
            self.sites = BoundedTable::new(SITES_MAX, self.seed);
            self.endpoints = BoundedTable::new(ENDPOINTS_MAX, self.seed ^ 1);
        }
    }

    /// Learns from one request. `is_high`: it scored above the shipped threshold. Times are Unix ms.
    pub fn observe(&mut self, sketch: &RequestSketch, is_high: bool, sources_min: u32, now_ms: u64) {
        let source = self.sources.get_or_insert_with(sketch.source, now_ms, Source::default);
        source.requests = source.requests.saturating_add(1);
        source.high = source.high.saturating_add(u32::from(is_high));
        source.touched_ms = now_ms;
        if source.requests == u32::MAX {
            (source.requests, source.high) = (source.requests / 2, source.high / 2);
        }
        if !source.is_honest() {
            self.stats.not_vouched += 1;
            return;
        }
        self.stats.learnt += 1;
        let mut fresh = source.fresh;
        let place = |name| Place {
            site: sketch.site,
            name,
            calibration: Calibration::default(),
            since_ms: now_ms,
            touched_ms: now_ms,
        };
        let site = self.sites.get_or_insert_with(sketch.site, now_ms, || place(None));
        site.calibration.count(sketch.source, sketch.score, sources_min);
        site.touched_ms = now_ms;
        if may_add(self.endpoints.get(sketch.endpoint).is_some(), &mut fresh) {
            let endpoint = self.endpoints.get_or_insert_with(sketch.endpoint, now_ms, || place(Some(sketch.name)));
            endpoint.calibration.count(sketch.source, sketch.score, sources_min);
            endpoint.touched_ms = now_ms;
        }
        for field in sketch.fields() {
            if may_add(self.parameters.get(field.parameter).is_some(), &mut fresh) {
                let parameter = self.parameters.get_or_insert_with(field.parameter, now_ms, Parameter::default);
                self.stats.evicted += u64::from(parameter.learn(field, sketch.source, now_ms));
            }
        }
        if let Some(source) = self.sources.get_mut(sketch.source) {
            source.fresh = fresh;
        }
    }

    /// Keeps a value to train on, when its source is honest and a quorum sends such values. In memory alone, and no more
    /// of one source than its share.
    pub fn offer(&mut self, text: BenignText, sources_min: u32) {
        let is_honest = self.sources.get(text.source).is_some_and(Source::is_honest);
        let known = self.parameters.get(text.field.parameter).and_then(|parameter| parameter.known(sources_min));
        let is_usual = known.is_some_and(|known| known.lowers(&text.field) > 0.0);
        if !is_honest || !is_usual || self.benign.iter().any(|other| other.field.value == text.field.value) {
            return;
        }
        let own = self.benign.iter().filter(|other| other.source == text.source).count();
        if own >= BENIGN_MAX / sources_min.max(1) as usize {
            return;
        }
        if self.benign.len() < BENIGN_MAX {
            self.benign.push(text);
            return;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (self.random >> 33) as usize % BENIGN_MAX;
        self.benign[place] = text;
    }

    /// What was kept to train on.
    #[must_use]
    pub fn benign(&self) -> &[BenignText] {
        &self.benign
    }

    /// Forgets, once a week, what no quorum vouched for.
    pub fn tick(&mut self, sources_min: u32, now_ms: u64) {
        if self.forgot_ms == 0 {
            self.forgot_ms = now_ms;
        }
        if now_ms.saturating_sub(self.forgot_ms) < FORGET_MS {
            return;
        }
        self.forgot_ms = now_ms;
        self.parameters.values_mut().for_each(|parameter| parameter.forget(sources_min));
        self.sources.values_mut().for_each(|source| source.fresh = 0);
    }

    /// What is known by now.
    #[must_use]
    pub fn knowledge(&self, quorum: &Quorum) -> Knowledge {
        let places = self.sites.iter().chain(self.endpoints.iter());
        let thresholds = places.filter_map(|(key, place)| {
            let confidence = place.calibration.threshold(quorum)?;
            let threshold = Threshold {
                confidence,
                requests: place.calibration.counted(),
                sources: place.calibration.sources(),
                since_unix_ms: place.since(),
                max_false_positive_rate: quorum.max_false_positive_rate,
                of_site: place.name.is_none(),
            };
            Some((*key, threshold))
        });
        let parameters = self.parameters.iter();
        let parameters = parameters.filter_map(|(key, parameter)| Some((*key, parameter.known(quorum.sources_min)?)));
        Knowledge { sketcher: self.sketcher(), thresholds: thresholds.collect(), parameters: parameters.collect() }
    }

    /// What people are shown of each site and endpoint: busiest first.
    #[must_use]
    pub fn report(&self, quorum: &Quorum) -> Vec<PlaceReport> {
        let places = self.sites.iter().chain(self.endpoints.iter());
        let mut report: Vec<PlaceReport> = places
            .map(|(_, place)| PlaceReport {
                site: place.site,
                endpoint: place.name.map(|name| name.as_str().to_owned()),
                requests: place.calibration.counted(),
                left_out: place.calibration.left_out(),
                sources: place.calibration.sources(),
                since_unix_ms: place.since(),
                threshold: place.calibration.threshold(quorum),
            })
            .collect();
        report.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.endpoint.cmp(&b.endpoint)));
        report
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> LearnerStats {
        let evicted = self.sites.evicted() + self.endpoints.evicted() + self.parameters.evicted();
        LearnerStats { evicted: self.stats.evicted + evicted, ..self.stats }
    }

    /// How many parameters are in the table.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }
}

/// One source fills only so much of the tables.
const fn may_add(is_known: bool, fresh: &mut u16) -> bool {
    if is_known {
        return true;
    }
    let may = *fresh < FRESH_MAX;
    *fresh += may as u16;
    may
}

/// One line about a site or an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceReport {
    /// The site's key.
    pub site: u64,
    /// The endpoint; `None`: the whole site.
    pub endpoint: Option<String>,
    /// Requests counted.
    pub requests: u64,
    /// Requests not counted, because their source had its share.
    pub left_out: u64,
    /// Distinct sources, at least.
    pub sources: u32,
    /// When counting began.
    pub since_unix_ms: Option<u64>,
    /// The confidence that honest requests stay below; `None`: not enough was seen.
    pub threshold: Option<f32>,
}

/// A threshold from local traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The confidence; above 1: no confidence is enough.
    pub confidence: f32,
    /// Requests that it rests on.
    pub requests: u64,
    /// Distinct sources that they came from, at least.
    pub sources: u32,
    /// When counting began.
    pub since_unix_ms: Option<u64>,
    /// The share of them that may reach it.
    pub max_false_positive_rate: f64,
    /// Whether it is the whole site's: the endpoint alone has not been seen enough.
    pub of_site: bool,
}

/// What the box knows of its sites: immutable, shared by all that judge.
#[derive(Debug, Clone)]
pub struct Knowledge {
    sketcher: Sketcher,
    thresholds: HashMap<u64, Threshold>,
    parameters: HashMap<u64, KnownParameter>,
}

impl Knowledge {
    /// What makes keys for it.
    #[must_use]
    pub const fn sketcher(&self) -> &Sketcher {
        &self.sketcher
    }

    /// The threshold of an endpoint, or else of its site; `None` until enough was seen.
    #[must_use]
    pub fn threshold(&self, site: u64, endpoint: u64) -> Option<Threshold> {
        self.thresholds.get(&endpoint).or_else(|| self.thresholds.get(&site)).copied()
    }

    /// How many thresholds there are.
    #[must_use]
    pub fn thresholds(&self) -> usize {
        self.thresholds.len()
    }

    /// Of how many parameters something is known.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// Whether enough was seen of a site.
    #[must_use]
    pub fn is_calibrated(&self, site: u64) -> bool {
        self.thresholds.contains_key(&site)
    }

    /// By how much what is known of a field lowers its log-odds; 0 when nothing is.
    #[must_use]
    pub fn lowers(&self, field: &FieldSketch) -> f32 {
        self.parameters.get(&field.parameter).map_or(0.0, |known| known.lowers(field))
    }
}
