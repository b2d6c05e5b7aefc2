"""Enters: a lane to an application. Leaves: what a visitor sends there: pages, what pages load, forms that are filled in with
typed text, and what a page's script would send. Headers are those of browsers, in their order. It must never send
what is meant as an attack, and never log out or delete.
"""

import base64
import http.client
import json
import re
import urllib.parse
import zlib

from lxml import html

from forms import encode, fill

LEAVE = re.compile(r"log-?out|sign-?out|delete|drop|uninstall|remove|destroy|trash|deactivate|shutdown|truncate|purge|switch_themes|plugins\.php\?action", re.I)
LANGUAGES = ["en-US,en;q=0.9", "en-GB,en;q=0.5", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "fr-FR,fr;q=0.8,en-US;q=0.5,en;q=0.3", "pl,en-US;q=0.7,en;q=0.3", "ja,en-US;q=0.9,en;q=0.8", "zh-CN,zh;q=0.9", "pt-BR,pt;q=0.9,en;q=0.5", "ru-RU,ru;q=0.9", "es-ES,es;q=0.9"]
PAGE_BYTES_MAX = 600_000
# What stands in a path as it is; everything else is escaped, as browsers do.
ASCII = "".join(chr(n) for n in range(33, 127) if chr(n) not in '"<>`')


def unpacked(raw, coding):
    """A body without its gzip; one that was cut off as far as it goes."""
    return zlib.decompressobj(47).decompress(raw) if coding == "gzip" and raw else raw


class Profile:
    """A browser: what it calls itself and which headers it sends in which order."""

    def __init__(self, rng):
        self.rng, self.version = rng, rng.randint(109, 152)
        self.family = rng.choice(["chrome", "chrome", "chrome", "edge", "firefox", "firefox", "safari", "android", "iphone"])
        self.language = rng.choice(LANGUAGES)
        v = self.version
        mac = "Macintosh; Intel Mac OS X 10_15_7"
        self.platform = {"android": "Android", "iphone": "iOS", "safari": "macOS"}.get(self.family) or rng.choice(["Windows", "Windows", "macOS", "Linux"])
        system = {"Windows": "Windows NT 10.0; Win64; x64", "macOS": mac, "Linux": "X11; Linux x86_64", "Android": "Linux; Android 10; K", "iOS": "iPhone; CPU iPhone OS 17_5 like Mac OS X"}[self.platform]
        chrome = f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 {'Mobile ' if self.family == 'android' else ''}Safari/537.36"
        self.agent = {"chrome": chrome, "android": chrome, "edge": f"{chrome} Edg/{v}.0.0.0", "firefox": f"Mozilla/5.0 ({system.replace('_', '.')}; rv:{v}.0) Gecko/20100101 Firefox/{v}.0", "safari": f"Mozilla/5.0 ({mac}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{rng.randint(15, 18)}.{rng.randint(0, 6)} Safari/605.1.15", "iphone": f"Mozilla/5.0 ({system}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"}[self.family]
        brand = "Microsoft Edge" if self.family == "edge" else "Google Chrome"
        self.brands = rng.choice([f'"{brand}";v="{v}", "Chromium";v="{v}", "Not_A Brand";v="24"', f'"Not/A)Brand";v="8", "Chromium";v="{v}", "{brand}";v="{v}"', f'"Chromium";v="{v}", "Not;A=Brand";v="99"'])
        self.private = rng.random() < 0.2

    def headers(self, dest, site, referer, cookie, kind, extra, origin):
        """Of one request. `dest` is what Sec-Fetch-Dest says: document, style, script, image, empty."""
        chromium = self.family in ("chrome", "edge", "android")
        accept = {"document": "text/html,application/xhtml+xml,application/xml;q=0.9," + ("image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7" if chromium else "*/*;q=0.8"), "style": "text/css,*/*;q=0.1", "image": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8" if chromium else "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"}.get(dest, "*/*")
        mode = {"document": "navigate", "empty": "cors"}.get(dest, "no-cors")
        fetch = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), *([("Sec-Fetch-User", "?1")] if dest == "document" else []), ("Sec-Fetch-Dest", dest)]
        hints = [("sec-ch-ua", self.brands), ("sec-ch-ua-mobile", "?1" if self.family == "android" else "?0"), ("sec-ch-ua-platform", f'"{self.platform}"')]
        upgrade = [("Upgrade-Insecure-Requests", "1")] if dest == "document" else []
        sent = [("Content-Type", kind)] if kind else []
        sent += [("Origin", origin)] if kind else []
        link = [("Referer", referer)] if referer else []
        jar = [("Cookie", cookie)] if cookie else []
        if chromium:
            out = [*hints, *upgrade, *sent, ("User-Agent", self.agent), ("Accept", accept), *extra, *fetch, *link, ("Accept-Encoding", "gzip, deflate"), ("Accept-Language", self.language), *jar]
        else:
            out = [("User-Agent", self.agent), ("Accept", accept), ("Accept-Language", self.language), ("Accept-Encoding", "gzip, deflate"), *extra, *sent, *link, *([("DNT", "1")] if self.private else []), *jar, *upgrade, *fetch, *([("Priority", "u=0, i")] if self.version > 128 else [])]
        seen = {}
        for name, value in out:
            seen[name.lower()] = (name, value)
        return list(seen.values())


class Person:
    """One visitor with a browser, cookies and a place."""

    def __init__(self, port, words):
        self.port, self.words, self.rng = port, words, words.rng
        self.profile = Profile(self.rng)
        self.cookies, self.place, self.page, self.status = {}, None, None, 0
        self.text, self.reply_headers = "", {}
        for _ in range(self.rng.choice([0, 1, 2, 3, 5])):
            name, value = self.tracker()
            self.cookies[name] = value
        self.loaded = set()

    def tracker(self):
        """What analytics, consent banners and shops leave with a visitor."""
        r, w = self.rng, self.words
        quote = urllib.parse.quote
        return r.choice([
            lambda: ("_ga", f"GA1.1.{r.randint(10**8, 2 * 10**9)}.{r.randint(16 * 10**8, 18 * 10**8)}"), lambda: (f"_ga_{w.token(10).upper()}", f"GS1.1.{r.randint(16 * 10**8, 18 * 10**8)}.{r.randint(1, 30)}.1.{r.randint(16 * 10**8, 18 * 10**8)}.0.0.0"), lambda: ("_fbp", f"fb.1.{r.randint(16 * 10**11, 18 * 10**11)}.{r.randint(10**8, 10**9)}"), lambda: ("_gcl_au", f"1.1.{r.randint(10**8, 10**9)}.{r.randint(16 * 10**8, 18 * 10**8)}"),
            lambda: ("OptanonConsent", f"isGpcEnabled=0&datestamp={quote(f'Sat Nov 21 2026 10:{r.randint(10, 59)}:12 GMT+0100 (Central European Standard Time)')}&version=202405.1.0&browserGpcFlag=0&isIABGlobal=false&consentId={w.uuid()}&interactionCount=1&landingPath=NotLandingPage&groups=C0001%3A1%2CC0003%3A{r.randint(0, 1)}%2CC0002%3A0"), lambda: ("CookieConsent", "{stamp:%27" + quote(base64.b64encode(r.randbytes(24)).decode()) + "%27%2Cnecessary:true%2Cpreferences:false%2Cstatistics:true%2Cmarketing:false%2Cmethod:%27explicit%27%2Cver:1%2Cutc:1731000000000%2Cregion:%27de%27}"),
            lambda: ("prefs", quote(json.dumps({"theme": "dark", "tz": "Europe/Berlin", "last": w.query(), "n": r.randint(1, 99)}, ensure_ascii=False))), lambda: ("prefs", json.dumps({"layout": "grid", "ids": [r.randint(1, 99) for _ in range(3)]}, separators=(",", ":"))), lambda: ("token", w.jwt()), lambda: ("state", base64.b64encode(json.dumps({"r": "/" + w.word(), "q": w.phrase()}).encode()).decode()), lambda: ("recent_search", quote(w.query())), lambda: ("recent_search", urllib.parse.quote_plus(w.query())),
            lambda: ("connect.sid", f"s%3A{w.token(32)}.{quote(base64.b64encode(r.randbytes(32)).decode(), safe='')}"), lambda: ("cart", f"{r.randint(1, 999)}:{r.randint(1, 5)}|{r.randint(1, 999)}:1"), lambda: ("_pk_id.1.dc78", f"{w.token(16, '0123456789abcdef')}.{r.randint(16 * 10**8, 18 * 10**8)}."), lambda: ("_pk_ref.1.dc78", quote(json.dumps(["", "", 1731000000, w.url()]))), lambda: ("euconsent-v2", f"CP{w.token(200)}.{w.token(8)}"), lambda: ("_hjSessionUser_" + str(r.randint(10**5, 10**7)), base64.b64encode(json.dumps({"id": w.uuid(), "created": 1731000000000, "existing": True}).encode()).decode()), lambda: ("user_name", quote(w.name())), lambda: ("tz", "America%2FNew_York"), lambda: ("mp_" + w.token(32, "0123456789abcdef") + "_mixpanel", quote(json.dumps({"distinct_id": w.uuid(), "$device_id": w.uuid(), "$initial_referrer": "$direct", "$search_engine": "google"}))), lambda: ("ajs_anonymous_id", f"%22{w.uuid()}%22"),
        ])()

    def came_from(self):
        r, w = self.rng, self.words
        q = urllib.parse.quote_plus(w.query())
        return r.choice(["https://www.google.com/", f"https://www.bing.com/search?q={q}&form=QBLH", f"https://duckduckgo.com/?q={q}&ia=web", f"https://search.example/search?q={q}&hl=de&ei={w.token(20)}", f"https://www.ecosia.org/search?method=index&q={q}", "https://t.co/" + w.token(10), f"android-app://com.google.android.gm/", w.url(), f"https://mail.example.com/?redirect={urllib.parse.quote(w.url(), safe='')}"])

    def send(self, method, path, body=None, kind=None, dest="document", extra=(), headers=None, site="same-origin"):
        """One request; the answer stands in status, text and reply_headers."""
        base = f"http://127.0.0.1:{self.port}"
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        referer = base + self.place if self.place else self.came_from() if self.rng.random() < 0.4 else None
        if headers is None:
            headers = self.profile.headers(dest, site if self.place else self.rng.choice(("none", "cross-site")), referer, jar, kind, list(extra), base)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, urllib.parse.quote(path, safe=ASCII), skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value.encode("utf-8") if isinstance(value, str) else value)
            if body is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            answer = connection.getresponse()
            raw = unpacked(answer.read(PAGE_BYTES_MAX), answer.headers.get("Content-Encoding"))
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name.strip()] = value.strip()
        self.status, self.reply_headers = answer.status, answer.headers
        self.text = raw.decode("utf-8", "replace") if "text" in (answer.headers.get("Content-Type") or "") or "json" in (answer.headers.get("Content-Type") or "") or "xml" in (answer.headers.get("Content-Type") or "") else ""
        return self.text

    def go(self, path, **more):
        """Opens a page and follows where it leads."""
        for _ in range(4):
            self.send("GET", path, **more)
            if self.status not in (301, 302, 303, 307, 308):
                break
            path = self.local(self.reply_headers.get("Location", "/"), path)
            if path is None:
                return False
        self.arrive(path)
        return True

    def arrive(self, path):
        self.place = path.split("#")[0]
        kind = self.reply_headers.get("Content-Type") or ""
        self.page = None
        if "html" in kind and self.text:
            try:
                self.page = html.fromstring(self.text.encode(), parser=html.HTMLParser(encoding="utf-8"))
            except (ValueError, html.etree.ParserError):
                pass

    def local(self, link, base=None):
        """The path of a link of this site, or nothing."""
        whole = urllib.parse.urljoin(f"http://127.0.0.1:{self.port}{base or self.place or '/'}", link)
        parts = urllib.parse.urlsplit(whole)
        if parts.scheme not in ("http", "https") or parts.hostname not in ("127.0.0.1", "localhost") or LEAVE.search(whole):
            return None
        return urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{urllib.parse.quote(parts.query, safe='/%:@!$&()*+,;=~?[]|')}" if parts.query else "")

    def load_parts(self, most=3):
        """What the page needs: styles, scripts, pictures; each once."""
        if self.page is None:
            return
        found = [("style", link) for link in self.page.xpath("//link[@rel='stylesheet']/@href")] + [("script", link) for link in self.page.xpath("//script/@src")] + [("image", link) for link in self.page.xpath("//img/@src")]
        for dest, link in self.rng.sample(found, min(most, len(found))):
            path = self.local(link)
            if path and path not in self.loaded:
                self.loaded.add(path)
                self.send("GET", path, dest=dest)

    def links(self):
        if self.page is None:
            return []
        return [path for path in (self.local(link) for link in self.page.xpath("//a/@href")) if path]

    def forms(self):
        if self.page is None:
            return []
        return [form for form in self.page.xpath("//form") if not LEAVE.search((form.get("action") or "") + (form.get("id") or "") + (form.get("class") or ""))]

    def submit(self, form, given=None, **more):
        """Fills a form in and sends it."""
        values, files, button = fill(form, self.words, given or {})
        action = self.local(form.get("action") or self.place or "/")
        if action is None:
            return False
        if (form.get("method") or "get").lower() != "post":
            query = urllib.parse.urlencode(values)
            return self.go(action.split("?")[0] + "?" + query)
        kind, body = encode(values, files, form.get("enctype") or "", self.rng, self.profile.family)
        self.send("POST", action, body, kind, **more)
        if self.status in (301, 302, 303):
            path = self.local(self.reply_headers.get("Location", "/"), action)
            return self.go(path) if path else False
        self.arrive(action)
        return True

    def ajax(self, method, path, value=None, kind="json", extra=()):
        """What a page's own script sends."""
        body, mime = None, None
        if kind == "json" and value is not None:
            body, mime = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"), "application/json"
        elif kind == "form":
            mime, body = encode(list(value.items()), [], "", self.rng, self.profile.family)
            mime += "; charset=UTF-8"
        elif kind == "file":
            files = [(name, part) for name, part in value.items() if isinstance(part, tuple)]
            mime, body = encode([(name, part) for name, part in value.items() if not isinstance(part, tuple)], files, "multipart", self.rng, self.profile.family)
        elif value is not None:
            body, mime = value if isinstance(value, bytes) else value.encode("utf-8", "replace"), kind
        extra = [*extra, *([("X-Requested-With", "XMLHttpRequest")] if self.rng.random() < 0.5 else [])]
        return self.send(method, path, body, mime, dest="empty", extra=extra)
