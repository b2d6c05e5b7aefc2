"""A headless browser as an honest client: Chromium by the WebDriver protocol, Python's standard library alone.

Enters: the address of the shop. Leaves: one JSON line in the log for each request that the browser made, as the browser itself
reports them (performance log). It must never count what it aborted itself, by leaving a page, as refused.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

PORT = 9515
BY_CSS = "css selector"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# `--host-resolver-rules` is not needed: the namespace has a hosts file. The rest keeps Chromium from calling home.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-extensions", "--metrics-recording-only",
         "--disable-features=OptimizationHints,MediaRouter,Translate,HttpsUpgrades"]
running = True


def stop(*_):
    """The page that is under way is still finished."""
    global running
    running = False


class Browser:
    """One WebDriver session."""

    def __init__(self, options):
        self.options = options
        self.log = open(options.log, "a", buffering=1)
        self.pending = {}
        arguments = FLAGS + [f"--user-data-dir={options.profile}"]
        if options.insecure:
            arguments.append("--ignore-certificate-errors")
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments, "binary": options.chromium},
                  "goog:loggingPrefs": {"performance": "ALL"}, "timeouts": {"pageLoad": 15_000}}
        self.session = ""
        self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def call(self, method, path, body=None):
        prefix = f"/session/{self.session}" if self.session else ""
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}{prefix}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path):
        self.call("POST", "/url", {"url": self.options.url + path})
        time.sleep(self.options.pause)

    def element(self, css):
        return self.call("POST", "/element", {"using": BY_CSS, "value": css})[ELEMENT]

    def type(self, css, text):
        self.call("POST", f"/element/{self.element(css)}/value", {"text": text})

    def click(self, css):
        self.call("POST", f"/element/{self.element(css)}/click", {})
        time.sleep(self.options.pause)

    def text(self, css):
        return self.call("GET", f"/element/{self.element(css)}/text")

    def write_log(self, wanted=(200, 303, 304)):
        """What the browser requested since the last call."""
        for entry in self.call("POST", "/se/log", {"type": "performance"}):
            event = json.loads(entry["message"])["message"]
            details = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                if "redirectResponse" in details:
                    self.line(details["redirectResponse"]["url"], details["redirectResponse"]["status"], wanted)
                self.pending[details["requestId"]] = details["request"]["url"]
            elif event["method"] == "Network.responseReceived":
                url = self.pending.pop(details["requestId"], details["response"]["url"])
                # No site has an icon unless it says so; browsers ask all the same.
                icon = url.endswith("/favicon.ico")
                self.line(url, details["response"]["status"], (404,) if icon else wanted)
            elif event["method"] == "Network.loadingFailed" and details["requestId"] in self.pending:
                url = self.pending.pop(details["requestId"])
                if not details.get("canceled"):
                    self.line(url, 0, wanted, details.get("errorText", ""))

    def line(self, url, status, wanted, error=""):
        if not url.startswith("http"):
            return
        line = {"t": time.time(), "client": "browser", "what": f"GET {url}", "status": status, "want": list(wanted)}
        if error:
            line["error"] = error
        self.log.write(json.dumps(line) + "\n")


def visit(browser, turn):
    """What a person does on the shop's pages."""
    browser.open("/")
    browser.open("/static/about.html")
    browser.open("/search?q=lamp&category=1")
    browser.type("#q", ["O'Brien", "brass lamp", "oak & ash", "50% off"][turn % 4])
    browser.click("form button")
    if turn % 3 == 0:
        browser.open("/login")
        browser.type("#username", "ada")
        browser.type("#password", "wrong horse" if turn % 6 == 3 else "correct horse")
        browser.click("#go")
    browser.write_log()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--profile", required=True, help="an empty folder")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--pause", type=float, default=0.4)
    parser.add_argument("--insecure", action="store_true", help="the lab's certificate is not in Chromium's store")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # A session of its own: the signal that ends us must not end the browser in the middle of a page.
    driver = subprocess.Popen(["chromedriver", f"--port={PORT}", "--log-level=SEVERE"], start_new_session=True)
    try:
        browser = None
        for _ in range(50):
            try:
                browser = Browser(options)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        if browser is None:
            print("chromedriver did not start", file=sys.stderr)
            return 1
        turn = 0
        while running:
            visit(browser, turn)
            turn += 1
        browser.write_log()
        browser.call("DELETE", "")
        return 0
    finally:
        driver.terminate()
        driver.wait(10)


if __name__ == "__main__":
    sys.exit(main())
