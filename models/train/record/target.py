"""Enters: a port of the loopback. Leaves: a site that is open to injections on purpose, so that attack tools go all the
way: it answers as a broken application would. It must run without rights, in a sandbox (see apps.py), and never listen
anywhere but on the loopback of a namespace without a way out: it does run what it is told to run.
"""

import html
import json
import re
import resource
import subprocess
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from target_data import DIALECTS, query

try:
    import jinja2
    from lxml import etree
except ImportError:
    jinja2 = etree = None

PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
FILES = [
    (re.compile(r"etc[/\\]+passwd|etc%2fpasswd", re.I), PASSWD),
    (re.compile(r"etc[/\\]+(shadow|group)", re.I), "root:*:19000:0:99999:7:::\n"),
    (re.compile(r"win\.ini", re.I), "; for 16-bit app support\n[fonts]\n[extensions]\n[mci extensions]\n"),
    (re.compile(r"boot\.ini", re.I), "[boot loader]\ntimeout=30\n[operating systems]\n"),
    (re.compile(r"etc[/\\]+services|system32[/\\]+drivers", re.I), "ftp 21/tcp\nssh 22/tcp\n# localhost name resolution is handled within DNS itself.\n"),
    (re.compile(r"base64-encode", re.I), "PD9waHAgJGRiID0gJ3Nob3AnOyA/Pg=="),
    (re.compile(r"web\.xml|WEB-INF", re.I), "<web-app><servlet></servlet></web-app>"),
]
BOOK, UPLOADS = [], {}
FORMS = [("login", "post", "user password"), ("comment", "post", "name text"), ("register", "post", "user mail password note"), ("contact", "get", "mail subject text")]
LINKS = """item?id=1 search?q=lamp&category=2 hello?name=Ann attribute?color=red script?who=Ann file?name=terms.txt include?page=home go?url=/item%3Fid%3D2
ping?addr=printer run?cmd=date view?template=plain&page=1 greet?name=Ann fetch?url=http://127.0.0.1/logo.png header?lang=en ldap?user=alice
xpath?user=alice nosql?user=alice&password=x eval?sum=1%2B1 book""".split()


def menu():
    links = "".join(f'<a href="/{link.replace("&", "&amp;")}">{link.split("?")[0]}</a>\n' for link in LINKS)
    links += "".join(f'<a href="/{dialect}/item?id=1">{dialect}</a> <a href="/{dialect}/search?q=a&amp;sort=name">search</a>\n' for dialect in DIALECTS)
    forms = ""
    for action, method, fields in FORMS:
        inputs = "".join(f'<textarea name="{name}"></textarea>' if name == "text" else f'<input name="{name}" value="a">' for name in fields.split())
        forms += f'<form action="/{action}" method="{method}">{inputs}<input type="submit"></form>\n'
    return links + forms + '<form action="/upload" method="post" enctype="multipart/form-data"><input type="file" name="file"><input name="title" value="a"><input type="submit"></form><form action="/xml" method="post"><input name="xml" value="&lt;a/&gt;"></form>'


def shell(command):
    """Really runs it: nobody, no network, a private /tmp, three seconds."""
    try:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=6, cwd="/tmp", stdin=subprocess.DEVNULL, check=False)
    except (subprocess.TimeoutExpired, OSError, ValueError):
        return ""
    return (done.stdout + done.stderr).decode("utf-8", "replace")[:4000]


def read_file(name):
    for pattern, text in FILES:
        if pattern.search(urllib.parse.unquote(name)):
            return text
    return f"<b>Warning</b>: include({name}): failed to open stream: No such file or directory in <b>/var/www/html/index.php</b> on line 3"


def xml_answer(body):
    if etree is None:
        return PASSWD if "etc/passwd" in body else body
    try:
        parser = etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=True)
        return "".join(etree.fromstring(body.encode(), parser).itertext())[:4000]
    except (etree.XMLSyntaxError, ValueError) as error:
        return f"Warning: simplexml_load_string(): {error}"


def render(text):
    if jinja2 is None:
        return text
    try:
        return jinja2.Environment().from_string(f"Hello {text}").render(config={"SECRET_KEY": "lab"}, request={})[:4000]
    except Exception as error:
        return f"jinja2.exceptions.{type(error).__name__}: {error}"


def unbalanced(text, message):
    return message if text.count("(") != text.count(")") or re.search(r"['\"*&|]", text) else f"<p>{html.escape(text)} found</p>"


def calculate(text):
    return shell("php -r " + "'" + "echo " + text.replace("'", "'\\''")[:400] + ";'")


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Apache/2.4.41", "(Ubuntu) PHP/7.2.1"

    def log_message(self, *_):
        pass

    def answer(self, status, text, headers=()):
        body = f"<html><head><title>Shop</title></head><body><h1>Shop</h1>{text}</body></html>".encode("utf-8", "replace")
        head = f"HTTP/1.1 {status} OK\r\nServer: Apache/2.4.41 (Ubuntu)\r\nX-Powered-By: PHP/7.2.1\r\nSet-Cookie: track=abc\r\n"
        # As they come, with their line ends: that is the hole.
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        head += f"Content-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode("latin-1", "replace") + (b"" if self.command == "HEAD" else body))

    def values(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", "replace") if length else ""
        url = urllib.parse.urlsplit(self.path)
        values = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        kind = self.headers.get("Content-Type") or ""
        if "json" in kind or body.lstrip().startswith("{"):
            try:
                values |= {key: str(value) for key, value in json.loads(body).items()}
            except (ValueError, AttributeError):
                pass
        elif "multipart" in kind:
            for part in re.findall(r'name="([^"]*)"(?:; filename="([^"]*)")?[^\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n--', body, re.S):
                values[part[0]] = part[2]
                if part[1]:
                    UPLOADS[part[1]] = part[2]
        else:
            values |= dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        return url.path, values, body

    def do_GET(self):
        try:
            self.serve(*self.values())
        except (ValueError, TypeError, OSError) as error:
            self.answer(500, f"Fatal error: {html.escape(str(error))}")

    def serve(self, path, values, body):
        head, _, rest = path.strip("/").partition("/")
        value = next(iter(values.values()), "")
        if head in DIALECTS:
            return self.sql(head, rest, values)
        pages = {
            "": lambda: menu(),
            "hello": lambda: f"<p>Hello {value}</p>", "attribute": lambda: f"<input value=\"{value}\"><a href='{value}'>x</a>",
            "script": lambda: f"<script>var who = '{value}';</script>", "comment": lambda: BOOK.append(f"<p>{values}</p>") or "thank you",
            "register": lambda: f"<p>{values.get('user', '')} {values.get('mail', '')}</p>", "contact": lambda: f"<p>{values.get('subject', '')}</p>",
            "book": lambda: "".join(BOOK[-20:]), "file": lambda: read_file(value), "include": lambda: read_file(value), "view": lambda: read_file(values.get("template", "")),
            "ping": lambda: f"<pre>{shell('echo PING ' + values.get('addr', ''))}</pre>", "run": lambda: f"<pre>{shell(value)}</pre>",
            "quoted": lambda: f"<pre>{shell('echo ' + chr(34) + value + chr(34))}</pre>", "blind": lambda: shell("echo " + value) and "done",
            "greet": lambda: render(value), "fetch": lambda: read_file(value) if "file:" in value else f"fopen({value}): failed to open stream: Connection refused",
            "ldap": lambda: unbalanced(value, "Warning: ldap_search(): Search: Bad search filter (-7) supplied argument is not a valid ldap"),
            "xpath": lambda: unbalanced(value, "Warning: SimpleXMLElement::xpath(): Invalid expression xmlXPathEval: evaluation failed"),
            "nosql": lambda: "welcome alice, bob, carol" if "[$" in str(values) or "$" in body else unbalanced(value, "MongoError: SyntaxError: unterminated string literal"),
            "eval": lambda: calculate(value), "xml": lambda: xml_answer(values.get("xml", body)), "upload": lambda: "".join(f'<a href="/files/{name}">{name}</a>' for name in UPLOADS),
            "header": lambda: "ok", "agent": lambda: f"<p>{self.headers.get('User-Agent')}</p><p>{self.headers.get('Referer')}</p>",
        }
        if head == "go":
            return self.answer(302, "", [("Location", value)])
        if head == "header":
            return self.answer(200, "ok", [("Content-Language", value)])
        if head == "files" and rest in UPLOADS:
            return self.answer(200, UPLOADS[rest])
        if head in ("login", "search", "item", "api"):
            return self.sql("sqlite", path.strip("/"), values)
        if self.command in ("PUT", "PROPFIND", "OPTIONS"):
            return self.answer(201, "", [("Allow", "GET, POST, PUT, DELETE, PROPFIND, OPTIONS"), ("DAV", "1,2")])
        if head in pages:
            return self.answer(200, pages[head]())
        if values or body:
            return self.anything(path, values, body)
        self.answer(404, f"not found: {urllib.parse.unquote(path)}")

    def anything(self, path, values, body):
        """A page of any application: what it is given stands in a statement and in the answer."""
        dialect = DIALECTS[len(path) % len(DIALECTS)]
        given = [*values.values(), *([body] if not values else [])]
        for value in given[:12]:
            number = value if re.match(r"-?\d+", value) else f"'{value}'"
            rows, error = query(dialect, f"select name, price from item where id = {number} or name = {number} limit 3")
            if error:
                return self.answer(500, error)
        self.answer(200, "".join(f"<p>{value}</p>" for value in given)[:8000])

    def sql(self, dialect, page, values):
        cookie = urllib.parse.unquote((self.headers.get("Cookie") or "").partition("track=")[2].split(";")[0])
        page = page.removeprefix("api/")
        if page == "item":
            rows, error = query(dialect, f"select name, price from item where id = {values.get('id', 0)}")
        elif page == "search":
            rows, error = query(dialect, f"select name, price from item where name like '%{values.get('q', '')}%' order by {values.get('sort', 'name')}")
        elif page == "login":
            rows, error = query(dialect, f"select name from account where name = '{values.get('user', '')}' and password = '{values.get('password', '')}'")
        elif page == "deep":
            rows, error = query(dialect, f"select name, price from item where (id in (select max(id) from item where name = (\"{values.get('q', '')}\")))")
        elif page == "track":
            seen = [cookie, self.headers.get("User-Agent", ""), self.headers.get("Referer", ""), self.headers.get("X-Forwarded-For", "")]
            rows, error = query(dialect, f"select name from item where name in ('{seen[0]}', '{seen[1]}', '{seen[2]}', '{seen[3]}', 'lamp 1')")
        else:
            rows, error = [], ""
        self.answer(500 if error else 200, error or f"<h2>{values.get('q', '')}</h2>" + "".join(f"<p>{row}</p>" for row in rows))

    do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = do_PROPFIND = do_TRACE = do_GET


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Site).serve_forever()
