"""Hides payloads in long honest texts: what lists leave out. They are scored and not trained on: trained on, they made every
long text suspicious (a fifth of them was found at most, and five times as many requests of unseen browsers were refused).

Enters: the shared data. Leaves, on standard output, one malicious request for every sixth bare payload: the payload in the middle
of prose, in one value of a form or a JSON document among honest ones. It keeps the payload's source, so that a split by
origin keeps both on one side.
"""

import base64
import gzip
import json
import sys
import urllib.parse

import recipes

EVERY = 6


def prose():
    return " ".join(recipes.text() if recipes.R.random() < 0.3 else recipes.sentence() for _ in range(recipes.R.randint(1, 24)))


def hidden(payload):
    """A request that holds the payload in a long text."""
    text = f"{prose()} {payload} {prose()}"
    values = [(recipes.words(1).strip().lower() or "a", recipes.sentence()) for _ in range(recipes.R.randint(0, 4))]
    values.insert(recipes.R.randint(0, len(values)), (recipes.R.choice(("text", "body", "comment", "message", "q", "description")), text))
    if recipes.R.random() < 0.5:
        return recipes.raw("POST", recipes.path(), recipes.headers(), "application/json", json.dumps(dict(values)).encode())
    body = urllib.parse.urlencode(values).encode("latin-1", "replace")
    return recipes.raw("POST", recipes.path(), recipes.headers(), "application/x-www-form-urlencoded", body)


def main():
    recipes.R.seed(9)
    number = 0
    for line in gzip.open(sys.argv[1], "rt"):
        row = json.loads(line)
        if row["label"] != "malicious" or row["kind"] != "payload":
            continue
        number += 1
        if number % EVERY:
            continue
        target = base64.b64decode(row["raw"]).split(b" ", 2)[1]
        payload = urllib.parse.unquote_plus(target.partition(b"?q=")[2].decode("latin-1"), errors="replace")
        if not payload.strip():
            continue
        print(json.dumps({
            "id": f"padded-{row['id']}", "label": "malicious", "class": row["class"], "source": row["source"], "kind": "request",
            "raw": base64.b64encode(hidden(payload)).decode(),
        }))


if __name__ == "__main__":
    main()
