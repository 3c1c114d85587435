"""A real server in a thread, on a port of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from yoj.runtime import Scorer
from yoj.serving import HttpSettings, make_app
from yoj.serving._protocol import BoundedProtocol
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
def running(scorer: Scorer, settings: HttpSettings) -> Iterator[Served]:
    app = make_app(scorer, settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, access_log=False, log_config=None))
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


@pytest.fixture(scope="module")
def served(scorer) -> Iterator[Served]:
    """A server with the default settings, of the Qwen3-VL bundle."""
    with running(scorer("qwen3_vl"), HttpSettings(name="judge")) as server:
        yield server
