"""Trains the request models: gate, classifier and judge.

Enters: a folder with what `request_features` exported (the daemon's own features). Leaves: their ONNX files, their entries in
`manifest.toml` with thresholds and what was measured, and `probe.jsonl`: rows that the daemon must judge as this did.

Splits are by origin, never at random: for each origin models are fitted on all others and score this one. Fixed seeds, one
thread: the same input gives the same files.
"""

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np

import by_origin
import judge
import manifest
import request

PROBES = 40


def shifted(lines, odds):
    """Calibrated lines and the confidence that ships. The second is moved so that one threshold holds for both."""
    at = [slope * own + intercept for (slope, intercept), own in zip(lines, odds)]
    moved = [(slope, intercept + at[0] - own) for (slope, intercept), own in zip(lines, at)]
    return moved, float(np.clip(1 / (1 + np.exp(-at[0])), 0.5, 0.9999))


def of_files(files, data, options, measured, thresholds, at):
    """Entries of the manifest."""
    counts = Counter((row["source"], row["label"]) for row in data.rows if row["made_as"] != "padded")
    lists = [f"{source}: {count} {label}" for (source, label), count in sorted(counts.items())]
    lists += [f"{Path(name).name}: sha256 {hashlib.sha256(Path(name).read_bytes()).hexdigest()}" for name in options.made_of]
    kept = lambda prefixes: {origin: {key: value for key, value in row.items() if key.startswith(prefixes)} for origin, row in measured.items()}
    entry = lambda role, **more: {
        "name": role.replace("_", "-"), "role": role, "file": f"{role}.onnx", "version": options.version,
        "sha256": hashlib.sha256(files[role]).hexdigest(), "data": lists, **more,
    }
    fields, rows = data.schema["hash"], data.schema["row_hash"]
    return [
        entry("request_gate", schema=fields, thresholds=thresholds, measured=kept(("malicious", "benign", "flagged"))),
        entry("request_classifier", schema=fields, classes=request.CLASSES, thresholds={}, measured={}),
        entry("request_judge", schema=rows, thresholds={"confidence": at}, measured=kept(("malicious", "benign", "grafted", "padded", "tpr_models", "fpr_models", "tpr_grafted_models", "tpr_padded_models"))),
        entry("request_judge_rules", schema=rows, thresholds={"confidence": at}, measured=kept(("malicious", "benign", "grafted", "padded", "tpr_both", "fpr_both", "tpr_grafted_both", "tpr_padded_both"))),
    ]


def probes(data, options, scores, thresholds, models, lines):
    """Rows of the generated requests and what the shipped models say of them, for a test of the daemon."""
    raw = {}
    for name in options.generated:
        for line in open(name):
            row = json.loads(line)
            raw[row["id"]] = row["raw"]
    rng = np.random.default_rng(8)
    generated = np.flatnonzero([row["id"] in raw and len(raw[row["id"]]) < 2000 for row in data.rows])
    picked = np.sort(rng.choice(generated, PROBES, replace=False))
    table, _ = scores.rows([scores.of_row[i] for i in picked], scores.signs[picked], thresholds)
    odds = models.odds(table)
    lines = np.array(lines)
    confidence = 1 / (1 + np.exp(-(odds * lines[:, 0] + lines[:, 1])))
    for i, both in zip(picked, confidence):
        row = data.rows[i]
        yield {"id": row["id"], "label": row["label"], "raw": raw[row["id"]], "signs": row["signs"], "confidence": [round(float(value), 5) for value in both]}


def main():
    parser = by_origin.arguments(argparse.ArgumentParser())
    parser.add_argument("models", help="where the models go")
    parser.add_argument("--version", required=True)
    parser.add_argument("--made-of", nargs="*", default=[], help="files whose hashes the manifest names")
    parser.add_argument("--generated", nargs="+", required=True, help="the requests that were generated, for probes")
    options = parser.parse_args()
    log = lambda line: print(line, flush=True)
    data = request.Data(options.features, options.without, options.whole)
    log(f"{len(data.rows)} requests, {len(data.kind)} distinct fields, {len(data.w_field)} windows")
    measured = by_origin.Measured(data, options, log)
    table = measured.table()
    log("\n" + by_origin.rendered(table, options) + "\n\n" + by_origin.rendered_classes(measured.by_class()))
    thresholds, rows, grafted, _ = measured.tables()
    models = judge.Judge(data, rows, (measured.graft, grafted))
    lines, at = shifted(judge.calibration(data, measured.odds), measured.threshold())
    split = request.Split(data, request.fitted(data))
    weights, bias, step = request.fit_gate(data, split)
    classifier = request.fit_classifier(data, split, weights, bias)
    # The file holds the sum alone, so the bias goes into the thresholds.
    flags = {f"flag_{name}": round(float(value - bias), 5) for name, value in zip(data.schema["kinds"], thresholds)}
    flags |= {name.replace("flag", "ask", 1): round(value + judge.ASK_MARGIN.get(name.removeprefix("flag_"), 0.0), 5) for name, value in flags.items()}
    files = {"request_gate": request.gate_onnx(weights, step, data.schema["classifier_ids"]), "request_classifier": request.classifier_onnx(classifier, data.schema["padding_id"])}
    for role, model, line, columns in zip(("request_judge", "request_judge_rules"), models.models, lines, data.schema["row_columns"]):
        files[role] = judge.ensemble_onnx(model, line, columns)
    folder = Path(options.models)
    for role, content in files.items():
        (folder / f"{role}.onnx").write_bytes(content)
        log(f"{role}.onnx: {len(content)} bytes")
    manifest.update(folder / "manifest.toml", of_files(files, data, options, table, flags, round(at, 6)))
    every = np.arange(len(data.kind))
    scored = (every, *request.score_fields(data, weights, bias, classifier, every))
    shipped = judge.Fields(data, {origin: scored for origin in sorted(set(data.origin))})
    with open(Path(__file__).parent / "probe.jsonl", "w") as out:
        for probe in probes(data, options, shipped, thresholds, models, lines):
            out.write(json.dumps(probe) + "\n")
    log(f"shipped: confidence >= {at:.5f}")


if __name__ == "__main__":
    main()
