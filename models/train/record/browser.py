"""Enters: an application on the loopback. Leaves: Chromium as a person uses it, by the WebDriver protocol: it follows links and
fills in forms. It must never follow a link that deletes or logs out.
"""

import json
import socket
import subprocess
import time
import urllib.request

from forms import typed
from person import LEAVE

# Says which fields the page's forms have; then types into one form and sends it as a click does.
FIELDS = """const seen = e => e.offsetParent !== null && !e.disabled && !e.readOnly;
return [...document.forms].map((f, at) => ({at, about: (f.action || '') + f.id + f.className, fields: [...f.elements].filter(seen)
  .filter(e => e.name && ['text','search','email','url','password','number','textarea','tel',''].includes(e.type)).map(e => [e.name, e.type])}))
  .filter(f => f.fields.length);"""
TYPE = """const [at, values] = arguments; const form = document.forms[at]; if (!form) return 0;
for (const [name, value] of Object.entries(values)) { const field = form.elements[name]; if (!field || field.length) continue;
  field.value = value; for (const kind of ['input', 'change', 'keyup']) field.dispatchEvent(new Event(kind, {bubbles: true})); }
const button = [...form.elements].find(e => e.type === 'submit' && !/delete|remove|cancel|log.?out/i.test(e.name + e.value + e.textContent));
setTimeout(() => button ? button.click() : form.requestSubmit(), 0); return 1;"""
LINKS = "return [...document.links].map(a => a.href).filter(h => h.startsWith(location.origin)).slice(0, 300);"


class Browser:
    """One Chromium with a profile of its own."""

    def __init__(self, port, work):
        self.base = f"http://127.0.0.1:{port}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.driver_port = free.getsockname()[1]
        profile = work / f"homes/chromium-{port}"
        profile.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(["chromedriver", f"--port={self.driver_port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.session = ""
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "pageLoadStrategy": "eager", "unhandledPromptBehavior": "accept"}}}
        for _ in range(60):
            try:
                self.session = "/" + self.ask("POST", "", wanted)["sessionId"]
                self.ask("POST", "/timeouts", {"script": 8000, "pageLoad": 15000})
                return
            except OSError:
                time.sleep(0.3)
        self.close()
        raise RuntimeError("chromedriver does not answer")

    def ask(self, method, path, value=None):
        body = json.dumps(value).encode() if value is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.driver_port}/session{self.session}{path}", body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer)["value"]

    def go(self, path):
        self.ask("POST", "/url", {"url": path if path.startswith("http") else self.base + path})

    def js(self, script, *args):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def enter(self, app):
        """Logs in where the application has a page for it."""
        if not app.login:
            return
        path, given = app.login
        self.go(path)
        for form in self.js(FIELDS):
            if set(given) <= {name for name, _ in form["fields"]}:
                self.js(TYPE, form["at"], given)
                time.sleep(1.5)
                return

    def step(self, words, pages):
        """One thing that a person does."""
        forms = [form for form in self.js(FIELDS) if not LEAVE.search(form["about"]) and all(kind != "password" for _, kind in form["fields"])] if words.rng.random() < 0.6 else []
        if forms:
            form = words.rng.choice(forms)
            values = {name: words.long() if kind == "textarea" else str(words.rng.randint(0, 99)) if kind == "number" else typed(name, words) for name, kind in form["fields"]}
            self.js(TYPE, form["at"], values)
            time.sleep(0.7)
        else:
            links = [link for link in self.js(LINKS) if not LEAVE.search(link)] if words.rng.random() < 0.5 else []
            self.go(words.rng.choice(links or pages))

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        except OSError:
            pass
        self.process.kill()
        self.process.wait()
