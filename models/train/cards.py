"""Writes a card for each model: `models/cards/<name>.md`.

Enters: the folder of the models, with its `manifest.toml`. Leaves: what a file is, takes and gives, what it was trained on and
what was measured of it, taken from the manifest and from the file itself; the sentences are below. Run by `cargo xtask model train`.
"""

import sys
import tomllib
from collections import Counter
from pathlib import Path

import onnx

# What each is, what it gives, and what it is weak at.
ABOUT = {
    "request_gate": (
        "Looks at every decoded field of every request, on the proxy's thread: hashed 1- to 4-grams of its bytes, one weight each, summed over stretches of 16, 32 and 64 positions.",
        "A score for each stretch. The worst one of a field above its kind's threshold (`flag_`, to ask: `ask_`) lets the classifier look.",
        "It is linear: words that stand in attacks and in honest text alike weigh nothing. A site unlike the training data flags more: `[learn]` sets its own thresholds.",
    ),
    "request_classifier": (
        "Looks at the four worst fields of a request that the gate, or a rule about attacks, flagged: the same n-grams, 96 positions around the worst stretch, through one hidden layer.",
        "A share for each class, `benign` first.",
        "The class is a hint: `rce`, `traversal` and `rfi` are often each other's, `scanner` anybody's. Nothing here ever says `spam`.",
    ),
    "request_judge": (
        "Has the last word about a request where no Core Rule Set runs: trees over what gate and classifier said of its fields, and over the shape of the worst.",
        "A confidence from 0 to 1; from `confidence` on it is a finding.",
        "Honest text that is code, of a kind that nobody recorded, looks like an attack; attacks that are a plain path, word or address look honest; a payload amid long prose is diluted.",
    ),
    "request_judge_rules": (
        "Has the last word about a request where the Core Rule Set runs: as `request_judge`, and over the rules that matched, counted by kind of attack and place.",
        "A confidence from 0 to 1 on the same scale; from `confidence` on it is a finding.",
        "As `request_judge`. It knows the rules of CRS 4 at paranoia 1; of others it knows no better than their tags.",
    ),
    "source_forest": (
        "Scores every active source: 65 numbers of its flows over ten seconds to a day, 100 isolation trees of 256 samples, one node.",
        "An anomaly score from 0 to 1; from `flag` on the source classifier is asked.",
        "Half of all that is active is flagged. It is evidence, never a verdict.",
    ),
    "source_classifier": (
        "Names what the forest flagged, from the same 65 numbers: 60 extremely randomised trees.",
        "A share for each class; nothing is said below `confidence`.",
        "Recorded in namespaces on one machine, hardly anything longer than an hour. The detectors find most by themselves.",
    ),
}


def card(folder, entry):
    """The text of one model's card."""
    file = folder / entry["file"]
    graph = onnx.load(file).graph
    sees, gives, weak = ABOUT[entry["role"]]
    lines = [
        f"# {entry['name']}, version {entry['version']}", "", sees, "", f"**Gives.** {gives}", "", f"**Weak.** {weak}", "",
        "| | |", "|---|---|",
        f"| file | `{entry['file']}`, {file.stat().st_size:,} bytes |", f"| SHA-256 | `{entry['sha256']}` |", f"| schema of its features | `{entry['schema']}` |",
        f"| input | {', '.join(tensor(value) for value in graph.input)} |", f"| output | {', '.join(tensor(value) for value in graph.output)} |",
        f"| operators | {', '.join(f'{name} x {count}' if count > 1 else name for name, count in sorted(Counter(node.op_type for node in graph.node).items()))} |",
    ]
    lines += [f"| classes | {', '.join(entry['classes'])} |"] if entry.get("classes") else []
    lines += [f"| `{name}` | {value} |" for name, value in entry["thresholds"].items()]
    lines += ["", "## Trained on", "", *(f"- {one}" for one in entry["data"])]
    lines += measured(entry["measured"])
    lines += ["", "Made again, bit for bit from the same data, by `cargo xtask model train`. What the figures mean, and how data are recorded: [README](../README.md).", ""]
    return "\n".join(lines)


def tensor(value):
    shape = [one.dim_param or str(one.dim_value or "n") for one in value.type.tensor_type.shape.dim]
    return f"`{value.name}` {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()} [{', '.join(shape)}]"


def measured(table):
    """Scores by origin, each by models and thresholds that have not seen it."""
    rows = {origin: row for origin, row in table.items() if isinstance(row, dict)}
    lines = [f"- `{name}`: {value}" for name, value in table.items() if not isinstance(value, dict)]
    keys = [key for key in ("malicious", "flagged_of_malicious", "benign", "flagged_of_benign") if any(key in row for row in rows.values())]
    keys += sorted({key for row in rows.values() for key in row if key.startswith(("tpr_", "fpr_")) and not key.endswith("_ci")})
    if rows:
        lines += [f"| origin, unseen | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
        lines += [f"| {origin} | {' | '.join(cell(row, key) for key in keys)} |" for origin, row in rows.items()]
    return ["", "## Measured", "", *lines] if lines else []


def cell(row, key):
    if key not in row:
        return ""
    if key in ("malicious", "benign"):
        return f"{row[key]:,}"
    interval = row.get(f"{key}_ci")
    return f"{100 * row[key]:.2f} %" + (f" ({100 * interval[0]:.2f}-{100 * interval[1]:.2f})" if interval else "")


def main():
    folder = Path(sys.argv[1])
    (folder / "cards").mkdir(exist_ok=True)
    for entry in tomllib.loads((folder / "manifest.toml").read_text())["model"]:
        (folder / "cards" / f"{entry['role']}.md").write_text(card(folder, entry))


if __name__ == "__main__":
    main()
