//! Enters: flagged requests. Leaves: how sure the models are that each is an attack, of which class, and why. The classifier
//! looks at the worst fields, the judge at what it says of them and at what rules matched. It must never hold a thread or
//! a queue: the daemon, `qantra eval` and the bench all run this.

use std::sync::Arc;

use super::{
    Bar, Manifest, ModelError, ModelRole, Runtime,
    bar::origin_of,
    ensembles::Ensembles,
    gate::{Case, FlaggedField},
    session::IdSession,
};
use crate::{
    detect::{AttackClass, Evidence, Measurement, ThresholdOrigin},
    features::{
        http::{CLASSIFIER_POSITIONS_MAX, GRAMS_PER_POSITION, PADDING_ID, http_schema},
        request::{AskedField, FIELD_CLASSES, FIELD_COLUMNS, request_row},
    },
    inspect::{ATTACK_TAGS, RuleSigns},
};

/// Longest input: the grams of as many positions as are shown, and the field's kind.
const WIDTH_MAX: usize = CLASSIFIER_POSITIONS_MAX * GRAMS_PER_POSITION + 1;
/// How many classes are told of a field.
const CLASSES_TOLD: usize = 3;
/// Shares below this are not told.
const SHARE_TOLD_MIN: f32 = 0.01;
/// What the Core Rule Set's tags stand for, in the order of [`ATTACK_TAGS`].
const CLASS_OF_TAG: [AttackClass; ATTACK_TAGS.len()] = [
    AttackClass::Sqli,
    AttackClass::Xss,
    AttackClass::Rce,
    AttackClass::Traversal,
    AttackClass::Rfi,
    AttackClass::Rce,
    AttackClass::OtherInjection,
    AttackClass::Rce,
    AttackClass::OtherInjection,
    AttackClass::Ssrf,
    AttackClass::Ssti,
    AttackClass::OtherInjection,
];

/// What the models say of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Confidence is below the threshold.
    Pass,
    /// Confidence reaches the threshold.
    Attack(Box<RequestAttack>),
}

/// A request that the models are sure about: all of a finding that is known here.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestAttack {
    /// The most likely attack class.
    pub class: AttackClass,
    /// The judge's share, from 0 to 1.
    pub confidence: f32,
    /// The judge's name in the manifest.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Field, masked excerpt, n-grams that weighed most, what each model said beside its threshold.
    pub evidence: Evidence,
}

/// What the models make of one case, before any threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The field that is most likely an attack: a place in the case's fields.
    pub field: Option<usize>,
    /// The most likely attack class.
    pub class: AttackClass,
    /// What the classifier says of that field, from 0 to 1.
    pub field_confidence: f32,
    /// Its most likely classes and how likely it finds each, most likely first.
    pub classes: [(AttackClass, f32); CLASSES_TOLD],
    /// What the judge says of the request, from 0 to 1.
    pub confidence: f32,
}

/// Classifier and judge, loaded.
#[derive(Debug)]
pub struct Core {
    session: IdSession,
    ensembles: Ensembles,
    classes: Vec<Option<AttackClass>>,
    /// Without rules, and with them.
    thresholds: [f32; 2],
    /// Where those came from; `None`: somebody tries others.
    origin: Option<ThresholdOrigin>,
    /// Where the gate's came from.
    gate_origin: ThresholdOrigin,
    name: Arc<str>,
    version: Arc<str>,
    ids: Vec<i32>,
}

impl Core {
    /// Loads the models from an open manifest. `confidence` replaces the manifest's threshold.
    ///
    /// # Errors
    /// [`ModelError`] when a file does not load, or classes or thresholds are not as they must be.
    pub fn load(runtime: &Runtime, manifest: &Manifest, confidence: Option<f32>) -> Result<Self, ModelError> {
        let entry = manifest.entry(ModelRole::RequestClassifier)?;
        let shape = |reason: String| ModelError::Shape { model: entry.name.clone(), reason };
        let mut classes = Vec::with_capacity(entry.classes.len());
        for name in &entry.classes {
            let class = AttackClass::ALL.into_iter().find(|class| class.as_str() == name);
            if class.is_none() && name != "benign" {
                return Err(shape(format!("class `{name}` in the manifest is unknown")));
            }
            classes.push(class);
        }
        // The judge learnt from these columns in this order.
        if classes.len() != FIELD_CLASSES || classes.iter().position(Option::is_none) != Some(0) {
            return Err(shape(format!("needs {FIELD_CLASSES} classes in the manifest, `benign` first")));
        }
        if classes.iter().skip(1).any(Option::is_none) {
            return Err(shape("needs exactly one class `benign` in the manifest".into()));
        }
        let bytes = manifest.file(entry, &http_schema().hash())?;
        let session = IdSession::new(runtime, &entry.name, &bytes, classes.len())?;
        let ensembles = Ensembles::load(runtime, manifest)?;
        let threshold = match confidence {
            Some(confidence) => Bar::of_config("models.request_confidence", confidence),
            None => ensembles.threshold.clone(),
        };
        let (name, version) = (ensembles.name.as_str().into(), ensembles.version.as_str().into());
        let gate_origin = origin_of(manifest.entry(ModelRole::RequestGate)?);
        let (thresholds, origin) = ([threshold.value; 2], Some(threshold.origin));
        Ok(Self { session, ensembles, classes, thresholds, origin, gate_origin, name, version, ids: Vec::new() })
    }

    /// Judges some requests, in few batches.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime fails.
    pub fn judge(&mut self, cases: &[&Case]) -> Result<Vec<Verdict>, ModelError> {
        let probabilities = self.probabilities(cases.iter().flat_map(|case| &case.fields))?;
        let (mut of_fields, _) = probabilities.as_chunks::<FIELD_CLASSES>();
        let mut verdicts = Vec::with_capacity(cases.len());
        let mut rows = [Vec::with_capacity(cases.len() * FIELD_COLUMNS), Vec::new()];
        for case in cases {
            let (own, others) = of_fields.split_at(case.fields.len().min(of_fields.len()));
            of_fields = others;
            let asked: Vec<AskedField<'_>> = case.fields.iter().zip(own).map(asked_of).collect();
            let field = request_row(&mut rows[with_rules(case)], &case.kinds, &asked, case.signs.as_ref());
            verdicts.push(self.read(field, field.map(|at| &own[at]), case.signs.as_ref()));
        }
        let confidences = [self.ensembles.confidences(&rows[0], false)?, self.ensembles.confidences(&rows[1], true)?];
        let mut next = [0; 2];
        for (verdict, case) in verdicts.iter_mut().zip(cases) {
            let way = with_rules(case);
            let confidence = confidences[way].get(next[way]).copied().unwrap_or_default();
            next[way] += 1;
            let lowered_by = verdict.field.and_then(|at| case.fields.get(at)).map_or(0.0, |field| field.lowered_by);
            verdict.confidence = crate::learn::lowered(confidence.clamp(0.0, 1.0), lowered_by);
        }
        Ok(verdicts)
    }

    /// What the classifier says of each field: one row of as many numbers as there are classes.
    pub(super) fn probabilities<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a FlaggedField> + Clone,
    ) -> Result<Vec<f32>, ModelError> {
        let width = fields.clone().map(|field| field.ids.len().min(WIDTH_MAX)).max().unwrap_or(0);
        self.ids.clear();
        for field in fields {
            let ids = &field.ids[field.ids.len().saturating_sub(WIDTH_MAX)..];
            self.ids.extend(ids.iter().map(|id| i32::from(*id)));
            self.ids.extend(std::iter::repeat_n(i32::from(PADDING_ID), width - ids.len()));
        }
        self.session.run(&self.ids, width)
    }

    /// The class of the surest field; where fields say little, that which most rules name. How sure the judge is, it adds.
    fn read(&self, field: Option<usize>, shares: Option<&[f32; FIELD_CLASSES]>, signs: Option<&RuleSigns>) -> Verdict {
        let mut classes = [(AttackClass::OtherInjection, 0.0); CLASSES_TOLD];
        let named = self.classes.iter().zip(shares.into_iter().flatten());
        for (class, share) in named.filter_map(|(class, share)| Some(((*class)?, *share))) {
            let at = classes.partition_point(|(_, other)| *other >= share);
            if let Some(below) = classes.get_mut(at..) {
                below.rotate_right(1.min(below.len()));
                below.iter_mut().take(1).for_each(|first| *first = (class, share));
            }
        }
        let field_confidence = shares.map_or(0.0, |shares| (1.0 - shares[0]).clamp(0.0, 1.0));
        let by_rules = signs.and_then(|signs| {
            let most = (0..ATTACK_TAGS.len()).rev().max_by_key(|kind| signs.attacks[*kind])?;
            (signs.attacks[most] > 0).then(|| CLASS_OF_TAG[most])
        });
        let class = by_rules.filter(|_| field_confidence < 0.5).unwrap_or(classes[0].0);
        Verdict { field, class, field_confidence, classes, confidence: 0.0 }
    }

    /// Confidence from which a request is an attack, where rules were weighed as well or not.
    #[must_use]
    pub const fn threshold(&self, with_rules: bool) -> f32 {
        self.thresholds[with_rules as usize]
    }

    /// Sets it: what a site's own traffic says is better than what was shipped.
    pub fn set_threshold(&mut self, with_rules: bool, threshold: f32) {
        self.origin = None;
        self.thresholds[with_rules as usize] = threshold;
    }

    /// The answer for one request.
    #[must_use]
    pub fn answer(&self, case: Case, verdict: &Verdict) -> Answer {
        let threshold = self.thresholds[with_rules(&case)];
        if verdict.confidence < threshold || verdict.confidence.is_nan() {
            return Answer::Pass;
        }
        let compared = |name: &str, value: f32, threshold: f32, origin: Option<&ThresholdOrigin>| Measurement {
            name: name.into(),
            value: f64::from(value),
            threshold: f64::from(threshold),
            origin: origin.cloned(),
        };
        let measurement = |name: &str, value: f32| compared(name, value, 0.0, None);
        let mut measurements =
            vec![compared("request_confidence", verdict.confidence, threshold, self.origin.as_ref())];
        if let Some(signs) = case.signs.filter(|signs| !signs.is_empty()) {
            measurements.push(measurement("rules_score", f32::from(signs.score)));
        }
        let mut evidence = Evidence::default();
        if let Some(field) = verdict.field.and_then(|at| case.fields.into_iter().nth(at)) {
            measurements.push(compared("gate_score", field.score, field.threshold, Some(&self.gate_origin)));
            measurements.push(measurement("classifier_confidence", verdict.field_confidence));
            let told = verdict.classes.iter().filter(|(_, share)| *share >= SHARE_TOLD_MIN);
            measurements.extend(told.map(|(class, share)| measurement(&format!("class_{}", class.as_str()), *share)));
            if field.lowered_by > 0.0 {
                measurements.push(measurement("lowered_by_known_parameter_log_odds", field.lowered_by));
            }
            (evidence.field, evidence.value, evidence.weights) = (Some(field.name), Some(field.excerpt), field.weights);
        }
        evidence.measurements = measurements;
        Answer::Attack(Box::new(RequestAttack {
            class: verdict.class,
            confidence: verdict.confidence,
            model: self.name.to_string(),
            version: self.version.to_string(),
            evidence,
        }))
    }
}

fn asked_of<'a>((field, probabilities): (&FlaggedField, &'a [f32; FIELD_CLASSES])) -> AskedField<'a> {
    AskedField { excess: field.excess(), probabilities, shape: field.shape, lowered_by: field.lowered_by }
}

/// Which ensemble judges a case.
const fn with_rules(case: &Case) -> usize {
    case.signs.is_some() as usize
}
