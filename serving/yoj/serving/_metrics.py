"""Metrics of a server, in the text form of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from yoj.runtime import Judgement, Prepared

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


class Cache(Protocol):
    """Cache whose use is counted."""

    hits: int
    misses: int


class Metrics:
    """Metrics of one server, in a registry of their own."""

    def __init__(self, cache: Cache) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Histogram(
            "yoj_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ["route", "status"],
            buckets=SECONDS,
            registry=own,
        )
        self.phase = Histogram(
            "yoj_phase_seconds",
            "Seconds of each phase: queue is the wait for the engine; vision, gather and scorer are of the batch.",
            ["phase"],
            buckets=SECONDS,
            registry=own,
        )
        self.in_server = Gauge("yoj_requests_in_server", "Requests that are in the server, in any phase.", registry=own)
        self.queued = Gauge("yoj_queue_requests", "Requests that wait for the engine.", registry=own)
        self.rows = Histogram("yoj_batch_rows", "Rows that the engine scored together.", buckets=ROWS, registry=own)
        self.padding = Histogram(
            "yoj_batch_padding_share", "Share of the tokens of a batch that are padding.", buckets=SHARES, registry=own
        )
        self.responses = Counter("yoj_responses_total", "Responses that were scored.", registry=own)
        self.registry.register(_CacheUse(cache))
        self._groups = _GroupOutcomes()
        self.registry.register(self._groups)
        self.group_samples = Gauge(
            "yoj_group_samples_waiting", "Samples that wait for their group or its scores.", registry=own
        )
        self.errors = Counter("yoj_errors_total", "Requests that were answered with an error.", ["kind"], registry=own)

    def batch(self, batch: Sequence[Prepared], waits: Sequence[float]) -> None:
        """Record a batch that is about to be scored, and the seconds for which each of its requests has waited."""
        lengths = [len(pack.input_ids_L) for prepared in batch for pack in prepared.packs]
        self.rows.observe(len(lengths))
        self.padding.observe(1 - sum(lengths) / (max(lengths) * len(lengths)))
        for seconds in waits:
            self.phase.labels("queue").observe(seconds)

    def judged(self, judgements: Sequence[Judgement]) -> None:
        """Record judgements."""
        for one in judgements:
            self.responses.inc(len(one.scores))
            for phase, milliseconds in one.timings_ms.items():
                self.phase.labels(phase).observe(milliseconds / 1000)

    def count_groups(self, outcomes: Callable[[], Mapping[str, int]]) -> None:
        """Show the groups that were answered.

        Args:
            outcomes: function that gives the number of groups of each outcome.
        """
        self._groups.outcomes = outcomes

    def text(self) -> bytes:
        """All metrics in the text form of Prometheus."""
        return generate_latest(self.registry)


class _CacheUse(Collector):
    """Collector that asks the scorer's cache when the metrics are read."""

    def __init__(self, cache: Cache):
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """Collect the one metric of this collector."""
        family = CounterMetricFamily(
            "yoj_feature_cache", "Images and videos of batches whose features were looked up.", labels=["found"]
        )
        family.add_metric(["yes"], self._cache.hits)
        family.add_metric(["no"], self._cache.misses)
        yield family


class _GroupOutcomes(Collector):
    """Collector that asks the meeting point when the metrics are read: its groups also end without the judge."""

    outcomes: Callable[[], Mapping[str, int]] = dict
    """Function that gives the number of groups of each outcome."""

    def collect(self) -> Iterable[Metric]:
        """Collect the one metric of this collector."""
        family = CounterMetricFamily("yoj_groups", "Groups that were scored or failed.", labels=["outcome"])
        for outcome, count in self.outcomes().items():
            family.add_metric([outcome], count)
        yield family
