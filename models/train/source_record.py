"""Enters: nothing but installed attack tools. Leaves: for each run a capture file and what the origin observed, below
the output folder, with its label in runs.json. Every run has two network namespaces of its own, joined by one veth
pair and by nothing else: no route leads out. Runs are bounded in time, and everything is removed at the end.

usage (as root): source_record.py OUT [NAME…]
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT, ORIGIN = "198.51.100.7", "198.51.100.1"
RUN_S = 14
WORDS = "/usr/share/dirb/wordlists/common.txt"
PYTHON = [sys.executable, str(HERE / "source_clients.py")]


def client(kind, seconds=RUN_S, seed=1):
    return [*PYTHON, kind, ORIGIN, str(seconds), str(seed)]


def runs(work):
    """(name, label, split, command). The split is by tool: no tool stands on both sides."""
    users, passwords = work / "users", work / "passwords"
    users.write_text("".join(f"user{n}\n" for n in range(400)))
    passwords.write_text("".join(f"pw{n}\n" for n in range(400)))
    nmap = ["nmap", "-n", "-Pn", "--host-timeout", "20s"]
    hydra = ["hydra", "-I", "-f", "-t", "4", "-W", "1"]
    form = "http-post-form://{}/login:username=^USER^&password=^PASS^:S=302".format(ORIGIN)
    slow = ["slowhttptest", "-u", f"http://{ORIGIN}/", "-c", "500", "-r", "60", "-l", "12", "-i", "5"]
    hping = ["hping3", "-q", ORIGIN]
    nping = ["nping", "-q", "-N", "--privileged", ORIGIN]
    ffuf = ["ffuf", "-s", "-u", f"http://{ORIGIN}/FUZZ", "-w", WORDS]
    ffuf_login = [
        "ffuf", "-s", "-X", "POST", "-u", f"http://{ORIGIN}/login",
        "-H", "Content-Type: application/x-www-form-urlencoded", "-mc", "302",
    ]
    return [
        ("nmap-syn", "port_scan", "train", [*nmap, "-sS", "-p1-3000", ORIGIN]),
        ("nmap-connect", "port_scan", "train", [*nmap, "-sT", "-p1-1000", ORIGIN]),
        ("nmap-slow", "port_scan", "train", [*nmap, "-sS", "--scan-delay", "60ms", "-p1-400", ORIGIN]),
        ("nmap-udp", "port_scan", "train", [*nmap, "-sU", "--max-retries", "1", "-p1-600", ORIGIN]),
        ("nmap-fin", "port_scan", "train", [*nmap, "-sF", "-p1-2000", ORIGIN]),
        ("hping3-scan", "port_scan", "test", [*hping, "--scan", "1-3000", "-S"]),
        ("hping3-syn", "syn_flood", "train", [*hping, "-S", "-p", "80", "-i", "u300"]),
        ("hping3-syn-fast", "syn_flood", "train", [*hping, "-S", "-p", "80", "-i", "u60"]),
        ("hping3-udp", "udp_flood", "train", [*hping, "-2", "-p", "53", "-d", "64", "-i", "u80"]),
        ("hping3-icmp", "icmp_flood", "train", [*hping, "-1", "-i", "u500"]),
        ("nping-syn", "syn_flood", "test", [*nping, "--tcp", "-p", "80", "--flags", "syn", "--rate", "1500", "-c", "18000"]),
        ("nping-udp", "udp_flood", "test", [*nping, "--udp", "-p", "123", "--rate", "7000", "-c", "80000"]),
        ("nping-icmp", "icmp_flood", "test", [*nping, "--icmp", "--rate", "800", "-c", "10000"]),
        ("gobuster", "content_scan", "train", ["gobuster", "dir", "-q", "-t", "4", "-u", f"http://{ORIGIN}", "-w", WORDS]),
        (
            "gobuster-slow", "content_scan", "train",
            ["gobuster", "dir", "-q", "-t", "1", "--delay", "120ms", "-u", f"http://{ORIGIN}", "-w", WORDS],
        ),
        ("dirb", "content_scan", "train", ["dirb", f"http://{ORIGIN}/", WORDS, "-S", "-w"]),
        ("ffuf", "content_scan", "test", [*ffuf, "-t", "8"]),
        ("ffuf-slow", "content_scan", "test", [*ffuf, "-t", "1", "-p", "0.15"]),
        ("hydra", "brute_force", "train", [*hydra, "-l", "alice", "-P", str(passwords), form]),
        ("hydra-slow", "brute_force", "train", [*hydra, "-t", "1", "-c", "1", "-l", "alice", "-P", str(passwords), form]),
        ("guessing", "brute_force", "train", client("guessing", seed=5)),
        (
            "ffuf-login", "brute_force", "test",
            [*ffuf_login, "-t", "2", "-p", "0.1", "-d", "username=bob&password=FUZZ", "-w", str(passwords)],
        ),
        ("hydra-users", "credential_stuffing", "train", [*hydra, "-t", "2", "-L", str(users), "-p", "pw", form]),
        ("stuffing", "credential_stuffing", "train", client("stuffing")),
        (
            "ffuf-users", "credential_stuffing", "test",
            [*ffuf_login, "-t", "2", "-p", "0.1", "-d", "username=FUZZ&password=x", "-w", str(users)],
        ),
        ("slowhttptest-headers", "slow_http", "train", [*slow, "-H"]),
        ("slowhttptest-body", "slow_http", "train", [*slow, "-B"]),
        ("slowloris", "slow_http", "test", client("slow")),
        ("wrk", "request_flood", "train", ["wrk", "-t", "1", "-c", "8", "-d", "12", f"http://{ORIGIN}/"]),
        ("wrk-one", "request_flood", "train", ["wrk", "-t", "1", "-c", "1", "-d", "12", f"http://{ORIGIN}/search?q=1"]),
        ("flood", "request_flood", "test", client("flood")),
        ("browser", "benign", "train", client("browser", 40)),
        ("browser-2", "benign", "train", client("browser", 25, 2)),
        ("crawler", "benign", "train", client("crawler", 25)),
        ("api", "benign", "train", client("api", 25)),
        ("office", "benign", "test", client("office", 30)),
        ("poller", "benign", "train", client("poller", 25)),
        ("curl", "benign", "test", ["sh", "-c", f"for i in $(seq 60); do curl -s -o /dev/null http://{ORIGIN}/page/$i; sleep 0.2; done"]),
        ("ping", "benign", "train", ["ping", "-c", "20", ORIGIN]),
        (
            "wget", "benign", "test",
            ["wget", "-q", "-r", "-l", "3", "-w", "0.1", "-P", str(work / "wget"), f"http://{ORIGIN}/"],
        ),
        ("chromium", "benign", "test", ["sh", "-c", CHROMIUM.format(origin=ORIGIN, work=work)]),
    ]


CHROMIUM = (
    "for i in 1 2 3 4; do timeout 12 chromium --headless --no-sandbox --disable-gpu --user-data-dir={work}/chromium "
    "--dump-dom http://{origin}/page/$i >/dev/null 2>&1; done"
)


def sh(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Pair:
    """Two namespaces joined by one veth pair: 198.51.100.7 and .1, and nothing else."""

    def __init__(self):
        self.client, self.origin = (f"qs{os.getpid()}{end}" for end in "co")

    def __enter__(self):
        try:
            for name in (self.client, self.origin):
                sh("ip", "netns", "add", name)
                sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "-n", self.client, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", self.origin)
            for name, address in ((self.client, CLIENT), (self.origin, ORIGIN)):
                sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "v0")
                sh("ip", "-n", name, "link", "set", "v0", "up")
            routes = subprocess.run(["ip", "-n", self.client, "route"], capture_output=True, text=True, check=True)
            if "default" in routes.stdout:
                raise RuntimeError("the namespace has a way out")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in (self.client, self.origin):
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            for pid in pids.stdout.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def record(out, name, label, split, command):
    pcap, log = out / f"{name}.pcap", out / f"{name}.ndjson"
    with Pair() as pair:
        inside = ["ip", "netns", "exec", pair.origin]
        origin = subprocess.Popen([*inside, sys.executable, str(HERE / "source_origin.py"), ORIGIN, "80", str(log)])
        dump = subprocess.Popen(
            [*inside, "tcpdump", "-q", "-n", "-s", "96", "-U", "-i", "v0", "-w", str(pcap), f"src host {CLIENT}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        # The first packets of a fast tool would be lost before tcpdump says that it listens.
        while "listening on" not in (line := dump.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start")
        time.sleep(0.7)
        tool = ["ip", "netns", "exec", pair.client, "timeout", "-k", "2", "45" if label == "benign" else str(RUN_S), *command]
        with open(out / f"{name}.log", "w") as output:
            subprocess.run(
                tool, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
                cwd=out / "work",
            )
        time.sleep(0.3)
        dump.send_signal(signal.SIGINT)
        dump.communicate(timeout=5)
        origin.terminate()
        origin.wait(timeout=5)
    observed = sum(1 for _ in open(log)) if log.exists() else 0
    print(f"{name}: {label}, {pcap.stat().st_size} bytes of packets, {observed} observations", flush=True)
    return {"name": name, "label": label, "split": split, "pcap": pcap.name, "http": log.name, "tool": command[0]}


def main(out, names):
    out.mkdir(parents=True, exist_ok=True)
    work = out / "work"
    work.mkdir(exist_ok=True)
    index = out / "runs.json"
    done = {run["name"]: run for run in json.loads(index.read_text())} if index.exists() else {}
    for name, label, split, command in runs(work):
        if names and name not in names or not names and name in done:
            continue
        if shutil.which(command[0]) is None:
            print(f"{name}: {command[0]} is not installed, left out", file=sys.stderr)
            continue
        done[name] = record(out, name, label, split, command)
        index.write_text(json.dumps(list(done.values()), indent=1))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
