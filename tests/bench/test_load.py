"""Requests that arrive at a rate, against a loaded bundle."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import IMAGES

from yoj.bench._load import FRACTIONS, arrivals, measure_load, offer, saturated, summarise
from yoj.bench._results import Load
from yoj.runtime import Request, RequestError, Scorer

REQUEST = Request("What is shown?", ["A cat.", "Two dogs.", "Nothing."], [IMAGES / "odd_small.png"])


@pytest.fixture(scope="module")
def loaded(bundle):
    with Scorer.load(bundle("merged", "assistant"), threads=1) as scorer:
        scorer.score_batch([REQUEST] * 3)
        yield scorer


def test_latency_counts_from_the_arrival():
    """One worker, three requests a second apart, the first of which takes three seconds, the others one."""
    arrived, done = np.array([0.0, 1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    load = summarise("x", 1.0, arrived, done)
    assert load.p50 == pytest.approx(3000.0)  # though the second and third took 1,000 ms of a worker
    assert load.p99 == pytest.approx(3000.0)
    assert load.served == pytest.approx(3 / 5)
    assert (load.variant, load.offered, load.requests) == ("x", 1.0, 3)


def test_no_more_is_served_than_offered():
    assert summarise("x", 2.0, np.array([0.1, 0.2]), np.array([0.15, 0.25])).served == pytest.approx(2.0)


@pytest.mark.slow
@given(rate=st.floats(0.01, 1e6), count=st.integers(1, 500))
def test_arrivals(rate, count):
    arrived = arrivals(rate, count)
    assert len(arrived) == count
    assert (np.diff(arrived) >= 0).all()
    assert arrived[0] >= 0
    assert arrived[-1] <= count / rate
    assert np.array_equal(arrived, arrivals(rate, count))


def test_arrivals_are_as_irregular_as_a_poisson_process():
    """Gaps of an exponential distribution: their deviation is their mean."""
    gaps = np.diff(arrivals(50.0, 20_000))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


def test_a_rate_that_can_be_served(loaded):
    load = offer("tiny", loaded, REQUEST, rate=10.0, count=15, workers=2)
    assert (load.requests, load.offered, load.variant) == (15, 10.0, "tiny")
    assert 0 < load.p50 <= load.p95 <= load.p99
    assert 0.5 * load.offered < load.served <= load.offered


def test_a_rate_that_cannot_be_served(loaded):
    begin = time.perf_counter()
    load = offer("tiny", loaded, REQUEST, rate=1e6, count=30, workers=2)
    taken = time.perf_counter() - begin
    assert 30 / taken <= load.served < load.offered / 10
    # All arrive at once, so that the median waits for half of all.
    assert load.p50 > 0.2 * taken * 1e3
    assert saturated(load, service=load.p50 / 10)


def test_every_request_is_sent_once_whatever_the_workers(loaded, monkeypatch):
    sent: list[Request] = []
    score = Scorer.score_batch

    def counted(self, requests, **options):
        sent.extend(requests)
        return score(self, requests, **options)

    monkeypatch.setattr(Scorer, "score_batch", counted)
    offer("tiny", loaded, REQUEST, rate=1e6, count=13, workers=4)
    assert sent == [REQUEST] * 13


def test_errors_are_raised_at_once(loaded):
    begin = time.perf_counter()
    with pytest.raises(RequestError, match="no responses"):
        offer("tiny", loaded, Request("What is shown?", []), rate=0.5, count=50, workers=3)
    assert time.perf_counter() - begin < 50  # and not after the 100 seconds in which all arrive


@pytest.mark.parametrize(("rate", "count", "workers"), [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_what_cannot_be_offered(loaded, rate, count, workers):
    with pytest.raises(ValueError, match="above zero"):
        offer("tiny", loaded, REQUEST, rate, count, workers)


def test_saturation():
    point = Load(variant="x", offered=10.0, served=9.5, requests=10, p50=40.0, p95=50.0, p99=60.0)
    assert not saturated(point, service=10.0)
    assert saturated(point, service=7.0)
    assert saturated(Load(variant="x", offered=10.0, served=5.0, requests=10, p50=1.0, p95=1.0, p99=1.0), 10.0)


def test_rates_rise_until_one_saturates(loaded):
    points = measure_load("tiny", loaded, REQUEST, count=20, workers=2)
    assert 1 <= len(points) <= len(FRACTIONS)
    offered = [point.offered for point in points]
    assert offered == pytest.approx([offered[0] * fraction / FRACTIONS[0] for fraction in FRACTIONS[: len(points)]])
    assert not any(point.served < 0.8 * point.offered for point in points[:-1])
    # The highest is half again as much as could be served when that was measured, unless the machine was busy then.
    assert len(points) == len(FRACTIONS) or saturated(points[-1], 2 / (points[0].offered / FRACTIONS[0]) * 1e3)
