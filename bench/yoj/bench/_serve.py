"""Costs of serving: what the server adds to a request alone, and how much of the engine is left under load.

yoj-bench serve judge.yoj --out bench/results/{kind}/serve.json

Each round measures all of it in turns: a request over HTTP and the same by the scorer in this process, at low load;
then the scorer's batch loop over many requests, and the same requests over HTTP, which arrive faster than the server
answers whether or not earlier ones are done. Client and server share the cores, and the client's work counts against
the server.
"""

from __future__ import annotations

import json
import queue
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.runtime import Scorer

from ._environment import describe
from ._load import arrivals
from ._server import Connection, Server, as_request, made_requests

OVERLOAD = 1.3
"""Rate of arrivals in parts of what the batch loop scores."""
CONNECTIONS = 64
LONGEST = 120
"""Words of the longest response."""
PAUSE = 0.02
"""Seconds between two requests at low load, in which threads of the engine that wait for work stop doing so."""
ALONE = 40
"""Requests of each kind at low load, in each round."""


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a measurement."""

    requests: int
    rounds: int
    threads: int
    image: str | None = None
    """Data URL of a picture that the requests show."""


def measure(bundle: Path, settings: ServeSettings) -> dict[str, Any]:
    """Measure a bundle on the CPU.

    Returns:
        ``rounds``, figures of each; ``added_p50_ms``, the median of what the server adds to a request; ``ratio``, the
        median of the server's requests a second over the batch loop's; the environment.

    Raises:
        BenchError: the server did not start.
        YojError: the bundle does not load, or a request fails.
    """
    made = made_requests(settings.requests, LONGEST, settings.image)
    server = Server(bundle, ("--threads", str(settings.threads)))
    with Scorer.load(bundle, engine="onnxruntime", threads=settings.threads) as scorer:
        server.start()
        try:
            rounds = [_round(scorer, server, made) for _ in range(settings.rounds)]
        finally:
            server.stop()
    return {
        "rounds": rounds,
        "added_p50_ms": statistics.median(one["http_p50_ms"] - one["direct_p50_ms"] for one in rounds),
        "ratio": statistics.median(one["served"] / one["offline"] for one in rounds),
        "environment": describe(settings.threads),
    }


def _round(scorer: Scorer, server: Server, made: list[dict[str, Any]]) -> dict[str, float]:
    direct, over_http = _alone(scorer, server, made[0])
    requests = [as_request(one) for one in made]
    begin = time.perf_counter()
    scorer.score_batch(requests)
    offline = len(requests) / (time.perf_counter() - begin)
    return {"direct_p50_ms": direct, "http_p50_ms": over_http, "offline": offline} | _overloaded(server, made, offline)


def _alone(scorer: Scorer, server: Server, made: dict[str, Any]) -> tuple[float, float]:
    """Medians in milliseconds of one request by the scorer, and over HTTP."""
    connection, body = Connection(server.port), json.dumps(made).encode()
    times: dict[str, list[float]] = {"direct": [], "http": []}
    for k in range(ALONE + 4):
        for name, call in (
            ("direct", lambda: scorer.score_batch([as_request(made)])),
            ("http", lambda: connection.ask(body)),
        ):
            time.sleep(PAUSE)
            begin = time.perf_counter()
            call()
            if k >= 4:
                times[name].append(1e3 * (time.perf_counter() - begin))
    connection.close()
    return statistics.median(times["direct"]), statistics.median(times["http"])


def _overloaded(server: Server, made: list[dict[str, Any]], offline: float) -> dict[str, float]:
    """Requests a second that are answered with a judgement while more arrive, and those that are refused."""
    arrived = arrivals(OVERLOAD * offline, len(made))
    waiting = queue.SimpleQueue[int | None]()
    for number in (*range(len(made)), *[None] * CONNECTIONS):
        waiting.put(number)
    done: list[float] = []
    statuses: list[int] = []
    lock, begin = threading.Lock(), time.perf_counter()

    def work() -> None:
        connection = Connection(server.port)
        while (number := waiting.get()) is not None:
            body = json.dumps(made[number]).encode()
            time.sleep(max(0.0, begin + arrived[number] - time.perf_counter()))
            status, _ = connection.ask(body)
            with lock:
                statuses.append(status)
                if status == 200:
                    done.append(time.perf_counter() - begin)
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for worker in [pool.submit(work) for _ in range(CONNECTIONS)]:
            worker.result()
    # All that is answered here is counted over the whole time, in which the queue fills and empties again.
    return {"served": len(done) / max(done), "answered": len(done), "refused": statuses.count(429)}


def table(found: dict[str, Any]) -> str:
    """Figures as text."""
    lines = ["direct ms   HTTP ms   added   offline/s   served/s   ratio   answered   refused"]
    lines += [
        f"{one['direct_p50_ms']:9.2f}{one['http_p50_ms']:10.2f}{one['http_p50_ms'] - one['direct_p50_ms']:8.2f}"
        f"{one['offline']:12.1f}{one['served']:11.1f}{one['served'] / one['offline']:8.2f}"
        f"{one['answered']:11.0f}{one['refused']:10.0f}"
        for one in found["rounds"]
    ]
    return "\n".join(
        [
            *lines,
            f"added to a request alone, median of p50: {found['added_p50_ms']:.2f} ms",
            f"throughput at saturation over that of the batch loop, median: {found['ratio']:.3f}",
        ]
    )
