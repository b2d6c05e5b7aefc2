"""Enters: a port of the loopback. Leaves: a small shop that is open to injections on purpose, so that attack tools go all
the way. It must never listen anywhere but on the loopback of a namespace without a way out.
"""

import contextlib
import html
import json
import resource
import sqlite3
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<html><head><title>Shop</title></head><body><h1>Shop</h1>
<a href="/item?id=1">one</a> <a href="/search?q=lamp&category=2">lamps</a> <a href="/file?name=terms.txt">terms</a>
<a href="/go?url=/item?id=2">go</a> <a href="/run?host=printer">ping</a> <a href="/view?template=plain&page=1">view</a>
<form action="/login" method="post"><input name="user"><input name="password" type="password"><input type="submit"></form>
<form action="/comment" method="post"><input name="name"><textarea name="text"></textarea><input type="submit"></form>
<form action="/upload" method="post" enctype="multipart/form-data"><input type="file" name="file"><input name="title"><input type="submit"></form>
%s</body></html>"""


def base():
    db = sqlite3.connect(":memory:")
    db.execute("create table item (id integer, name text, price real)")
    db.execute("create table account (user text, password text)")
    db.executemany("insert into item values (?, ?, ?)", [(n, f"lamp {n}", n * 2.5) for n in range(40)])
    db.execute("insert into account values ('alice', 'secret')")
    return db


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, text, headers=()):
        body = (PAGE % text).encode("utf-8", "replace")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value.replace("\r", " ").replace("\n", " "))
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def query(self, statement):
        with contextlib.closing(base()) as db:
            # A payload may ask for gigabytes, or for ever.
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
            deadline = time.monotonic() + 2
            db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            try:
                return db.execute(statement).fetchmany(100), None
            except (sqlite3.Error, sqlite3.Warning) as error:
                return [], f"SQLite error: {error}"

    def values(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", "replace") if length else ""
        path = urllib.parse.urlsplit(self.path)
        values = dict(urllib.parse.parse_qsl(path.query, keep_blank_values=True))
        if body.lstrip().startswith("{"):
            try:
                values |= {key: str(value) for key, value in json.loads(body).items()}
            except ValueError:
                pass
        else:
            values |= dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        return path.path, values, body

    def do_GET(self):
        path, values, body = self.values()
        cookie = urllib.parse.unquote((self.headers.get("Cookie") or "").partition("track=")[2].split(";")[0])
        if path == "/item" or path.startswith("/api/item"):
            rows, error = self.query(f"select name, price from item where id = {values.get('id', 0)}")
            return self.answer(500 if error else 200, error or "".join(f"<p>{name} {price}</p>" for name, price in rows))
        if path == "/search":
            rows, error = self.query(f"select name, price from item where name like '%{values.get('q', '')}%' and price > {len(values.get('category', ''))}")
            return self.answer(500 if error else 200, error or f"<h2>{values.get('q', '')}</h2>{rows}")
        if path == "/login":
            rows, error = self.query(f"select user from account where user = '{values.get('user', '')}' and password = '{values.get('password', '')}'")
            return self.answer(200, error or ("welcome" if rows else "wrong password"))
        if path == "/go":
            return self.answer(302, "", [("Location", values.get("url", "/"))])
        if path == "/comment":
            return self.answer(200, f"<p>{values.get('name', '')}: {values.get('text', '')}</p>")
        if path in ("/file", "/run", "/view", "/upload", "/xml"):
            return self.answer(200, f"<pre>{html.escape(str(values) + body)[:4000]}</pre>")
        if path == "/":
            rows, error = self.query(f"select name from item where name = '{cookie}'") if cookie else ([], "")
            return self.answer(200, error or str(len(rows)))
        self.answer(404, "nothing here")

    do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = do_GET


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
