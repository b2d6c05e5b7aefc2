//! What training does to the shipped gate: it learns from labels, and an attacker teaches it nothing.

use prost::Message;

use super::*;
use crate::{
    features::http::GRAM_BUCKETS,
    inspect::{FieldKind, Fields, RawRequest},
};

const GOLDEN: &str = include_str!("../../../models/golden.jsonl");

/// The parts of an ONNX file that the shipped gate's weights are in.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    tensors: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
}

/// The shipped gate: bytes times a step.
fn shipped() -> GateWeights {
    let file = File::decode(&include_bytes!("../../../models/request_gate.onnx")[..]).unwrap();
    let tensors = file.graph.unwrap().tensors;
    let raw = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap().raw.clone();
    let step = f32::from_le_bytes(raw("step").try_into().unwrap());
    let weights = raw("table").iter().take(GRAM_BUCKETS).map(|byte| f32::from(*byte as i8) * step).collect();
    let manifest: toml::Value = toml::from_str(include_str!("../../../models/manifest.toml")).unwrap();
    let models = manifest["model"].as_array().unwrap();
    let gate = models.iter().find(|model| model["role"].as_str() == Some("request_gate")).unwrap();
    let threshold = |kind: FieldKind| gate["thresholds"][format!("flag_{}", kind.as_str())].as_float().unwrap() as f32;
    GateWeights { weights, thresholds: FieldKind::ALL.map(threshold) }
}

fn golden() -> Vec<Sample> {
    Dataset::read(GOLDEN.as_bytes()).unwrap().1.samples().to_vec()
}

fn sample(text: &str, label: Label, source: u64, by: Voucher) -> Sample {
    Sample {
        label,
        class: None,
        kind: FieldKind::Value,
        name: "query.q".into(),
        text: text.into(),
        source: id(source),
        origin: id(1),
        labelled_unix_ms: 0,
        by,
    }
}

fn corpus(samples: &[Sample]) -> Corpus {
    let mut corpus = Corpus::new();
    samples.iter().for_each(|sample| corpus.add_sample(sample));
    corpus
}

fn excess(gate: &GateWeights, text: &str) -> f32 {
    gate.excess(FieldKind::Value, text.as_bytes(), &mut TrainScratch::default())
}

/// What a person labelled, and what many send, on a site about databases: honest, and flagged by the shipped gate.
fn database_site() -> Vec<Sample> {
    let tables = ["orders", "users", "items", "prices", "stock", "visits", "carts", "mails"];
    let mut samples = Vec::new();
    for (number, table) in tables.iter().cycle().take(160).enumerate() {
        let text = format!("x' union all select name, concat(id, {number}), null from {table} -- -");
        samples.push(sample(&text, Label::Benign, number as u64 % 40, Voucher::Person));
    }
    samples
}

#[test]
fn labels_are_learnt_and_the_golden_set_stays_as_good() {
    let prior = shipped();
    let odd = "x' union all select name, concat(id, 7), null from books -- -";
    assert!(excess(&prior, odd) > 0.0, "the shipped gate flags it");
    let trained = train(&prior, &corpus(&database_site()), &golden(), &TrainOptions::default(), |_| {}).unwrap();
    assert!(excess(&trained.gate, odd) < excess(&prior, odd) - 0.5);
    assert!(!trained.golden.after.is_worse_than(&trained.golden.before), "{:?}", trained.golden);
    assert!(trained.held_out.after.flagged < trained.held_out.before.flagged, "{:?}", trained.held_out);
    assert!(excess(&trained.gate, "1' UNION ALL SELECT NULL,CONCAT(0x71,version()),NULL-- -") > 0.0);
    assert_eq!(trained.gate.thresholds, prior.thresholds);
}

#[test]
fn the_same_input_gives_the_same_weights() {
    let run = || train(&shipped(), &corpus(&database_site()), &golden(), &TrainOptions::default(), |_| {}).unwrap();
    assert_eq!(run().gate, run().gate);
}

/// An attacker who got past the quorum sends much of the same, so that it counts as honest.
#[test]
fn an_attacker_who_sends_much_of_the_same_does_not_make_it_normal() {
    let prior = shipped();
    let attack = "1' or '1'='1' union select password from users-- -";
    assert!(excess(&prior, attack) > 0.0);
    let mut samples = Vec::new();
    for number in 0..4_000_u64 {
        let text = format!(
            "{}' or '1'='1' union select password from users-- {}",
            number % 7,
            "-".repeat(number as usize % 3)
        ) + &["a", "b", "c", "d", "e"][number as usize % 5].repeat(1 + number as usize % 11);
        samples.push(sample(&text, Label::Benign, number % 6, Voucher::Quorum));
    }
    // What honest people send besides.
    for number in 0..400_u64 {
        let text = format!("blue shoes size {} in stock near {}", number % 50, number / 50);
        samples.push(sample(&text, Label::Benign, 100 + number % 80, Voucher::Quorum));
    }
    let corpus = corpus(&samples);
    let naive = TrainOptions { pull: 0.0, group_share_max: 1.0, update_max: f32::INFINITY, ..TrainOptions::default() };
    let fooled = train(&prior, &corpus, &[], &naive, |_| {}).unwrap();
    assert!(excess(&fooled.gate, attack) < 0.0, "without protection it works: the test must be able to fail");
    match train(&prior, &corpus, &golden(), &TrainOptions::default(), |_| {}) {
        Ok(trained) => {
            assert!(excess(&trained.gate, attack) > 0.0, "{trained:?}");
            assert!(!trained.golden.after.is_worse_than(&trained.golden.before));
        }
        Err(NotTrained::Worse { .. } | NotTrained::NothingToGain) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn labels_that_contradict_the_golden_set_are_not_taken() {
    let prior = shipped();
    let mut samples = Vec::new();
    for (number, one) in golden().into_iter().filter(|sample| sample.label == Label::Malicious).enumerate() {
        samples.push(Sample { label: Label::Benign, source: id(number as u64), ..one });
    }
    let error = train(&prior, &corpus(&samples), &golden(), &TrainOptions::default(), |_| {}).unwrap_err();
    assert!(matches!(error, NotTrained::Worse { .. }), "{error}");
}

#[test]
fn without_labels_nothing_is_trained() {
    let error = train(&shipped(), &Corpus::new(), &golden(), &TrainOptions::default(), |_| {}).unwrap_err();
    assert_eq!(error, NotTrained::NoData);
    let broken = GateWeights { weights: vec![f32::NAN; GRAM_BUCKETS], ..shipped() };
    let samples = database_site();
    let error = train(&broken, &corpus(&samples), &[], &TrainOptions::default(), |_| {}).unwrap_err();
    assert_eq!(error, NotTrained::BadPrior);
}

#[test]
fn whole_requests_teach_by_the_field_that_only_the_attack_has() {
    let mut corpus = Corpus::new();
    let mut fields = Fields::new();
    for number in 0..200 {
        let bad = format!("GET /?id={number}%7C%7Czorp(qux) HTTP/1.1\r\nHost: h\r\nX-Fine: yes, quite\r\n\r\n");
        let good = format!("GET /?id={number} HTTP/1.1\r\nHost: h\r\nX-Fine: yes, quite\r\n\r\n");
        let source = format!("tool {}", number % 10);
        corpus.add_request(&RawRequest::parse(bad.as_bytes()).view(), &source, true, &mut fields);
        corpus.add_request(&RawRequest::parse(good.as_bytes()).view(), &source, false, &mut fields);
    }
    let prior = shipped();
    let trained = train(&prior, &corpus, &golden(), &TrainOptions::default(), |_| {}).unwrap();
    let (before, after) = (excess(&prior, "7||zorp(qux)"), excess(&trained.gate, "7||zorp(qux)"));
    assert!(after > 0.0 && after > before + 0.3, "{before} before, {after} after");
    let header = |gate: &GateWeights| gate.excess(FieldKind::Header, b"yes, quite", &mut TrainScratch::default());
    let raised = header(&trained.gate) - header(&prior);
    assert!(raised < 0.25 * (excess(&trained.gate, "7||zorp(qux)") - excess(&prior, "7||zorp(qux)")), "{raised}");
    assert!(header(&trained.gate) < 0.0, "what is in honest requests as well is not the attack");
}

#[test]
fn the_written_file_holds_the_weights() {
    let prior = shipped();
    let file = File::decode(&gate_onnx(&prior.weights)[..]).unwrap();
    let tensors = file.graph.unwrap().tensors;
    let raw = &tensors.iter().find(|tensor| tensor.name == "table").unwrap().raw;
    let back: Vec<f32> =
        raw.chunks_exact(4).take(GRAM_BUCKETS).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(back, prior.weights);
}
