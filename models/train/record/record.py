"""Records requests: real applications used by people, a browser and programs, and attacked by real tools.

Enters: as root, what fetch.py installs. Leaves, in OUT: `recorded.jsonl.gz` in the format of `qantra eval`, labelled by
who sent each request, and `recorded.json`, the manifest: versions, seeds, commands and counts. All of it happens on the
loopback of network, mount and process namespaces without a name: nothing of the machine is changed, and nothing is left
running when this ends. It must never be told a target: it attacks its own.

usage (as root): record.py OUT [APP or TOOL…]
"""

import gzip
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import fetch
import space

SEED = 5
TARGET = 18000
APP_S, APP_ROWS, TOOL_LANES = 75, 4000, 2
# The corpora that models were trained on so far know these names only; `subclass` says it more finely.
COARSE = {"crlf": "injection-other", "ldap": "injection-other", "nosqli": "injection-other", "other": "injection-other"}


class Progress:
    """One line for each step done, for the one who waits: `3/25 wordpress 2310`."""

    def __init__(self, total):
        self.done, self.total, self.lock = 0, total, threading.Lock()

    def step(self, text):
        with self.lock:
            self.done += 1
            print(f"{self.done}/{self.total} {text}", flush=True)


def people(work, tap, apps, log, progress):
    """Every application in turn."""
    from apps import MariaDb, Running
    from honest import VISITORS, use
    from words import Words

    pool, database = [Words(f"{SEED} {number}") for number in range(VISITORS + 1)], None
    for number, app in enumerate(apps):
        running = lane = None
        try:
            if "mariadb" in app.needs and database is None:
                database = MariaDb(work)
            port = TARGET + 100 + number
            command, folder = app.start(work, port, database)
            running = Running(app.name, command, folder, work / f"{app.name}.log")
            running.wait_http(port, app.ready_s)
            lane = tap.open("benign", {"class": None, "subclass": None, "source": f"lab-{app.name}", "app": app.name, "tool": "person", "mode": ""}, port, APP_ROWS)
            for at, words in enumerate(pool):
                words.rng.seed(f"{SEED} {app.name} {at}")
                words.folder = work / f"homes/{app.name}{at}"
                words.folder.mkdir(parents=True, exist_ok=True)
            errors = use(app, lane, pool, work, APP_S, APP_ROWS)
            log.append({"app": app.name, "rows": lane.count, "sent": lane.sent, "statuses": dict(lane.statuses), "errors": dict(Counter(errors).most_common(5)), "seed": SEED})
            progress.step(f"{app.name} {lane.count}")
        except (OSError, RuntimeError, subprocess.SubprocessError, StopIteration) as error:
            # One application that does not install must not cost the others.
            log.append({"app": app.name, "left_out": str(error)[:400]})
            progress.step(f"{app.name} left out: {str(error)[:200]}")
        finally:
            if lane:
                tap.close(lane)
            if running:
                running.stop()
    if database:
        database.stop()


def command_of(run, work, lane, home):
    put = {"{url}": f"http://127.0.0.1:{lane.port}", "{port}": str(lane.port), "{bin}": str(work / "tools/bin"), "{wapiti}": str(work / "wapiti/bin/wapiti"), "{nettacker}": str(work / "nettacker/bin/nettacker"), "{commix}": str(work / "commix/usr/bin/commix"), "{python}": str(work / "tools/bin/python"), "{home}": str(home)}
    out = []
    for part in run.command:
        for name, value in put.items():
            part = part.replace(name, value)
        out.append(part)
    for name, text in run.files.items():
        (home / name).write_bytes(text.replace(b"{host}", f"127.0.0.1:{lane.port}".encode()))
    return out


def attack(run, work, tap, log, progress):
    """One tool with one set of options, until it ends, has sent enough or its time is over."""
    fields = {"class": COARSE.get(run.kind, run.kind), "subclass": run.kind, "source": f"lab-{run.tool}", "app": run.app, "tool": run.tool, "mode": run.mode}
    lane = tap.open("malicious", fields, TARGET, run.rows, run.watch)
    home = work / f"homes/{run.tool}-{lane.port}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    command = command_of(run, work, lane, home)
    entry = {"tool": run.tool, "class": run.kind, "mode": run.mode, "command": " ".join(command).replace(str(work), "."), "seed": SEED}
    begun = time.time()
    # Some tools read targets from a standard input that is no terminal.
    terminal, other = os.openpty()
    try:
        env = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "TERM": "dumb", "COLUMNS": "120", "PYTHONPATH": str(work / "commix/usr/lib/python3/dist-packages") if run.tool == "commix" else ""}
        with open(home / "log", "wb") as output:
            process = subprocess.Popen(command, stdin=other, stdout=output, stderr=output, cwd=home, env=env, start_new_session=True)
        while process.poll() is None and time.time() - begun < run.seconds and not lane.full.wait(0.2):
            pass
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait()
        entry |= {"rows": lane.count, "sent": lane.sent, "not_kept": dict(lane.not_kept)}
        progress.step(f"{run.tool} {run.kind} {lane.count}")
    except OSError as error:
        entry["left_out"] = str(error)
        progress.step(f"{run.tool} left out: {error}")
    finally:
        os.close(terminal), os.close(other)
        tap.close(lane)
        log.append(entry)


def tools(work, tap, runs, log, progress):
    """All runs against the target, some at a time."""
    from apps import Running
    from target import LINKS

    with_target = Running("target", space.sandboxed(work, TARGET), work, work / "target.log")
    try:
        with_target.wait_http(TARGET, 30)
        visitor(tap, LINKS)
        waiting = queue.Queue()
        for run in runs:
            waiting.put(run)

        def work_on():
            while True:
                try:
                    attack(waiting.get_nowait(), work, tap, log, progress)
                except queue.Empty:
                    return

        threads = [threading.Thread(target=work_on) for _ in range(TOOL_LANES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        with_target.stop()


def visitor(tap, links):
    """What a visitor of the target sends is no attack when a tool sends it: it is known beforehand, and not kept."""
    import urllib.request

    lane = tap.open("benign", {}, TARGET, 0)
    for link in ["", *links]:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{lane.port}/{link}", timeout=10).read()
        except OSError:
            pass
    tap.close(lane)


def inside(out, names):
    """In the namespaces: the applications first, then the tools, which find what visitors sent as templates."""
    import attacks
    from apps import every_app
    from tap import Tap

    work, log = out / "work", []
    space.enter(work)
    every, runs = every_app(), attacks.runs()
    known = {*every, *(run.tool for run in runs), "templates"}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no application or tool is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    apps = [app for app in every.values() if not names or app.name in names]
    runs = [run for run in runs if not names or run.tool in names]
    random.Random(SEED).shuffle(runs)
    templates = attacks.TEMPLATES if not names or "templates" in names else 0
    progress = Progress(len(apps) + len(runs) + templates)
    with open(out / "recorded.jsonl", "w") as sink:
        tap = Tap(sink)
        if apps:
            people(work, tap, apps, log, progress)
        sink.flush()
        if templates:
            runs += attacks.template_runs(out / "recorded.jsonl", random.Random(SEED), templates)
        if runs:
            tools(work, tap, runs, log, progress)
    (out / "runs.json").write_text(json.dumps({"runs": log, "versions": fetch.versions(work)}, indent=1))


def finish(out):
    """Packs the corpus and writes the manifest."""
    counts = Counter()
    with open(out / "recorded.jsonl") as lines, gzip.GzipFile(out / "recorded.jsonl.gz", "wb", mtime=0) as packed:
        for line in lines:
            row = json.loads(line)
            counts[row["label"], row["app"], row["tool"], row["subclass"]] += 1
            packed.write(line.encode())
    (out / "recorded.jsonl").unlink()
    ran = json.loads((out / "runs.json").read_text())
    table = [{"label": label, "app": app, "tool": tool, "class": kind, "rows": rows} for (label, app, tool, kind), rows in sorted(counts.items(), key=str)]
    manifest = {
        "seed": SEED, "split": "honest requests by `app`, attacks by `tool`; never at random", "rows": {label: sum(row["rows"] for row in table if row["label"] == label) for label in ("benign", "malicious")},
        "counts": table, "left_out": json.loads((out / "left.json").read_text()), **ran,
    }
    (out / "recorded.json").write_text(json.dumps(manifest, indent=1) + "\n")


def install(out):
    """In an overlay, with the machine's network: everything that is fetched."""
    work, left = out / "work", {}
    space.enter(work)
    fetch.install_debian(work, left)
    fetch.install_python(work, left)
    fetch.install_node(work, left)
    (out / "left.json").write_text(json.dumps(left, indent=1))
    for name, why in left.items():
        print(f"left out {name}: {why}", flush=True)


def main(out, names):
    (out / "work").mkdir(parents=True, exist_ok=True)
    print("fetch applications and tools", flush=True)
    space.rerun("--install", out, network=True)
    space.rerun("--inside", out, *names, network=False)
    finish(out)
    shutil.rmtree(out / "work/homes", ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--install":
        install(Path(sys.argv[2]))
    elif sys.argv[1] == "--inside":
        inside(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(Path(sys.argv[1]).resolve(), sys.argv[2:])
