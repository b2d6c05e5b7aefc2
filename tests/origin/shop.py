"""The lab's origin: a small web shop behind nginx, Python's standard library alone.

Enters: requests from nginx on a loopback port. Leaves: pages, a login with real failures, a search over SQLite, uploads and a
JSON API. It must never be reachable from anything but the lab: `category` of /search is put into the SQL text as it comes, on
purpose, so that sqlmap has something to find.
"""

import argparse
import hashlib
import html
import http.server
import json
import secrets
import socketserver
import sqlite3
import threading
import urllib.parse

ACCOUNTS = {"ada": "correct horse", "grace": "battery staple", "linus": "penguin-1991"}
UPLOAD_BYTES_MAX = 4 * 1024 * 1024
SESSIONS_MAX = 10_000

PRODUCTS = [
    ("Brass desk lamp", "lighting", 4900), ("Paper lantern", "lighting", 1200), ("Bicycle light set", "lighting", 2300),
    ("O'Brien's field notes", "books", 1800), ("SQL for shopkeepers: SELECT well", "books", 3100),
    ("The union of two rivers", "books", 1500), ("Script & <style> of handwriting", "books", 2700),
    ("Oak stool", "furniture", 8900), ("Drop-leaf table", "furniture", 24900), ("Etc. shelf, 80 cm", "furniture", 6400),
]
CATEGORIES = ["lighting", "books", "furniture"]


def make_database(path):
    """Fills the database anew; each run starts from the same rows."""
    with sqlite3.connect(path) as db:
        db.executescript(
            "DROP TABLE IF EXISTS products; DROP TABLE IF EXISTS accounts;"
            "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category INTEGER, cents INTEGER);"
            "CREATE TABLE accounts (name TEXT PRIMARY KEY, digest TEXT);"
        )
        for number, (name, category, cents) in enumerate(PRODUCTS, start=1):
            db.execute("INSERT INTO products VALUES (?, ?, ?, ?)", (number, name, CATEGORIES.index(category) + 1, cents))
        for name, password in ACCOUNTS.items():
            db.execute("INSERT INTO accounts VALUES (?, ?)", (name, hashlib.sha256(password.encode()).hexdigest()))


def page(title, body):
    """One HTML page in the shop's frame."""
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{html.escape(title)}</title>"
        "<link rel=stylesheet href=/static/shop.css><script defer src=/static/shop.js></script></head><body>"
        "<nav><a href=/>Shop</a> <a href='/search?q=lamp&category=1'>Lamps</a> <a href='/search?q=&category=2'>Books</a> "
        "<a href=/static/about.html>About</a> <a href=/login>Log in</a> <a href=/upload>Upload</a></nav>"
        f"<h1>{html.escape(title)}</h1>{body}</body></html>"
    ).encode()


class Shop(http.server.BaseHTTPRequestHandler):
    """One connection from nginx."""

    protocol_version = "HTTP/1.1"
    server_version = "ExampleShop/1.0"
    database = ""
    sessions = {}
    sessions_lock = threading.Lock()

    def log_message(self, *_):
        """nginx keeps the access log."""

    def answer(self, status, body, content_type="text/html; charset=utf-8", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Powered-By", "ExampleShop")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, status, value):
        self.answer(status, json.dumps(value).encode(), "application/json")

    def query(self, sql, arguments=()):
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=2) as db:
            return db.execute(sql, arguments).fetchall()

    def user(self):
        for part in self.headers.get("Cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == "session":
                return self.sessions.get(value)
        return None

    def do_GET(self):
        try:
            url = urllib.parse.urlsplit(self.path)
        except ValueError:
            return self.answer(400, page("Bad request", "<p>That is no address.</p>"))
        arguments = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        routes = {"/": self.front, "/search": self.search, "/login": self.login_form, "/account": self.account,
                  "/upload": self.upload_form, "/api/products": self.api_products}
        if url.path in routes:
            routes[url.path](arguments)
        elif url.path.startswith("/api/products/") and url.path.rpartition("/")[2].isdigit():
            self.api_product(int(url.path.rpartition("/")[2][:9]))
        elif url.path.startswith("/products/") and url.path.rpartition("/")[2].isdigit():
            self.product(int(url.path.rpartition("/")[2][:9]))
        else:
            self.answer(404, page("Not found", "<p>There is no such page.</p>"))

    do_HEAD = do_GET

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > UPLOAD_BYTES_MAX:
            self.close_connection = True
            return self.answer(413, b"too large", "text/plain")
        body = self.rfile.read(int(length))
        if self.path == "/login":
            self.log_in(dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))
        elif self.path == "/api/login":
            self.api_log_in(body)
        elif self.path == "/upload":
            digest = hashlib.sha256(body).hexdigest()
            self.answer(201, page("Thank you", f"<p>{len(body)} bytes, sha256 {digest}</p>"))
        elif self.path == "/api/orders":
            self.api_order(body)
        else:
            self.answer(404, page("Not found", "<p>There is no such page.</p>"))

    def front(self, _):
        rows = self.query("SELECT id, name FROM products ORDER BY id")
        items = "".join(f"<li><a href=/products/{number}>{html.escape(name)}</a></li>" for number, name in rows)
        self.answer(200, page("Example shop", f"<ul>{items}</ul><p id=count></p>"))

    def product(self, number):
        rows = self.query("SELECT name, cents FROM products WHERE id = ?", (number,))
        if not rows:
            return self.answer(404, page("Not found", "<p>There is no such product.</p>"))
        name, cents = rows[0]
        self.answer(200, page(name, f"<p>{cents / 100:.2f}</p>"))

    def search(self, arguments):
        pattern = f"%{arguments.get('q', '')}%"
        # The hole: `category` goes into the SQL text unchecked. `q` is bound as it should be.
        sql = f"SELECT id, name, cents FROM products WHERE category = {arguments.get('category', 'category')} AND name LIKE ?"
        try:
            rows = self.query(sql, (pattern,))
        except (sqlite3.Error, sqlite3.Warning) as error:
            return self.answer(500, page("Error", f"<p>sqlite3.OperationalError: {html.escape(str(error))}</p>"))
        items = "".join(f"<tr><td>{number}<td>{html.escape(str(name))}<td>{cents}" for number, name, cents in rows)
        form = ("<form action=/search><input name=q id=q><select name=category>"
                "<option value=1>lighting<option value=2>books<option value=3>furniture</select><button>Search</button></form>")
        self.answer(200, page("Search", f"{form}<table>{items}</table><p id=found>{len(rows)} found</p>"))

    def login_form(self, _):
        self.answer(200, page("Log in", "<form method=post action=/login><input name=username id=username>"
                                        "<input name=password id=password type=password><button id=go>Log in</button></form>"))

    def knows(self, name, password):
        digest = hashlib.sha256(password.encode("utf-8", "replace")).hexdigest()
        return bool(self.query("SELECT 1 FROM accounts WHERE name = ? AND digest = ?", (name, digest)))

    def log_in(self, form):
        name = form.get("username", "")
        if not self.knows(name, form.get("password", "")):
            # 200, as most form logins answer a failure; the API says 401.
            return self.answer(200, page("Log in", "<p id=failed>Wrong name or password.</p>"))
        token = secrets.token_urlsafe(24)
        with self.sessions_lock:
            while len(self.sessions) >= SESSIONS_MAX:
                self.sessions.pop(next(iter(self.sessions)))
            self.sessions[token] = name
        self.answer(303, b"", headers=[("Location", "/account"), ("Set-Cookie", f"session={token}; Path=/")])

    def account(self, _):
        name = self.user()
        if name is None:
            return self.answer(303, b"", headers=[("Location", "/login")])
        self.answer(200, page("Your account", f"<p id=name>{html.escape(name)}</p>"))

    def upload_form(self, _):
        self.answer(200, page("Upload", "<form method=post action=/upload enctype=multipart/form-data>"
                                        "<input type=file name=file id=file><button id=send>Send</button></form>"))

    def api_products(self, _):
        rows = self.query("SELECT id, name, cents FROM products ORDER BY id")
        self.answer_json(200, [{"id": number, "name": name, "cents": cents} for number, name, cents in rows])

    def api_product(self, number):
        rows = self.query("SELECT name, cents FROM products WHERE id = ?", (number,))
        if not rows:
            return self.answer_json(404, {"error": "no such product"})
        self.answer_json(200, {"id": number, "name": rows[0][0], "cents": rows[0][1]})

    def api_log_in(self, body):
        try:
            form = json.loads(body)
            known = self.knows(str(form["username"]), str(form["password"]))
        except (ValueError, KeyError, TypeError):
            return self.answer_json(400, {"error": "username and password are needed"})
        self.answer_json(200 if known else 401, {"ok": known})

    def api_order(self, body):
        try:
            order = json.loads(body)
            lines = [(int(line["id"]), int(line["count"])) for line in order["lines"]]
        except (ValueError, KeyError, TypeError):
            return self.answer_json(400, {"error": "lines of id and count are needed"})
        self.answer_json(201, {"lines": len(lines), "note": str(order.get("note", ""))[:200]})


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One thread for each of nginx's kept connections."""

    daemon_threads = True
    request_queue_size = 256


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    make_database(options.database)
    Shop.database = options.database
    Server(("127.0.0.1", options.port), Shop).serve_forever()


if __name__ == "__main__":
    main()
