"""Soak: very many requests by several clients, some of whom go, to a server that is ended and started on the way.

yoj-bench soak judge.yoj --requests 100000

Every request must be answered once, with its own id and the scores that the scorer gives without a server. A request
whose connection breaks, or that is refused, is sent again, as a client would. Memory is that of the server's process
in each of its lives, after a fifth of the life and at its end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yoj.runtime import Scorer

from ._environment import describe
from ._errors import BenchError
from ._server import Connection, Server, made_requests, scored_alone

FORMS = 64
"""Number of unlike requests, which are sent again and again with ids of their own."""
LONGEST = 3
"""Words of the longest response: the server is tried here, not the model."""
ABANDONED = 0.02
"""Share of requests beside which another one is begun and left, at any point."""
TOLERANCE = 1e-3
"""Largest difference of a score, which depends in its last bits on what else is in a batch."""
ENDS = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)
"""Signals that end the server, in turn."""
GIVE_UP = 300.0
"""Seconds after which a request that is not answered is a fault."""


@dataclass
class _Soak:
    """State that the clients share."""

    server: Server
    bodies: list[dict[str, Any]]
    expected: list[tuple[float, ...]]
    numbers: Iterator[int]
    bar: tqdm[Any]
    answered: Counter[int] = field(default_factory=Counter[int])
    """Number of answers to each request."""
    counts: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)


def measure(bundle: Path, requests: int, clients: int, restarts: int) -> dict[str, Any]:
    """Send requests, and end and start the server on the way.

    Args:
        bundle: the bundle's folder.
        requests: number of requests.
        clients: number of clients at once.
        restarts: number of times that the server is ended, by SIGTERM and SIGKILL.

    Returns:
        Counts of what happened, of which ``lost``, ``doubled`` and ``wrong`` must be 0; ``lives``, bytes of memory
        early and late in each life of the server; the environment.

    Raises:
        BenchError: the server does not start, or a client gives up.
    """
    bodies = made_requests(FORMS, LONGEST)
    with Scorer.load(bundle, engine="onnxruntime") as scorer:
        expected = scored_alone(scorer, bodies)
    with tqdm(total=requests, unit=" requests", mininterval=5) as bar, ThreadPoolExecutor(clients) as pool:
        soak = _Soak(Server(bundle), bodies, expected, iter(range(requests)), bar)
        soak.server.start()
        try:
            sending = [pool.submit(_client, soak, seed) for seed in range(clients)]
            lives = _lives(soak, requests // (restarts + 1), restarts, sending)
            for one in sending:
                one.result()
        finally:
            soak.numbers = iter(())
            soak.server.stop()
    return {
        "requests": requests,
        "clients": clients,
        "lost": requests - len(soak.answered),
        "doubled": sum(number > 1 for number in soak.answered.values()),
        "wrong": len(soak.wrong),
        "first_wrong": soak.wrong[:3],
        "counts": dict(soak.counts),
        "lives": lives,
        "environment": describe(os.cpu_count() or 1),
    }


def _lives(soak: _Soak, size: int, restarts: int, sending: list[Future[None]]) -> list[dict[str, int]]:
    """End the server each time that it has answered so many requests, while others are on their way to it."""
    lives: list[dict[str, int]] = []
    for life in range(restarts + 1):
        _wait(soak, life * size + size // 5, sending)
        early = soak.server.memory()
        _wait(soak, (life + 1) * size - (size // 50 if life == restarts else 0), sending)
        lives.append({"early": early, "late": soak.server.memory()})
        if life < restarts:
            soak.server.stop(ENDS[life % len(ENDS)])
            soak.server.start()
    return lives


def _wait(soak: _Soak, count: int, sending: list[Future[None]]) -> None:
    while len(soak.answered) < count and not all(one.done() for one in sending):
        if failed := next((one for one in sending if one.done() and one.exception()), None):
            failed.result()
        time.sleep(0.02)


def _client(soak: _Soak, seed: int) -> None:
    rng, connection = random.Random(seed), Connection(soak.server.port)
    while True:
        with soak.lock:
            number = next(soak.numbers, None)
        if number is None:
            break
        if rng.random() < ABANDONED:
            _abandon(soak, rng)
        _send(soak, connection, number)
        soak.bar.update()
    connection.close()


def _send(soak: _Soak, connection: Connection, number: int) -> None:
    """Send one request until it is answered, and check the answer."""
    form = number % FORMS
    answer = _answer(soak, connection, json.dumps(soak.bodies[form] | {"id": number}).encode())
    scores, expected = answer["scores"], soak.expected[form]
    right = len(scores) == len(expected) and all(abs(a - b) <= TOLERANCE for a, b in zip(scores, expected, strict=True))
    with soak.lock:
        soak.answered[answer["id"]] += 1
        if answer["id"] != number or not right:
            soak.wrong.append(f"request {number} has the answer of {answer['id']}: {scores}, not {expected}")


def _answer(soak: _Soak, connection: Connection, body: bytes) -> dict[str, Any]:
    end = time.monotonic() + GIVE_UP
    while True:
        try:
            status, answer = connection.ask(body)
            what = {200: "answered", 429: "refused", 503: "refused"}.get(status, f"status {status}")
        except OSError as error:
            status, answer, what = 0, {}, type(error).__name__
        with soak.lock:
            soak.counts[what] += 1
        if status == 200:
            return answer
        if status not in (0, 429, 503) or time.monotonic() > end:
            raise BenchError(f"A request was not answered: {what}: {answer}")
        time.sleep(0.1)


def _abandon(soak: _Soak, rng: random.Random) -> None:
    """Begin a request, and close the connection at any point of it, or before the answer."""
    body = json.dumps(soak.bodies[rng.randrange(FORMS)]).encode()
    whole = b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with soak.lock:
        soak.counts["abandoned"] += 1
    try:
        with socket.create_connection(("127.0.0.1", soak.server.port), 10) as connection:
            connection.sendall(whole[: rng.choice((len(whole), rng.randrange(1, len(whole))))])
            time.sleep(rng.uniform(0.0, 0.01))
    except OSError:
        pass  # the server was just ended


def table(found: dict[str, Any]) -> str:
    """Figures as text."""
    lines = [
        f"{found['requests']:,} requests of {found['clients']} clients: {found['lost']} lost, {found['doubled']} "
        f"doubled, {found['wrong']} wrong",
        *found["first_wrong"],
        *(f"{count:9,}  {what}" for what, count in sorted(found["counts"].items())),
    ]
    for life, memory in enumerate(found["lives"]):
        grown = (memory["late"] - memory["early"]) / 2**20
        lines.append(f"life {life}: {memory['early'] / 2**20:.1f} MiB, {grown:+.1f} MiB later")
    return "\n".join(lines)
