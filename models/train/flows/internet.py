"""Enters: connections and datagrams to any address of the recording's own Internet. Leaves: answers as large as they ask
for. It stands for every site, resolver, time server, mail server and broker that an honest device talks to; it must
never listen outside of the namespace it was started in.

usage: internet.py
"""

import asyncio
import re
import socket
import struct
import threading

WEB = (80, 443, 8080, 9100)
# Servers that speak first or answer line by line: ssh, mail, chat, brokers, file sharing.
TALK = (22, 25, 445, 993, 1883, 5222, 8883)
# What only listens.
SINKS = (4444,)
DATAGRAMS = (53, 123, 161, 443, 3478, 27015, 51820)
BYTES_MAX = 64 << 20
IP_PKTINFO = 8


async def read_head(reader):
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
    except (asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None


async def web(reader, writer):
    """GET /bytes/N gives N bytes, GET /page/N a page of images on many hosts; what is sent is read."""
    try:
        while (head := await read_head(reader)) is not None:
            line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            path = line[1] if len(line) > 1 else "/"
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            left = min(int(length[1]), BYTES_MAX) if length else 0
            while left > 0:
                got = await reader.read(min(left, 65536))
                if not got:
                    return
                left -= len(got)
            if found := re.match(r"/bytes/(\d+)", path):
                await answer(writer, min(int(found[1]), BYTES_MAX))
            elif found := re.match(r"/page/(\d+)", path):
                await answer(writer, 0, page(int(found[1])))
            else:
                await answer(writer, 200)
            if b"onnection: close" in head:
                return
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


def page(number):
    images = "".join(
        f'<img src="http://10.40.{(number * 7 + n) % 40}.{(number + n * n) % 200 + 1}/bytes/{500 + 997 * n % 30000}">'
        for n in range(25)
    )
    return f"<html><body>{images}</body></html>".encode()


async def answer(writer, size, body=b""):
    total = size + len(body)
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {total}\r\n\r\n".encode() + body)
    while size > 0:
        part = min(size, 65536)
        writer.write(b"x" * part)
        await writer.drain()
        size -= part
    await writer.drain()


async def talk(reader, writer):
    try:
        writer.write(b"220 ready\r\n")
        while data := await asyncio.wait_for(reader.read(4096), 600):
            writer.write(data)
            await writer.drain()
    except (asyncio.TimeoutError, ConnectionError, OSError):
        pass
    finally:
        writer.close()


async def swallow(reader, writer):
    try:
        while await asyncio.wait_for(reader.read(65536), 600):
            pass
    except (asyncio.TimeoutError, ConnectionError, OSError):
        pass
    finally:
        writer.close()


def datagrams(port):
    """Answers from the very address that was asked; two bytes at the front say how long the answer is to be."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind(("0.0.0.0", port))
    while True:
        data, control, _, sender = server.recvmsg(2048, 64)
        length = struct.unpack("!H", data[:2])[0] % 1400 if len(data) >= 2 else 0
        if length == 0:
            continue
        _, _, info = control[0]
        asked = struct.pack("=I4s4s", 0, info[8:12], b"\0" * 4)
        server.sendmsg([b"y" * length], [(socket.IPPROTO_IP, IP_PKTINFO, asked)], 0, sender)


async def main():
    for port in DATAGRAMS:
        threading.Thread(target=datagrams, args=(port,), daemon=True).start()
    servers = [await asyncio.start_server(web, "0.0.0.0", port, backlog=1024) for port in WEB]
    servers += [await asyncio.start_server(talk, "0.0.0.0", port, backlog=256) for port in TALK]
    servers += [await asyncio.start_server(swallow, "0.0.0.0", port) for port in SINKS]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
