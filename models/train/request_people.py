"""Enters: the name of an application that listens on the loopback. Leaves: honest requests to it: a person in Chromium,
scripted, and programs. What they write is generated prose of many kinds, and pieces of real code and documentation that
lie on this machine, as people paste them. It must never send what is meant as an attack.
"""

import http.client
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import recipes
from request_apps import PASSWORD, USER

DRIVER = 18090
BROWSER_S, PROGRAM_S = 60, 15
# What people paste: Debian's documentation, Python's own modules, scripts, pages, styles.
PIECES = [("/usr/lib/python3*", "*.py"), ("/usr/share/doc", "*.md"), ("/usr/share/doc", "README*"), ("/usr/share/perl", "*.pm"), ("/usr/share/nodejs", "*.js"), ("/etc", "*.conf"), ("/usr/share/doc", "*.html"), ("/usr/share/vim", "*.txt")]
TITLES = "Team lunch|Release notes 2.4|How to join a group|Union Station|Select committee|O'Brien's bakery|C++ (language)|AT&T|Where to eat|Drop-in centre|Rock 'n' roll|Größe|Straße|Łódź|東京|Москва|Q&A|50% off|What's new?|A/B testing|E=mc²|.NET|Node.js|<br> tag|x = y|Table of contents|Alert levels".split("|")


def pieces(rng):
    """An endless supply of a few lines each."""
    files = []
    for root, pattern in PIECES:
        for folder in sorted(Path("/").glob(root.lstrip("/"))):
            found = sorted(path for path in folder.rglob(pattern) if path.is_file() and path.stat().st_size < 200_000)
            files.append(rng.sample(found, min(60, len(found))))
    files = [group for group in files if group]
    while True:
        try:
            lines = rng.choice(rng.choice(files)).read_text(errors="strict").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        at = rng.randrange(max(1, len(lines) - 12))
        text = "\n".join(lines[at : at + rng.randint(2, 12)]).strip()
        if text:
            yield text


class Words:
    """What a person types."""

    def __init__(self, rng):
        recipes.R = rng
        self.rng, self.code = rng, pieces(rng)

    def short(self):
        return self.rng.choice([lambda: self.rng.choice(recipes.SEARCHES), lambda: recipes.words(self.rng.randint(1, 4)), recipes.name, lambda: self.rng.choice(TITLES), lambda: next(self.code).splitlines()[0][:60]])()

    def long(self):
        return self.rng.choice([recipes.sentence, recipes.markdown, recipes.rich, lambda: " ".join(recipes.sentence() for _ in range(5)), lambda: next(self.code), lambda: f"{recipes.sentence()}\n\n<code>\n{next(self.code)}\n</code>\n\n{recipes.sentence()}"])()

    def title(self):
        return self.rng.choice(TITLES)


class Browser:
    """Chromium by the WebDriver protocol."""

    def __init__(self, port, work):
        self.base = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(["chromedriver", f"--port={DRIVER}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.session = ""
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={work}/chromium-{time.time_ns()}"]}
        for _ in range(50):
            try:
                made = self.ask("POST", "", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "pageLoadStrategy": "eager", "unhandledPromptBehavior": "accept"}}})
                self.session = f"/{made['sessionId']}"
                self.ask("POST", "/timeouts", {"script": 8000, "pageLoad": 15000})
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("chromedriver does not answer")

    def ask(self, method, path, value=None):
        body = json.dumps(value).encode() if value is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{DRIVER}/session{self.session}{path}", body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer)["value"]

    def go(self, path):
        self.ask("POST", "/url", {"url": self.base + path})

    def js(self, script, *args):
        return self.ask("POST", "/execute/async", {"script": f"const done = arguments[arguments.length - 1]; {script}", "args": list(args)})

    def fill(self, path, values, button=""):
        """Opens a page, fills in the form that has these fields and sends it."""
        self.go(path)
        self.js(
            """const values = arguments[0];
            const form = [...document.forms].find(f => Object.keys(values).every(name => f.elements[name]));
            if (form) { for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
                const by = arguments[1] && form.elements[arguments[1]];
                setTimeout(() => by ? (by.length ? by[0] : by).click() : form.requestSubmit(), 0); }
            setTimeout(() => done(!!form), 700);""",
            values, button,
        )

    def fetch(self, method, path, body=None, kind=None):
        """What a page's own script sends: JSON, a form, or a form with a file."""
        self.js(
            """const [method, path, body, kind] = arguments;
            let sent = body, headers = {};
            if (kind == "json") { sent = JSON.stringify(body); headers = {"Content-Type": "application/json"}; }
            if (kind == "form") sent = new URLSearchParams(body);
            if (kind == "file") { sent = new FormData(); for (const [name, value] of Object.entries(body))
                sent.append(name, name == "file" ? new File([value[1]], value[0]) : value, ...(name == "file" ? [value[0]] : [])); }
            fetch(path, {method, body: sent ?? undefined, headers}).then(r => r.text()).then(() => done(1), () => done(0));""",
            method, path, body, kind,
        )

    def close(self):
        self.driver.kill()
        self.driver.wait()


def q(value):
    return urllib.parse.quote(str(value))


def mediawiki(b, w, step):
    if step == 0:
        b.fill("/index.php?title=Special:UserLogin", {"wpName": USER, "wpPassword": PASSWORD})
    what = step % 8
    if what in (0, 1):
        b.fill(f"/index.php?title={q(w.title())}&action=edit", {"wpTextbox1": w.long(), "wpSummary": w.short()}, "wpSave")
    elif what == 2:
        b.go(f"/index.php?search={urllib.parse.quote_plus(w.short())}&title=Special:Search&go=Go")
    elif what == 3:
        b.fetch("POST", "/api.php", {"action": "parse", "format": "json", "text": w.long(), "contentmodel": "wikitext", "title": w.title()}, "form")
    elif what == 4:
        b.fetch("GET", f"/api.php?action=opensearch&format=json&formatversion=2&search={q(w.short())}&namespace=0&limit=10")
    elif what == 5:
        b.fill(f"/index.php?title={q(w.title())}&action=edit", {"wpTextbox1": w.long(), "wpSummary": w.short()}, "wpPreview")
    elif what == 6:
        b.go(f"/index.php?title={q(w.title())}&action=history")
    else:
        b.fetch("POST", "/api.php", {"action": "upload", "format": "json", "filename": f"{w.title()}.txt", "file": [f"{w.short()}.txt", w.long()], "comment": w.short()}, "file")


def dokuwiki(b, w, step):
    if step == 0:
        b.fill("/doku.php?id=start&do=login", {"u": USER, "p": PASSWORD})
    what, page = step % 6, w.title().lower().replace(" ", "_")
    if what in (0, 1):
        b.fill(f"/doku.php?id={q(page)}&do=edit", {"wikitext": w.long(), "summary": w.short()}, "do[save]")
    elif what == 2:
        b.go(f"/doku.php?do=search&id=start&q={urllib.parse.quote_plus(w.short())}")
    elif what == 3:
        b.fetch("POST", "/lib/exe/ajax.php", {"call": w.rng.choice(("qsearch", "suggestions", "linkwiz", "draftsave")), "q": w.short(), "id": page, "wikitext": w.long()}, "form")
    elif what == 4:
        b.fetch("POST", f"/lib/exe/ajax.php?tab_files=files&call=mediaupload&ns={q(page)}", {"mediaid": w.short(), "ow": "true", "file": [f"{w.short()}.txt", w.long()]}, "file")
    else:
        b.go(f"/doku.php?id={q(page)}&do={w.rng.choice(('revisions', 'backlink', 'index', 'diff', 'media', 'recent', 'admin'))}")


def django(b, w, step):
    if step == 0:
        b.fill("/admin/login/?next=/admin/", {"username": USER, "password": PASSWORD})
    what = step % 6
    if what == 0:
        b.fill("/admin/flatpages/flatpage/add/", {"url": f"/{q(w.title())}/{step}/", "title": w.short(), "content": w.long(), "sites": "1"}, "_save")
    elif what == 1:
        password = recipes.password()
        b.fill("/admin/auth/user/add/", {"username": recipes.name().replace(" ", ".") + str(step), "password1": password, "password2": password}, "_save")
    elif what == 2:
        b.go(f"/admin/auth/user/?q={urllib.parse.quote_plus(w.short())}&is_staff__exact=1&o=-2.1")
    elif what == 3:
        b.fill("/admin/auth/group/add/", {"name": w.short()}, "_addanother")
    elif what == 4:
        b.fill("/admin/redirects/redirect/add/", {"old_path": f"/{w.short()}", "new_path": recipes.url(), "site": "1"}, "_save")
    else:
        b.fill("/admin/auth/user/1/change/", {"first_name": w.rng.choice(recipes.FIRST), "last_name": w.rng.choice(recipes.LAST), "email": recipes.email()}, "_continue")


def datasette(b, w, step):
    what = step % 5
    if what == 0:
        b.go(f"/shop/product?_search={q(w.short())}&name__contains={q(w.short())}&_sort_desc=price")
    elif what == 1:
        b.go(f"/shop/product?price__gt={w.rng.randint(1, 99)}&maker__exact={q(recipes.name())}&_facet=maker&_next={step}")
    elif what == 2:
        b.go(f"/shop/product/{w.rng.randint(1, 300)}")
    elif what == 3:
        b.fetch("GET", f"/shop/product.json?name__startswith={q(w.short())}&_shape=objects&_size=20&_json=maker")
    else:
        b.go(f"/shop/product?_filter_column=maker&_filter_op=like&_filter_value={q('%' + recipes.name() + '%')}&_sort=id")


def jsonserver(b, w, step):
    if step == 0:
        b.go("/")
    what = step % 6
    if what == 0:
        b.fetch("POST", "/posts", {"title": w.short(), "body": w.long(), "tags": [w.short() for _ in range(3)], "author": {"name": recipes.name(), "email": recipes.email()}}, "json")
    elif what == 1:
        b.fetch("POST", "/comments", {"postId": step, "text": w.long(), "at": recipes.date(), "html": recipes.rich()}, "json")
    elif what == 2:
        b.fetch("PUT", "/profile", {"name": recipes.name(), "bio": w.long(), "site": recipes.url(), "address": recipes.address(), "settings": {"theme": "dark", "filter": w.short()}}, "json")
    elif what == 3:
        b.fetch("GET", f"/posts?q={q(w.short())}&_sort=title&_order=desc&_page={step}&title_like={q(w.short())}")
    elif what == 4:
        b.fetch("POST", "/orders", {"items": [{"sku": recipes.token(8), "qty": 1, "note": w.short()}], "payment": recipes.uuid(), "token": recipes.jwt(), "avatar": f"data:image/png;base64,{recipes.b64(300)}"}, "json")
    else:
        b.fetch("POST", "/events", w.rng.choice((recipes.event, recipes.graphql))(), "json")


def target(b, w, step):
    b.go(("/", "/item?id=1", "/search?q=lamp&category=2", "/view?template=plain&page=1", "/file?name=terms.txt", "/run?host=printer", "/go?url=/item?id=2", "/search?q=lamp", "/login", "/comment")[step % 10])


def programs(name, port, rng, words):
    """Programs that ask the same application: bots, mobile applications, crawlers, backup jobs."""
    agent = recipes.agent()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    head = {"User-Agent": agent, "Accept": "*/*"}
    path = {
        "mediawiki": lambda: ("GET", f"/api.php?action=query&list=search&srsearch={q(words.short())}&srlimit=20&format=json&continue=-%7C%7C", None),
        "dokuwiki": lambda: ("POST", "/lib/exe/xmlrpc.php", ("text/xml", f"<?xml version='1.0'?>\n<methodCall>\n<methodName>wiki.putPage</methodName>\n<params>\n<param><value><string>{recipes.words(1)}</string></value></param>\n<param><value><string>{words.long().replace('&', '&amp;').replace('<', '&lt;')}</string></value></param>\n</params>\n</methodCall>\n")),
        "django": lambda: ("GET", f"/admin/auth/user/autocomplete/?term={q(words.short())}&app_label=auth&model_name=user&field_name=groups", None),
        "datasette": lambda: ("GET", f"/shop/product.json?_size=max&_next={rng.randrange(300)}&name__like={q('%' + words.short() + '%')}", None),
        "jsonserver": lambda: (rng.choice(("POST", "PATCH")), "/posts/1" if rng.random() < 0.5 else "/posts", ("application/json", json.dumps({"title": words.short(), "body": words.long(), "n": rng.random()}, ensure_ascii=rng.random() < 0.5))),
        "target": lambda: ("GET", "/", None),
    }[name]
    method, url, body = path()
    if body:
        head["Content-Type"] = body[0]
    connection.request(method, url, body=body[1].encode() if body else None, headers=head)
    connection.getresponse().read()
    connection.close()


def use(name, port, rng, work):
    """A person for a while, then programs."""
    words = Words(rng)
    browser = Browser(port, work)
    step, end = 0, time.time() + (10 if name == "target" else BROWSER_S)
    try:
        while time.time() < end:
            try:
                globals()[name](browser, words, step)
            except (OSError, urllib.error.URLError):
                # A page that did not load in time is tried by nobody twice.
                pass
            step += 1
    finally:
        browser.close()
    end = time.time() + (2 if name == "target" else PROGRAM_S)
    while time.time() < end:
        try:
            programs(name, port, rng, words)
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        time.sleep(0.02)
