//! Files that no exporter writes: each is refused with what, where and the limit. Random and damaged files: an answer, soon.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{
    OnnxLimits, build,
    build::{Message, graph, model, node, tensor, trees},
    check,
};
use crate::clock::boot_ns;

fn shipped(file: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(file)).unwrap()
}

const SHIPPED: [&str; 6] = [
    "request_gate.onnx",
    "request_classifier.onnx",
    "request_judge.onnx",
    "request_judge_rules.onnx",
    "source_forest.onnx",
    "source_classifier.onnx",
];

fn refusal(bytes: &[u8]) -> String {
    check(bytes, &OnnxLimits::DAEMON).err().map(|refusal| refusal.to_string()).unwrap_or_default()
}

#[test]
fn shipped_models_use_a_third_of_the_limits() {
    for file in SHIPPED {
        let bytes = shipped(file);
        let summary = check(&bytes, &OnnxLimits::DAEMON).unwrap();
        assert!(!summary.operators.is_empty() && summary.elements * 3 <= OnnxLimits::DAEMON.elements, "{summary:?}");
    }
}

#[test]
fn a_small_honest_model_passes() {
    let nodes = [node("MatMul", &["x", "w"], &["h"]), node("Relu", &["h"], &["y"])];
    let summary = check(&model(&graph(&nodes, &[tensor("w", &[2, 1], &[1.0, 2.0])], 2, 1)), &OnnxLimits::DAEMON);
    let summary = summary.unwrap();
    assert_eq!((summary.operators.join(" ").as_str(), summary.elements), ("MatMul Relu", 2));
    let tree = trees(&[(0, Some((1, 2))), (1, None), (2, None)]);
    assert_eq!(refusal(&model(&graph(&[tree], &[], 2, 1))), "");
}

#[test]
fn what_is_not_allowed_is_named_with_its_place() {
    let of = |nodes: &[Message], weights: &[Message]| model(&graph(nodes, weights, 2, 1));
    let relu = || node("Relu", &["x"], &["y"]);
    let weights = |tensor: Message| of(&[node("MatMul", &["x", "w"], &["y"])], &[tensor]);
    let claimed = |dims: &[u64]| {
        dims.iter()
            .fold(Message::default(), |tensor, dim| tensor.number(1, *dim))
            .number(2, 1)
            .text(8, "w")
            .bytes(9, &[0; 8])
    };
    let external = Message::default().text(1, "location").text(2, "/etc/shadow");
    let deep: Vec<_> = (0..200).map(|n| (2 * n, Some((2 * n + 1, 2 * n + 2)))).collect();
    let leaves: Vec<_> = (0..200).map(|n| (2 * n + 1, None)).chain([(400, None)]).collect();
    let inner = Message::default().text(1, "body").message(6, &graph(&[relu()], &[], 2, 1));
    let cases = [
        (
            of(&[node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"])], &[]),
            "node 0 (Add): reads `b`, which nothing before it makes",
        ),
        (of(&[node("Relu", &["y"], &["y"])], &[]), "node 0 (Relu): reads `y`, which nothing before it makes"),
        (of(&[relu(), relu()], &[]), "node 1 (Relu): makes `y`, which is made before"),
        (of(&[node("Relu", &["x"], &["z"])], &[]), "graph: nothing makes its output `y`"),
        (of(&[], &[]), "graph: has no node"),
        (of(&[node("Loop", &["x"], &["y"])], &[]), "node 0: operator `Loop` is not allowed"),
        (of(&[node("Expand", &["x"], &["y"])], &[]), "operator `Expand` is not allowed"),
        (of(&[node("Relu", &["x"], &["y"]).text(7, "com.evil")], &[]), "operator `com.evil.Relu` is not allowed"),
        (of(&[relu().message(5, &inner)], &[]), "node 0 (Relu): a graph inside a node is not allowed"),
        (of(&vec![relu(); 300], &[]), "graph: 257 nodes, the limit is 256"),
        (weights(claimed(&[1 << 40])), "tensor `w`: 1099511627776 elements, the limit is 4194304"),
        (weights(claimed(&[1 << 33, 1 << 33])), "tensor `w`: 18446744073709551615 elements, the limit is 4194304"),
        (weights(claimed(&[u64::MAX])), "elements, the limit is 4194304"),
        (weights(claimed(&[3, 1])), "tensor `w`: its shape says 3 elements, its data holds 2"),
        (
            weights(tensor("w", &[2, 1], &[0.0; 2]).message(13, &external)),
            "tensor `w`: data outside the file is not allowed",
        ),
        (weights(tensor("w", &[2, 1], &[0.0; 2]).number(14, 1)), "tensor `w`: data outside the file is not allowed"),
        (weights(Message::default().number(2, 8).text(8, "w")), "tensor `w`: elements of type 8 are not allowed"),
        (weights(tensor("w", &[1; 65], &[0.0])), "tensor: 65 dimensions, the limit is 64"),
        (of(&[trees(&[(0, Some((1, 2))), (1, Some((0, 3))), (2, None), (3, None)])], &[]), "a tree has a cycle"),
        (of(&[trees(&[(0, Some((0, 1))), (1, None)])], &[]), "a tree has a cycle"),
        (of(&[trees(&[(0, Some((1, 1))), (1, None)])], &[]), "tree 0 node 1 has two parents"),
        (of(&[trees(&[(0, Some((1, 7))), (1, None)])], &[]), "tree 0 node 0: a child is missing"),
        (of(&[trees(&[(0, None), (0, None)])], &[]), "tree 0 has node 0 twice"),
        (of(&[trees(&[deep, leaves].concat())], &[]), "65 levels of a tree, the limit is 64"),
        (of(&[trees(&[])], &[]), "different lengths, or none"),
        (
            Message(model(&graph(&[relu()], &[], 2, 1))).message(25, &Message::default()).0,
            "file: functions are not allowed",
        ),
        (Message(model(&graph(&[relu()], &[], 2, 1))).message(7, &Message::default()).0, "file: has two graphs"),
        (Message::default().number(1, 8).0, "file: has no graph"),
        (Message::default().number(1, 99).0, "file: is of format version 99"),
        (Vec::new(), "says no format version"),
        (vec![0; (16 << 20) + 1], "16777217 bytes, the limit is 16777216"),
        (b"PK\x03\x04 certainly no model".to_vec(), "file: "),
    ];
    for (bytes, expected) in cases {
        let said = refusal(&bytes);
        assert!(said.contains(expected) && !said.contains('\n'), "expected {expected}: {said}");
    }
}

#[test]
fn names_of_strangers_are_printed_short_and_tame() {
    let bad = format!("\u{1b}[2J{}", "A".repeat(200));
    let said = refusal(&model(&graph(&[node(&bad, &["x"], &["y"])], &[], 2, 1)));
    assert!(said.len() < 150 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_worst_files_of_full_size_take_little_time() {
    let size = OnnxLimits::DAEMON.file_bytes - 1_000;
    // Two bytes each: what makes decoders of owned messages take a hundred times the file's size.
    let empty_nodes = Message([0x0A, 0].repeat(size / 2));
    let ids = Message::default().text(1, "nodes_nodeids").bytes(8, &vec![1; size - 200]);
    let lone = Message(
        Message::default().text(1, "nodes_nodeids").0.into_iter().chain([0x40, 1].repeat(size / 2 - 99)).collect(),
    );
    let ensemble =
        |list: &Message| node("TreeEnsembleRegressor", &["x"], &["y"]).text(7, "ai.onnx.ml").message(5, list);
    let dims = build::Message::default().bytes(1, &vec![1; size - 200]);
    for graph in [
        empty_nodes,
        graph(&[ensemble(&ids)], &[], 1, 1),
        graph(&[ensemble(&lone)], &[], 1, 1),
        graph(&[node("Relu", &["x"], &["y"])], &[dims], 1, 1),
    ] {
        let bytes = model(&graph);
        let begun_ns = boot_ns();
        assert_ne!(refusal(&bytes), "");
        // Some 0.1 s when built for release; tests are not, and run beside others.
        let took_s = (boot_ns() - begun_ns) / 1_000_000_000;
        assert!(took_s < 20, "{took_s} s");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(check(&bytes, &OnnxLimits::DAEMON).is_err());
    }

    /// Damage near the structure: a small model of every shape, with bytes changed, cut out and doubled.
    #[test]
    fn damaged_models_get_an_answer(
        which in 0_usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..12),
    ) {
        let mut bytes = match which {
            0 => model(&graph(&[node("MatMul", &["x", "w"], &["y"])], &[tensor("w", &[2, 1], &[1.0, 2.0])], 2, 1)),
            1 => model(&graph(&[trees(&[(0, Some((1, 2))), (1, None), (2, None)])], &[], 2, 1)),
            _ => shipped("request_gate.onnx")[..200].to_vec(),
        };
        for (at, kind, byte) in damage {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => { let tail = bytes[at..].to_vec(); bytes.extend(tail); }
            }
        }
        if let Ok(summary) = check(&bytes, &OnnxLimits::DAEMON) {
            prop_assert!(summary.elements <= OnnxLimits::DAEMON.elements);
        }
    }
}
