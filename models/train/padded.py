"""Hides payloads in long honest texts: what lists leave out.

Enters: the shared data and, where there is one, a recording of the lab's. Leaves, on standard output, malicious requests of two
kinds. They keep the payload's source, so that a split by origin keeps both on one side.

- `padded-ID`: scored and not trained on, for every sixth bare payload: it stands in the middle of generated prose, in one value of
  a form or a JSON document among generated ones.
- `buried-ID-into-SOURCE`: trained on, for every fifth: it stands in the middle of a long text that somebody sent to one of the lab's
  applications, and all else of that request is as it was. What is honest about it is known from the request itself; with generated
  prose of which no honest twin was seen, every long text became suspicious.
"""

import base64
import gzip
import json
import random
import sys
import urllib.parse

import recipes

EVERY, BURIED_EVERY = 6, 5
# A text has at least so many characters and blanks.
TEXT_MIN, BLANKS_MIN = 80, 6
# An address in a text is a link.
NOT_BURIED = ("redirect",)


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


def is_text(value):
    return isinstance(value, str) and len(value) >= TEXT_MIN and value.count(" ") >= BLANKS_MIN


def places(document):
    """The texts of a JSON document: the list or object that each stands in, and where."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        if is_text(value):
            yield document, key
        yield from places(value)


def buried(raw, payload, rng):
    """A request with the payload at a blank of one of its texts; None where it has none."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lower = head.lower()
    into = lambda text: text[: (at := rng.choice([i for i, c in enumerate(text) if c == " "]))] + f" {payload}" + text[at:]
    if b"content-encoding:" in lower:
        return None
    if b"content-type: application/x-www-form-urlencoded" in lower:
        values = urllib.parse.parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        texts = [i for i, (_, value) in enumerate(values) if is_text(value)]
        if not texts:
            return None
        at = rng.choice(texts)
        values[at] = (values[at][0], into(values[at][1]))
        body = urllib.parse.urlencode(values, encoding="latin-1", errors="replace").encode()
    elif b"content-type: application/json" in lower:
        try:
            document = json.loads(body)
        except ValueError:
            return None
        texts = list(places(document))
        if not texts:
            return None
        where, key = rng.choice(texts)
        where[key] = into(where[key])
        body = json.dumps(document).encode()
    else:
        return None
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def payloads(shared):
    """The bare payloads of the lists, with their rows."""
    for line in gzip.open(shared, "rt"):
        row = json.loads(line)
        if row["label"] == "malicious" and row["kind"] == "payload":
            target = base64.b64decode(row["raw"]).split(b" ", 2)[1]
            yield row, urllib.parse.unquote_plus(target.partition(b"?q=")[2].decode("latin-1"), errors="replace")


def texts(recorded):
    """Honest requests of the lab with a text to hide in, by source."""
    hosts = {}
    for line in gzip.open(recorded, "rt"):
        row = json.loads(line)
        raw = base64.b64decode(row["raw"])
        if row["label"] == "benign" and buried(raw, "", random.Random(0)):
            hosts.setdefault(row["source"], []).append(raw)
    return hosts


def out(name, row, raw):
    print(json.dumps({
        "id": name, "label": "malicious", "class": row["class"], "source": row["source"], "kind": "request", "raw": base64.b64encode(raw).decode(),
    }))


def main():
    recipes.R.seed(9)
    rng = random.Random(11)
    shared, *recorded = sys.argv[1:]
    hosts = texts(recorded[0]) if recorded else {}
    for number, (row, payload) in enumerate(payloads(shared), 1):
        if number % EVERY == 0 and payload.strip():
            out(f"padded-{row['id']}", row, hidden(payload))
        if number % BURIED_EVERY == 0 and payload.strip() and hosts and row["class"] not in NOT_BURIED:
            # Every application as often as any other: some were sent ten times as many texts.
            source = rng.choice(sorted(hosts))
            out(f"buried-{row['id']}-into-{source}", row, buried(rng.choice(hosts[source]), payload, rng))


if __name__ == "__main__":
    main()
