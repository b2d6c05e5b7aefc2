"""Fits the request models: the linear gate and the classifier.

Enters: a folder with what `request_features` exported (the daemon's own features). Leaves: `request_gate.onnx`,
`request_classifier.onnx` and their entries in `manifest.toml`, with thresholds and what was measured.

What is learnt: fields, not requests. A field of a benign request is benign. Of a malicious request at least one field
is bad, and which one is found out while fitting (multiple-instance learning); fields that benign requests also have
are never it. So the fixed headers around a bare payload teach nothing.

Splits are by origin, never at random: for each origin a model is fitted on all others and scores this one. Thresholds
come from those scores on recorded benign requests, each origin with the same weight; in the table, the thresholds for
an origin come from the other origins alone. Fixed seeds, one thread: the same input gives the same files.
"""

import argparse
import hashlib
import json
import multiprocessing
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import scipy.sparse as sparse
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import minimize

import manifest
import origins

BUCKETS = 1 << 15
WINDOWS = (16, 32, 64)  # as in model/gate.rs
LENGTH_PRIOR = 4.0  # as in model/gate.rs
HIDDEN = 64
# Most requests of one source, and of one source and class: payload lists repeat one trick a thousand times.
BENIGN_ROWS_MAX, MALICIOUS_ROWS_MAX = 5000, 1200
# The same of payloads that were put into honest texts.
BURIED_ROWS_MAX = 300
# Most benign fields of one source and kind that are learnt from.
BENIGN_MAX = 3000
# Benign fields that the classifier learns from: those that the gate finds worst, and some by chance.
WORST_FIELDS, CHANCE_FIELDS = 30_000, 45_000
# Written by hand: they train, but no threshold rests on them.
GENERATED = ("recipes", "grammar", "beacons")
# A field that more than this share of a source's attacks have is what it wraps them in, never the attack.
WRAPPING_SHARE = 0.1
# Benign captures that hold attacks all the same; training on them as benign teaches that attacks are fine.
MISLABELLED = re.compile(r"etc/passwd|' ?or ?'|union select|<script|/bin/sh|cmd\.exe|\.\./\.\./", re.I)
CLASSES = "benign sqli xss rce traversal rfi ssrf ssti xxe deserialisation upload scanner redirect other_injection".split()
RENAMED = {"exploit": "scanner", "injection-other": "other_injection", "other": "other_injection", "session-fixation": "other_injection"}
# What coarse labels hide: the first pattern that fits the worst field names the class.
FINER = [
    ("xxe", re.compile(r"<!entity|<!doctype[^>]*\[|xi:include", re.I)),
    ("ssti", re.compile(r"\{\{.*\}\}|\$\{[^}]*[*(][^}]*\}|<%=|#\{.*\}|\{%", re.I)),
    ("deserialisation", re.compile(r"\bO:\d+:\"|rO0AB|AAEAAAD/|!!python|_\$\$ND_FUNC|java\.util\.|ysoserial", re.I)),
    ("rfi", re.compile(r"php://|data:text/plain|expect://|zip://|phar://", re.I)),
    ("traversal", re.compile(r"(\.\.[/\\]){2}|etc/passwd|win\.ini|boot\.ini", re.I)),
    ("ssrf", re.compile(r"169\.254\.169\.254|gopher://|https?://(localhost|127\.|\[::1\]|0x7f)", re.I)),
    ("sqli", re.compile(r"union[\s/*+]+(all[\s/*+]+)?select|sleep\(\d|waitfor delay|' ?(or|and) ['\d]", re.I)),
    ("xss", re.compile(r"<script|onerror\s*=|javascript:|onload\s*=|alert\(", re.I)),
    ("rce", re.compile(r"jndi:|\(\) ?\{|system\(|exec\(|/bin/(ba)?sh|wget |curl |phpinfo|powershell|cmd(\.exe)? ?/c", re.I)),
]


class Data:
    """Everything the exporter wrote, and the windows of every field."""

    def __init__(self, folder, without=(), whole=()):
        folder = Path(folder)
        self.schema = json.loads((folder / "schema.json").read_text())
        assert self.schema["buckets"] == BUCKETS
        records = np.fromfile(folder / "fields.bin", dtype=np.dtype([("kind", "u1"), ("positions", "<u4"), ("shapes", "<u2", 5)]))
        self.kind = records["kind"].astype(np.int64)
        self.length = records["positions"].astype(np.int64)
        # The shape's ids as steps.
        self.shape = (records["shapes"] - self.schema["shape_id_base"] - 8 * np.arange(5)).astype(np.uint8)
        self.offset = np.concatenate([[0], np.cumsum(self.length)[:-1]])
        self.ids = np.fromfile(folder / "ids.bin", dtype="<u2").reshape(-1, 4)
        # Of a field with more positions than a classifier is shown, the shape of what is shown for each window.
        self.is_long = self.length > self.schema["classifier_positions"]
        self.stretches = np.fromfile(folder / "stretches.bin", dtype=np.uint8).reshape(-1, 5)
        windows = sum(np.ceil((self.length - size) / (size // 2)).astype(np.int64) + 1 for size in WINDOWS) * self.is_long
        assert windows.sum() == len(self.stretches)
        self.first_stretch = np.cumsum(windows) - windows
        self.text = [json.loads(line) for line in open(folder / "fields.jsonl")]
        rows = [json.loads(line) for line in open(folder / "rows.jsonl")]
        rows = [row for row in rows if not row["source"].startswith(tuple(without)) and not self.is_mislabelled(row)]
        # A tool that asks for one path after the other is told by its behaviour: no single request of it is an attack.
        rows = [row for row in rows if not (row["source"].startswith("lab-") and row["class"] == "scanner")]
        most = {"benign": BENIGN_ROWS_MAX, "malicious": MALICIOUS_ROWS_MAX, "buried": BURIED_ROWS_MAX}
        groups = {}
        for row in rows:
            row["made_as"] = next((kind for kind in ("padded", "buried") if row["id"].startswith(f"{kind}-")), "")
            groups.setdefault((row["source"], row["label"], row["class"], row["made_as"]), []).append(row)
        rng = np.random.default_rng(6)
        self.rows = []
        for (_, label, _, made_as), group in groups.items():
            self.rows += [group[i] for i in np.sort(rng.permutation(len(group))[: most.get(made_as, most[label])])]
        self.keep_used()
        for row in self.rows:
            row["fields"] = np.array(list(dict.fromkeys(row["fields"])), dtype=np.int64)
        self.origin = origins.origins_of(self.rows, self.text, whole)
        for row, origin in zip(self.rows, self.origin):
            row["origin"] = origin
        # Of a payload that was put into another's request, whose that is: it is left out with either.
        of_source = {row["source"]: row["origin"] for row in self.rows if row["label"] == "benign"}
        for row in self.rows:
            row["host"] = of_source.get(row["id"].rpartition("-into-")[2], "") if row["made_as"] == "buried" else ""
        self.host = np.array([row["host"] for row in self.rows])
        self.padded = np.array([row["made_as"] == "padded" for row in self.rows])
        self.made = np.array([row["made_as"] != "" for row in self.rows])
        self.malicious = np.array([row["label"] == "malicious" for row in self.rows])
        self.make_windows()

    def keep_used(self):
        """Forgets the fields that no kept row has."""
        used = np.unique(np.concatenate([row["fields"] for row in self.rows if row["fields"]]))
        place = np.full(len(self.kind), -1)
        place[used] = np.arange(len(used))
        at = np.repeat(self.offset[used] - np.concatenate([[0], np.cumsum(self.length[used])[:-1]]), self.length[used])
        self.ids = self.ids[at + np.arange(len(at))]
        self.shape, self.is_long, self.first_stretch = self.shape[used], self.is_long[used], self.first_stretch[used]
        self.kind, self.length, self.text = self.kind[used], self.length[used], [self.text[field] for field in used]
        self.offset = np.concatenate([[0], np.cumsum(self.length)[:-1]])
        for row in self.rows:
            row["fields"] = place[np.array(row["fields"], dtype=np.int64)]

    def is_mislabelled(self, row):
        recorded = row["label"] == "benign" and row["source"].startswith("pcap-")
        return recorded and any(MISLABELLED.search(self.text[field][2]) for field in row["fields"])

    def make_windows(self):
        """The windows of model/gate.rs: of each field, stretches of three lengths; short fields as a whole, too."""
        fields, starts, ends = [], [], []
        short = np.flatnonzero(self.length <= WINDOWS[-1])
        fields.append(short), starts.append(np.zeros_like(short)), ends.append(self.length[short])
        for size in WINDOWS:
            longer = np.flatnonzero(self.length > size)
            room = self.length[longer] - size
            count = (room + size // 2 - 1) // (size // 2)
            field = np.repeat(longer, count)
            first = np.repeat(np.cumsum(count) - count, count)
            start = (np.arange(count.sum()) - first) * (size // 2)
            fields += [field, longer]
            starts += [start, room]
            ends += [start + size, room + size]
        field, start, end = np.concatenate(fields), np.concatenate(starts), np.concatenate(ends)
        order = np.lexsort((start, end - start, field))
        self.w_field, self.w_start, self.w_end = field[order], start[order], end[order]
        self.w_norm = 1 / np.sqrt(self.w_end - self.w_start + LENGTH_PRIOR)
        self.w_first = np.concatenate([[0], np.cumsum(np.bincount(self.w_field, minlength=len(self.kind)))])

    def worst_windows(self, weights):
        """Of each field its highest score and the window that has it."""
        sums = np.concatenate([[0], np.cumsum(weights[self.ids].sum(1))])
        base = self.offset[self.w_field]
        score = (sums[base + self.w_end] - sums[base + self.w_start]) * self.w_norm
        best = np.maximum.reduceat(score, self.w_first[:-1])
        hits = np.flatnonzero(score >= np.repeat(best, np.diff(self.w_first)))
        window = np.zeros(len(self.kind), dtype=np.int64)
        window[self.w_field[hits][::-1]] = hits[::-1]
        return best, window

    def steps(self, fields, windows):
        """The shape that a judge is shown of fields whose worst windows these are: see `stretch` in features/http.rs."""
        steps = self.shape[fields].copy()
        long = self.is_long[fields]
        at = self.first_stretch[fields[long]] + windows[long] - self.w_first[fields[long]]
        steps[long] = self.stretches[at]
        return steps

    def matrix(self, windows, start=None, end=None, norm=None, extra=None):
        """Sparse rows of n-gram counts, one for each window, times its norm."""
        start = self.w_start[windows] if start is None else start
        end = self.w_end[windows] if end is None else end
        norm = self.w_norm[windows] if norm is None else norm
        length = end - start
        first = np.concatenate([[0], np.cumsum(length)])
        at = np.arange(first[-1]) - np.repeat(first[:-1], length) + np.repeat(self.offset[self.w_field[windows]] + start, length)
        columns = self.ids[at].astype(np.int32).ravel()
        data = np.repeat(norm, length * 4).astype(np.float32)
        rows = sparse.csr_matrix((data, columns, first * 4), shape=(len(windows), BUCKETS))
        return rows if extra is None else sparse.hstack([rows, extra], format="csr", dtype=np.float32)


def fit_logistic(x, y, weight, start, ridge, iterations):
    sign = np.where(y, 1.0, -1.0)
    transposed = x.T.tocsr()

    def loss(v):
        z = x @ v[:-1].astype(np.float32) + v[-1]
        m = np.clip(-sign * z, -50, 50)
        slope = -sign * weight / (1 + np.exp(-m))
        gradient = transposed @ slope.astype(np.float32) + ridge * v[:-1]
        return (weight * np.logaddexp(0, m)).sum() + ridge / 2 * (v[:-1] @ v[:-1]), np.append(gradient, slope.sum()).astype(np.float64)

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 8}).x


def share(groups, power=0.5):
    """Weights that keep a large group from drowning a small one; they add up to 20,000."""
    count = Counter(groups)
    weight = np.array([count[group] ** -power for group in groups])
    return weight * 20_000 / weight.sum()


def limited(rng, items, group_of, most):
    """At most so many of each group, picked by chance, in their order."""
    groups = {}
    for at, item in enumerate(items):
        groups.setdefault(group_of(item), []).append(at)
    kept = [rng.permutation(group)[:most] for group in groups.values()]
    return np.array([items[at] for at in np.sort(np.concatenate(kept))], dtype=np.int64)


def hand_of(source):
    """Of an honest source the origin that it belongs to."""
    return origins.origin_of({"source": source, "label": "benign"})


def wrapping_of(rows):
    """Of each source the fields that too many of its attacks have: a tool's agent, a target's fixed parameters."""
    attacks = [row for row in rows if row["label"] != "benign"]
    of, having = Counter(row["source"] for row in attacks), {}
    for row in attacks:
        having.setdefault(row["source"], Counter()).update(int(field) for field in row["fields"])
    return {source: {field for field, count in fields.items() if count > max(WRAPPING_SHARE * of[source], 20)} for source, fields in having.items()}


class Split:
    """Benign fields and malicious bags of some rows."""

    def __init__(self, data, rows):
        benign = {}
        for row in rows:
            if row["label"] == "benign":
                for field in row["fields"]:
                    benign.setdefault(int(field), row["source"])
        rng = np.random.default_rng(5)
        self.benign = limited(rng, sorted(benign), lambda field: (benign[field], data.kind[field]), BENIGN_MAX)
        # The lab's applications are one hand: by application they would outweigh all browsing, and code would pass for honest.
        self.benign_weight = share([(hand_of(benign[field]), data.kind[field]) for field in self.benign])
        bags, wrapping = {}, wrapping_of(rows)
        for row in rows:
            if row["label"] != "benign":
                fields = tuple(int(field) for field in row["fields"] if int(field) not in benign and int(field) not in wrapping[row["source"]])
                if fields:
                    bags.setdefault(fields, row)
        self.bags = [np.array(fields) for fields in bags]
        self.bag_rows = list(bags.values())
        self.bag_weight = share([(row["source"], row["class"]) for row in self.bag_rows])
        self.is_payload = np.array([row["kind"] == "payload" for row in self.bag_rows])

    def worst_fields(self, best):
        return np.array([fields[np.argmax(best[fields])] for fields in self.bags])


def fit_gate(data, split, ridge=0.3, rounds=2):
    """The linear model: whole payloads first, then whichever field and window the model finds worst."""
    rng = np.random.default_rng(1)
    solution = np.zeros(BUCKETS + 1)
    kept = []
    for number in range(rounds + 1):
        if number == 0:
            longest = np.array([fields[np.argmax(data.length[fields])] for fields in split.bags])[split.is_payload]
            bad, bad_weight = data.w_first[longest + 1] - 1, split.bag_weight[split.is_payload]
        else:
            best, window = data.worst_windows(solution[:-1])
            bad, bad_weight = window[split.worst_fields(best)], split.bag_weight
            score = best[split.benign] + solution[-1]
            hard = score > -4
            kept.append((window[split.benign[hard]], split.benign_weight[hard]))
        # One window of each benign field by chance, so that what is harmless stays known as such.
        first, last = data.w_first[split.benign], data.w_first[split.benign + 1]
        chance = first + (rng.random(len(first)) * (last - first)).astype(np.int64)
        good = [(chance, split.benign_weight)] + [(w, v / len(kept)) for w, v in kept]
        windows = np.concatenate([bad] + [w for w, _ in good])
        weight = np.concatenate([bad_weight] + [v for _, v in good])
        y = np.arange(len(windows)) < len(bad)
        solution = fit_logistic(data.matrix(windows), y, weight, solution, ridge, 25)
    # Whole steps of an eighth of a byte: the file is small, and every table made of it is exact.
    step = np.abs(solution[:-1]).max() / 127
    return np.round(solution[:-1] / step) * step, solution[-1], step


def class_of(data, row, field):
    name = RENAMED.get(row["class"], row["class"])
    if name in ("other_injection", "scanner", "rce"):
        text = data.text[field][2]
        for finer, pattern in FINER:
            if pattern.search(text):
                return finer
    return name if name in CLASSES else "other_injection"


class Classifier:
    """Bag of n-grams -> HIDDEN rectified units -> softmax, by Adam on sparse batches."""

    def __init__(self, inputs):
        rng = np.random.default_rng(2)
        self.embed = (rng.standard_normal((inputs, HIDDEN)) * 0.05).astype(np.float32)
        self.hidden_bias = np.zeros(HIDDEN, np.float32)
        self.out = (rng.standard_normal((HIDDEN, len(CLASSES))) * 0.3).astype(np.float32)
        self.out_bias = np.zeros(len(CLASSES), np.float32)

    def forward(self, x):
        hidden = np.maximum(x @ self.embed + self.hidden_bias, 0)
        z = hidden @ self.out + self.out_bias
        z = np.exp(z - z.max(1, keepdims=True))
        return hidden, z / z.sum(1, keepdims=True)

    def fit(self, x, y, weight, epochs=5, size=512, rate=4e-3, decay=3e-5):
        rng = np.random.default_rng(3)
        weight = (weight / weight.mean()).astype(np.float32)
        names = ("embed", "hidden_bias", "out", "out_bias")
        moments = {n: (np.zeros_like(getattr(self, n)), np.zeros_like(getattr(self, n))) for n in names}
        step, steps = 0, epochs * ((len(y) + size - 1) // size)
        for _ in range(epochs):
            order = rng.permutation(len(y))
            for at in range(0, len(y), size):
                part = order[at : at + size]
                batch = x[part]
                hidden, p = self.forward(batch)
                p[np.arange(len(part)), y[part]] -= 1
                slope = p * (weight[part] / len(part))[:, None]
                back = (slope @ self.out.T) * (hidden > 0)
                gradient = {"embed": batch.T @ back + decay * self.embed, "hidden_bias": back.sum(0), "out": hidden.T @ slope, "out_bias": slope.sum(0)}
                step += 1
                pace = rate * (1 - step / (steps + 1))
                for n in names:
                    a, b = moments[n]
                    a += 0.1 * (gradient[n] - a)
                    b += 0.01 * (gradient[n] ** 2 - b)
                    getattr(self, n)[...] -= pace * (a / (1 - 0.9**step)) / (np.sqrt(b / (1 - 0.99**step)) + 1e-8)

    def quantise(self):
        """One byte for each number of the embedding, as it is shipped."""
        self.step = np.abs(self.embed).max() / 127
        self.embed = (np.round(self.embed / self.step) * self.step).astype(np.float32)


def shown(data, windows):
    """What the classifier is shown of windows: positions around them, as `RequestGate::describe` cuts them, and the kind."""
    most = data.schema["classifier_positions"]
    length = data.length[data.w_field[windows]]
    spare = np.maximum(most - (data.w_end[windows] - data.w_start[windows]), 0)
    end = np.minimum(length, data.w_end[windows] + spare // 2)
    start = np.maximum(end - most, 0)
    end = np.minimum(length, start + most)
    norm = 1 / np.sqrt((end - start) * 4 + 1)
    inputs = data.schema["classifier_ids"]
    kind = data.schema["kind_id_base"] - BUCKETS + data.kind[data.w_field[windows]]
    extra = sparse.csr_matrix((norm.astype(np.float32), (np.arange(len(windows)), kind)), shape=(len(windows), inputs - BUCKETS))
    return data.matrix(windows, start, end, norm, extra)


def fit_classifier(data, split, weights, bias):
    """On the worst window of each malicious request, and of benign fields the worst and some by chance."""
    rng = np.random.default_rng(4)
    best, window = data.worst_windows(weights)
    worst = split.worst_fields(best)
    # A request whose worst field the gate finds harmless is seldom labelled right, field for field.
    sure = best[worst] + bias > -3
    order = np.argsort(-best[split.benign], kind="stable")
    picked = np.concatenate([order[:WORST_FIELDS], rng.choice(order, min(CHANCE_FIELDS, len(order)), replace=False)])
    windows = np.concatenate([window[worst[sure]], window[split.benign[picked]]])
    names = [class_of(data, row, field) for row, field, ok in zip(split.bag_rows, worst, sure) if ok]
    y = np.array([CLASSES.index(name) for name in names] + [0] * len(picked))
    bad = split.bag_weight[sure]
    good = split.benign_weight[picked]
    weight = np.concatenate([bad * 20_000 / bad.sum(), good * 40_000 / good.sum()])
    model = Classifier(data.schema["classifier_ids"])
    model.fit(shown(data, windows), y, np.minimum(weight, 20 * np.median(weight)))
    model.quantise()
    return model


def score_fields(data, weights, bias, model, fields):
    """Of some fields the gate's score, the classifier's probabilities, and the shape of what was shown."""
    best, window = data.worst_windows(weights)
    probabilities = np.zeros((len(fields), len(CLASSES)), np.float32)
    for at in range(0, len(fields), 20_000):
        _, probabilities[at : at + 20_000] = model.forward(shown(data, window[fields[at : at + 20_000]]))
    return best[fields] + bias, probabilities, data.steps(fields, window[fields])


def fitted(data, without=None):
    """The rows that models are fitted on, those of one origin left out."""
    return [row for row in data.rows if row["made_as"] != "padded" and without not in (row["origin"], row["host"])]


def one_origin_out(data, origin):
    """The fields of one origin's rows, their scores and probabilities by models that have not seen it."""
    split = Split(data, fitted(data, origin))
    weights, bias, _ = fit_gate(data, split)
    model = fit_classifier(data, split, weights, bias)
    fields = np.unique(np.concatenate([data.rows[i]["fields"] for i in np.flatnonzero(data.origin == origin)]))
    return fields, *score_fields(data, weights, bias, model, fields)


def out_of_origin(data, log, processes=2):
    """The same for every origin: a table from origin to the scores of its fields. A field that two origins have is scored
    for each by the models that have not seen that one."""
    global SHARED
    SHARED = data
    every = sorted(set(data.origin))
    started = time.time()
    out = {}
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for origin, scores in zip(every, pool.imap(in_worker, every)):
            out[origin] = scores
            log(f"without {origin}: after {time.time() - started:.0f} s")
    return out


def in_worker(origin):
    return one_origin_out(SHARED, origin)


def gate_onnx(weights, step, inputs):
    """Sum of the weights of a list of ids; the padding id weighs nothing."""
    ids = np.zeros((inputs, 1), np.int8)
    ids[:BUCKETS, 0] = np.round(weights / step)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["bytes"], axis=0),
            helper.make_node("Cast", ["bytes"], ["steps"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["steps", "step"], ["weights"]),
            helper.make_node("ReduceSum", ["weights", "axis"], ["sum"], keepdims=0),
        ],
        "request-gate",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", "width"])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(ids, "table"), numpy_helper.from_array(np.float32(step), "step"), numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    return finish(graph)


def classifier_onnx(model, padding):
    """Probabilities of the classes for a list of ids: the mean-like sum of embeddings, one hidden layer, softmax."""
    table = np.round(model.embed / model.step).astype(np.int8)
    table[padding] = 0
    constant = numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["bytes"], axis=0),
            # Not DequantizeLinear: ONNX Runtime moves that before the Gather and then does the whole table each time.
            helper.make_node("Cast", ["bytes"], ["steps"], to=TensorProto.FLOAT),
            # Whole numbers are added, which is exact, and only their sum is scaled: one table less of all positions in memory.
            helper.make_node("ReduceSum", ["steps", "axis"], ["whole"], keepdims=0),
            helper.make_node("Mul", ["whole", "step"], ["sum"]),
            helper.make_node("Equal", ["ids", "padding"], ["is_padding"]),
            helper.make_node("Not", ["is_padding"], ["is_id"]),
            helper.make_node("Cast", ["is_id"], ["ones"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["ones", "axis"], ["count"], keepdims=1),
            helper.make_node("Sqrt", ["count"], ["norm"]),
            helper.make_node("Div", ["sum", "norm"], ["scaled"]),
            helper.make_node("Add", ["scaled", "hidden_bias"], ["linear"]),
            helper.make_node("Relu", ["linear"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "out", "out_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "request-classifier",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", "width"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [constant(table, "table"), constant(np.float32(model.step), "step"), constant(np.array([1], np.int64), "axis"), constant(np.int32(padding), "padding"), constant(model.hidden_bias, "hidden_bias"), constant(model.out, "out"), constant(model.out_bias, "out_bias")],
    )
    return finish(graph)


def finish(graph, *opsets):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *opsets], producer_name="qantra")
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
