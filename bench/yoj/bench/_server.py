"""A server of one bundle in a process of its own, and requests to it, for benchmarks of serving."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from yoj.runtime import Request, Scorer

from ._errors import BenchError

START_SECONDS, STOP_SECONDS = 120.0, 90.0
HEAD = b"POST /v1/judge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
WORDS = ("a", "red", "circle", "stands", "beside", "two", "blue", "squares", "on", "dark", "ground", "or", "nothing")


@dataclass
class Server:
    """``yoj-serve http`` on loopback, on a port that stays the same when it starts again."""

    bundle: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def start(self) -> None:
        """Start, and wait until it accepts requests.

        Raises:
            BenchError: it ended or did not begin; its last log line is in the text.
        """
        command = [sys.executable, "-m", "yoj.serving", "http", str(self.bundle), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, *self.options], stderr=self.log)
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop(signal.SIGKILL)
                self.log.seek(0)
                last = (self.log.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
                raise BenchError(f"The server of {self.bundle} did not start: {last}")
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process by a signal, and wait until it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(STOP_SECONDS)

    def memory(self) -> int:
        """Resident bytes of the process. Linux only."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False


class Connection:
    """Connection that is opened when it is first used, and again after it broke.

    It does the least that HTTP takes, so that what is measured is the server and not the client.
    """

    def __init__(self, port: int):
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, body: bytes) -> tuple[int, Any]:
        """Send one request to ``/v1/judge``: status and JSON of the answer.

        Raises:
            OSError: the connection broke, or cannot be opened.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), 120)
            self._socket.sendall(HEAD % len(body) + body)
            head, content = self._read_until(self._socket, b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            while len(content) < size:
                content += self._received(self._socket)
            return int(lines[0].split()[1]), msgspec.json.decode(content)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read_until(self, stream: socket.socket, end: bytes) -> tuple[bytes, bytes]:
        content = b""
        while end not in content:
            content += self._received(stream)
        head, _, rest = content.partition(end)
        return head, rest

    @staticmethod
    def _received(stream: socket.socket) -> bytes:
        if not (piece := stream.recv(65536)):
            raise ConnectionResetError("the server closed the connection")
        return piece


def made_requests(count: int, longest: int, image: str | None = None) -> list[dict[str, Any]]:
    """Requests of unlike lengths, as JSON holds them: 2 to 5 responses, the same in each run.

    Args:
        count: number of requests.
        longest: words of the longest response.
        image: data URL that each request shows.
    """
    shown = {} if image is None else {"image": image}
    made: list[dict[str, Any]] = []
    for k in range(count):
        responses = [
            f"{n}: " + " ".join(WORDS[(k + 3 * n + w) % len(WORDS)] for w in range(1 + (7 * k + 11 * n) % longest))
            for n in range(2 + k % 4)
        ]
        made.append({"prompt": f"What is shown in scene {k}?", "responses": responses} | shown)
    return made


def scored_alone(scorer: Scorer, made: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    """Raw scores of each request, without a server."""
    judgements = scorer.score_batch([as_request(one) for one in made])
    return [tuple(judgement.scores) for judgement in judgements]


def as_request(made: dict[str, Any]) -> Request:
    """A request of `made_requests`, for the scorer."""
    from yoj.runtime import decode_request

    return decode_request(json.dumps(made).encode())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return cast("int", listener.getsockname()[1])
