"""Enters: commands. Leaves: the same commands run where they can neither change this machine nor reach another one: in mount,
network and process namespaces without a name, which end with their last process. Debian packages are installed into an
overlay of /usr, /etc, /var and /run whose changes stay below the folder of the recording.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEM_PYTHON = "/usr/bin/python3"  # sees the Debian packages of the overlay


def unshare(network):
    kinds = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    return ["unshare", *kinds, *([] if network else ["--net"])]


def enter(work):
    """Inside new namespaces: the overlay over the system, the loopback up."""
    shutil.rmtree(work / "overlay/up/run", ignore_errors=True)
    for name in ("usr", "etc", "var", "run"):
        for part in ("up", "scratch"):
            (work / "overlay" / part / name).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir=/{name},upperdir={work}/overlay/up/{name},workdir={work}/overlay/scratch/{name}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"/{name}"], check=True)
    # With the machine's own network it is up already; in a new one it is not.
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False, capture_output=True)


def sandboxed(work, port):
    """The command that runs the target: nobody, no rights, its own /tmp, and only as many processes and bytes as it needs."""
    code = work / "site-target"
    shutil.rmtree(code, ignore_errors=True)
    code.mkdir()
    for name in ("target.py", "target_data.py"):
        shutil.copy(HERE / name, code)
    script = f"""set -e
mount --bind '{code}' /mnt
for folder in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o size=64m,mode=1777 tmpfs $folder; done
cd /tmp; ulimit -u 400 -f 20000
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all env -i PATH=/usr/bin:/bin {SYSTEM_PYTHON} /mnt/target.py {port}"""
    return [*unshare(network=True), "bash", "-c", script]


def rerun(mode, *args, network):
    """This program once more, in new namespaces; its exit code is ours."""
    # unshare ignores SIGTERM while it waits; this way it ends with us, and everything inside with it.
    command = ["setpriv", "--pdeathsig", "KILL", *unshare(network), SYSTEM_PYTHON if mode != "--install" else sys.executable, str(HERE / "record.py"), mode, *map(str, args)]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode:
        sys.exit(done.returncode)
