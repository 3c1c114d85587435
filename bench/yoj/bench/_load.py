"""Latency of requests that arrive at a rate, whether or not earlier ones are done, as users of a server see it.

A client that waits for its answer before it asks again sends less just when the server is slow, and so hides the
slowness (coordinated omission). Here requests have scheduled arrivals, and latency counts from those, however late a
worker became free.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Request, Scorer

from ._results import Load

FRACTIONS = (0.5, 0.75, 0.9, 1.1, 1.5)
"""Rates, in parts of the rate that is served while no worker waits."""
WARM_UP, BUSY = 2, 6
"""Numbers of requests of each worker: before the clock starts, and to find that rate."""
SATURATED_WAIT, SATURATED_SERVED = 5.0, 0.8
"""Bounds beyond which more load only makes a longer queue: median latency over the time of one request, and served over
offered. Of few requests, those in flight at the end alone keep what is served some per cent below what is offered."""


def arrivals(rate: float, count: int) -> NDArray[np.float64]:
    """Arrival times in seconds [count] from the start, rising, the same in each run.

    They are those of a Poisson process of this rate that has ``count`` arrivals in ``count / rate`` seconds: given
    their number, they are uniform (order statistics). So what is offered is the rate, and not an estimate of it.
    """
    return np.sort(np.random.default_rng(0).uniform(0.0, count / rate, count))


def summarise(variant: str, rate: float, arrived: NDArray[np.float64], done: NDArray[np.float64]) -> Load:
    """Figures of one rate.

    Args:
        variant: name of the variant.
        rate: offered rate, requests a second.
        arrived: times in seconds [count] at which requests were scheduled.
        done: times in seconds [count] at which their scores were there.
    """
    p50, p95, p99 = (float(value) for value in np.percentile((done - arrived) * 1e3, (50, 95, 99)))
    count = len(arrived)
    # Of requests that are all done before the last would have to come, no more were served than offered.
    served = count / max(float(done.max()), count / rate)
    return Load(variant=variant, offered=rate, served=served, requests=count, p50=p50, p95=p95, p99=p99)


def offer(variant: str, scorer: Scorer, request: Request, rate: float, count: int, workers: int) -> Load:
    """Send a request ``count`` times at ``rate`` requests a second.

    The features of its images are remembered between requests, as in serving.

    Args:
        variant: name of the variant.
        scorer: loaded scorer; several threads use it at once.
        request: request that is sent each time; decoding and preprocessing count.
        rate: number of requests a second.
        count: number of requests.
        workers: number of threads that score. A request waits when all are busy.

    Raises:
        ValueError: a rate, count or number of workers that is not above zero.
        YojError: a request fails; those that wait are dropped.
    """
    if min(rate, count, workers) <= 0:
        raise ValueError(f"rate is {rate}, count {count}, workers {workers}; give numbers above zero.")
    arrived, done = arrivals(rate, count), np.zeros(count)
    stop, waiting = threading.Event(), queue.SimpleQueue[int | None]()
    for number in (*range(count), *[None] * workers):  # each worker ends at its None
        waiting.put(number)
    begin = time.perf_counter()

    def work() -> None:
        try:
            while (number := waiting.get()) is not None:
                if stop.wait(max(0.0, begin + arrived[number] - time.perf_counter())):
                    return
                scorer.score_batch([request])
                done[number] = time.perf_counter() - begin
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        try:
            for worker in [pool.submit(work) for _ in range(workers)]:
                worker.result()
        finally:
            stop.set()  # an interrupt comes here, and must not wait for all arrivals
    return summarise(variant, rate, arrived, done)


def measure_load(variant: str, scorer: Scorer, request: Request, count: int, workers: int) -> tuple[Load, ...]:
    """Latency at rising rates, in parts of the rate that is served when all requests are there at once.

    Visual features stay remembered, as in serving: the image goes through the vision graph before the clock starts.

    Args:
        variant: see `offer`.
        scorer: loaded scorer.
        request: request that is sent each time.
        count: number of requests at each rate. All rates take as long as seven times as many that are there at once.
        workers: see `offer`.

    Returns:
        Point for each rate, up to the first that saturates the scorer.

    Raises:
        YojError: a request fails.
    """
    offer(variant, scorer, request, math.inf, WARM_UP * workers, workers)
    most = offer(variant, scorer, request, math.inf, BUSY * workers, workers).served
    points: list[Load] = []
    for fraction in FRACTIONS:
        points.append(offer(variant, scorer, request, fraction * most, count, workers))
        if saturated(points[-1], workers / most * 1e3):
            break
    return tuple(points)


def saturated(point: Load, service: float) -> bool:
    """Whether the queue grows as long as requests come.

    Args:
        point: figures at one rate.
        service: time in milliseconds that a worker takes for a request while the others are busy too.
    """
    return point.p50 > SATURATED_WAIT * service or point.served < SATURATED_SERVED * point.offered
