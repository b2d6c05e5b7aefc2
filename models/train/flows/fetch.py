"""Enters: a folder. Leaves, below it, every tool that the recording of flows uses: Debian's in an overlay (see
../record/space.py), those of PyPI and npm in folders of their own. It must never install anything on the machine itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

DEBIAN = (
    "nmap masscan zmap hping3 pnscan dmitry netcat-openbsd fping onesixtyone python3-scapy netsniff-ng t50 medusa ncrack "
    "hydra ffuf gobuster dirb wfuzz httrack slowhttptest wrk apache2-utils siege hey curl wget "
    "tcpdump ethtool chromium iputils-ping"
).split()
PYPI = ["slowloris==0.2.6", "dirsearch==0.5.0", "setuptools"]
NPM = ["autocannon@8.0.0"]


def ran(what, command, left, **more):
    """Whether a command went well; if not, why is written down."""
    try:
        done = subprocess.run(
            [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
            check=False, **more,
        )
        failed, why = done.returncode != 0, (done.stderr or done.stdout).strip().splitlines()[-1:]
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, why = True, [str(error)]
    if failed:
        left[what] = (why or ["failed"])[0][:200]
    return not failed


def install(work):
    """Runs in the overlay, with the machine's network. Returns what could not be had, and why."""
    left, apt = {}, ["apt-get", "install", "-y", "--no-install-recommends"]
    Path("/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    Path("/usr/sbin/policy-rc.d").chmod(0o755)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ran("apt-get update", ["apt-get", "update"], left, env=env)
    if not ran("Debian", [*apt, *DEBIAN], left, env=env):
        del left["Debian"]
        # One package that this release does not have must not cost the others.
        for package in DEBIAN:
            ran(package, [*apt, package], left, env=env)
    venv, node = work / "venv", work / "node"
    if not (venv / "bin/pip").exists():
        ran("venv", [sys.executable, "-m", "venv", venv], left)
    for package in PYPI:
        ran(package, [venv / "bin/pip", "install", "-q", "--disable-pip-version-check", package], left)
    node.mkdir(exist_ok=True)
    for package in NPM:
        ran(package, ["npm", "install", "--no-audit", "--no-fund", "--save-exact", package], left, cwd=node)
    return left


def versions(work):
    """Of everything that was installed; asked for inside the overlay."""
    ask = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *DEBIAN]
    listed = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    debian = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    return {"debian": debian, "pypi": PYPI, "npm": NPM}


if __name__ == "__main__":
    print(json.dumps(install(Path(sys.argv[1])), indent=1))
