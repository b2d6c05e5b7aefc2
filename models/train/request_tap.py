"""Enters: requests to a port of the loopback. Leaves: the same requests at an application, and each once more as a line
of a corpus, labelled by the port it came to, so by who sent it. It must never change what it forwards, but for
`Connection: close`.
"""

import asyncio
import base64
import hashlib
import json
import re
import threading

HEAD_BYTES_MAX, BODY_BYTES_MAX = 64 << 10, 1 << 20
# Addresses and ports say who recorded, not what was asked.
# A tool that says its name is found by that alone; what it sends is to be judged without.
TOOL = re.compile(rb"(?im)^(user-agent: )[^\r\n]*(?:sqlmap|wapiti|wfuzz|nmap)[^\r\n]*")
BROWSER = rb"\1Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HERE = re.compile(rb"(?:127\.0\.0\.1|localhost)(?::|%3A)\d{4,5}", re.I)


class Tap:
    """Listens on two ports: what comes to the first was sent by people, what comes to the second by attack tools."""

    def __init__(self, app_port, honest_port, attack_port, out):
        self.app_port, self.ports, self.out = app_port, {honest_port: "benign", attack_port: "malicious"}, out
        self.who, self.recording, self.seen, self.count, self.limit = "", False, set(), 0, 0
        self.honest = set()
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        ready.wait(10)

    def start(self, who, limit):
        """From now on requests are kept, at most so many, under this name."""
        self.who, self.limit, self.count, self.recording = who, limit, 0, True

    def stop(self):
        self.recording = False
        return self.count

    def _serve(self, ready):
        asyncio.set_event_loop(self.loop)
        for port, label in self.ports.items():
            handler = lambda r, w, label=label: self._client(r, w, label)
            self.loop.run_until_complete(asyncio.start_server(handler, "127.0.0.1", port, limit=HEAD_BYTES_MAX))
        ready.set()
        self.loop.run_forever()

    async def _client(self, reader, writer, label):
        upstream = None
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            body = await self._body(reader, writer, head)
            self._keep(head, body, label)
            up_reader, upstream = await asyncio.open_connection("127.0.0.1", self.app_port)
            upstream.write(forwarded(head, body))
            await upstream.drain()
            while chunk := await asyncio.wait_for(up_reader.read(1 << 16), 30):
                writer.write(chunk)
                await writer.drain()
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
            return body
        length = re.search(rb"\r\ncontent-length: *(\d+)", lower)
        return await reader.readexactly(min(int(length[1]), BODY_BYTES_MAX)) if length else b""

    def _keep(self, head, body, label):
        if not self.recording or self.count >= self.limit:
            return
        # What a person sent as well is no attack, whoever sends it; and each request is kept once.
        shape = hashlib.sha256(HERE.sub(b"", head.split(b"\r\n")[0]) + b"\n" + body).digest()
        if label == "benign":
            self.honest.add(shape)
        elif shape in self.honest:
            return
        head = HERE.sub(b"site.example", re.sub(rb"(?i)\r\ntransfer-encoding: chunked", b"", head))
        raw = (TOOL.sub(BROWSER, head) if label == "malicious" else head) + body
        key = hashlib.sha256(raw).digest()
        if key in self.seen:
            return
        self.seen.add(key)
        self.count += 1
        row = {"id": hashlib.sha256(key).hexdigest()[:12], "label": label, "class": None, "source": self.who, "kind": "request"}
        self.out.write(json.dumps({**row, "raw": base64.b64encode(raw).decode()}) + "\n")


def forwarded(head, body):
    lines = [line for line in head[:-4].split(b"\r\n") if not re.match(rb"(?i)(connection|keep-alive|transfer-encoding|expect|content-length):", line)]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body
