"""A bundle, loaded: requests in, judgements out."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from .batch import Prepared, batches_by_length, scorer_inputs
from .bundle import TOKENIZER_NAME, Bundle
from .engines import open_session
from .errors import BundleError, ScoreError, YojError
from .families import FAMILIES, Arrays, Family
from .images import ImageInput, load_image
from .judgement import Judgement, judge
from .manifest import Engine, Manifest
from .packing import Packer
from .request import Overflow, Request, check_request

BATCH_TOKENS = 4096
"""Tokens of one batch with its padding. On a CPU larger batches gain nothing, and attention needs L x L memory."""


class Scorer:
    """Scores requests with one bundle. Safe to use from several threads.

    >>> scorer = Scorer.load("judge.yoj")
    >>> judgement = scorer.score("What is shown?", ["A cat.", "A red bus."], images=["photo.jpg"])
    >>> judgement.best, judgement.scores
    """

    def __init__(self, bundle: Bundle, engine: Engine, threads: int | None = None):
        """Use `load`."""
        manifest = bundle.manifest
        if manifest.family not in FAMILIES:
            raise BundleError(
                f"{bundle.path} is of family {manifest.family}; this yoj knows {', '.join(FAMILIES)}. Upgrade yoj."
            )
        self._bundle, self._engine = bundle, engine
        if missing := {"vision", "scorer.joint"} - engine.graphs.keys():
            raise BundleError(f"{bundle.path} has no graph {', '.join(sorted(missing))}. Export the bundle again.")
        self._packer = Packer(bundle.path / TOKENIZER_NAME, manifest.layout, manifest.limits.L)
        try:
            self._family = FAMILIES[manifest.family](manifest.preprocessing, self._packer.token_id)
        except msgspec.ValidationError as error:
            raise BundleError(f"{bundle.path}: preprocessing settings: {error}. Export the bundle again.") from error
        self._session = open_session(bundle, engine, threads)
        self._scorer_inputs = {spec.name for spec in engine.graphs["scorer.joint"].inputs}

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        engine: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> Scorer:
        """Open a bundle, check its files against their hashes, and load one of its engines.

        Args:
            path: the bundle's folder.
            engine: ``"onnxruntime"``; None for the first that the bundle holds.
            precision: ``"float32"``; None for the first that the bundle holds.
            threads: CPU threads of one run; None for all cores.

        Raises:
            BundleError: the bundle is missing, changed, incomplete or of another version.
            EngineError: no such engine in the bundle, or its library is missing.
        """
        bundle = Bundle.open(path)
        return cls(bundle, bundle.engine(engine, precision), threads)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._bundle.manifest

    @property
    def engine(self) -> Engine:
        """The manifest's entry of the loaded engine."""
        return self._engine

    @property
    def family(self) -> Family:
        """Pixels, placeholders and positions of the bundle's backbone."""
        return self._family

    def score(
        self,
        prompt: str,
        responses: Sequence[str],
        *,
        images: Sequence[ImageInput] = (),
        overflow: Overflow = "error",
    ) -> Judgement:
        """Score N responses to one prompt in one forward pass.

        Args:
            prompt: the question, as the user asked it.
            responses: [N] the candidate answers.
            images: paths, bytes, PIL images or uint8 [H, W, 3] arrays that the question is about.
            overflow: ``"error"`` refuses a pack over the bundle's length limit; ``"truncate"`` cuts the longest
                responses and reports it in ``Judgement.cuts``.

        Raises:
            RequestError: the request is not one that can be scored; see its subclasses.
            EngineError: the engine failed, or returned something that is not a score.
        """
        return self.score_batch([Request(prompt, responses, images, overflow)])[0]

    @overload
    def score_batch(self, requests: Sequence[Request]) -> list[Judgement]: ...
    @overload
    def score_batch(
        self, requests: Sequence[Request], *, on_error: Literal["return"]
    ) -> list[Judgement | YojError]: ...
    def score_batch(
        self, requests: Sequence[Request], *, on_error: Literal["raise", "return"] = "raise"
    ) -> list[Judgement] | list[Judgement | YojError]:
        """Score several requests, with different N and with or without images, together.

        Args:
            requests: any number.
            on_error: ``"raise"`` the first error, or ``"return"`` each error in the place of its judgement.

        Returns:
            One entry for each request, in the given order.
        """
        results: dict[int, Judgement | YojError] = {}
        ready: dict[int, Prepared] = {}
        for index, request in enumerate(requests):
            try:
                ready[index] = self.prepare(request)
            except YojError as error:
                results[index] = _named(error, index, len(requests))
        if results and on_error == "raise":
            raise next(error for error in results.values() if isinstance(error, YojError))
        order = list(ready)
        for group in batches_by_length([len(ready[index].pack.input_ids_L) for index in order], BATCH_TOKENS):
            indices = [order[place] for place in group]
            results |= dict(zip(indices, self._score_together([ready[i] for i in indices], on_error), strict=True))
        return [results[index] for index in range(len(requests))]  # type: ignore[return-value]

    def prepare(self, request: Request) -> Prepared:
        """Decode, preprocess and pack one request: everything before the engine.

        Raises:
            RequestError: see `score`.
        """
        limits, timings = self.manifest.limits, dict[str, float]()
        check_request(request, limits)
        with _timed(timings, "decode"):
            pixels = [load_image(image, limits.pixels, f"images[{k}]") for k, image in enumerate(request.images)]
        with _timed(timings, "preprocess"):
            images = tuple(self._family.prepare_image(image_HWC) for image_HWC in pixels)
        with _timed(timings, "pack"):
            pack = self._packer.pack(request, [image.ids for image in images])
        return Prepared(pack, images, timings)

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Raw scores [B, N] of prepared requests in one batch, -inf where a request has fewer than N responses."""
        return self._run(batch)[0]

    def _score_together(
        self, batch: Sequence[Prepared], on_error: Literal["raise", "return"]
    ) -> list[Judgement | YojError]:
        try:
            scores_BN, timings = self._run(batch)
        except YojError as error:
            if on_error == "raise":
                raise
            return [error] * len(batch)
        results: list[Judgement | YojError] = []
        for prepared, scores_N in zip(batch, scores_BN, strict=True):
            scores_N = scores_N[: len(prepared.pack.response_end_N)]
            if np.isfinite(scores_N).all():
                results.append(self._judge(prepared, scores_N, timings))
                continue
            error = ScoreError(
                f"The engine {self._engine.engine} {self._engine.precision} returned {scores_N.tolist()} for a request "
                f"of {len(prepared.pack.input_ids_L)} tokens. Try another precision, and check the bundle with "
                "yoj-export verify."
            )
            if on_error == "raise":
                raise error
            results.append(error)
        return results

    def _run(self, batch: Sequence[Prepared]) -> tuple[NDArray[np.float32], dict[str, float]]:
        timings: dict[str, float] = {}
        images = [image for prepared in batch for image in prepared.images]
        with _timed(timings, "vision"):
            features = self._session.run("vision", self._family.vision_inputs(images)) if images else self._no_images()
        with _timed(timings, "gather"):
            inputs = scorer_inputs(batch, self._family, features)
            inputs = {name: array for name, array in inputs.items() if name in self._scorer_inputs}
        with _timed(timings, "scorer"):
            scores_BN = self._session.run("scorer.joint", inputs)["scores"]
        return scores_BN, timings | {"batch": len(batch)}

    def _no_images(self) -> Arrays:
        """One row of zeros for each feature output: the scorer gathers from at least one row."""
        outputs = self._engine.graphs["vision"].outputs
        return {
            spec.name: np.zeros([size if isinstance(size, int) else 1 for size in spec.shape], spec.dtype)
            for spec in outputs
        }

    def _judge(self, prepared: Prepared, scores_N: NDArray[np.float32], timings: dict[str, float]) -> Judgement:
        manifest = self.manifest
        return judge(
            scores_N,
            manifest.probabilities.temperature,
            manifest.probabilities.calibrated,
            cuts=prepared.pack.cuts,
            timings_ms=prepared.timings_ms | timings,
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        return {
            "engine": self._engine.engine,
            "precision": self._engine.precision,
            "family": self.manifest.family,
            "layout": self.manifest.layout.name,
            "mode": "joint",
            "manifest_sha256": self.manifest.digest,
        }


def _named(error: YojError, index: int, count: int) -> YojError:
    """The same error saying which request of a batch it is about."""
    return error if count == 1 else type(error)(f"requests[{index}]: {error}")


@contextmanager
def _timed(timings: dict[str, float], phase: str) -> Generator[None]:
    begin = time.perf_counter()
    yield
    timings[phase] = (time.perf_counter() - begin) * 1e3
