"""A judge behind Ray Serve on a local cluster, one of whose replicas is killed; it runs in Ray's environment.

Reads what is asked from the standard input, and prints the answers.
"""

import base64
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray import serve

from yoj.integrations.ray import ServeConfig, serve_app

asked = json.load(sys.stdin)
REPLICA = b"ray::ServeReplica:default:yoj"
SECONDS = 180


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


port = free_port()
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = str(SECONDS)  # 5 s are little where much else runs
ray.init(
    num_cpus=2,
    include_dashboard=False,
    object_store_memory=200_000_000,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"], "OMP_NUM_THREADS": "1"}},
)
serve.start(http_options={"host": "127.0.0.1", "port": port})
config = ServeConfig(replicas=(2, 2), batch_wait=0.05)
serve.run(serve_app(asked["bundle"], config), route_prefix="/judges")


def call(path, body, method="POST"):
    url = f"http://127.0.0.1:{port}/judges{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as answer:
            return [answer.status, json.loads(answer.read())]
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return [error.code, json.loads(text) if text.startswith("{") else text]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_ours(pid):
    """Whether a process is one of this script's cluster."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parent(pid)
    return False


def replicas():
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if (folder / "cmdline").read_bytes().startswith(REPLICA) and is_ours(int(folder.name)):
                found.add(int(folder.name))
    return found


bodies = [base64.b64decode(body) for body in asked["bodies"]]
answer = {}
with ThreadPoolExecutor(len(bodies)) as callers:
    answer["together"] = [*callers.map(lambda body: call("/v1/judge", body), bodies)]
answer["wrong"] = [call("/v1/judge", base64.b64decode(body)) for body in asked["wrong"]]
answer["routes"] = [call("/health", None, "GET"), call("/v1/judge", None, "GET"), call("/v2/judge", bodies[0])]

before = replicas()
os.kill(min(before), signal.SIGKILL)
end, statuses = time.monotonic() + SECONDS, []
while time.monotonic() < end:
    statuses.append(call("/v1/judge", bodies[0])[0])
    if len(replicas() - before) == 1 and statuses[-20:] == [200] * 20:
        break
    time.sleep(0.2)
after = replicas()
answer |= {"before": len(before), "kept": len(after & before), "new": len(after - before), "statuses": statuses}
answer["at last"] = [call("/v1/judge", body) for body in bodies[:4]]
serve.shutdown()
ray.shutdown()
print(json.dumps(answer))
