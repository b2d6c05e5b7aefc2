"""Enters: as root, what fetch.py installs. Leaves in OUT: for each run a capture file and what the site's origin observed,
and `runs.json`: who did what, with which tool, and the versions of all of them. Every run has network namespaces of its
own with no way out; mounts, processes and namespaces end with this program, and nothing of the machine is changed.

usage (as root): record.py OUT [--minutes N] [NAME…]      N: how long honest traffic is recorded (40)
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attacks
import fetch

HERE = Path(__file__).resolve().parent
SEED, LANES, LONG_S = 20, 3, 100
SITE_NET, LAN_NET = "198.51.100.{}/24", "10.20.0.{}/16"
# Where the recording's own Internet answers.
ANSWERS = "10.40.0.0/14"
SNAP_BYTES = "96"

# Honest traffic: what runs side by side in one network. Kinds differ between the mixes, so that a mix can be left out.
MIXES = {
    "home": ("lan", ["surfer", "surfer", "quic", "video", "phone", "phone", "thing", "call", "game", "announcer"]),
    "office": ("lan", ["surfer", "surfer", "surfer", "mail", "files", "shell", "tunnel", "backup", "chromium", "thing"]),
    "machines": ("lan", ["monitor", "ci", "update", "aggregator", "backup", "thing", "thing", "ci"]),
    "peers": ("lan", ["sharing", "sharing", "surfer", "quic", "phone", "video", "game"]),
    "smarthome": ("lan", ["thing", "weather", "agent", "camera", "photos", "photos", "surfer", "phone"]),
    "visitors": ("site", ["browser", "browser", "office", "crawler", "api", "poller", "checker", "expired", "chromium", "early"]),
    "programs": ("site", ["forgetful", "entrance", "deadlinks", "integration", "feeds", "sender", "archive", "poller", "wget", "curl"]),
}
CHROMIUM = (
    "n=1; while true; do timeout 20 chromium --headless --no-sandbox --disable-gpu --user-data-dir=$(mktemp -d) "
    "--dump-dom http://{host}/page/$n >/dev/null 2>&1; n=$((n + 1)); sleep $((n * 7 % 25 + 5)); done"
)
WGET = "while true; do wget -q -r -l 3 -w 0.3 --random-wait --delete-after -P $(mktemp -d) http://{host}/; sleep 60; done"
CURL = "while true; do for n in $(seq 30); do curl -s -o /dev/null http://{host}/page/$n; sleep 1; done; sleep 20; done"
SHELL = {"chromium": CHROMIUM, "wget": WGET, "curl": CURL}


def module(path):
    """Of the same name as one of ours, so by its path."""
    spec = importlib.util.spec_from_file_location("recording_space", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


space = module(HERE.parent / "record/space.py")


def sh(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Net:
    """A bridge in one namespace, and a namespace for each client on it; nothing leads out of them."""

    def __init__(self, name, wire, clients):
        self.box, self.wire = f"q{name}", wire
        first = 10 if clients > 1 else 7
        template = SITE_NET if wire == "site" else LAN_NET
        self.address = template.format(1)
        self.clients = [(f"q{name}-{n}", template.format(first + n)) for n in range(clients)]

    def __enter__(self):
        box = ["ip", "-n", self.box]
        sh("ip", "netns", "add", self.box)
        sh(*box, "link", "set", "lo", "up")
        sh(*box, "link", "add", "br0", "address", attacks.ROUTER_MAC, "type", "bridge", "mcast_snooping", "0")
        sh(*box, "addr", "add", self.address, "dev", "br0")
        sh(*box, "link", "set", "br0", "up")
        if self.wire == "lan":
            sh(*box, "route", "add", "local", ANSWERS, "dev", "lo")
        for number, (name, address) in enumerate(self.clients):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", f"p{number}", "netns", self.box)
            sh(*box, "link", "set", f"p{number}", "master", "br0", "up")
            sh("ip", "-n", name, "addr", "add", address, "dev", "v0")
            sh("ip", "-n", name, "link", "set", "v0", "up")
            if self.wire == "lan":
                sh("ip", "-n", name, "route", "add", "default", "via", self.address.split("/")[0])
            # Packets as a wire would carry them, not as large as the kernel would like.
            for inside, link in ((name, "v0"), (self.box, f"p{number}")):
                sh("ip", "netns", "exec", inside, "ethtool", "-K", link, "tso", "off", "gso", "off", "gro", "off")
        sh("ip", "netns", "exec", self.box, "ethtool", "-K", "br0", "tso", "off", "gso", "off", "gro", "off")
        return self

    def __exit__(self, *_):
        for name in (self.box, *(name for name, _ in self.clients)):
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


class Tap:
    """What the box sees: a capture of what comes in from both sides, and what the origin behind its proxy observed."""

    def __init__(self, net, out, name):
        self.net, self.pcap, self.http = net, out / f"{name}.pcap", out / f"{name}.ndjson"

    def __enter__(self):
        inside = ["ip", "netns", "exec", self.net.box]
        own = self.net.address.split("/")[0]
        serve = ["origin.py", own, "80", str(self.http)] if self.net.wire == "site" else ["internet.py"]
        with open(self.pcap.with_suffix(".origin"), "w") as log:
            command = [*inside, sys.executable, str(HERE / serve[0]), *serve[1:]]
            self.server = subprocess.Popen(command, stdout=log, stderr=log)
        self.dump = subprocess.Popen(
            [*inside, "tcpdump", "-q", "-n", "-s", SNAP_BYTES, "-i", "br0", "-B", "8192", "-w", str(self.pcap), f"ip and not src host {own}"],
            stderr=subprocess.PIPE, text=True,
        )
        # The first packets of a fast tool would be lost before tcpdump says that it listens.
        while "listening on" not in (line := self.dump.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start")
        time.sleep(1)
        return self

    def __exit__(self, *_):
        # The capture's buffer is handed over once in a second.
        time.sleep(1.5)
        self.dump.send_signal(signal.SIGINT)
        self.dump.communicate(timeout=20)
        self.server.terminate()
        self.server.wait(timeout=10)


def start(namespace, command, log, work):
    with open(log, "w") as output:
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            cwd=work, start_new_session=True, env={**os.environ, "HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1"},
        )


def attack(out, number, run):
    with Net(f"a{number}", run.wire, 1) as net, Tap(net, out, run.name) as tap:
        name, address = net.clients[0]
        tool = start(name, ["timeout", "-k", "2", str(run.seconds), *run.command], out / f"{run.name}.log", out / "work")
        tool.wait(timeout=run.seconds + 30)
    return described(out, run.name, run.label, run.tool, run.wire, tap, [address], command=[Path(run.command[0]).name, *run.command[1:]])


def mix(out, number, name, seconds):
    wire, kinds = MIXES[name]
    with Net(f"m{number}", wire, len(kinds)) as net, Tap(net, out, name) as tap:
        running = []
        for place, (kind, (namespace, _)) in enumerate(zip(kinds, net.clients)):
            host = attacks.SITE if wire == "site" else "10.40.3.3"
            program = "clients.py" if wire == "site" else "devices.py"
            arguments = [kind, *([host] if wire == "site" else []), str(seconds), str(SEED * 100 + place)]
            command = [sys.executable, str(HERE / program), *arguments]
            if kind in SHELL:
                command = ["timeout", "-k", "2", str(seconds), "sh", "-c", SHELL[kind].format(host=host)]
            running.append(start(namespace, command, out / f"{name}-{place}-{kind}.log", out / "work"))
        for process in running:
            try:
                process.wait(timeout=seconds + 60)
            except subprocess.TimeoutExpired:
                process.kill()
    return described(out, name, "benign", f"mix-{name}", wire, tap, [address for _, address in net.clients], kinds=kinds)


def described(out, name, label, tool, wire, tap, addresses, **more):
    observed = sum(1 for _ in open(tap.http)) if tap.http.exists() else 0
    print(f"{name}: {label}, {tap.pcap.stat().st_size} bytes of packets, {observed} observations", flush=True)
    return {
        "name": name, "label": label, "tool": tool, "pcap": tap.pcap.name,
        "http": tap.http.name if wire == "site" else None, "lan": [LAN_NET.format(0)] if wire == "lan" else [],
        "sources": [address.split("/")[0] for address in addresses], **more,
    }


class Index:
    """runs.json, written after every run: what was recorded before is not recorded again."""

    def __init__(self, out):
        self.path, self.lock = out / "runs.json", threading.Lock()
        self.content = json.loads(self.path.read_text()) if self.path.exists() else {"runs": []}

    def has(self, name):
        return any(run["name"] == name for run in self.content["runs"])

    def add(self, run):
        with self.lock:
            others = [other for other in self.content["runs"] if other["name"] != run["name"]]
            self.content["runs"] = sorted([*others, run], key=lambda run: run["name"])
            self.path.write_text(json.dumps(self.content, indent=1) + "\n")


def inside(out, minutes, names):
    work = out / "work"
    space.enter(work)
    index = Index(out)
    index.content["versions"] = fetch.versions(work)
    wanted = lambda name: name in names if names else not index.has(name)
    runs = [run for run in attacks.every(work) if wanted(run.name)]

    def one(step, *arguments):
        try:
            index.add(step(out, *arguments))
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            print(f"{arguments}: left out: {error}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(LANES) as lanes, ThreadPoolExecutor(32) as long:
        for number, name in enumerate(name for name in MIXES if wanted(name)):
            long.submit(one, mix, number, name, minutes * 60)
        time.sleep(5)
        for number, run in enumerate(runs):
            (long if run.seconds >= LONG_S else lanes).submit(one, attack, number, run)


def rerun(mode, *arguments, network):
    """This program once more, in namespaces that end with it."""
    command = ["setpriv", "--pdeathsig", "KILL", *space.unshare(network), sys.executable, str(Path(__file__).resolve()), mode]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, *map(str, arguments)], check=False, stdin=subprocess.DEVNULL, env=env)
    if done.returncode:
        sys.exit(done.returncode)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=int, default=40)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    out = args.out.resolve()
    (out / "work").mkdir(parents=True, exist_ok=True)
    if not (out / "work/left.json").exists():
        rerun("--install", out, network=True)
    rerun("--inside", out, args.minutes, *args.names, network=False)
    shutil.rmtree(out / "work/crawl", ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--install"]:
        work = Path(sys.argv[2]) / "work"
        space.enter(work)
        left = fetch.install(work)
        (work / "left.json").write_text(json.dumps(left, indent=1))
        for what, why in left.items():
            print(f"left out {what}: {why}", flush=True)
    elif sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        main()
