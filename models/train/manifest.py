"""Enters: entries of models. Leaves: `manifest.toml` with them, every other role's entry kept as it was."""

import tomllib
from pathlib import Path

HEAD = """# Written by `cargo xtask model train`. `measured` of the request models is each origin by models and thresholds that have not
# seen it: see README.md.
format = 1
"""


def update(path, entries):
    """Replaces the entries of the same roles."""
    path = Path(path)
    old = tomllib.loads(path.read_text()).get("model", []) if path.exists() else []
    roles = {entry["role"] for entry in entries}
    models = [entry for entry in old if entry["role"] not in roles] + entries
    models.sort(key=lambda entry: entry["role"])
    path.write_text(HEAD + "".join(render(entry) for entry in models))


def render(entry):
    lines = ["", "[[model]]"]
    tables = []
    for key, value in entry.items():
        if isinstance(value, dict):
            tables.append((key, value))
        else:
            lines.append(f"{key} = {literal(value)}")
    for key, value in tables:
        lines += ["", f"[model.{key}]"]
        lines += [f"{bare(name)} = {literal(item)}" for name, item in value.items()]
    return "\n".join(lines) + "\n"


def bare(name):
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else f'"{name}"'


def literal(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{bare(key)} = {literal(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + "".join(f"\n  {literal(item)}," for item in value) + ("\n]" if value else "]")
    raise TypeError(type(value))
