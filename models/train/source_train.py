"""Enters: recorded runs (source_record.py) and capture collections. Leaves: an isolation forest and a classifier over
behaviour vectors as ONNX, and their entries in the manifest. Vectors come from the Rust program that shares its code
with serving; it must never compute a feature by itself.

usage: source_train.py --vectors PROGRAM --runs DIR --data DIR --out DIR

What is measured on what: trained on runs with `train` tools and nDPI's captures; thresholds set on Zeek's traces and
honest clients that training never saw; attacks measured on `test` tools alone.
"""

import argparse
import concurrent.futures
import hashlib
import json
import re
import subprocess
from pathlib import Path

import manifest
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest

VERSION = "1"
SEED = 20261
TREES, SAMPLES = 100, 256
CLASSES = [
    "benign", "request_flood", "content_scan", "brute_force", "credential_stuffing", "slow_http", "port_scan",
    "syn_flood", "udp_flood", "icmp_flood",
]
# Attacks and broken traffic among the captures: they are no example of honest behaviour.
NOT_BENIGN = re.compile(
    r"scan|attack|flood|fuzz|brute|guess|exploit|malware|emotet|trickbot|bot\.|inject|log4j|overflow|dos_|exf|tunnel|"
    r"malicious|malformed|badpackets|bad-dns|mining|crash|segv|dotenv|false_positive|weird|dotdot|exhaust|seed_fake", re.I
)
# Runs are played once and several times on end, so that long windows fill as they do in service.
REPEATS = {"benign": (1, 4, 15), "attack": (1, 5)}


def vectors(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    x = np.array([row[3:] for row in rows], dtype=np.float32)
    return [tuple(row[:3]) for row in rows], x


def of_runs(program, runs):
    out = []
    for run in json.loads((runs / "runs.json").read_text()):
        kind = "benign" if run["label"] == "benign" else "attack"
        for repeat in REPEATS[kind]:
            keys, x = vectors(
                program, "--label", run["label"], "--group", run["name"], "--repeat", repeat,
                "--pcap", runs / run["pcap"], "--http", runs / run["http"],
            )
            if len(keys):
                out.append((run, x))
    return out


def of_captures(program, folder):
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pcap", ".pcapng", ".cap", ".trace"))
    files = [p for p in files if not NOT_BENIGN.search(p.name)]

    def one(path):
        keys, x = vectors(program, "--group", path.name, "--pcap", path)
        return x[:400] if len(keys) else None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = [x for x in pool.map(one, files) if x is not None]
    return np.concatenate(parts), len(parts)


def average_path(n):
    """Mean depth of an unsuccessful search in a binary tree of n keys (Liu et al., 2008)."""
    n = np.asarray(n, dtype=np.float64)
    harmonic = np.log(np.maximum(n - 1, 1)) + 0.5772156649
    return np.where(n > 2, 2 * harmonic - 2 * (n - 1) / np.maximum(n, 1), np.where(n == 2, 1.0, 0.0))


def forest_to_onnx(forest, columns):
    """The whole forest as ONE TreeEnsembleRegressor: leaf weights are minus the leaf's depth, so that the sum is the
    exponent of the anomaly score. As written by skl2onnx it would be hundreds of nodes and 187 times as slow."""
    names = ("treeids nodeids featureids values modes truenodeids falsenodeids").split()
    nodes = {name: [] for name in names}
    target = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    norm = len(forest.estimators_) * float(average_path(SAMPLES))
    for number, estimator in enumerate(forest.estimators_):
        tree, depth = estimator.tree_, np.zeros(estimator.tree_.node_count)
        for node in range(tree.node_count):
            left, right = tree.children_left[node], tree.children_right[node]
            leaf = left < 0
            if leaf:
                weight = -(depth[node] + float(average_path(tree.n_node_samples[node]))) / norm
                for key, value in zip(target, (number, node, 0, weight)):
                    target[key].append(value)
            else:
                depth[left] = depth[right] = depth[node] + 1
            # sklearn compares a float32 value with a float64 threshold: rounding down keeps every comparison.
            threshold = np.float32(tree.threshold[node])
            if not leaf and float(threshold) > tree.threshold[node]:
                threshold = np.nextafter(threshold, np.float32(-np.inf))
            row = (
                number, node, 0 if leaf else int(tree.feature[node]), 0.0 if leaf else float(threshold),
                "LEAF" if leaf else "BRANCH_LEQ", 0 if leaf else int(left), 0 if leaf else int(right),
            )
            for key, value in zip(names, row):
                nodes[key].append(value)
    attributes = {f"nodes_{key}": value for key, value in nodes.items()}
    attributes |= {f"target_{key}": value for key, value in target.items()}
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["exponent"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
        post_transform="NONE", **attributes,
    )
    graph = helper.make_graph(
        [node], "source_forest", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("exponent", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="qantra")
    onnx.checker.check_model(model)
    return model


def run(model, x, output=0):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[output]


def entry(role, model, schema, classes, thresholds, measured, data, out):
    """The manifest's entry of a model, whose file is written beside it."""
    blob, file = model.SerializeToString(), f"{role}.onnx"
    (out / file).write_bytes(blob)
    return {
        "name": role.replace("_", "-"), "role": role, "file": file, "sha256": hashlib.sha256(blob).hexdigest(),
        "version": VERSION, "schema": schema, "data": data, "classes": classes, "thresholds": thresholds,
        "measured": {key: round(value, 4) for key, value in measured.items()},
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ("vectors", "runs", "data", "out"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    args = parser.parse_args()
    schema = subprocess.run([args.vectors, "--schema"], capture_output=True, text=True, check=True).stdout.strip()
    runs = of_runs(args.vectors, args.runs)
    ndpi, ndpi_files = of_captures(args.vectors, args.data / "pcap/ndpi")
    zeek, zeek_files = of_captures(args.vectors, args.data / "pcap/zeek")
    print(f"vectors: {len(ndpi)} of {ndpi_files} nDPI captures, {len(zeek)} of {zeek_files} Zeek traces, {len(runs)} runs")

    def pick(split, benign):
        return [(r["label"], r["name"], x) for r, x in runs if r["split"] == split and (r["label"] == "benign") == benign]

    honest = np.concatenate([x for _, _, x in pick("train", True)])
    honest_test = np.concatenate([x for _, _, x in pick("test", True)])
    benign = np.concatenate([ndpi, honest])
    held_out = np.concatenate([zeek, honest_test])

    # Honest clients of a web site are few among captures of everything: each origin weighs the same in the forest.
    rng = np.random.default_rng(SEED)
    n = 6000
    balanced = np.concatenate([ndpi[rng.integers(len(ndpi), size=n)], honest[rng.integers(len(honest), size=n)]])
    forest = IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=SEED).fit(balanced)
    forest_onnx = forest_to_onnx(forest, benign.shape[1])
    score = lambda x: np.exp2(run(forest_onnx, x)[:, 0])
    error = np.abs(score(held_out) + forest.score_samples(held_out)).max()
    print(f"isolation forest: largest difference from scikit-learn {error:.2g}")
    # One in twenty of Zeek's sources. Clients of a web site look strange beside those, so most of them are flagged
    # too: for them the forest decides nothing, and the model card says so.
    flag = float(np.quantile(score(zeek), 0.95))

    attacks = pick("train", False)
    x = np.concatenate([benign, *[x for _, _, x in attacks]])
    y = np.array([0] * len(benign) + [CLASSES.index(label) for label, _, part in attacks for _ in range(len(part))])
    classifier = ExtraTreesClassifier(n_estimators=60, max_depth=12, min_samples_leaf=2, class_weight="balanced", random_state=SEED)
    classifier.fit(x, y)
    classifier_onnx = to_onnx(
        classifier, initial_types=[("x", FloatTensorType([None, x.shape[1]]))], options={id(classifier): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    missing = [name for i, name in enumerate(CLASSES) if i not in classifier.classes_]
    if missing:
        raise SystemExit(f"no run has the classes {missing}: record them again")
    probability = lambda x: run(classifier_onnx, x, 1)

    def worst(x):
        """The most that any attack class gets of what the forest flags."""
        return np.where(score(x) >= flag, probability(x)[:, 1:].max(axis=1), 0)

    confidence = float(min(0.95, max(0.6, worst(held_out).max() + 0.15)))
    print(f"the most an honest source of the held-out part gets: {worst(held_out).max():.3f}")
    forest_measured = {
        "zeek_flagged": float((score(zeek) >= flag).mean()),
        "honest_test_flagged": float((score(honest_test) >= flag).mean()),
    }
    classifier_measured = {
        "zeek_vectors": len(zeek), "zeek_false": int((worst(zeek) >= confidence).sum()),
        "honest_test_vectors": len(honest_test), "honest_test_false": int((worst(honest_test) >= confidence).sum()),
    }
    for name in dict.fromkeys(name for _, name, _ in pick("test", False)):
        parts = [(label, part) for label, other, part in pick("test", False) if other == name]
        part, truth = np.concatenate([p for _, p in parts]), CLASSES.index(parts[0][0])
        flagged = score(part) >= flag
        sure = (worst(part) >= confidence)
        right = sure & (probability(part)[:, 1:].argmax(axis=1) + 1 == truth)
        forest_measured[f"{name}_flagged"] = float(flagged.mean())
        classifier_measured[f"{name}_sure"] = float(sure.mean())
        classifier_measured[f"{name}_right"] = float(right.mean())
    for measured in (forest_measured, classifier_measured):
        print(json.dumps(measured, indent=1))
    print(f"thresholds: flag {flag:.4f}, confidence {confidence:.3f}")

    data = [
        f"nDPI test captures, {ndpi_files} files (LGPL-3): benign, training",
        f"Zeek test traces, {zeek_files} files (BSD): benign, thresholds",
        "runs of models/train/source_record.py in network namespaces: attacks and honest clients, split by tool",
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    thresholds = {"flag": round(flag, 6)}
    forest_entry = entry("source_forest", forest_onnx, schema, [], thresholds, forest_measured, data, args.out)
    thresholds = {"confidence": round(confidence, 4)}
    classifier_entry = entry(
        "source_classifier", classifier_onnx, schema, CLASSES, thresholds, classifier_measured, data, args.out
    )
    manifest.update(args.out / "manifest.toml", [forest_entry, classifier_entry])


if __name__ == "__main__":
    main()
