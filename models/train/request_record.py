"""Records requests: real applications used by a browser and by programs, and attacked by real tools.

Enters: as root, what `request_apps.py` installs and the tools of the lab. Leaves, in OUT: `recorded.jsonl.gz` in the
format of `qantra eval`, labelled by who sent each request, and `recorded.json`, the manifest: versions, seeds, commands
and counts. All of it happens on the loopback of one network namespace that has no other interface.

usage (as root): request_record.py OUT [APP or TOOL…]
"""

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import request_apps
import request_people
from request_tap import Tap

HERE = Path(__file__).resolve().parent
SEED = 5
APP, HONEST, ATTACK = 18080, 18081, 18082
URL = f"http://127.0.0.1:{ATTACK}"
PEOPLE_ROWS, TOOL_ROWS, RUN_S = 2500, 500, 75
LISTS = "/usr/share/wfuzz/wordlist/Injections"

NMAP_SCRIPTS = """http-vuln* http-shellshock http-sql-injection http-phpself-xss http-dombased-xss http-csrf http-passwd
http-iis-webdav-vuln http-rfi-spider http-fileupload-exploiter http-stored-xss http-unsafe-output-escaping
http-adobe-coldfusion-apsa1301 http-awstatstotals-exec http-axis2-dir-traversal http-barracuda-dir-traversal
http-coldfusion-subzero http-dlink-backdoor http-huawei-hg5xx-vuln http-litespeed-sourcecode-download
http-majordomo2-dir-traversal http-phpmyadmin-dir-traversal http-tplink-dir-traversal http-vmware-path-vuln""".split()


def sqlmap(*options):
    return ["sqlmap", "--batch", "--flush-session", "--timeout", "3", "--retries", "0", "--threads", "3", "-v", "0", *options]


def wapiti(module):
    return ["wapiti", "-u", f"{URL}/", "-m", module, "--flush-session", "-S", "polite", "-t", "3", "-f", "json", "-o", "/dev/null", "--max-scan-time", "1"]


def wfuzz(words, *options):
    return ["wfuzz", "-z", f"file,{LISTS}/{words}.txt", "-t", "4", "--hc", "999", *options]


def attacks(work):
    """(tool, class, command). The tool is the origin: a model is tested on tools that it has not seen."""
    item, search = f"{URL}/item?id=1", f"{URL}/search?q=lamp&category=2"
    json_body, form = ["--data", '{"id": "1", "note": "x"}'], ["--data", "user=alice&password=x"]
    xml = work / "xml.txt"
    runs = [
        ("sqlmap", "sqli", sqlmap("-u", item, "--level", "2", "--risk", "2")),
        ("sqlmap", "sqli", sqlmap("-u", search, "-p", "q", "--level", "3", "--risk", "3", "--random-agent")),
        ("sqlmap", "sqli", sqlmap("-u", f"{URL}/login", *form, "--level", "2", "--risk", "3", "--random-agent")),
        ("sqlmap", "sqli", sqlmap("-u", f"{URL}/api/item", *json_body, "-p", "id", "--level", "2", "--random-agent")),
        ("sqlmap", "sqli", sqlmap("-u", f"{URL}/", "--cookie", "track=abc; theme=dark", "-p", "track", "--level", "2", "--random-agent")),
        ("sqlmap", "sqli", sqlmap("-u", f"{URL}/comment?name=a&text=b", "--level", "5", "--risk", "3", "-p", "user-agent,referer")),
        ("sqlmap", "sqli", sqlmap("-u", item, "--dump", "--technique", "U", "--random-agent")),
    ]
    for dbms in ("mysql", "postgresql", "mssql", "oracle"):
        runs.append(("sqlmap", "sqli", sqlmap("-u", f"{URL}/view?template=a&page=1", "-p", "page", "--dbms", dbms, "--level", "3", "--risk", "3", "--random-agent")))
    for tamper in ("space2comment,randomcase", "charencode", "chardoubleencode", "between,symboliclogical", "versionedmorekeywords", "base64encode", "charunicodeescape", "space2plus,equaltolike", "percentage,randomcomments", "apostrophemask"):
        runs.append(("sqlmap", "sqli", sqlmap("-u", search, "-p", "q", "--tamper", tamper, "--level", "2", "--risk", "2", "--random-agent")))
    modules = {"xss": "xss", "sql": "sqli", "blindsql": "sqli", "file": "traversal", "exec": "rce", "crlf": "injection-other", "ssrf": "ssrf", "xxe": "xxe", "redirect": "redirect", "shellshock": "rce", "permanentxss": "xss"}
    runs += [("wapiti", kind, wapiti(module)) for module, kind in modules.items()]
    for words, kind in (("SQL", "sqli"), ("XSS", "xss"), ("Traversal", "traversal"), ("XML", "xxe"), ("All_attack", "injection-other")):
        runs.append(("wfuzz", kind, wfuzz(words, f"{URL}/search?q=FUZZ")))
        runs.append(("wfuzz", kind, wfuzz(words, "-d", "name=Ann&text=FUZZ", f"{URL}/comment")))
        runs.append(("wfuzz", kind, wfuzz(words, "-b", "track=FUZZ", f"{URL}/")))
        runs.append(("wfuzz", kind, wfuzz(words, "-H", "Referer: FUZZ", f"{URL}/")))
    # The plus: the port is not one of those that nmap takes for web servers.
    scripts = ",".join(f"+{name}" for name in NMAP_SCRIPTS)
    runs.append(("nmap", "scanner", ["nmap", "-n", "-Pn", "-p", str(ATTACK), "--script", scripts, "--script-args", "unsafe=1", "127.0.0.1"]))
    return runs


def run_tools(tap, work, names, log):
    for tool, kind, command in attacks(work):
        if names and tool not in names:
            continue
        if shutil.which(command[0]) is None:
            log.append({"tool": tool, "left_out": "not installed"})
            continue
        tap.start(f"lab-{tool}:{kind}", TOOL_ROWS)
        with open(work / f"{tool}.log", "a") as output:
            subprocess.run(["timeout", "-k", "2", str(RUN_S), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, cwd=work, env={**os.environ, "HOME": str(work)})
        rows = tap.stop()
        log.append({"tool": tool, "class": kind, "rows": rows, "command": " ".join(command)})
        print(f"{tool} {kind}: {rows}", flush=True)


def inside(out, names):
    """In the namespace: every application in turn, and the target of the tools last."""
    work, log = out / "work", []
    with open(out / "recorded.jsonl", "w") as sink:
        tap = Tap(APP, HONEST, ATTACK, sink)
        for name in request_apps.APPS:
            if names and name not in names and name != "target":
                continue
            try:
                with request_apps.App(name, work, APP):
                    if name != "target":
                        tap.start(f"lab-{name}", PEOPLE_ROWS)
                        request_people.use(name, HONEST, random.Random(f"{SEED} {name}"), work)
                        rows = tap.stop()
                        log.append({"app": name, "rows": rows, "seed": SEED})
                        print(f"{name}: {rows}", flush=True)
                    else:
                        # What a visitor of the target sends first is no attack when a tool sends it.
                        tap.start("lab-target", 300)
                        request_people.use(name, HONEST, random.Random(f"{SEED} {name}"), work)
                        tap.stop()
                        run_tools(tap, work, names, log)
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                # One application that does not install must not cost the others.
                log.append({"app": name, "left_out": str(error)})
                print(f"{name}: left out: {error}", file=sys.stderr, flush=True)
            sink.flush()
    (out / "runs.json").write_text(json.dumps(log, indent=1))


def versions():
    asked = {"sqlmap": ["sqlmap", "--version"], "wapiti": ["wapiti", "--version"], "wfuzz": ["wfuzz", "--version"], "nmap": ["nmap", "--version"], "php": ["php", "--version"], "chromium": ["chromium", "--version"]}
    found = {}
    for name, command in asked.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            found[name] = ((done.stdout or done.stderr).strip().splitlines() or ["?"])[-1 if name == "wapiti" else 0]
    return {**found, "pypi": request_apps.PYPI, "npm": request_apps.NPM}


def finish(out):
    """Tools' rows get their class; the corpus is packed, the manifest written."""
    counts = {}
    with open(out / "recorded.jsonl") as lines, gzip.GzipFile(out / "recorded.jsonl.gz", "wb", mtime=0) as packed:
        for line in lines:
            row = json.loads(line)
            row["source"], _, kind = row["source"].partition(":")
            row["class"] = kind if row["label"] == "malicious" else None
            counts.setdefault(row["source"], {}).setdefault(row["label"], 0)
            counts[row["source"]][row["label"]] += 1
            packed.write((json.dumps(row) + "\n").encode())
    manifest = {"seed": SEED, "versions": versions(), "counts": counts, "runs": json.loads((out / "runs.json").read_text())}
    (out / "recorded.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(json.dumps(counts))


def main(out, names):
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    request_apps.fetch(work)
    space = f"qrec{os.getpid()}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    try:
        subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
        subprocess.run(["nsenter", f"--net=/run/netns/{space}", sys.executable, __file__, "--inside", str(out), *names], check=True)
    finally:
        pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
        for pid in pids.split():
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "del", space], check=False)
    finish(out)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--inside":
        inside(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(Path(sys.argv[1]).resolve(), sys.argv[2:])
