"""Judges of the study: a bundle that can be read in packs of any size, with what each reading takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Request, Scorer
from yoj.runtime.batch import Prepared
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import open_session
from yoj.runtime.engines.select import select
from yoj.runtime.manifest import Mode
from yoj.runtime.orders import Orders

CACHE_BYTES = 2**28
"""Bytes of visual features that one request may keep."""


class CountingScorer(Scorer):
    """Scorer that counts the packs that it reads, and their tokens."""

    packs = 0
    tokens = 0

    def forget(self) -> None:
        """Begin a new request: count from 0, and read its picture again."""
        self.packs = self.tokens = 0
        self.cache = type(self.cache)(CACHE_BYTES)

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders | None = None) -> Prepared:
        """Prepare a request; see `yoj.runtime.Scorer.prepare`."""
        prepared = super().prepare(request, mode, orders)
        self.packs += len(prepared.packs)
        self.tokens += sum(len(pack.input_ids_L) for pack in prepared.packs)
        return prepared


class Judge:
    """Bundle, loaded once for packs of every size."""

    def __init__(self, path: Path):
        """Open a bundle on one thread.

        Raises:
            BundleError: the bundle is missing, changed or incomplete.
            EngineError: its engine cannot be opened.
        """
        self._bundle = Bundle.open(path)
        self._engine = select(self._bundle, None, None)
        self._session = open_session(self._bundle, self._engine, 1)
        self._scorers: dict[int | None, CountingScorer] = {}
        self.manifest = self._bundle.manifest

    def about(self) -> dict[str, Any]:
        """Origin of the scores, as results have it."""
        engine, manifest = self._engine, self.manifest
        named = {"manifest_sha256": manifest.digest, "engine": engine.engine, "precision": engine.precision}
        trained = None if manifest.trained_n is None else [*manifest.trained_n]
        return named | {"family": manifest.family, "trained_mode": manifest.trained_mode, "trained_n": trained}

    def scorer(self, size: int | None = None) -> CountingScorer:
        """Scorer whose groups are of a size; None for that of the training."""
        if size not in self._scorers:
            trained = self.manifest.trained_n if size is None else (size, size)
            manifest = msgspec.structs.replace(self.manifest, trained_n=trained)
            self._scorers[size] = CountingScorer(replace(self._bundle, manifest=manifest), self._engine, self._session)
        return self._scorers[size]

    def scores(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Scores of requests about one picture, each in one pack and in the mode of the training, float64 [N] each."""
        scorer = self.scorer()
        scorer.forget()
        return [np.array(one.scores, np.float64) for one in scorer.score_batch(requests)]
