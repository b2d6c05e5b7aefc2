"""Leave-one-origin-out over all data: how much the request models find of what another hand made.

Enters: a folder with what `request_features` exported. Leaves: a table on standard output and, if asked, as JSON. For each
origin gate, classifier and judge are fitted on all others, and score this one. Its thresholds come from the recorded benign
requests of the others, each scored by models without its own origin: no threshold and no model has seen what it is measured
on. (What the judge is fitted on was scored by models that had seen the measured origin; its own requests play no part.)
Browser recordings, the lab's applications and its tools are left out in groups (origins.py): their rows say what happens on a site
that nobody saw, of an application, by a tool. The same advertisers are on several sites, as they are in the world.
"""

import argparse
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np

import judge
import origins
import request

WAYS = ("models", "both")


class Measured:
    """Of every row how sure both ensembles are, by models that have not seen its origin."""

    def __init__(self, data, options, log):
        global SHARED
        self.data, self.options = data, options
        self.fields = judge.Fields(data, request.out_of_origin(data, log))
        self.graft = judge.grafts(data, self.fields, np.random.default_rng(7))
        self.odds = np.zeros((len(data.rows), 2))
        self.flagged = np.zeros((len(data.rows), 2), bool)
        self.grafted = np.zeros((judge.GRAFTS, 2))
        SHARED = self
        every = sorted(set(data.origin))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for origin, (own, odds, flagged, on, grafted) in zip(every, pool.imap(in_worker, every)):
                self.odds[own], self.flagged[own], self.grafted[on] = odds, flagged, grafted
                log(f"judged {origin}")
        # What is not flagged is not asked about.
        self.odds[~self.flagged] = -np.inf

    def tables(self, without=None):
        """The rows, the grafts' rows, and which rows are flagged: without the rules, and with them."""
        rows = judge.recorded_benign(self.data, without)
        thresholds = self.fields.thresholds(self.options.flag_share, rows)
        table, excess = self.fields.rows(self.fields.of_row, self.fields.signs, thresholds)
        grafted, _ = self.fields.rows(self.graft[2], self.graft[3], thresholds)
        by_gate = self.fields.asks(excess)
        return thresholds, table, grafted, np.stack([by_gate, by_gate | (self.fields.signs > 0).any(1)], axis=1)

    def without(self, origin):
        _, table, grafted, flagged = self.tables(origin)
        model = judge.Judge(self.data, table, (self.graft, grafted), origin)
        own = np.flatnonzero(self.data.origin == origin)
        on = np.flatnonzero(self.data.origin[self.graft[0]] == origin)
        return own, model.odds(table[own]), flagged[own], on, model.odds(grafted[on]) if len(on) else np.zeros((0, 2))

    def threshold(self, without=None):
        """Of both, the log-odds that the budget's share of recorded benign requests of other origins is above."""
        rows = judge.recorded_benign(self.data, without)
        finite = np.maximum(self.odds, -50)
        share = self.options.false_positives
        return np.array([np.nextafter(judge.quantile(self.data.origin[rows], finite[rows, way], share), np.inf) for way in range(2)])

    def row(self, origin):
        """What is found and refused of an origin. A family's groups are put together: each was judged by its own models and its
        own thresholds."""
        groups = [one for one in sorted(set(self.data.origin)) if one == origin or origins.family(one) == origin]
        at = np.zeros((len(self.data.rows), 2))
        for group in groups:
            at[self.data.origin == group] = self.threshold(group)
        own = np.isin(self.data.origin, groups)
        padded = own & self.data.padded
        own &= ~self.data.made
        row = {}
        for picked, name, rate in ((own & self.data.malicious, "malicious", "tpr"), (own & ~self.data.malicious, "benign", "fpr")):
            if not picked.any():
                continue
            row[name] = of = int(picked.sum())
            for way, called in enumerate(WAYS):
                found = int((self.odds[picked, way] >= at[picked, way]).sum())
                row[f"{rate}_{called}"], row[f"{rate}_{called}_ci"] = round(found / of, 5), wilson(found, of)
            row[f"flagged_of_{name}"] = round(float(self.flagged[picked, 0].mean()), 5)
        if padded.any():
            row["padded"] = int(padded.sum())
            row |= {f"tpr_padded_{called}": round(float((self.odds[padded, way] >= at[padded, way]).mean()), 5) for way, called in enumerate(WAYS)}
        on = np.isin(self.data.origin[self.graft[0]], groups)
        if on.any():
            threshold = self.threshold(groups[0])
            row["grafted"] = int(on.sum())
            row |= {f"tpr_grafted_{called}": round(float((self.grafted[on, way] >= threshold[way]).mean()), 5) for way, called in enumerate(WAYS)}
        return row

    def table(self):
        """By origin; a family of groups is one row."""
        return {origin: self.row(origin) for origin in sorted({origins.family(one) for one in self.data.origin})}

    def by_class(self):
        """Of bare payloads of public lists how many are found, by class: each at the thresholds of its own origin."""
        own = self.data.malicious & ~self.data.made & np.array([row["kind"] == "payload" and row["origin"] not in judge.GENERATED for row in self.data.rows])
        at = np.zeros((len(self.data.rows), 2))
        for origin in sorted(set(self.data.origin[own])):
            at[self.data.origin == origin] = self.threshold(origin)
        classes = np.array([row["class"] for row in self.data.rows], dtype=object)
        table = {}
        for name in ["all", *sorted(set(classes[own]))]:
            picked = own if name == "all" else own & (classes == name)
            of = int(picked.sum())
            table[name] = {"malicious": of}
            for way, called in enumerate(WAYS):
                found = int((self.odds[picked, way] >= at[picked, way]).sum())
                table[name][f"tpr_{called}"], table[name][f"tpr_{called}_ci"] = round(found / of, 5), wilson(found, of)
        return table


def in_worker(origin):
    return SHARED.without(origin)


def wilson(found, of):
    """E. B. Wilson's interval for a share, at 95 %."""
    z, p = 1.959964, found / of
    centre, spread = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return [round(float(max(0, centre - spread) / scale), 5), round(float(min(scale, centre + spread) / scale), 5)]


def rendered_classes(table):
    """The lines of `by_class`."""
    lines = [f"{'class':16}{'payloads':>10}{'models':>10}{'with rules':>12}"]
    lines += [f"{name:16}{row['malicious']:>10}{100 * row['tpr_models']:>10.2f}{100 * row['tpr_both']:>12.2f}" for name, row in table.items()]
    return "\n".join(lines)


def rendered(table, options):
    columns = ["attacks", "models", "95 %", "with rules", "95 %", "grafted", "with rules", "padded", "with rules", "honest", "models", "95 %", "with rules", "95 %", "flagged"]
    widths = [8, 8, 13, 11, 13, 9, 11, 8, 11, 8, 8, 13, 11, 13, 8]
    lines = [f"{'origin':16}" + "".join(f"{name:>{width}}" for name, width in zip(columns, widths))]
    percent = lambda row, key: f"{100 * row[key]:.2f}" if key in row else ""
    interval = lambda row, key: "–".join(f"{100 * end:.2f}" for end in row[key]) if key in row else ""
    for origin, row in table.items():
        cells = [row.get("malicious", ""), percent(row, "tpr_models"), interval(row, "tpr_models_ci"), percent(row, "tpr_both"), interval(row, "tpr_both_ci")]
        cells += [percent(row, f"tpr_{kind}_{called}") for kind in ("grafted", "padded") for called in WAYS] + [row.get("benign", "")]
        cells += [percent(row, "fpr_models"), interval(row, "fpr_models_ci"), percent(row, "fpr_both"), interval(row, "fpr_both_ci"), percent(row, "flagged_of_benign")]
        lines.append(f"{origin:16}" + "".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths)))
    for key, name in (("tpr_models", "found by models"), ("tpr_both", "found with rules"), ("fpr_models", "refused by models"), ("fpr_both", "refused with rules")):
        rates = [row[key] for origin, row in table.items() if key in row and origin not in judge.GENERATED]
        if rates:
            lines.append(f"{name}, mean of {len(rates)} origins that were not generated: {100 * np.mean(rates):.2f} %")
    lines.append(f"all in percent; thresholds for {100 * options.false_positives:g} % of the other origins' honest requests, each origin with the same weight")
    return "\n".join(lines)


def arguments(parser):
    parser.add_argument("features", help="what request_features wrote")
    parser.add_argument("--without", action="append", default=[], help="leave out sources whose names begin so")
    parser.add_argument("--whole", action="append", default=[], choices=list(origins.GROUPS), help="leave an origin out as a whole, not in groups")
    parser.add_argument("--flag-share", type=float, default=0.15, help="share of benign requests that a kind of field may flag")
    parser.add_argument("--false-positives", type=float, default=0.0005, help="share of benign requests that may be refused")
    return parser


def main():
    parser = arguments(argparse.ArgumentParser())
    parser.add_argument("--json", help="write the table to this file, too")
    options = parser.parse_args()
    data = request.Data(options.features, options.without, options.whole)
    measured = Measured(data, options, lambda line: print(line, file=sys.stderr, flush=True))
    table, classes = measured.table(), measured.by_class()
    print("\n" + rendered(table, options) + "\n\n" + rendered_classes(classes))
    if options.json:
        Path(options.json).write_text(json.dumps({"origins": table, "classes": classes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
