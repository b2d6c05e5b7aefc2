"""Enters: a folder and what Debian, PyPI and npm hold. Leaves: real web applications that listen on the loopback, with
an account and some content. They are unpacked below that folder; nothing of the machine is changed.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

USER, PASSWORD = "alice", "correct-horse-9"
PYPI = ["django==5.2.19", "datasette==0.65.5"]
NPM = ["json-server@0.17.4"]
HERE = Path(__file__).resolve().parent


def quiet(*command, **more):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def deb(work, *packages):
    """Unpacks Debian packages below `work` and gives the folder."""
    root = work / packages[0]
    if not root.exists():
        parts = work / f"{packages[0]}.part"
        parts.mkdir(parents=True, exist_ok=True)
        quiet("apt-get", "download", *packages, cwd=parts)
        for package in sorted(parts.glob("*.deb")):
            quiet("dpkg", "-x", package, parts)
        parts.rename(root)
    return root


def fetch(work):
    """Everything that comes from the network, once and before the namespace without a way out is entered."""
    deb(work, "mediawiki", "mediawiki-classes")
    deb(work, "dokuwiki", "php-geshi", "php-phpseclib", "libphp-simplepie", "php-random-compat")
    venv = work / "venv"
    if not (venv / "bin/datasette").exists():
        quiet(sys.executable, "-m", "venv", venv)
        quiet(venv / "bin/pip", "install", "--disable-pip-version-check", *PYPI)
    node = work / "node"
    if not (node / "node_modules/json-server").exists():
        node.mkdir(parents=True, exist_ok=True)
        quiet("npm", "install", "--no-audit", "--no-fund", *NPM, cwd=node)


def mediawiki(work, port):
    site, root = work / "site-mediawiki", work / "mediawiki/usr/share/mediawiki"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root, site, symlinks=True)
    for link in ("LocalSettings.php", "config", "extensions", "images"):
        (site / link).unlink()
    (site / "extensions-core").rename(site / "extensions")
    (site / "images").mkdir()
    quiet(
        "php", site / "maintenance/install.php", "--dbtype", "sqlite", "--dbpath", site / "data", "--server", "http://127.0.0.1",
        "--scriptpath", "", "--pass", PASSWORD, "Lab Wiki", USER,
    )
    with open(site / "LocalSettings.php", "a") as settings:
        settings.write(f"\n$wgServer = WebRequest::detectServer();\n$wgEnableUploads = true;\n$wgMainCacheType = CACHE_DB;\n$wgCacheDirectory = '{site}/cache';\n")
    return ["php", "-S", f"127.0.0.1:{port}", "-t", str(site)], site


def dokuwiki(work, port):
    site, root = work / "site-dokuwiki", work / "dokuwiki"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root / "usr/share/dokuwiki", site, symlinks=True)
    for link in [path for path in site.rglob("*") if path.is_symlink()]:
        target = root / os.readlink(link).lstrip("/")
        link.unlink()
        if target.is_dir():
            shutil.copytree(target, link, symlinks=True)
    shutil.copytree(root / "var/lib/dokuwiki/data", site / "data")
    shutil.copytree(root / "etc/dokuwiki", site / "conf", symlinks=True)
    for name in ("acl.auth.php", "users.auth.php"):
        (site / "conf" / name).unlink(missing_ok=True)
    (site / "conf/acl.auth.php").write_text("*\t@ALL\t8\n")
    digest = subprocess.run(["php", "-r", f"echo password_hash('{PASSWORD}', PASSWORD_BCRYPT);"], capture_output=True, text=True, check=True)
    (site / "conf/users.auth.php").write_text(f"{USER}:{digest.stdout}:Alice:alice@example.org:admin,user\n")
    (site / "conf/local.php").write_text(f"<?php\n$conf['title']='Lab';\n$conf['useacl']=1;\n$conf['superuser']='@admin';\n$conf['savedir']='{site}/data';\n$conf['defer_index']=0;\n")
    (site / "inc/preload.php").write_text(f"<?php define('DOKU_CONF','{site}/conf/');\n")
    # Debian keeps libraries elsewhere; here they stand below the unpacked packages.
    path = ":".join(str(root / f"usr/share/{name}") for name in ("php", "php-geshi", "php/simplepie"))
    return ["php", "-d", f"include_path=.:{path}", "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", "-t", str(site)], site


def django(work, port):
    site, python = work / "site-django", work / "venv/bin/python"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    quiet(python, "-m", "django", "startproject", "lab", ".", cwd=site)
    with open(site / "lab/settings.py", "a") as settings:
        settings.write("\nALLOWED_HOSTS = ['*']\nCSRF_TRUSTED_ORIGINS = ['http://127.0.0.1:*']\nINSTALLED_APPS += ['django.contrib.flatpages', 'django.contrib.sites', 'django.contrib.redirects']\nSITE_ID = 1\n")
    quiet(python, "manage.py", "migrate", cwd=site)
    env = {**os.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    quiet(python, "manage.py", "createsuperuser", "--noinput", "--username", USER, "--email", "alice@example.org", cwd=site, env=env)
    return [str(python), "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], site


def datasette(work, port):
    site = work / "site-datasette"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    import sqlite3

    with sqlite3.connect(site / "shop.db") as base:
        base.execute("create table product (id integer primary key, name text, price real, maker text, added text)")
        base.executemany("insert into product (name, price, maker, added) values (?, ?, ?, ?)", [(f"lamp {n}", n * 1.5, f"O'Brien & Co {n % 7}", f"2026-05-{n % 28 + 1:02}") for n in range(300)])
    return [str(work / "venv/bin/datasette"), "serve", "shop.db", "-h", "127.0.0.1", "-p", str(port)], site


def jsonserver(work, port):
    site = work / "site-jsonserver"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    (site / "db.json").write_text('{"posts": [{"id": 1, "title": "a"}], "comments": [], "orders": [], "users": [], "profile": {"name": "x"}}')
    return [str(work / "node/node_modules/.bin/json-server"), "--host", "127.0.0.1", "--port", str(port), "db.json"], site


def target(work, port):
    return [sys.executable, str(HERE / "request_target.py"), str(port)], work


APPS = {"mediawiki": mediawiki, "dokuwiki": dokuwiki, "django": django, "datasette": datasette, "jsonserver": jsonserver, "target": target}


class App:
    """An application while it runs."""

    def __init__(self, name, work, port):
        self.name, self.work, self.port = name, work, port

    def __enter__(self):
        command, site = APPS[self.name](self.work, self.port)
        log = open(self.work / f"{self.name}.log", "w")
        # PHP's own server answers one request at a time without workers.
        env = {**os.environ, "PHP_CLI_SERVER_WORKERS": "4"}
        self.process = subprocess.Popen(command, cwd=site, env=env, stdout=log, stderr=log, start_new_session=True)
        for _ in range(150):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10).read()
                return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise RuntimeError(f"{self.name} does not answer: see {log.name}")

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
