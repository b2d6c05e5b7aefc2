"""Enters: HTTP requests, in the recording's own network namespace. Leaves: answers, and one line of JSON for each
request and each accepted connection: what Qantra's proxy would have observed. Stands in for proxy and application,
so that a recording needs no daemon. It must never listen outside the namespace it was started in.

usage: origin.py ADDRESS PORT LOG
"""

import asyncio
import json
import sys
import time
import urllib.parse

HEADER_TIMEOUT_S = 10
BODY_TIMEOUT_S = 15
PAGES = {f"/page/{n}" for n in range(60)} | {f"/item/{n}" for n in range(200)}
PAGES |= {"/", "/index.html", "/about", "/search", "/login", "/api/items", "/upload", "/static/app.css", "/static/app.js"}
PAGES |= {f"/static/img{n}.png" for n in range(12)} | {"/robots.txt", "/contact", "/cart"}
SHOP_PAGES = 6000
PASSWORDS = {"alice": "correct horse", "bob": "battery staple"}


class Recorder:
    def __init__(self, path):
        self.file = open(path, "w", buffering=1)

    def write(self, kind, **fields):
        self.file.write(json.dumps({"kind": kind, "at_ms": int(time.time() * 1000), **fields}) + "\n")


def page(path):
    links = "".join(f'<a href="/page/{(hash(path) + n) % 64}">p</a><img src="/static/img{n}.png">' for n in range(8))
    body = f"<html><link rel=stylesheet href=/static/app.css><script src=/static/app.js></script>{links}</html>"
    return (body + "x" * (hash(path) % 9000)).encode()


def shop(path):
    """A large catalogue, each page with links to the next ones."""
    first = int(path[6:] or 0)
    links = "".join(f'<a href="/shop/{first + n}">p</a>' for n in (1, 2, 3, 10, 50, 100))
    return f"<html>{links}{'x' * 3000}</html>".encode()


def answer(method, target, headers, body):
    path = urllib.parse.urlsplit(target).path
    account, is_login = None, path == "/login"
    if is_login and method == "POST":
        fields = urllib.parse.parse_qs(body.decode("latin-1"))
        account = fields.get("username", [""])[0]
        good = PASSWORDS.get(account) == fields.get("password", [""])[0]
        # 401 would be HTTP authentication, which form tools refuse to guess at.
        return (302 if good else 403), b"", account, is_login
    if path.startswith("/private"):
        return 401, b"who are you?", None, False
    if path == "/upload" and method in ("POST", "PUT"):
        return 201, b"{}", None, False
    if method not in ("GET", "HEAD", "POST"):
        return 405, b"no", None, False
    if path == "/shop" or path.startswith("/shop/") and path[6:].isdigit() and int(path[6:]) < SHOP_PAGES:
        return 200, shop(path), None, False
    if path in PAGES:
        return 200, page(path), None, is_login
    return 404, b"not here", None, False


async def serve(recorder, reader, writer):
    source = writer.get_extra_info("peername")[0]
    recorder.write("connection", source=source)
    try:
        while await one(recorder, reader, writer, source):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def one(recorder, reader, writer, source):
    """One request; whether the connection goes on."""
    got = {"request_bytes": 0}

    def write(status, path, by_us, account=None, is_login=False, is_write=False, response_bytes=0):
        recorder.write(
            "request", source=source, status=status, path=path, answered_by_us=by_us, account=account,
            is_login=is_login, is_write=is_write, response_bytes=response_bytes, **got,
        )

    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEADER_TIMEOUT_S)
    except asyncio.TimeoutError:
        write(408, "", True)
        return False
    got["request_bytes"] = len(head)
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        write(400, "", True)
        return False
    method, target, version = parts
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    path = urllib.parse.urlsplit(target).path
    is_write = method in ("POST", "PUT", "PATCH")
    length = min(int(headers.get("content-length") or 0), 1 << 20)
    try:
        body = await asyncio.wait_for(reader.readexactly(length), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        write(408, path, True, is_write=is_write)
        return False
    got["request_bytes"] += len(body)
    status, content, account, is_login = answer(method, target, headers, body)
    keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    extra = "Location: /\r\n" if status == 302 else ""
    extra += 'WWW-Authenticate: Basic realm="x"\r\n' if status == 401 and account is None else ""
    connection = "keep-alive" if keep else "close"
    writer.write(
        f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n{extra}Content-Length: {len(content)}\r\n"
        f"Connection: {connection}\r\n\r\n".encode() + (b"" if method == "HEAD" else content)
    )
    await asyncio.wait_for(writer.drain(), BODY_TIMEOUT_S)
    write(status, path, False, account, is_login, is_write, len(content))
    return keep


async def main(address, port, log):
    recorder = Recorder(log)
    server = await asyncio.start_server(lambda r, w: serve(recorder, r, w), address, int(port), backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
