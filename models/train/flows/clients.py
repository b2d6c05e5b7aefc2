"""Enters: the address of the recording's origin. Leaves: traffic, honest or not, of the kinds that no packaged tool
makes. Bounded in time; it must never be pointed at anything but an origin in the same namespace pair.

usage: clients.py KIND HOST SECONDS [SEED]
"""

import http.client
import random
import re
import socket
import sys
import time


def get(connection, path, method="GET", body=None, headers=None):
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    return response.status, response.read()


def browser(host, end, rng):
    """Pages with their images on several connections, pauses, now and then a missing icon."""
    connections = [http.client.HTTPConnection(host, 80, timeout=5) for _ in range(6)]
    login(connections[0], "alice", rng.choice(["correct horse", "correct hrose"]))
    while time.time() < end:
        get(connections[0], f"/page/{rng.randrange(64)}")
        for n in range(12):
            get(connections[n % 6], f"/static/img{n}.png")
        if rng.random() < 0.3:
            get(connections[1], "/favicon.ico")
        time.sleep(rng.uniform(0.2, 2.5))


def login(connection, user, password):
    body = f"username={user}&password={password}"
    return get(connection, "/login", "POST", body, {"Content-Type": "application/x-www-form-urlencoded"})


def crawler(host, end, rng):
    """Follows links; some are dead."""
    connection, seen, queue = http.client.HTTPConnection(host, 80, timeout=5), set(), ["/"]
    while time.time() < end:
        if not queue:
            seen, queue = set(), ["/"]
        path = queue.pop(0)
        if path in seen:
            continue
        seen.add(path)
        _, content = get(connection, path)
        queue += [link.decode() for link in re.findall(rb'(?:href|src)="(/[^"]+)"', content)]
        time.sleep(rng.uniform(0.01, 0.2))


def api(host, end, rng):
    """A program: fast, few paths, many writes, on one connection."""
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    while time.time() < end:
        get(connection, f"/item/{rng.randrange(200)}")
        if rng.random() < 0.5:
            get(connection, "/upload", "POST", "x" * rng.randrange(4000))
        time.sleep(rng.choice([0.005, 0.02, 0.1]))


def poller(host, end, rng):
    """A device that asks for one thing on a new connection each time."""
    while time.time() < end:
        connection = http.client.HTTPConnection(host, 80, timeout=5)
        get(connection, "/api/items")
        connection.close()
        time.sleep(rng.uniform(0.3, 3))


def office(host, end, rng):
    """Twenty people behind one address."""
    connections = [http.client.HTTPConnection(host, 80, timeout=5) for _ in range(20)]
    next_login = time.time()
    while time.time() < end:
        connection = rng.choice(connections)
        get(connection, f"/page/{rng.randrange(64)}")
        get(connection, f"/static/img{rng.randrange(12)}.png")
        if time.time() >= next_login:
            # One of the twenty comes back from somewhere, a few times an hour each; one in eight mistypes.
            next_login = time.time() + rng.uniform(20, 90)
            user, password = rng.choice([("alice", "correct horse"), ("bob", "battery staple")])
            login(connection, user, password if rng.random() < 0.88 else "mistyped")
        time.sleep(rng.uniform(0.005, 0.1))


def checker(host, end, rng):
    """A load balancer: is the port open, every two seconds; and a whole request twice a minute."""
    n = 0
    while time.time() < end:
        socket.create_connection((host, 80), timeout=2).close()
        n += 1
        if n % 15 == 0:
            get(http.client.HTTPConnection(host, 80, timeout=5), "/", "HEAD")
        time.sleep(2)


def expired(host, end, rng):
    """An application whose token ran out: asks, is refused, tries again a few times, waits for its user."""
    while time.time() < end:
        for _ in range(rng.randrange(2, 6)):
            get(http.client.HTTPConnection(host, 80, timeout=5), "/private/inbox")
            time.sleep(rng.uniform(0.5, 5))
        time.sleep(rng.uniform(60, 200))


def forgetful(host, end, rng):
    """Knows that the password was one of five, and leaves when it was none."""
    while time.time() < end:
        connection = http.client.HTTPConnection(host, 80, timeout=5)
        for _ in range(rng.randrange(1, 5)):
            get(connection, "/login")
            login(connection, rng.choice(["alice", "alice@example.org"]), rng.choice(["letmein", "correct hrose", "Correct Horse"]))
            time.sleep(rng.uniform(3, 12))
        login(connection, "alice", "correct horse")
        for _ in range(20):
            # Whoever reads for a while finds the connection closed.
            get(http.client.HTTPConnection(host, 80, timeout=5), f"/page/{rng.randrange(60)}")
            time.sleep(rng.uniform(2, 15))
        time.sleep(rng.uniform(900, 1800))


def entrance(host, end, rng):
    """A company behind one address, in the morning: one login after the other, one in ten mistyped."""
    while time.time() < end:
        connection = http.client.HTTPConnection(host, 80, timeout=5)
        if rng.random() < 0.1:
            login(connection, f"staff{rng.randrange(60)}", "mistyped")
        login(connection, rng.choice(["alice", "bob"]), "correct horse")
        for _ in range(4):
            get(connection, f"/page/{rng.randrange(60)}")
        time.sleep(rng.uniform(20, 90))


def deadlinks(host, end, rng):
    """A search engine with an old index: two in five pages are gone."""
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    while time.time() < end:
        get(connection, f"/page/{rng.randrange(100)}")
        time.sleep(rng.uniform(0.5, 3))


def integration(host, end, rng):
    """A test suite: creates things, asks for some that must not be there."""
    while time.time() < end:
        for _ in range(120):
            connection = http.client.HTTPConnection(host, 80, timeout=5)
            get(connection, "/upload", "POST", "t" * rng.randrange(50, 900))
            get(connection, f"/item/{rng.randrange(240)}")
            get(connection, f"/api/items")
            connection.close()
        time.sleep(rng.uniform(60, 200))


def feeds(host, end, rng):
    """A reader that asks for the news; some of its subscriptions ended years ago."""
    while time.time() < end:
        for path in ("/page/1", "/page/2", "/about", "/feed.xml", "/page/77"):
            get(http.client.HTTPConnection(host, 80, timeout=5), path)
        time.sleep(rng.uniform(20, 60))


def sender(host, end, rng):
    """Photographs, uploaded."""
    while time.time() < end:
        connection = http.client.HTTPConnection(host, 80, timeout=30)
        for _ in range(rng.randrange(1, 30)):
            get(connection, "/upload", "PUT", "p" * rng.randrange(100_000, 900_000))
        time.sleep(rng.uniform(20, 120))


def early(host, end, rng):
    """A browser that opens connections before it needs them, and closes most unused."""
    while time.time() < end:
        ahead = [socket.create_connection((host, 80), timeout=5) for _ in range(6)]
        connection = http.client.HTTPConnection(host, 80, timeout=5)
        for _ in range(rng.randrange(1, 6)):
            get(connection, f"/page/{rng.randrange(60)}")
            time.sleep(rng.uniform(1, 4))
        for each in ahead:
            each.close()
        time.sleep(rng.uniform(5, 40))


def archive(host, end, rng):
    """An archive that takes every page once, politely."""
    connection, number = http.client.HTTPConnection(host, 80, timeout=5), 0
    while time.time() < end:
        get(connection, f"/shop/{number}")
        number += 1
        time.sleep(rng.uniform(0.8, 2))


def scraper(host, end, rng):
    """Everything the shop has, one after the other, as fast as a few connections go."""
    connections = [http.client.HTTPConnection(host, 80, timeout=5) for _ in range(4)]
    number = 0
    while time.time() < end:
        get(connections[number % 4], f"/shop/{number}")
        number += 1
        time.sleep(0.03)


def flood(host, end, rng):
    """Requests as fast as one connection gives them."""
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    while time.time() < end:
        get(connection, rng.choice(["/search?q=a", "/"]))


def stuffing(host, end, rng):
    """Another account each time, one password each."""
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    while time.time() < end:
        login(connection, f"user{rng.randrange(100000)}", f"pw{rng.randrange(1000)}")
        time.sleep(rng.uniform(0.05, 0.6))


def guessing(host, end, rng):
    """One account, another password each time."""
    connection = http.client.HTTPConnection(host, 80, timeout=5)
    while time.time() < end:
        login(connection, "alice", f"pw{rng.randrange(100000)}")
        time.sleep(rng.uniform(0.05, 1.0))


def slow(host, end, rng):
    """Connections that send a header line now and then and never end."""
    sockets = []
    while time.time() < end:
        if len(sockets) < 400:
            try:
                fresh = socket.create_connection((host, 80), timeout=2)
                fresh.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
                sockets.append(fresh)
            except OSError:
                pass
        for each in rng.sample(sockets, min(3, len(sockets))):
            try:
                each.send(b"X-a: b\r\n")
            except OSError:
                sockets.remove(each)
        time.sleep(0.02)


if __name__ == "__main__":
    kind, host, seconds = sys.argv[1:4]
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    end, rng = time.time() + float(seconds), random.Random(seed)
    while time.time() < end:
        try:
            globals()[kind](host, end, rng)
        except (OSError, http.client.HTTPException) as error:
            # A server closes connections that idle, and a client opens another.
            print(f"{kind}: {error}", file=sys.stderr)
            time.sleep(0.5)
