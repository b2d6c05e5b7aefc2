"""What an application is to the recording, and how it runs. Enters: a folder. Leaves: a process that listens on the loopback."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "alice", "correct-horse-9"
DB_USER, DB_PASSWORD = "lab", "lab-secret"


@dataclass
class App:
    """`start` prepares and gives (command, folder); `enter` logs a person in; `pages` are where they begin; `call` is one
    thing that a script of the page or a program sends; `login` is the page and the fields for Chromium, which uses what has
    `browser`."""

    name: str
    start: object
    pages: list
    enter: object = None
    call: object = None
    calls_share: float = 0.5
    needs: list = field(default_factory=list)
    login: tuple = ()
    browser: bool = False
    ready_s: int = 90


def quiet(*command, **more):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False, **more)
    if done.returncode:
        raise RuntimeError(f"{command[0]} {command[1] if len(command) > 1 else ''}: {(done.stderr or done.stdout).decode('utf-8', 'replace').strip()[-400:]}")
    return done.stdout.decode("utf-8", "replace")


def php(port, root, *more, router=""):
    options = ["-d", "display_errors=0", "-d", "opcache.enable_cli=1", "-d", "upload_max_filesize=8M", "-d", "max_execution_time=20", *more]
    return ["php", *options, "-S", f"127.0.0.1:{port}", "-t", str(root), *([str(router)] if router else [])]


class Running:
    """A program while it runs, with everything that it starts."""

    def __init__(self, name, command, folder, log, env=None):
        self.name = name
        self.log = open(log, "w")
        # PHP's own server answers one request at a time without workers.
        env = {**os.environ, "PHP_CLI_SERVER_WORKERS": "4", "HOME": str(folder), "no_proxy": "*", **(env or {})}
        self.process = subprocess.Popen([str(part) for part in command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)

    def wait_http(self, port, seconds):
        end = time.time() + seconds
        while time.time() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {Path(self.log.name).read_text(errors='replace')[-300:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.name} does not answer: {Path(self.log.name).read_text(errors='replace')[-300:]}")

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


class MariaDb:
    """One server for all applications that want MySQL."""

    def __init__(self, work):
        self.folder, self.socket = work / "mariadb", "/run/mysqld/mysqld.sock"
        os.makedirs("/run/mysqld", exist_ok=True)
        if not (self.folder / "mysql").exists():
            quiet("mariadb-install-db", "--user=root", f"--datadir={self.folder}", "--auth-root-authentication-method=socket", "--skip-test-db")
        self.running = Running("mariadb", ["mariadbd", "--no-defaults", "--user=root", f"--datadir={self.folder}", f"--socket={self.socket}", "--bind-address=127.0.0.1", "--port=3306", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", f"--pid-file={self.folder}/pid"], work, work / "mariadb.log")
        for _ in range(100):
            try:
                self.sql(f"create user if not exists '{DB_USER}'@'%' identified by '{DB_PASSWORD}'; grant all on *.* to '{DB_USER}'@'%' with grant option; flush privileges")
                return
            except RuntimeError:
                time.sleep(0.3)
        raise RuntimeError("MariaDB does not answer")

    def sql(self, text):
        return quiet("mariadb", "-u", "root", f"--socket={self.socket}", "-e", text)

    def fresh(self, name):
        self.sql(f"drop database if exists `{name}`; create database `{name}` character set utf8mb4")

    def stop(self):
        self.running.stop()


def python(work):
    return str(work / "venv/bin/python")


def every_app():
    import apps_mail
    import apps_node
    import apps_php
    import apps_python

    return {app.name: app for module in (apps_php, apps_mail, apps_python, apps_node) for app in module.APPS}

