"""Real servers: one in a thread of the tests, on a port of its own; one in a process, as the command starts it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from yoj.runtime import Scorer
from yoj.serving import HttpSettings, make_app
from yoj.serving._http import DrainingServer
from yoj.serving._protocol import bounded
from yoj.serving._service import Service


@dataclass
class Served:
    """A running server."""

    client: httpx.Client
    service: Service
    port: int

    def judge(self, **fields) -> httpx.Response:
        return self.client.post("/v1/judge", json={"prompt": "Which?", "responses": ["One.", "Two."]} | fields)


@contextmanager
def running(scorer: Scorer, settings: HttpSettings, port: int = 0) -> Iterator[Served]:
    app = make_app(scorer, settings)
    config = uvicorn.Config(app, port=port, http=bounded(settings.max_body), access_log=False, log_config=None)
    server = DrainingServer(config, app.state.service.groups)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield Served(client, app.state.service, port)
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


@contextmanager
def command_serving(
    bundle: Path, options: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen, str, list[dict]]]:
    """``yoj-serve http`` in a process of its own; its address, and its log lines once it has ended."""
    command = [sys.executable, "-m", "yoj.serving", "http", str(bundle), "--port", "0", *options]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    assert child.stderr is not None
    lines: list[dict] = []
    try:
        while "running on" not in (lines[-1]["message"] if lines else ""):
            line = child.stderr.readline()
            assert line, f"the server ended: {lines}"
            lines.append(json.loads(line))
        yield child, re.search(r"http://[\w.:]+", lines[-1]["message"])[0], lines
        lines += [json.loads(line) for line in child.stderr]
    finally:
        child.kill()
        child.wait()
