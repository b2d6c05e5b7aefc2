"""Enters: requests to ports of the loopback, one port (lane) for each who sends. Leaves: the same requests at an
application, and each once more as a line of a corpus, labelled by the port it came to, so by who sent it. It must never
change what it forwards, but for `Connection: close`.
"""

import asyncio
import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections import Counter

HEAD_BYTES_MAX, BODY_BYTES_MAX = 64 << 10, 1 << 20
# A tool that says its name is found by that alone; what it sends is to be judged without.
TOOL = re.compile(rb"(?im)^(user-agent: )[^\r\n]*(?:sqlmap|wapiti|wfuzz|nmap|nikto|commix|fenjing|themole|dirb|gobuster|ffuf|fuzz faster|schemathesis|python|httpx|aiohttp|go-http|xsstrike|owtf|wafw00f|dirsearch|whatweb|nettacker)[^\r\n]*")
BROWSERS = [
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    b"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
    b"curl/8.5.0", b"okhttp/4.12.0",
]
# Addresses and ports say who recorded, not what was asked.
HERE = re.compile(rb"(?:127\.0\.0\.1|localhost)(?::|%3A)\d{4,5}", re.I)
PLAIN = re.compile(r"[\w .@,!-]{0,20}\Z")
# What no plain visit has in a header, whichever it is.
ODD = re.compile(rb"(?im)^[\w-]+: .*(?:\(\) *\{|\$\{|<\w+|' ?or |\.\./)")
PART = re.compile(rb'name="([^"]*)"[^\n]*\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n--', re.S)
HOP = re.compile(rb"(?i)(connection|keep-alive|transfer-encoding|expect|content-length):")


class Lane:
    """One port: who sends to it, what it is called, how many requests are kept."""

    def __init__(self, label, fields, upstream, limit, watch=()):
        self.label, self.fields, self.upstream, self.limit, self.watch = label, fields, upstream, limit, [name.lower().encode() for name in watch]
        self.count, self.sent, self.port, self.server, self.full = 0, 0, 0, None, threading.Event()
        self.statuses, self.not_kept = Counter(), Counter()


class Tap:
    """Opens lanes and writes what passes them."""

    def __init__(self, out):
        self.out, self.seen, self.honest = out, set(), set()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def open(self, label, fields, upstream, limit, watch=()):
        lane = Lane(label, fields, upstream, limit, watch)

        async def listen():
            lane.server = await asyncio.start_server(lambda r, w: self._client(r, w, lane), "127.0.0.1", 0, limit=HEAD_BYTES_MAX, backlog=256)
            lane.port = lane.server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self.loop).result(10)
        return lane

    def close(self, lane):
        self.loop.call_soon_threadsafe(lane.server.close)

    async def _client(self, reader, writer, lane):
        upstream = None
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            body = await self._body(reader, writer, head)
            self._keep(head, body, lane)
            up_reader, upstream = await asyncio.open_connection("127.0.0.1", lane.upstream)
            upstream.write(forwarded(head, body))
            await upstream.drain()
            chunk = await asyncio.wait_for(up_reader.read(1 << 16), 30)
            lane.statuses[chunk[9:12].decode('latin-1')] += 1
            while chunk:
                writer.write(chunk)
                await writer.drain()
                chunk = await asyncio.wait_for(up_reader.read(1 << 16), 30)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, OSError, ValueError):
            pass
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.close()

    async def _body(self, reader, writer, head):
        lower = head.lower()
        if b"\r\nexpect: 100-continue" in lower:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"\r\ntransfer-encoding: chunked" in lower:
            body = b""
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += await reader.readexactly(min(size, BODY_BYTES_MAX))
                await reader.readline()
            await reader.readline()
            return body
        length = re.search(rb"\r\ncontent-length: *(\d+)", lower)
        return await reader.readexactly(min(int(length[1]), BODY_BYTES_MAX)) if length else b""

    def _keep(self, head, body, lane):
        lane.sent += 1
        # What a person sent as well is no attack, whoever sends it; and each request is kept once.
        shape = hashlib.sha256(HERE.sub(b"", head.split(b"\r\n")[0]) + b"\n" + HERE.sub(b"", body)).digest()
        if lane.label == "benign":
            self.honest.add(shape)
        elif not self._watched(head, lane) and (shape in self.honest or is_plain(head, body, lane)):
            lane.not_kept["harmless"] += 1
            return
        if lane.count >= lane.limit:
            lane.full.set()
            return
        head = HERE.sub(b"site.example", re.sub(rb"(?i)\r\ntransfer-encoding: chunked", b"", head))
        if lane.label == "malicious":
            browser = BROWSERS[hashlib.sha256(str(lane.fields).encode()).digest()[0] % len(BROWSERS)]
            head = TOOL.sub(lambda found: found[1] + browser, head)
        key = hashlib.sha256(head + body).digest()
        if key in self.seen:
            lane.not_kept["again"] += 1
            return
        self.seen.add(key)
        lane.count += 1
        row = {"id": key.hex()[:12], "label": lane.label, **lane.fields, "kind": "request"}
        self.out.write(json.dumps({**row, "raw": base64.b64encode(head + body).decode()}) + "\n")

    def _watched(self, head, lane):
        """Whether a header that this run attacks holds more than a plain value, or any header what none should."""
        if ODD.search(head):
            return True
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() in lane.watch and not re.fullmatch(rb"[\w =;./:,()-]*", value):
                return True
        return False


def is_plain(head, body, lane):
    """Whether a tool sent nothing but harmless values: its first look, a check whether a page changes. Scans of paths are
    what they are by the path."""
    if lane.fields.get("class") == "scanner":
        return False
    method, url, *_ = head.split(b"\r\n")[0].decode("latin-1").split(" ") + [""]
    if method not in ("GET", "POST", "HEAD"):
        return False
    parts = urllib.parse.urlsplit(url)
    values = [value for _, value in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)]
    names = [name for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)]
    if body.startswith(b"--"):
        parts_of_body = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in PART.findall(body)]
        names += [name for name, _ in parts_of_body]
        values += [value for _, value in parts_of_body]
        if b"filename=" in body or not parts_of_body:
            return False
    elif body:
        if not re.fullmatch(rb"[\w=&.%+@/!-]*", body):
            return False
        pairs = urllib.parse.parse_qsl(body.decode("latin-1"), keep_blank_values=True)
        values += [value for _, value in pairs]
        names += [name for name, _ in pairs]
    rest = [] if parts.query or body else [urllib.parse.unquote(parts.path)]
    return all(PLAIN.match(text) and ".." not in text and "//" not in text for text in values + names + rest)


def forwarded(head, body):
    lines = [line for line in head[:-4].split(b"\r\n") if not HOP.match(line)]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body
