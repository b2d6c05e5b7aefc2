"""Honest clients of the lab's shop, Python's standard library alone: a crawler, a shopper and a user of the JSON API.

Enters: the address of the shop. Leaves: one JSON line for each request in the log: what was asked for, the status (0: no answer)
and the statuses an unhindered client gets there. They must never send what an honest person would not.
"""

import argparse
import collections
import html.parser
import http.client
import json
import random
import signal
import socket
import ssl
import sys
import time
import urllib.parse

AGENTS = {
    "crawler": "Mozilla/5.0 (compatible; ExampleBot/1.0; +http://bot.example/)",
    "shopper": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "api": "example-shop-client/2.3 (python)",
}
# Words that people look for and that naive filters take for attacks.
WORDS = ["lamp", "O'Brien", "union of two rivers", "drop-leaf table", "select well", "C++ & C#", "50% off", "naïve café",
         "rock 'n' roll", "script & style", "etc. shelf", "stool", "80 cm", "(brass) lamp", "bicycle"]
PEOPLE = [("ada", "correct horse"), ("grace", "battery staple"), ("linus", "penguin-1991")]
NOTES = ["It's for Mrs. O'Brien; please don't ring.", "2 > 1, so make it two -- thanks!", "Gift wrap? <3", "c/o Müller & Söhne"]
running = True


def stop(*_):
    """The request that is under way is still finished."""
    global running
    running = False


class Client:
    """A keep-alive connection and the log."""

    def __init__(self, options):
        self.options = options
        url = urllib.parse.urlsplit(options.url)
        self.host, self.secure = url.netloc, url.scheme == "https"
        self.context = ssl.create_default_context(cafile=options.ca) if self.secure else None
        self.connection = None
        self.cookie = None
        self.log = open(options.log, "a", buffering=1)

    def connect(self):
        name, _, port = self.host.partition(":")
        if self.secure:
            return http.client.HTTPSConnection(name, int(port or 443), timeout=10, context=self.context)
        return http.client.HTTPConnection(name, int(port or 80), timeout=10)

    def request(self, method, target, want, body=None, headers=()):
        """Sends one request and logs it. A kept connection that the other side has closed meanwhile is opened anew, as
        browsers do; a failure on a fresh one is a failure."""
        fields = {"User-Agent": AGENTS[self.options.role], "Accept": "text/html,application/json;q=0.9,*/*;q=0.8",
                  "Accept-Language": "en-GB,en;q=0.7", **dict(headers)}
        if self.cookie:
            fields["Cookie"] = self.cookie
        status, text, error, answer = 0, b"", "", None
        for _ in range(2):
            fresh = self.connection is None
            began = time.time()
            try:
                self.connection = self.connection or self.connect()
                self.connection.request(method, target, body=body, headers=fields)
                answer = self.connection.getresponse()
                text, status, error = answer.read(), answer.status, ""
                break
            except (OSError, http.client.HTTPException) as failure:
                error = f"{type(failure).__name__}: {failure}"
                self.connection.close()
                self.connection = None
                if fresh or isinstance(failure, (socket.timeout, ssl.SSLError)):
                    break
        line = {"t": began, "client": self.options.role, "what": f"{method} {target}", "status": status, "want": want}
        if error:
            line["error"] = error
        elif status not in want:
            line["error"] = text[:300].decode("utf-8", "replace")
        self.log.write(json.dumps(line) + "\n")
        if answer is not None and status and answer.getheader("Set-Cookie"):
            self.cookie = answer.getheader("Set-Cookie").split(";")[0]
        time.sleep(random.uniform(0.5, 1.5) / self.options.rate)
        return text


class Links(html.parser.HTMLParser):
    """Every address a page leads to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _, attributes):
        self.found += [value for name, value in attributes if name in ("href", "src") and value and value.startswith("/")]


def crawl(client):
    """Follows every link once, then begins again; one of them is dead."""
    while running:
        seen, queue = {"/"}, collections.deque(["/"])
        while queue and running:
            target = queue.popleft()
            dead = target == "/static/old-catalogue.html"
            parser = Links()
            parser.feed(client.request("GET", target, [404] if dead else [200]).decode("utf-8", "replace"))
            for link in parser.found:
                link = urllib.parse.quote(link, safe="/?=&%")
                if link not in seen:
                    seen.add(link)
                    queue.append(link)


def shop(client):
    """Searches, looks, logs in (now and then with a wrong password first), uploads a picture."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Referer": client.options.url + "/login"}
    visit = 0
    while running:
        visit += 1
        name, password = random.choice(PEOPLE)
        client.request("GET", "/", [200])
        client.request("GET", "/static/shop.css", [200])
        for word in random.sample(WORDS, len(WORDS)):
            query = urllib.parse.urlencode({"q": word, "category": random.randint(1, 3)})
            client.request("GET", f"/search?{query}", [200])
            client.request("GET", f"/products/{random.randint(1, 10)}", [200])
        client.request("GET", "/login", [200])
        # Mistyped once in a while; the right password follows.
        if visit % 3 == 0:
            wrong = urllib.parse.urlencode({"username": name, "password": password.title()})
            client.request("POST", "/login", [200], wrong, form)
        right = urllib.parse.urlencode({"username": name, "password": password})
        client.request("POST", "/login", [303], right, form)
        client.request("GET", "/account", [200])
        if visit % 2 == 0:
            boundary = "----lab" + "".join(random.choices("0123456789abcdef", k=16))
            picture = b"\x89PNG\r\n\x1a\n" + random.randbytes(20_000)
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="holiday ({visit}).png"\r\n' \
                   "Content-Type: image/png\r\n\r\n"
            body = head.encode() + picture + f"\r\n--{boundary}--\r\n".encode()
            client.request("POST", "/upload", [201], body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        client.cookie = None


def use_api(client):
    """Reads the catalogue, logs in, orders; asks for a product that is gone now and then."""
    as_json = {"Content-Type": "application/json", "Accept": "application/json"}
    turn = 0
    while running:
        turn += 1
        client.request("GET", "/api/products", [200], headers=as_json)
        client.request("GET", f"/api/products/{random.randint(1, 10)}", [200], headers=as_json)
        if turn % 10 == 0:
            client.request("GET", "/api/products/4711", [404], headers=as_json)
        if turn % 12 == 1:
            name, password = random.choice(PEOPLE)
            client.request("POST", "/api/login", [200], json.dumps({"username": name, "password": password}), as_json)
        lines = [{"id": random.randint(1, 10), "count": random.randint(1, 4)} for _ in range(3)]
        order = {"lines": lines, "note": random.choice(NOTES)}
        client.request("POST", "/api/orders", [201], json.dumps(order, ensure_ascii=False).encode(), as_json)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=AGENTS, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--rate", type=float, default=4.0, help="requests per second at most")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    {"crawler": crawl, "shopper": shop, "api": use_api}[options.role](Client(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
