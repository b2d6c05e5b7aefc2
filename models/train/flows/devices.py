"""Enters: the recording's own Internet (internet.py). Leaves: what honest devices of a LAN do all day. Addresses: 10.40.0.0/14
answers, 10.44.0.0/14 never does. It must never run where it could reach anything else.

usage: devices.py KIND SECONDS SEED
"""

import http.client
import random
import socket
import struct
import subprocess
import sys
import threading
import time


class Device:
    def __init__(self, seconds, seed):
        self.end, self.rng = time.time() + seconds, random.Random(seed)
        # Everybody has favourites: a few dozen hosts that are asked again and again.
        self.known = [self.host() for _ in range(40)]

    def host(self):
        return f"10.40.{self.rng.randrange(40)}.{self.rng.randrange(1, 200)}"

    def dead(self):
        return f"10.44.{self.rng.randrange(200)}.{self.rng.randrange(1, 250)}"

    def goes_on(self):
        return time.time() < self.end

    def pause(self, least, most):
        time.sleep(max(0.0, min(self.rng.uniform(least, most), self.end - time.time())))

    def ask(self, host, port, size=80, answer=200, wait=True):
        """One datagram, and its answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(1.0)
            udp.connect((host, port))
            try:
                udp.send(struct.pack("!H", answer) + b"q" * (size - 2))
                return udp.recv(2048) if wait and answer else b""
            except OSError:
                return b""

    def names(self, count):
        for _ in range(count):
            self.ask("10.40.0.53", 53, 45, self.rng.randrange(80, 400))

    def fetch(self, host, paths, port=443, method="GET", body=None):
        connection = http.client.HTTPConnection(host, port, timeout=20)
        for path in paths:
            connection.request(method, path, body=body)
            connection.getresponse().read()
        connection.close()

    def reach(self, host, port, seconds=2.0):
        """Whether a connection can be made at all."""
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            return True
        except OSError:
            return False


def every(device, jobs):
    """Runs jobs side by side until all are done."""
    threads = [threading.Thread(target=quietly, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


def quietly(job):
    try:
        job()
    except (OSError, http.client.HTTPException):
        pass


def surfer(device):
    """A page, its parts from many hosts, several connections to each, and time to read."""
    rng = device.rng
    while device.goes_on():
        hosts = [*rng.sample(device.known, rng.randrange(3, 10)), *(device.host() for _ in range(rng.randrange(1, 12)))]
        device.names(len(hosts))
        jobs = []
        for host in hosts:
            for _ in range(rng.randrange(1, 4)):
                paths = [f"/bytes/{int(rng.lognormvariate(9, 1.3))}" for _ in range(rng.randrange(1, 8))]
                jobs.append(lambda host=host, paths=paths: device.fetch(host, paths))
        if rng.random() < 0.2:
            # A tracker that a filter list swallowed.
            jobs.append(lambda: device.reach(device.dead(), 443, 5.0))
        every(device, jobs)
        device.pause(2, 35)


def quic(device):
    """The same over UDP 443."""
    rng = device.rng
    while device.goes_on():
        for host in rng.sample(device.known, rng.randrange(2, 8)):
            for _ in range(rng.randrange(5, 60)):
                device.ask(host, 443, rng.choice([80, 1200]), 1250)
        device.pause(3, 30)


def video(device):
    """A segment every few seconds."""
    host = device.host()
    while device.goes_on():
        device.fetch(host, [f"/bytes/{device.rng.randrange(400_000, 1_500_000)}"])
        device.pause(3, 5)


def backup(device):
    """Uploads in large parts, as fast as the line goes, then nothing for a while."""
    host = device.host()
    while device.goes_on():
        for _ in range(device.rng.randrange(3, 12)):
            device.fetch(host, ["/up"], method="PUT", body=b"b" * device.rng.randrange(1 << 20, 4 << 20))
            device.pause(0.5, 2)
        device.pause(60, 240)


def monitor(device):
    """Thirty services and twenty hosts each half minute; some are down."""
    hosts = [device.host() for _ in range(20)]
    services = [(host, port) for host in hosts[:10] for port in (22, 80, 443)]
    dead = [(device.dead(), 443) for _ in range(3)]
    while device.goes_on():
        every(device, [lambda at=at: device.reach(*at) for at in [*services, *dead]])
        for host in hosts:
            subprocess.run(["ping", "-c", "1", "-W", "1", "-q", host], stdout=subprocess.DEVNULL, check=False)
        for host in hosts[:5]:
            device.ask(host, 161, 60, 120)
            quietly(lambda: device.fetch(host, ["/metrics"], port=9100))
        device.pause(25, 30)


def ci(device):
    """A job: its packages from a few mirrors on many connections, then hundreds of small requests, then a result."""
    rng = device.rng
    while device.goes_on():
        mirrors = rng.sample(device.known, 6)
        device.names(30)
        small = lambda: [f"/bytes/{rng.randrange(300, 60_000)}" for _ in range(rng.randrange(5, 30))]
        every(device, [lambda: device.fetch(rng.choice(mirrors), small()) for _ in range(24)])
        every(device, [lambda: device.fetch(rng.choice(mirrors), ["/x"]) for _ in range(80)])
        device.fetch(mirrors[0], ["/up"], method="PUT", body=b"a" * rng.randrange(100_000, 3_000_000))
        device.pause(45, 150)


def update(device):
    """A system's updates: lists, then two hundred packages over one connection."""
    while device.goes_on():
        device.names(4)
        host = device.rng.choice(device.known)
        device.fetch(host, ["/bytes/90000"] * 6 + [f"/bytes/{device.rng.randrange(2_000, 200_000)}" for _ in range(120)], 80)
        device.pause(200, 500)


def thing(device):
    """A broker kept alive, the time, a poll; and a vendor's server that is gone for good."""
    broker = socket.create_connection((device.host(), 8883), timeout=5)
    gone, last = device.dead(), 0.0
    while device.goes_on():
        quietly(lambda: broker.send(b"ping"))
        if time.time() - last > 60:
            last = time.time()
            device.ask(device.known[0], 123, 48, 48)
            device.names(1)
            quietly(lambda: device.fetch(device.known[1], ["/state"], method="POST", body=b"t" * 200))
        device.reach(gone, 443, device.rng.choice([3.0, 8.0]))
        device.pause(5, 20)


def weather(device):
    """A reading each minute, by the clock, over a connection of its own."""
    due = time.time()
    while device.goes_on():
        quietly(lambda: device.fetch(device.known[2], ["/reading"], method="POST", body=b"w" * 120))
        due += 60
        device.pause(due - time.time(), due - time.time())


def agent(device):
    """Asks every ten seconds whether there is work; once in a while there is, and it brings the result."""
    while device.goes_on():
        device.fetch(device.known[3], ["/job"])
        if device.rng.random() < 0.03:
            device.fetch(device.known[3], ["/up"], method="PUT", body=b"r" * device.rng.randrange(1 << 20, 6 << 20))
        device.pause(9.5, 10.5)


def camera(device):
    """A picture that never ends, to its vendor's cloud, a new connection every few minutes."""
    while device.goes_on():
        until = time.time() + device.rng.uniform(120, 300)
        while device.goes_on() and time.time() < until:
            device.fetch("10.41.7.7", ["/up"] * 20, method="PUT", body=b"c" * 50_000)
            device.pause(5, 6)


def photos(device):
    """A phone that comes home after twelve minutes and brings its pictures to where those of others are."""
    device.pause(700, 800)
    for _ in range(40):
        device.fetch("10.41.8.8", ["/up"], method="PUT", body=b"p" * device.rng.randrange(2 << 20, 5 << 20))
        device.pause(0.5, 3)
    phone(device)


def phone(device):
    """Asleep, then a dozen applications that all want something."""
    push = socket.create_connection((device.host(), 5222), timeout=5)
    while device.goes_on():
        device.names(10)
        hosts = device.rng.sample(device.known, 12)
        every(device, [lambda host=host: device.fetch(host, ["/bytes/3000"] * device.rng.randrange(1, 5)) for host in hosts])
        for _ in range(device.rng.randrange(1, 6)):
            quietly(lambda: push.send(b"ping"))
            device.pause(10, 40)


def stream_of(device, host, port, rate, size, answer, seconds):
    end = min(device.end, time.time() + seconds)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((host, port))
        while time.time() < end:
            quietly(lambda: udp.send(struct.pack("!H", answer) + b"v" * (size - 2)))
            time.sleep(1 / rate)


def call(device):
    """Candidates of many ports are tried, then two minutes of speech."""
    while device.goes_on():
        host = device.host()
        for port in device.rng.sample(range(49152, 65535), 12):
            device.ask(host, port, 100, 0, wait=False)
        device.ask(host, 3478, 100, 100)
        stream_of(device, host, 3478, 50, 180, 180, device.rng.uniform(40, 150))
        device.pause(20, 90)


def game(device):
    """A list of servers that are all asked how full they are, then a match."""
    while device.goes_on():
        for _ in range(60):
            device.ask(device.host(), device.rng.randrange(27015, 27050), 53, 0, wait=False)
            time.sleep(0.03)
        stream_of(device, device.host(), 27015, 60, 90, 300, device.rng.uniform(60, 240))
        device.pause(10, 60)


def tunnel(device):
    """Everything through one tunnel."""
    host = device.host()
    while device.goes_on():
        stream_of(device, host, 51820, device.rng.choice([20, 150, 300]), 1300, 1300, device.rng.uniform(3, 20))
        device.pause(1, 30)


def mail(device):
    while device.goes_on():
        for host in device.known[:3]:
            with socket.create_connection((host, 993), timeout=5) as server:
                server.send(b"a1 NOOP\r\n" * device.rng.randrange(1, 20))
                server.recv(4096)
        device.pause(30, 90)


def shell(device):
    """Somebody types."""
    server = socket.create_connection((device.host(), 22), timeout=5)
    while device.goes_on():
        quietly(lambda: server.send(b"k" * 36))
        time.sleep(device.rng.choice([0.08, 0.15, 0.3, 2, 12]))


def sharing(device):
    """A peer of a file-sharing network: contacts all the time, many of which are long gone."""
    rng = device.rng
    while device.goes_on():
        for _ in range(rng.randrange(1, 6)):
            device.ask(rng.choice([device.host(), device.dead()]), rng.randrange(1025, 65535), 110, 0, wait=False)
        peer = rng.choice([device.dead(), device.host(), device.host()])
        device.reach(peer, rng.choice([rng.randrange(1025, 65535), 443, 8080]), 1.0)
        quietly(lambda: device.fetch(rng.choice(device.known), ["/bytes/260000"], port=8080))
        device.pause(0.5, 4)


def files(device):
    """A network drive that is worked on."""
    server = socket.create_connection((device.known[0], 445), timeout=5)
    while device.goes_on():
        for _ in range(device.rng.randrange(5, 200)):
            quietly(lambda: server.send(b"s" * device.rng.randrange(80, 3000)))
            time.sleep(0.01)
        device.pause(5, 60)


def announcer(device):
    """mDNS and SSDP, to everybody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        while device.goes_on():
            for group, port in (("224.0.0.251", 5353), ("239.255.255.250", 1900)):
                quietly(lambda: udp.sendto(b"m" * 180, (group, port)))
            device.pause(5, 30)


def aggregator(device):
    """A mail server or feed reader: hundreds of other servers an hour, some of them down."""
    while device.goes_on():
        host, port = (device.host(), device.rng.choice([25, 80, 443])) if device.rng.random() < 0.85 else (device.dead(), 25)
        device.names(2)
        quietly(lambda: spoken(host, port))
        device.pause(0.2, 4)


def spoken(host, port):
    """A few lines each way, as mail and feeds are."""
    with socket.create_connection((host, port), timeout=3) as server:
        for _ in range(5):
            server.send(b"GET / HTTP/1.1\r\nHost: feed\r\n\r\n")
            server.recv(4096)


if __name__ == "__main__":
    kind, seconds, seed = sys.argv[1:4]
    device = Device(float(seconds), seed)
    while device.goes_on():
        try:
            globals()[kind](device)
        except (OSError, http.client.HTTPException) as error:
            print(f"{kind}: {error}", file=sys.stderr)
            time.sleep(3)
