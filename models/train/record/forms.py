"""Enters: a form of a page. Leaves: what a person types into each field, and the body a browser makes of it."""

import re
import urllib.parse

BY_NAME = [
    (re.compile(r"mail", re.I), lambda w: w.email()), (re.compile(r"url|link|website|href|homepage|redirect", re.I), lambda w: w.url()), (re.compile(r"pass|pwd", re.I), lambda w: w.password()),
    (re.compile(r"user|login|nick|author|first_?name|last_?name|fullname|^name$", re.I), lambda w: w.name()), (re.compile(r"date|time|birth|_at$", re.I), lambda w: w.date()), (re.compile(r"price|amount|qty|count|number|size|width|height|port|order|limit|page$|^id$|_id$", re.I), lambda w: w.number()),
    (re.compile(r"search|query|keyword|^q$|^s$|term|filter", re.I), lambda w: w.query()), (re.compile(r"sql", re.I), lambda w: w.sql()), (re.compile(r"tags?$", re.I), lambda w: ", ".join(w.word() for _ in range(3))), (re.compile(r"title|subject|summary|caption|label", re.I), lambda w: w.short()),
    (re.compile(r"path|file|folder|dir|slug", re.I), lambda w: w.rng.choice([w.path, w.word])()),
]


def typed(name, w):
    for pattern, make in BY_NAME:
        if pattern.search(name):
            return make(w) if w.rng.random() < 0.85 else w.short()
    return w.short()


def fill(form, w, given):
    """(values, files, button) of a form; what is `given` is typed as it stands."""
    values, files, buttons = [], [], []
    radios = {}
    for field in form.xpath(".//input|.//textarea|.//select|.//button"):
        name, kind = field.get("name"), (field.get("type") or ("textarea" if field.tag == "textarea" else "select" if field.tag == "select" else "submit" if field.tag == "button" else "text")).lower()
        if not name or field.get("disabled") is not None:
            continue
        if name in given:
            values.append((name, given.pop(name)))
        elif kind in ("submit", "image"):
            buttons.append((name, field.get("value") or ""))
        elif kind in ("hidden", "button", "reset"):
            if kind == "hidden":
                values.append((name, field.get("value") or ""))
        elif kind == "checkbox":
            if field.get("checked") is not None or w.rng.random() < 0.3:
                values.append((name, field.get("value") or "on"))
        elif kind == "radio":
            radios.setdefault(name, []).append(field.get("value") or "on")
        elif kind == "file":
            if w.rng.random() < 0.7:
                files.append((name, w.file()))
        elif kind == "select":
            options = [option.get("value") if option.get("value") is not None else (option.text or "").strip() for option in field.xpath(".//option")]
            if options:
                values.append((name, w.rng.choice(options)))
        elif kind == "textarea":
            old = field.text or ""
            values.append((name, old if old and w.rng.random() < 0.15 else (w.sql() if "sql" in name.lower() else w.rng.choice([w.long, w.long, w.rich])())))
        elif kind == "number" or kind == "range":
            values.append((name, str(w.rng.randint(0, 999))))
        elif kind in ("date", "datetime-local"):
            values.append((name, w.date()))
        elif kind == "email":
            values.append((name, w.email()))
        elif kind == "url":
            values.append((name, w.url()))
        elif kind == "password":
            values.append((name, w.password()))
        else:
            old = field.get("value") or ""
            values.append((name, old if old and w.rng.random() < 0.25 else typed(name, w)))
    values += [(name, w.rng.choice(options)) for name, options in radios.items()]
    values += list(given.items())
    button = [one for one in buttons if not re.search(r"delete|remove|cancel|reset", "".join(one), re.I)]
    if button:
        values.append(w.rng.choice(button))
    return values, files, button


def encode(values, files, enctype, rng, family):
    """(content type, body) as a browser of this family writes them."""
    if not files and "multipart" not in enctype:
        return "application/x-www-form-urlencoded", urllib.parse.urlencode([(name, str(value).replace("\r\n", "\n").replace("\n", "\r\n")) for name, value in values], errors="replace").encode()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    mark = "---------------------------" + str(rng.randint(10**29, 10**30)) if family == "firefox" else "----WebKitFormBoundary" + "".join(rng.choice(letters) for _ in range(16))
    quote = lambda text: str(text).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    body = b""
    for name, value in values:
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{quote(name)}"\r\n\r\n{value}\r\n'.encode("utf-8", "replace")
    for name, (filename, kind, data) in files:
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{quote(name)}"; filename="{quote(filename)}"\r\nContent-Type: {kind}\r\n\r\n'.encode("utf-8", "replace") + data + b"\r\n"
    return f"multipart/form-data; boundary={mark}", body + f"--{mark}--\r\n".encode()
