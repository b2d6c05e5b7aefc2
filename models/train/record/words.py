"""Enters: a seed. Leaves: what people type into forms, endlessly: prose in many languages, code, commands, names, numbers. All of
it is taken from what Debian ships (manual pages, translations, fortunes, package descriptions, sources), or made of
such pieces; nothing comes from the generator that the models are trained on. It must never be meant as an attack.
"""

import base64
import functools
import glob
import gzip
import json
import os
import random
import re
import string
import struct
import zlib
from pathlib import Path

FILE_BYTES_MAX, FILES_MAX = 200_000, 800
PLACES = {
    "man": ["/usr/share/man/man[1578]/*.gz"],
    "man_abroad": ["/usr/share/man/??/man[1578]/*.gz", "/usr/share/man/zh_*/man[1578]/*.gz", "/usr/share/man/pt_BR/man[1578]/*.gz"],
    "catalogue": ["/usr/share/locale/*/LC_MESSAGES/*.mo", "/usr/share/wordpress/wp-content/languages/*.mo", "/usr/share/phpmyadmin/locale/*/LC_MESSAGES/*.mo"],
    "fortune": ["/usr/share/games/fortunes/**/*"],
    "python": ["/usr/lib/python3*/**/*.py"],
    "shell": ["/usr/bin/*", "/usr/sbin/*", "/etc/init.d/*", "/usr/share/doc/**/*.sh", "/usr/share/bash-completion/completions/*"],
    "perl": ["/usr/share/perl/**/*.pm", "/usr/share/perl5/**/*.pm"],
    "javascript": ["/usr/share/javascript/**/*.js", "/usr/share/nodejs/**/*.js", "/usr/share/wordpress/wp-includes/js/**/*.js", "/usr/share/doc/**/*.js"],
    "php": ["/usr/share/wordpress/**/*.php", "/usr/share/phpmyadmin/**/*.php", "/usr/share/php/**/*.php"],
    "c": ["/usr/include/**/*.h", "/usr/share/doc/**/*.c"],
    "sql": ["/usr/share/**/*.sql"],
    "html": ["/usr/share/doc/**/*.html", "/usr/share/doc/**/*.xhtml"],
    "css": ["/usr/share/**/*.css"],
    "markdown": ["/usr/share/doc/**/*.md", "/usr/share/doc/**/README*", "/usr/share/doc/**/NEWS*"],
    "config": ["/etc/**/*.conf", "/etc/**/*.cnf", "/etc/php/**/*.ini", "/usr/share/**/*.yaml", "/usr/share/**/*.yml"],
    "xml": ["/usr/share/**/*.xml", "/usr/share/icons/**/*.svg"],
    "changelog": ["/usr/share/doc/*/changelog.Debian.gz"],
    "copyright": ["/usr/share/doc/*/copyright"],
}
ROFF = re.compile(r"^\.\\\".*$|^[.'][A-Za-z]+ ?|\\f[A-Z(][A-Z]?|\\[&|/,^]|\\s[-+]?\d", re.M)
CODE = ("python", "shell", "perl", "javascript", "php", "c", "sql", "css", "config", "xml", "html")
EMOJI = "😀😂🙂😉😍🤔😭👍👎🙏🎉🔥❤✅❌⚠🚀☕🐧🇩🇪🇫🇷✨💡"


class Shelf:
    """Files of one kind, read when they are asked for."""

    def __init__(self, rng, patterns):
        found = [path for pattern in patterns for path in listed(pattern)]
        self.rng, self.files, self.read = rng, rng.sample(found, min(FILES_MAX, len(found))), {}

    def text(self):
        for _ in range(20):
            if not self.files:
                return ""
            path = self.rng.choice(self.files)
            if path not in self.read:
                self.read[path] = load(path)
            if self.read[path]:
                return self.read[path]
        return ""


@functools.cache
def listed(pattern):
    """The files of a pattern; looked for once, since whole trees are walked."""
    return sorted(path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path))


def load(path):
    try:
        raw = gzip.open(path).read(FILE_BYTES_MAX) if path.endswith(".gz") else Path(path).read_bytes()[:FILE_BYTES_MAX]
        if path.endswith(".mo"):
            return "\0".join(catalogue(raw))
        return raw.decode("utf-8").replace("\0", " ") if raw[:4] != b"\x7fELF" else ""
    except (OSError, UnicodeDecodeError, EOFError, struct.error, zlib.error):
        return ""


def catalogue(raw):
    """The translated sentences of a .mo file."""
    if raw[:4] != b"\xde\x12\x04\x95":
        return []
    count, _, table = struct.unpack("<3I", raw[8:20])
    places = [struct.unpack("<2I", raw[table + 8 * n : table + 8 * n + 8]) for n in range(1, min(count, 4000))]
    texts = [raw[at : at + size].split(b"\0")[0] for size, at in places]
    return [text.decode("utf-8", "ignore") for text in texts if 3 < len(text) < 600]


class Words:
    """What a person types. Every method gives one new text."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.shelves = {name: Shelf(self.rng, patterns) for name, patterns in PLACES.items()}
        self.people = self._people()

    def _people(self):
        found = set()
        for _ in range(400):
            for shelf in ("changelog", "copyright"):
                text = self.shelves[shelf].text()
                found |= set(re.findall(r"([^\W\d_][\w.'’-]+(?: [^\W\d_][\w.'’-]*){1,2}) <([\w.+-]+@[\w.-]+)>", text)[:30])
        return sorted(found) or [("Ann O'Neill", "ann@example.org")]

    def name(self):
        return self.rng.choice(self.people)[0]

    def email(self):
        return self.rng.choice(self.people)[1]

    def _lines(self, shelf, low, high):
        lines = self.shelves[shelf].text().splitlines()
        at = self.rng.randrange(max(1, len(lines) - high))
        return lines[at : at + self.rng.randint(low, high)]

    def ui(self):
        """A short sentence of a program, in any language."""
        return self.rng.choice(self.shelves["catalogue"].text().split("\0")).strip() or "OK"

    def man(self, abroad=False):
        text = "\n".join(self._lines("man_abroad" if abroad else "man", 4, 14)).replace("\\-", "-")
        text = ROFF.sub("", text).replace("\\(aq", "'").replace("\\(dq", '"').replace("\\e", "\\\\")
        return re.sub(r"\\\(..|\\\[\w+\]|\\.", "", text).strip()

    def fortune(self):
        return self.rng.choice(self.shelves["fortune"].text().split("\n%\n")).strip()[:1500]

    def code(self, kind=None):
        return "\n".join(self._lines(kind or self.rng.choice(CODE), 2, 14)).strip()

    def code_line(self, kind=None):
        lines = [line.strip() for line in self._lines(kind or self.rng.choice(CODE), 10, 30) if len(line.strip()) > 8]
        return self.rng.choice(lines)[:200] if lines else "x = y"

    def command(self):
        """A command line as documentation shows it."""
        text = self.man() + "\n" + self.code("shell")
        lines = [line.strip() for line in text.splitlines() if re.match(r"\s*[$#]? ?[a-z][\w.-]+ (-|\w|/|\"|')", line)]
        return self.rng.choice(lines)[:160] if lines else "ls -l /tmp"

    def prose(self):
        for _ in range(6):
            text = self._prose()
            if len(text) > 20:
                return text
        return self.ui()

    def _prose(self):
        return self.rng.choice([self.fortune, self.man, lambda: self.man(True), lambda: " ".join(self.ui() for _ in range(self.rng.randint(2, 6))), self.news])()

    def news(self):
        return re.sub(r"\s+", " ", "\n".join(self._lines("markdown", 2, 8))).strip()

    def word(self):
        return self.rng.choice(re.findall(r"[^\W\d_]{3,}", self.prose() or "word") or ["word"])

    def phrase(self, low=1, high=5):
        found = self.prose().split() or ["word"]
        at = self.rng.randrange(len(found))
        return " ".join(found[at : at + self.rng.randint(low, high)])[:120]

    def number(self):
        r = self.rng
        return r.choice([lambda: str(r.randint(0, 100)), lambda: f"{r.uniform(0, 9999):.2f}", lambda: f"{r.randint(1, 999)},{r.randint(0, 99):02}", lambda: f"-{r.random():.4f}", lambda: f"{r.randint(1, 9)}e{r.randint(1, 12)}", lambda: f"€ {r.randint(1, 9999)}.-", lambda: f"${r.randint(1, 99)},{r.randint(100, 999)}.50", lambda: f"{r.randint(1, 100)}%"])()

    def date(self):
        r = self.rng
        y, m, d, h, i = r.randint(1930, 2031), r.randint(1, 12), r.randint(1, 28), r.randint(0, 23), r.randint(0, 59)
        return r.choice([f"{y}-{m:02}-{d:02}", f"{y}-{m:02}-{d:02}T{h:02}:{i:02}", f"{d}.{m}.{y}", f"{m:02}/{d:02}/{y}", f"{y}{m:02}{d:02}T{h:02}{i:02}00Z", f"{h}:{i:02} pm", f"{d} May {y}"])

    def token(self, size, letters=string.ascii_letters + string.digits):
        return "".join(self.rng.choice(letters) for _ in range(size))

    def uuid(self):
        return "-".join(self.token(size, "0123456789abcdef") for size in (8, 4, 4, 4, 12))

    def url(self):
        text = self.shelves[self.rng.choice(("markdown", "html", "copyright"))].text()
        found = re.findall(r"https?://[^\s\"'<>)\]]{6,150}", text)
        base = self.rng.choice(found).rstrip(".,;") if found else "https://www.example.org/"
        if self.rng.random() < 0.3:
            base += ("&" if "?" in base else "?") + self.rng.choice([f"utm_source={self.word()}&utm_medium=email&utm_campaign={self.token(6)}", f"fbclid=IwAR{self.token(50)}", f"gclid={self.token(40)}", f"next=/{self.word()}/{self.word()}%3Fpage%3D2"])
        return base

    def path(self):
        return self.rng.choice(self.shelves[self.rng.choice(list(PLACES))].files or ["/etc/motd"])

    def regex(self):
        found = re.findall(r"re\.(?:compile|match|search|sub)\(r?(['\"])(.{6,90}?)\1", self.shelves["python"].text())
        return self.rng.choice(found)[1] if found else r"^\d{3}-[a-z]+$"

    def maths(self):
        r, x = self.rng, self.rng.choice
        a, b, c = (x("abcnxyzαβλ") for _ in range(3))
        return x([f"{a}<{b} && {c}>{r.randint(0, 9)}", f"{a}^2 + {b}^2 = {c}^2", f"\\frac{{{a}}}{{{b}+1}} \\leq \\sum_{{i=0}}^{{n}} {c}_i", f"if {a} = {r.randint(1, 9)} then {b} >= {a} or {b} != {c}", f"f({a}) = {r.randint(1, 9)}*{a} - ({b} / {c})", f"{r.randint(1, 99)}*{r.randint(1, 99)}={r.randint(1, 9999)}?", f"{a} -> {b} | {c}; not ({a} and {b})", f"|{a}| ≤ {b} ⇒ {c} ∈ ℝ", f"SELECT({a},{b}) := {{{a}}} ∪ {{{b}}}", f"=SUM(A1:B{r.randint(2, 99)})*IF(C1>0;{r.randint(1, 9)};\"\")", f"{r.randint(1, 20)}d6+{r.randint(1, 9)}"])

    def password(self):
        marks = string.ascii_letters + string.digits + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
        return self.rng.choice([lambda: self.token(self.rng.randint(8, 24), marks), lambda: f"{self.word()}{self.rng.randint(1, 99)}!", lambda: "-".join(self.word() for _ in range(4)), lambda: self.token(16)])()

    def sql(self):
        """As in a tutorial, a report or a question."""
        r, w = self.rng, self.word
        t, c, d = w().lower(), w().lower(), w().lower()
        return r.choice([
            lambda: f"SELECT {c}, count(*) AS n FROM {t} GROUP BY {c} HAVING n > {r.randint(1, 9)} ORDER BY n DESC LIMIT {r.randint(1, 100)}",
            lambda: f"select * from {t} where {c} = '{self.name()}' and {d} between '{self.date()}' and '{self.date()}'", lambda: f"SELECT a.{c}, b.{d} FROM {t} a LEFT JOIN {w().lower()} b ON a.id = b.{t}_id WHERE b.id IS NULL",
            lambda: f"INSERT INTO {t} ({c}, {d}) VALUES ('{self.phrase().replace(chr(39), chr(39) * 2)}', {r.randint(1, 999)});", lambda: f"UPDATE {t} SET {c} = {c} + 1 WHERE id IN (SELECT {t}_id FROM {d} WHERE {d}.day < now() - interval '7 days')",
            lambda: f"CREATE TABLE IF NOT EXISTS {t} (\n  id INTEGER PRIMARY KEY,\n  {c} VARCHAR({r.randint(10, 255)}) NOT NULL DEFAULT '',\n  {d} DECIMAL(10,2)\n);", lambda: f"DELETE FROM {t} WHERE {c} IS NULL OR {c} = ''", lambda: f"SELECT {c} FROM {t} UNION SELECT {d} FROM {w().lower()} ORDER BY 1",
            lambda: f"ALTER TABLE {t} ADD COLUMN {c} TEXT, DROP COLUMN {d}", lambda: f"WITH x AS (SELECT {c}, row_number() OVER (PARTITION BY {d} ORDER BY id DESC) AS rn FROM {t}) SELECT * FROM x WHERE rn = 1", lambda: self.code("sql")[:600],
        ])()

    def markdown(self):
        r = self.rng
        return r.choice([
            lambda: f"## {self.phrase()}\n\n{self.prose()}\n\n```{r.choice(('python', 'sh', 'js', ''))}\n{self.code()}\n```\n\n* {self.phrase()}\n* [{self.phrase(1, 3)}]({self.url()})", lambda: f"> {self.fortune()}\n\n{self.prose()} **{self.phrase()}** `{self.code_line()}`", lambda: f"Hi {self.name()},\r\n\r\n{self.prose()}\r\n\r\n{self.name()}\r\n-- \r\n{self.email()}",
            lambda: f"I get this when I run `{self.command()}`:\n\n    {self.code_line()}\n\n{self.prose()}", lambda: "\n".join(self._lines("markdown", 5, 30)), lambda: f"| {self.word()} | {self.word()} |\n|---|---|\n| {self.number()} | {self.phrase()} |\n\n$$ {self.maths()} $$",
        ])()

    def rich(self):
        """What an HTML editor makes of it."""
        e = lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        r = self.rng
        return r.choice([
            lambda: f"<p>{e(self.prose())}</p>\n<p>{e(self.phrase())}&nbsp;<strong>{e(self.phrase())}</strong></p>", lambda: f'<h2 style="text-align:center">{e(self.phrase())}</h2><p><a href="{e(self.url())}" target="_blank" rel="noopener noreferrer">{e(self.phrase())}</a> {e(self.prose())}</p>', lambda: f"<pre><code class=\"language-{r.choice(('php', 'js', 'bash'))}\">{e(self.code())}</code></pre><p>{e(self.prose())}</p>",
            lambda: f"<ul><li>{e(self.phrase())}</li><li><em>{e(self.phrase())}</em></li></ul><blockquote>{e(self.fortune())}</blockquote>", lambda: f'<figure class="image"><img src="/media/{self.token(8)}.jpg" alt="{e(self.phrase())}" width="640" height="480" /><figcaption>{e(self.phrase())}</figcaption></figure><p>{e(self.prose())}</p>', lambda: f'<table border="1"><tbody><tr><td>{e(self.number())}</td><td>{e(self.phrase())}</td></tr></tbody></table>',
            lambda: f"<!-- wp:paragraph -->\n<p>{e(self.prose())}</p>\n<!-- /wp:paragraph -->\n\n<!-- wp:code -->\n<pre class=\"wp-block-code\"><code>{e(self.code())}</code></pre>\n<!-- /wp:code -->", lambda: self.code("html"),
        ])()

    def short(self):
        r = self.rng
        return r.choice([self.phrase, self.phrase, self.name, self.word, self.ui, self.number, self.date, self.code_line, self.maths, self.command, self.regex, lambda: self.path(), lambda: f"{self.word()} {r.choice(EMOJI)}", lambda: f'"{self.phrase()}" -{self.word()} site:{self.word().lower()}.org', lambda: f"{self.word()}'s {self.word()}", lambda: f"{self.word()} OR {self.word()} AND NOT {self.word()}", lambda: f"{self.word()} (#{r.randint(1, 9999)})", lambda: self.sql()[:100] if r.random() < 0.2 else self.phrase(), self.email])()[:200]

    def query(self):
        """What goes into a search field."""
        return self.rng.choice([self.phrase, self.phrase, self.phrase, self.word, self.name, self.short])()

    def long(self):
        return self.rng.choice([self.prose, self.prose, self.markdown, self.markdown, self.code, lambda: f"{self.prose()}\n\n{self.code()}\n\n{self.prose()}", self.sql, lambda: "\n\n".join(self.prose() for _ in range(3)), lambda: f"$ {self.command()}\n{self.man()}"])()

    def jwt(self):
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
        return f"{part({'alg': self.rng.choice(('RS256', 'HS256')), 'typ': 'JWT', 'kid': self.token(8)})}.{part({'sub': self.uuid(), 'name': self.name(), 'iat': self.rng.randint(1600000000, 1800000000), 'roles': [self.word()]})}.{self.token(43)}"

    def json(self, depth=0):
        r = self.rng
        if depth < 3 and r.random() < 0.6:
            return {self.rng.choice([self.word().lower(), self.token(5), "id", "name", "value", "type", "$type", "@id"]): self.json(depth + 1) for _ in range(r.randint(1, 5))} if r.random() < 0.7 else [self.json(depth + 1) for _ in range(r.randint(0, 4))]
        return r.choice([self.short, self.short, lambda: r.randint(-9, 99999), lambda: r.choice((True, False, None)), self.uuid, self.date, self.url, lambda: self.long()[:500]])()

    def file(self):
        """(name, type, bytes): something that lies on this machine, as people upload it."""
        r = self.rng
        kind, mime = r.choice([("python", "text/x-python"), ("markdown", "text/markdown"), ("html", "text/html"), ("xml", "image/svg+xml"), ("css", "text/css"), ("config", "text/plain"), ("picture", ""), ("picture", ""), ("picture", ""), ("sql", "application/sql"), ("csv", "text/csv"), ("json", "application/json")])
        if kind == "csv":
            return f"{self.phrase(1, 3)}.csv", mime, "\r\n".join(";".join((self.name(), self.email(), self.date(), f'"{self.phrase()}"', self.number())) for _ in range(r.randint(2, 20))).encode()
        if kind == "json":
            return f"{self.word()}.json", mime, json.dumps(self.json()).encode()
        if kind == "picture":
            path = Path(r.choice(self.pictures()))
            return r.choice([path.name, f"{self.phrase(1, 3)}{path.suffix}", f"IMG_{r.randint(1000, 9999)}{path.suffix.upper()}"]), {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".pdf": "application/pdf"}.get(path.suffix, "application/octet-stream"), path.read_bytes()
        path = Path(r.choice(self.shelves[kind].files or ["/etc/motd"]))
        return r.choice([path.name, f"{self.phrase(1, 3)}{path.suffix}".replace("/", " ")]), mime, self.shelves[kind].text().encode()[:20_000]

    def pictures(self):
        if not hasattr(self, "_pictures"):
            found = sorted(path for kind in ("png", "gif", "jpg", "pdf", "woff2") for path in listed(f"/usr/share/**/*.{kind}") if os.path.getsize(path) < 30_000)
            self._pictures = self.rng.sample(found, min(400, len(found)))
        return self._pictures or ["/etc/motd"]
