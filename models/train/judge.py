"""Fits the judge: the model with the last word about a request, one that weighs its fields alone and one that weighs what
the rules matched as well.

Enters: data and what gate and classifier say of each field, every origin's by models that have not seen it. Leaves: two
ensembles of trees over the columns of `features/request.rs`, and how sure they are of every row of every origin that
they have not seen.

Payload lists are bare strings in one fixed request. A tree would soon learn to tell those from what browsers send, so half
of the malicious weight lies on grafts: the same payload among the fields of an honest request of another source.
"""

from collections import Counter

import lightgbm
import numpy as np
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

import origins
import request

GENERATED = ("recipes", "grammar", "beacons", "lab-apps")  # What is typed is made up: they train, but no threshold rests on them.
GRAFTS = 12_000
EXCESS_MIN = -6.0  # As in features/request.rs, like all that `Rows` computes.
ODDS_MAX = 11.5
LEAVES, TREES = 15, 250
# A field is a reason to ask classifier and judge from so much above its threshold on. Where what browsers and proxies write stands
# just above it, hardly anything that is found does.
ASK_MARGIN = {"path": 1.0, "user_agent": 1.0, "referer": 1.0, "header": 1.0, "cookie": 1.0}
# Origins with fewer benign requests than this count for less: a rate of theirs says little.
FULL_WEIGHT = 3000


def recorded_benign(data, without=None):
    """Benign rows that somebody recorded, but for those of one origin."""
    return np.flatnonzero(~data.malicious & ~np.isin(origins.families(data.origin), GENERATED) & (data.origin != without))


def quantile(origin, values, share):
    """The value that this share of each origin's requests is above, on average: no large origin drowns a small one. All
    groups of sites together are one origin here."""
    family = origins.families(origin)
    count = Counter(family)
    weight = np.array([1 / max(count[one], FULL_WEIGHT) for one in family])
    order = np.argsort(-values, kind="stable")
    above = np.cumsum(weight[order]) - weight[order] / 2
    return float(values[order][min(np.searchsorted(above, share * weight.sum()), len(order) - 1)])


class Fields:
    """What gate and classifier say of the fields of each row, ready to be put together."""

    def __init__(self, data, out):
        self.data = data
        place = {origin: {int(field): i for i, field in enumerate(scores[0])} for origin, scores in out.items()}
        start = dict(zip(out, np.cumsum([0] + [len(scores[0]) for scores in out.values()])))
        field = np.concatenate([scores[0] for scores in out.values()])
        self.score = np.concatenate([scores[1] for scores in out.values()])
        self.probabilities = np.concatenate([scores[2] for scores in out.values()])
        self.kind = data.kind[field]
        self.step = np.concatenate([scores[3] for scores in out.values()]).astype(np.float32)
        benign = np.clip(self.probabilities[:, 0].astype(np.float64), 1e-6, 1 - 1e-6)
        self.odds = np.clip(np.log((1 - benign) / benign), -ODDS_MAX, ODDS_MAX).astype(np.float32)
        self.of_row = [np.array([start[row["origin"]] + place[row["origin"]][int(f)] for f in row["fields"]], dtype=np.int64) for row in data.rows]
        self.signs = np.array([row["signs"] for row in data.rows], np.float32)

    def thresholds(self, share, rows):
        """By kind of field, the score that this share of benign requests is above, within reason where data are thin."""
        thresholds = np.full(len(self.data.schema["kinds"]), 0.5)
        for kind in range(len(thresholds)):
            worst = [(i, self.score[own].max()) for i in rows if len(own := self.of_row[i][self.kind[self.of_row[i]] == kind])]
            if len(worst) >= 200:
                picked, values = np.array([i for i, _ in worst]), np.array([score for _, score in worst])
                thresholds[kind] = np.clip(quantile(self.data.origin[picked], values, share), -0.5, 1.5)
        return thresholds

    def rows(self, fields_of, signs, thresholds):
        """`features::request::request_row` of each list of fields."""
        excess = (self.score - thresholds[self.kind]).astype(np.float32)
        kinds, asked = len(thresholds), self.data.schema["asked"]
        rows = np.zeros((len(fields_of), self.data.schema["row_columns"][0]), np.float32)
        rows[:, :kinds] = EXCESS_MIN
        rows[:, kinds : kinds + 4] = [-ODDS_MAX, -ODDS_MAX, EXCESS_MIN, EXCESS_MIN]
        for row, fields in zip(rows, fields_of):
            if not len(fields):
                continue
            np.maximum.at(row, self.kind[fields], excess[fields])
            worst = fields[np.argsort(-excess[fields], kind="stable")[:asked]]
            odds = np.sort(self.odds[worst])[::-1][:2]
            row[kinds : kinds + len(odds)] = odds
            row[kinds + 2 : kinds + 2 + len(odds)] = np.maximum(excess[worst[:2]], EXCESS_MIN)
            # The last of equals, as `max_by` has it.
            surest = worst[len(worst) - 1 - np.argmax(self.odds[worst][::-1])]
            row[kinds + 4 : kinds + 18] = self.probabilities[surest]
            row[kinds + 18 : kinds + 22] = self.step[surest, :4]
            found = self.step[worst, 4].astype(int)
            injection = int(self.step[surest, 4])
            row[kinds + 22 :] = [injection & 1, injection >> 1, (found & 1).sum(), (found >> 1).sum()]
        return np.hstack([rows, signs]), excess

    def asks(self, excess):
        """Of each row whether the gate has classifier and judge asked about it."""
        over = excess > np.array([ASK_MARGIN.get(kind, 0.0) for kind in self.data.schema["kinds"]], np.float32)[self.kind]
        return np.array([over[own].any() for own in self.of_row])


def grafts(data, fields, rng):
    """Pairs of a bare payload and an honest request to put it in, and what they are together."""
    payloads = np.flatnonzero(data.malicious & np.array([row["kind"] == "payload" for row in data.rows]))
    hosts = np.flatnonzero(~data.malicious & (data.origin != "httpparams"))
    common = Counter(int(field) for i in payloads for field in data.rows[i]["fields"])
    own = [np.array([common[int(f)] < len(payloads) / 50 for f in row["fields"]], dtype=bool) for row in data.rows]
    family = origins.families(data.origin[hosts])
    by_origin = [np.flatnonzero(family == one) for one in sorted(set(family))]
    of = rng.choice(payloads, GRAFTS)
    into = hosts[[rng.choice(by_origin[rng.integers(len(by_origin))]) for _ in of]]
    together = [np.concatenate([fields.of_row[a][own[a]], fields.of_row[b]]) for a, b in zip(of, into)]
    # Counts and score add up; what the worst field has, has one of the two.
    signs = np.hstack([fields.signs[of, :-2] + fields.signs[into, :-2], np.maximum(fields.signs[of, -2:], fields.signs[into, -2:])])
    signs[:, :-3] = np.minimum(signs[:, :-3], 8)
    return of, into, together, signs


def weights(data, rows):
    """Square roots, so that a large source does not drown a small one; benign ones weigh twice what malicious ones do. Honest
    requests count by origin: the lab's applications together as one, as their people type the same."""
    source = lambda row: (row["source"], row["made_as"]) if row["label"] == "malicious" else request.hand_of(row["source"])
    of = [(source(data.rows[i]), data.malicious[i]) for i in rows]
    count = Counter(of)
    weight = np.array([count[one] ** -0.5 for one in of])
    bad = data.malicious[rows]
    weight[bad] /= weight[bad].sum()
    weight[~bad] *= 2 / weight[~bad].sum()
    return weight * len(rows) / 3


class Judge:
    """Both ensembles, fitted on the rows of all origins but one."""

    def __init__(self, data, table, graft, without=None):
        rows = np.flatnonzero((data.origin != without) & (data.host != without) & ~data.padded)
        (of, into, *_), grafted = graft
        used = np.flatnonzero((data.origin[of] != without) & (data.origin[into] != without))
        weight, y = weights(data, rows), data.malicious[rows]
        half = weight[y].sum() / 2
        weight[y] /= 2
        x = np.vstack([table[rows], grafted[used]])
        y = np.append(y, np.ones(len(used), bool))
        weight = np.append(weight, np.full(len(used), half / max(len(used), 1)))
        self.models = []
        for columns in data.schema["row_columns"]:
            model = lightgbm.LGBMClassifier(
                n_estimators=TREES, num_leaves=LEAVES, learning_rate=0.06, min_child_samples=30, reg_lambda=5.0, subsample=0.8,
                subsample_freq=1, colsample_bytree=0.5, n_jobs=1, random_state=1, deterministic=True, force_row_wise=True, verbose=-1,
            )
            self.models.append(model.fit(x[:, :columns], y, sample_weight=weight))

    def odds(self, table):
        """Of each row how sure both are, as log-odds that are not calibrated yet."""
        return np.stack([model.predict(table[:, : model.n_features_in_], raw_score=True) for model in self.models], axis=1)


def calibration(data, odds):
    """Platt's line through the log-odds of rows that the models had not seen, every origin with the same weight."""
    lines = []
    families = origins.families(data.origin)
    for own in odds.T:
        rows = np.flatnonzero(~np.isin(families, GENERATED) & ~data.made & np.isfinite(own))
        family = [(families[i], data.malicious[i]) for i in rows]
        count = Counter(family)
        weight = np.array([1 / max(count[one], FULL_WEIGHT) for one in family])
        fit = LogisticRegression(C=1e6).fit(own[rows, None], data.malicious[rows], sample_weight=weight)
        lines.append((max(float(fit.coef_[0, 0]), 0.1), float(fit.intercept_[0])))
    return lines


def at_most(threshold):
    """The largest `f32` that is not above a number: for inputs of `f32` a comparison with it says the same."""
    near = np.float32(threshold)
    return float(near if near <= threshold else np.nextafter(near, np.float32(-np.inf)))


def ensemble_onnx(model, line, columns):
    """The trees as one node. The line of the calibration goes into leaves and base value; a logistic makes them a share."""
    slope, intercept = line
    node = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")}
    leaf = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}

    def add(tree, one):
        """Adds a node and all below it; gives its number."""
        number = counts[tree]
        counts[tree] += 1
        is_leaf = "leaf_value" in one
        # LightGBM goes left where a column is at most the threshold; no column is ever missing.
        assert is_leaf or one["decision_type"] == "<="
        values = {
            "treeids": tree, "nodeids": number, "featureids": 0 if is_leaf else one["split_feature"], "modes": "LEAF" if is_leaf else "BRANCH_LEQ",
            "values": 0.0 if is_leaf else at_most(one["threshold"]), "truenodeids": 0, "falsenodeids": 0,
        }
        place = len(node["treeids"])
        for name, value in values.items():
            node[name].append(value)
        if is_leaf:
            for name, value in (("treeids", tree), ("nodeids", number), ("ids", 0), ("weights", slope * one["leaf_value"])):
                leaf[name].append(value)
        else:
            node["truenodeids"][place] = add(tree, one["left_child"])
            node["falsenodeids"][place] = add(tree, one["right_child"])
        return number

    counts = Counter()
    for tree in model.booster_.dump_model()["tree_info"]:
        add(tree["tree_index"], tree["tree_structure"])
    base = intercept
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["row"], ["odds"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM", base_values=[base],
        **{f"nodes_{name}": values for name, values in node.items()}, **{f"target_{name}": values for name, values in leaf.items()},
    )
    graph = helper.make_graph(
        [trees, helper.make_node("Sigmoid", ["odds"], ["confidence"])],
        "request-judge",
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["n", 1])],
    )
    return request.finish(graph, helper.make_opsetid("ai.onnx.ml", 3))
