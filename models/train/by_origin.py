"""Leave-one-origin-out over all data: how much a request model finds of what another hand made.

Enters: a folder with what `request_features` exported. Leaves: a table on standard output and, if asked, as JSON. For each
origin the models of `request.py` are fitted on all others, and score this one. The thresholds of an origin come from the
benign requests of the others, each scored by models without its own origin: no threshold and no model has seen what it
is measured on. (The models that scored those benign requests had seen the measured origin; its scores play no part.)
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

import request

# Written by hand: they train, but no threshold rests on them, and they are not in the means.
GENERATED = ("recipes",)
# Origins with fewer benign requests than this count for less: a rate of theirs says little.
FULL_WEIGHT = 500


def origin_of(row):
    """Whose hand made it. Captures are one origin; so are the lab's applications, whose people type the same kinds of
    text, and its tools, which attack the same target."""
    if row["source"].startswith("lab-"):
        return "lab-apps" if row["label"] == "benign" else "lab-tools"
    return row["origin"]


def recorded_benign(data, without):
    return np.flatnonzero(~data.malicious & ~np.isin(data.origin, GENERATED) & (data.origin != without))


def quantile(data, rows, values, share):
    """The value that this share of each origin's requests is above, on average: no large origin drowns a small one."""
    count = Counter(data.origin[rows])
    weight = np.array([1 / max(count[origin], FULL_WEIGHT) for origin in data.origin[rows]])
    order = np.argsort(-values, kind="stable")
    above = np.cumsum(weight[order]) - weight[order] / 2
    place = min(np.searchsorted(above, share * weight.sum()), len(order) - 1)
    return float(values[order][place])


def gate_thresholds(data, out, share_flagged, rows):
    """By kind of field; within reason where data are thin."""
    thresholds = {}
    for number, name in enumerate(data.schema["kinds"]):
        scores = [(i, [s for f, s, _, _ in out[i] if data.kind[f] == number]) for i in rows]
        worst = [(i, max(row)) for i, row in scores if row]
        picked, values = np.array([i for i, _ in worst], dtype=np.int64), np.array([s for _, s in worst])
        own = quantile(data, picked, values, share_flagged) if len(worst) >= 200 else 0.5
        thresholds[name] = float(np.clip(own, 0.0, 1.5))
    return thresholds


def verdicts(data, out, thresholds, rows):
    """`request.verdicts` of some rows: whether the gate flags each, and the confidence of its surest field."""
    at_least = np.array([thresholds[name] for name in data.schema["kinds"]])
    flagged, confidence = np.zeros(len(out), bool), np.zeros(len(out))
    for i in rows:
        over = sorted(((s - at_least[data.kind[f]], c) for f, s, c, _ in out[i]), reverse=True)[:4]
        sure = [c for excess, c in over if excess > 0]
        if sure:
            flagged[i], confidence[i] = True, max(sure)
    return flagged, confidence


def thresholds_without(data, out, options, origin):
    rows = recorded_benign(data, origin)
    gate = gate_thresholds(data, out, options.flag_share, rows)
    _, confidence = verdicts(data, out, gate, rows)
    at = quantile(data, rows, confidence[rows], options.false_positives)
    return gate, float(np.clip(at, 0.5, 0.9999))


def wilson(found, of):
    """E. B. Wilson's interval for a share, at 95 %."""
    z, p = 1.959964, found / of
    centre, spread = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return [round(float(max(0, centre - spread) / scale), 5), round(float(min(scale, centre + spread) / scale), 5)]


def measure(data, out, options, origin):
    """What is found of one origin and refused of it, as a row."""
    gate, at = thresholds_without(data, out, options, origin)
    own = data.origin == origin
    flagged, confidence = verdicts(data, out, gate, np.flatnonzero(own))
    hit = flagged & (confidence >= at)
    row = {"confidence": round(at, 5)}
    for rows, name, rate in ((own & data.malicious, "malicious", "tpr"), (own & ~data.malicious, "benign", "fpr")):
        if rows.any():
            found, of = int(hit[rows].sum()), int(rows.sum())
            row |= {name: of, rate: round(found / of, 5), f"{rate}_ci": wilson(found, of)}
            row[f"flagged_of_{name}"] = round(float(flagged[rows].mean()), 5)
    return row


def rendered(table, options):
    lines = [f"{'origin':18}{'attacks':>8}{'found':>9}  {'95 %':14}{'flagged':>9}{'honest':>9}{'refused':>9}  {'95 %':14}{'flagged':>9}"]
    for origin, row in table.items():
        line = f"{origin:18}"
        for name, rate in (("malicious", "tpr"), ("benign", "fpr")):
            if name not in row:
                line += " " * 43
                continue
            low, high = (f"{100 * end:.2f}" for end in row[f"{rate}_ci"])
            line += f"{row[name]:>8}{100 * row[rate]:>8.2f}%  {low + '–' + high:14}{100 * row[f'flagged_of_{name}']:>8.1f}% "
        lines.append(line.rstrip())
    for rate, name in (("tpr", "found"), ("fpr", "refused")):
        rates = [row[rate] for origin, row in table.items() if rate in row and origin not in GENERATED]
        if rates:
            lines.append(f"{name}, mean of {len(rates)} origins that were not generated: {100 * np.mean(rates):.2f} %")
    lines.append(f"thresholds for {100 * options.false_positives:g} % of the other origins' honest requests, each origin with the same weight")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("features", help="what request_features wrote")
    parser.add_argument("--flag-share", type=float, default=0.02, help="share of benign requests that a kind of field may flag")
    parser.add_argument("--false-positives", type=float, default=0.001, help="share of benign requests that may be refused")
    parser.add_argument("--json", help="write the table to this file, too")
    options = parser.parse_args()
    data = request.Data(options.features)
    for row in data.rows:
        row["origin"] = origin_of(row)
    data.origin = np.array([row["origin"] for row in data.rows])
    out = request.out_of_origin(data, lambda line: print(line, flush=True))
    table = {origin: measure(data, out, options, origin) for origin in sorted(set(data.origin))}
    print("\n" + rendered(table, options))
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
