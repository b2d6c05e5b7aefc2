"""Enters: recorded runs (record.py) and collections of captures. Leaves: an isolation forest and a classifier over
behaviour vectors as ONNX, and their entries in the manifest. Vectors come from the Rust program that shares its code
with serving; it must never compute a feature by itself.

usage: train.py --vectors PROGRAM --runs DIR --data DIR --out DIR [--by-tool DIR]

With --by-tool nothing is shipped: for each group of tools, and for each collection of honest traffic, models that have
not seen any of it are written below DIR, and `runs.json` there says which run is to be played with which: `qantra replay --runs` counts.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import manifest
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest
from sklearn.model_selection import GroupKFold

VERSION = "2"
SEED = 20261
TREES, SAMPLES = 100, 256
CLASSES = [
    "benign", "request_flood", "content_scan", "brute_force", "credential_stuffing", "slow_http", "port_scan",
    "host_sweep", "syn_flood", "udp_flood", "icmp_flood",
]
# The behaviour detectors find most by themselves: models speak only when they are sure.
CONFIDENCE_MIN, CONFIDENCE_MAX, MARGIN = 0.9, 0.95, 0.05
FOLDS, GROUPS = 4, 8
# Of honest rows, the share below the threshold before its margin; and the share that the forest does not ask about.
QUANTILE, FLAGGED = 0.9999, 0.5
# Rows that one source, and one capture, may have: a long run is no more than an example of itself.
SOURCE_ROWS, CAPTURE_ROWS, MIX_ROWS = 150, 400, 4000
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"]
# Attacks and broken traffic among the captures: they are no example of honest behaviour.
NOT_BENIGN = re.compile(
    r"scan|attack|flood|fuzz|brute|guess|exploit|malware|emotet|trickbot|bot\.|inject|log4j|overflow|dos_|exf|tunnel|"
    r"malicious|malformed|badpackets|bad-dns|mining|crash|segv|dotenv|false_positive|weird|dotdot|exhaust|seed_fake", re.I
)
# Runs are played once and several times on end, so that long windows fill as they do in service.
REPEATS = {"benign": (1,), "attack": (1, 5)}


@dataclasses.dataclass
class Part:
    """Vectors of one run or capture: what it is called, what it is, and with what it must be left out."""

    name: str
    label: str
    tool: str
    # Of each row, the source: rows of one source are alike, and must not stand on both sides of a fold.
    sources: list
    x: np.ndarray


def vectors(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    x = np.array([row[4:] for row in rows], dtype=np.float32)
    return [row[2] for row in rows], x


def thinned(sources, x, most, rng):
    keep = np.arange(len(x)) if len(x) <= most else np.sort(rng.choice(len(x), most, replace=False))
    return [sources[row] for row in keep], x[keep]


def of_run(program, folder, run):
    honest, rng = run["label"] == "benign", np.random.default_rng(SEED)
    for repeat in REPEATS["benign" if honest else "attack"]:
        arguments = ["--label", run["label"], "--group", run["name"], "--repeat", repeat, "--pcap", folder / run["pcap"]]
        arguments += ["--http", folder / run["http"]] if run["http"] else []
        # In an attack's capture only the attacker is what the label says.
        arguments += [] if honest else [part for source in run["sources"] for part in ("--source", source)]
        sources, x = vectors(program, *arguments)
        if len(x):
            sources, x = thinned(sources, x, MIX_ROWS if honest else SOURCE_ROWS, rng)
            yield Part(run["name"], run["label"], run["tool"], [f"{run['name']} {source}" for source in sources], x)


def of_captures(program, folder, tool):
    def one(path):
        sources, x = vectors(program, "--group", path.name, "--pcap", path)
        if not len(x):
            return None
        sources, x = sources[:CAPTURE_ROWS], x[:CAPTURE_ROWS]
        return Part(path.name, "benign", tool, [path.name] * len(x), x)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [part for part in pool.map(one, honest_captures(folder)) if part is not None]


def honest_captures(folder):
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pcap", ".pcapng", ".cap", ".trace"))
    return [p for p in files if not NOT_BENIGN.search(p.name)]


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
        "name": role, "role": role, "file": file, "sha256": hashlib.sha256(blob).hexdigest(),
        "version": VERSION, "schema": schema, "data": data, "classes": classes, "thresholds": thresholds,
        "measured": {key: round(value, 4) for key, value in measured.items()},
    }


def fit_forest(honest):
    """Over honest traffic alone; each collection weighs the same, or the largest would be all there is."""
    rng, by_tool = np.random.default_rng(SEED), {}
    for part in honest:
        by_tool.setdefault(part.tool, []).append(part.x)
    pools = [np.concatenate(parts) for parts in by_tool.values()]
    balanced = np.concatenate([pool[rng.integers(len(pool), size=12000 // len(pools))] for pool in pools])
    forest = IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=SEED).fit(balanced)
    model = forest_to_onnx(forest, balanced.shape[1])
    error = np.abs(np.exp2(run(model, balanced[:500])[:, 0]) + forest.score_samples(balanced[:500])).max()
    assert error < 1e-4, f"the exported forest differs from scikit-learn's by {error}"
    return model


def fit_classifier(x, y):
    classifier = ExtraTreesClassifier(
        n_estimators=60, max_depth=12, min_samples_leaf=2, class_weight="balanced", random_state=SEED, n_jobs=2
    )
    return classifier.fit(x, y)


def table(parts):
    x = np.concatenate([part.x for part in parts])
    y = np.concatenate([np.full(len(part.x), CLASSES.index(part.label)) for part in parts])
    return x, y, np.array([source for part in parts for source in part.sources])


def worst_unseen(parts):
    """The most that an attack class gets of honest sources by classifiers that have not seen them."""
    x, y, groups = table(parts)
    worst = 0.0
    for seen, unseen in GroupKFold(FOLDS, shuffle=True, random_state=SEED).split(x, y, groups):
        classifier, honest = fit_classifier(x[seen], y[seen]), x[unseen][y[unseen] == 0]
        probability = classifier.predict_proba(honest)
        worst = max(worst, float(np.quantile(1 - probability[:, 0], QUANTILE)), 0.0)
    return worst


def fit(parts, confidence, schema, data, measured, out, whole=False):
    """Fits both models and writes them to a folder with a manifest."""
    parts = [part for part in parts if part.label in CLASSES]
    honest = [part for part in parts if part.label == "benign"]
    x, y, _ = table(parts)
    # Without a tool a class may be without an example.
    classes = [name for number, name in enumerate(CLASSES) if (y == number).any()]
    if whole and classes != CLASSES:
        raise SystemExit(f"no run has the classes {sorted(set(CLASSES) - set(classes))}: record them")
    forest, classifier = fit_forest(honest), fit_classifier(x, y)
    scores = np.exp2(run(forest, np.concatenate([part.x for part in honest]))[:, 0])
    # One honest row in two is asked about: the forest narrows down, and must not throw attacks away.
    flag = float(np.quantile(scores, FLAGGED))
    model = to_onnx(
        classifier, initial_types=[("x", FloatTensorType([None, x.shape[1]]))], options={id(classifier): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    out.mkdir(parents=True, exist_ok=True)
    entries = [
        entry("source_forest", forest, schema, [], {"flag": round(flag, 6)}, {}, data, out),
        entry("source_classifier", model, schema, classes, {"confidence": round(confidence, 4)}, measured, data, out),
    ]
    manifest.update(out / "manifest.toml", entries)


def confidence_of(parts):
    worst = worst_unseen([part for part in parts if part.label in CLASSES])
    return float(np.clip(worst + MARGIN, CONFIDENCE_MIN, CONFIDENCE_MAX))


def by_tool(args, parts, schema, data):
    """Models for each tool and each honest collection that have not seen it, and which run is played with which."""
    runs, confidence = [], confidence_of(parts)
    print(f"confidence by all honest traffic: {confidence:.3f}", flush=True)
    attackers = list(dict.fromkeys(part.tool for part in parts if part.label != "benign"))
    collections_seen = list(dict.fromkeys(part.tool for part in parts if part.label == "benign"))
    folders = {}
    for left_out in [*(attackers[group::GROUPS] for group in range(GROUPS)), *([tool] for tool in collections_seen)]:
        others = [part for part in parts if part.tool not in left_out]
        honest = left_out[0] in collections_seen
        # What honest traffic of this collection gets must not have set the threshold that it is measured by.
        own = confidence_of(others) if honest else confidence
        folder = args.by_tool / "-".join(left_out[:3])
        fit(others, own, schema, data, {}, folder)
        folders |= {tool: str(folder.resolve()) for tool in left_out}
        print(f"without {', '.join(left_out)}: confidence {own:.3f}", flush=True)
    for run in json.loads((args.runs / "runs.json").read_text())["runs"]:
        paths = {key: str((args.runs / run[key]).resolve()) for key in ("pcap", "http") if run.get(key)}
        runs.append({**run, **paths, "models": folders.get(run["tool"], next(iter(folders.values())))})
    for tool, folder in collections(args.data):
        for path in honest_captures(folder):
            runs.append({
                "name": path.name, "label": "benign", "tool": tool, "pcap": str(path.resolve()), "lan": PRIVATE,
                "models": folders[tool],
            })
    runs.sort(key=lambda run: (run["models"], run["tool"], run["name"]))
    (args.by_tool / "runs.json").write_text(json.dumps({"runs": runs}, indent=1))


def collections(data):
    return [("ndpi", data / "pcap/ndpi"), ("zeek", data / "pcap/zeek")]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("vectors", "runs", "data", "out"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--by-tool", type=Path)
    args = parser.parse_args()
    schema = subprocess.run([args.vectors, "--schema"], capture_output=True, text=True, check=True).stdout.strip()
    recorded = json.loads((args.runs / "runs.json").read_text())["runs"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = [part for some in pool.map(lambda run: list(of_run(args.vectors, args.runs, run)), recorded) for part in some]
    data = ["runs of models/train/flows/record.py in network namespaces: attacks and honest clients"]
    for tool, folder in collections(args.data):
        captures = of_captures(args.vectors, folder, tool)
        data.append(f"{tool}: {len(captures)} captures, benign")
        parts += captures
    for label in dict.fromkeys(part.label for part in parts):
        rows = sum(len(part.x) for part in parts if part.label == label)
        print(f"{label}: {rows} vectors of {len({part.name for part in parts if part.label == label})} runs", flush=True)
    if args.by_tool:
        return by_tool(args, parts, schema, data)
    worst = worst_unseen([part for part in parts if part.label in CLASSES])
    confidence = float(np.clip(worst + MARGIN, CONFIDENCE_MIN, CONFIDENCE_MAX))
    fit(parts, confidence, schema, data, {"honest_unseen_worst": worst}, args.out, whole=True)


if __name__ == "__main__":
    main()
