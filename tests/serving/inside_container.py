"""What a container engine does with the command of an image, for `test_http_container`. Run as root in own namespaces.

The file system is read-only, the network has a loopback device alone, the user is the one that the image names. Reads
what to run as JSON from the standard input and prints what happened as JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def show_interpreter(hold: str) -> None:
    """Where a home that is closed to others holds the interpreter, nothing but that stays of the home.

    Args:
        hold: an empty folder.
    """
    prefix = Path(sys.base_prefix).resolve()
    closed = [folder for folder in reversed(prefix.parents) if not folder.stat().st_mode & 0o001]
    if closed:
        subprocess.run(["mount", "--bind", prefix, hold], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", closed[0]], check=True)
        prefix.mkdir(parents=True)
        subprocess.run(["mount", "--bind", hold, prefix], check=True)


def make_read_only() -> None:
    """Every mounted file system but those that the kernel makes up."""
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind not in ("proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"):
            subprocess.run(["mount", "-o", "remount,ro,bind", place.replace("\\040", " ")], check=False)


def main() -> None:
    given = json.load(sys.stdin)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    raise_loopback()
    show_interpreter(given["hold"])
    make_read_only()
    user = {"user": given["uid"], "group": given["gid"], "extra_groups": [], "env": given["env"], "cwd": "/"}
    touched = [subprocess.run(["touch", place], **user, capture_output=True).returncode for place in given["places"]]
    # The server is the first process of its namespace, which the kernel sends no signal that it does not handle.
    first = ["unshare", "--pid", "--fork", "--kill-child", "--", "setpriv", f"--reuid={given['uid']}"]
    first += [f"--regid={given['gid']}", "--clear-groups", "--no-new-privs", "--", *given["command"]]
    server = subprocess.Popen(first, env=given["env"], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    health, end = -1, time.monotonic() + 120
    while health != 0 and server.poll() is None and time.monotonic() < end:
        health = subprocess.run(given["health"], **user, capture_output=True).returncode
        time.sleep(0.2)
    answer = None
    if health == 0:
        with urllib.request.urlopen(f"{given['url']}/v1/judge", json.dumps(given["request"]).encode()) as found:
            answer = json.load(found)
    child = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    status = Path(f"/proc/{child[0]}/status").read_text() if child else ""
    for one in child:
        os.kill(int(one), signal.SIGTERM)
    log, _ = server.communicate(timeout=60)
    after = subprocess.run(given["health"], **user, capture_output=True).returncode
    print(
        json.dumps(
            {
                "touched": touched,
                "health": health,
                "answer": answer,
                "users": [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid", "Gid"))],
                "exit": server.returncode,
                "health_after": after,
                "log": log.decode()[-2000:],
            }
        )
    )


if __name__ == "__main__":
    main()
