"""A bundle, loaded: requests in, judgements out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from .batch import Prepared, batches_by_length, scorer_inputs
from .bundle import TOKENIZER_NAME, Bundle
from .cache import FeatureCache
from .engines import Session, open_session
from .engines.plans import select
from .errors import BundleError, EngineError, ScoreError, YojError
from .families import FAMILIES, Arrays, Family, PreparedMedia
from .images import ImageInput
from .judgement import Judgement, judge
from .manifest import Engine, Manifest, Mode
from .orders import Orders, average, by_response
from .prepare import Preparer, rules_of, timed
from .request import Overflow, Request
from .temperature import Read, temperature_for, why_uncalibrated
from .video import VideoInput

BATCH_TOKENS = 4096
"""Tokens of one batch with its padding. On a CPU larger batches gain nothing, and attention needs L x L memory."""


CACHE_BYTES = 256 * 2**20
"""Of visual features that are kept: some 25 images of a 4B model in float32."""


class Scorer:
    """Scores requests with one bundle. Safe to use from several threads.

    >>> scorer = Scorer.load("judge.yoj")
    >>> judgement = scorer.score("What is shown?", ["A cat.", "A red bus."], images=["photo.jpg"])
    >>> judgement.best, judgement.scores
    """

    def __init__(self, bundle: Bundle, engine: Engine, session: Session):
        """Use `load`, unless the session is not one of the runtime's own."""
        manifest = bundle.manifest
        if manifest.family not in FAMILIES:
            raise BundleError(
                f"{bundle.path} is of family {manifest.family}; this yoj knows {', '.join(FAMILIES)}. Upgrade yoj."
            )
        self._bundle, self._engine = bundle, engine
        if missing := {"vision", "scorer.joint"} - engine.graphs.keys():
            raise BundleError(f"{bundle.path} has no graph {', '.join(sorted(missing))}. Export the bundle again.")
        try:
            self._preparer = Preparer(rules_of(manifest), bundle.path / TOKENIZER_NAME)
        except msgspec.ValidationError as error:
            raise BundleError(f"{bundle.path}: preprocessing settings: {error}. Export the bundle again.") from error
        self._session = session
        self._cache = FeatureCache(CACHE_BYTES)

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
            engine: ``"onnxruntime"`` on the CPU, ``"onnxruntime-cuda"``, ``"tensorrt"`` or ``"tensorrt-rtx"``; None for
                the first that the bundle holds.
            precision: ``"float32"``, ``"float16"`` or ``"bfloat16"``; None for the first that the bundle holds.
            threads: of ONNX Runtime, CPU threads of one run, None for all cores; of the TensorRT engines, requests that
                run at once on the GPU, each with its own memory, None for two.

        Raises:
            BundleError: the bundle is missing, changed, incomplete or of another version.
            EngineError: no such engine in the bundle, its library or its GPU is missing, or its plans do not fit them.
        """
        bundle = Bundle.open(path)
        chosen = select(bundle, engine, precision)
        return cls(bundle, chosen, open_session(bundle, chosen, threads))

    def close(self) -> None:
        """Give back the engine's memory, on the GPU too; nothing can be scored afterwards. A ``with`` block does it."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        return self._preparer.family

    def score(  # noqa: PLR0913  (what a caller may say of one request, by name)
        self,
        prompt: str,
        responses: Sequence[str],
        *,
        images: Sequence[ImageInput] = (),
        video: VideoInput | None = None,
        fps: float | None = None,
        overflow: Overflow = "error",
        mode: Mode | None = None,
        orders: Orders = 1,
    ) -> Judgement:
        """Score N responses to one prompt in one forward pass.

        Args:
            prompt: the question, as the user asked it.
            responses: [N] the candidate answers.
            images: paths, bytes, PIL images or uint8 [H, W, 3] arrays that the question is about.
            video: a video file (needs the extra ``video``), a folder of frames, or a list of frames.
            fps: frames a second of a folder or list of frames; None for one every 4 seconds.
            overflow: ``"error"`` refuses a pack over the bundle's length limit; ``"truncate"`` cuts the longest
                responses and reports it in ``Judgement.cuts``.
            mode: see `score_batch`.
            orders: see `score_batch`.

        Raises:
            RequestError: the request is not one that can be scored; see its subclasses.
            EngineError: the engine failed, or returned something that is not a score.
        """
        request = Request(prompt, responses, images, video, fps, overflow)
        return self.score_batch([request], mode=mode, orders=orders)[0]

    @overload
    def score_batch(
        self, requests: Sequence[Request], *, mode: Mode | None = None, orders: Orders = 1
    ) -> list[Judgement]: ...
    @overload
    def score_batch(
        self,
        requests: Sequence[Request],
        *,
        mode: Mode | None = None,
        orders: Orders = 1,
        on_error: Literal["return"],
    ) -> list[Judgement | YojError]: ...
    def score_batch(
        self,
        requests: Sequence[Request],
        *,
        mode: Mode | None = None,
        orders: Orders = 1,
        on_error: Literal["raise", "return"] = "raise",
    ) -> list[Judgement] | list[Judgement | YojError]:
        """Score several requests, with different N and with or without images, together.

        Args:
            requests: any number.
            mode: ``"joint"``, each response sees those before it, or ``"isolated"``, each sees the prompt and itself,
                as if it were scored alone; None for what the model was trained for.
            orders: of joint reading: k rotations of the responses in one batch, or ``"all"`` for up to 4 responses.
                Scores are then centred in each order and averaged.
            on_error: ``"raise"`` the first error, or ``"return"`` each error in the place of its judgement.

        Returns:
            One entry for each request, in the given order.
        """
        results: dict[int, Judgement | YojError] = {}
        ready: dict[int, Prepared] = {}
        for index, request in enumerate(requests):
            try:
                ready[index] = self.prepare(request, mode, orders)
            except YojError as error:
                # In a list of results an error's place says whose it is.
                results[index] = error if on_error == "return" else _named(error, index, len(requests))
        if results and on_error == "raise":
            raise next(error for error in results.values() if isinstance(error, YojError))
        order = list(ready)
        sizes = [ready[index].tokens for index in order], [len(ready[index].packs) for index in order]
        for group in batches_by_length(*sizes, BATCH_TOKENS):
            indices = [order[place] for place in group]
            results |= dict(zip(indices, self._score_together([ready[i] for i in indices], on_error), strict=True))
        return [results[index] for index in range(len(requests))]  # type: ignore[return-value]

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders = 1) -> Prepared:
        """Everything before the engine; see `yoj.runtime.prepare.Preparer.prepare`."""
        return self._preparer.prepare(request, mode, orders)

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Raw scores [B, N] of prepared requests of one mode in one batch, a row for each order of each request.

        -inf where a request has fewer than N responses.
        """
        return self.outputs(batch)["scores"]

    def outputs(self, batch: Sequence[Prepared]) -> Arrays:
        """Everything that the scorer graph returns for such a batch: ``scores`` and, of a Gaussian head, ``spread``.

        Each float32 [B, N].
        """
        return self._run(batch)[0]

    def _score_together(
        self, batch: Sequence[Prepared], on_error: Literal["raise", "return"]
    ) -> list[Judgement | YojError]:
        try:
            outputs, timings = self._run(batch)
        except YojError as error:
            if on_error == "raise":
                raise
            if len(batch) == 1:
                return [error]
            # One request may be what the engine choked on; the others must not go down with it.
            return [result for prepared in batch for result in self._score_together([prepared], on_error)]
        results: list[Judgement | YojError] = []
        begin = 0
        for prepared in batch:
            rows = slice(begin, begin + len(prepared.packs)), slice(len(prepared.orders[0]))
            begin += len(prepared.packs)
            own = {name: values_BN[rows] for name, values_BN in outputs.items()}
            if all(np.isfinite(rows_KN).all() for rows_KN in own.values()):
                results.append(self._judge(prepared, own, timings))
                continue
            returned = ", ".join(f"{name} {rows_KN.tolist()}" for name, rows_KN in own.items())
            error = ScoreError(
                f"The engine {self._engine.engine} {self._engine.precision} returned {returned} for a request of "
                f"{prepared.tokens} tokens. Try another precision, and check the bundle with yoj-export verify."
            )
            if on_error == "raise":
                raise error
            results.append(error)
        return results

    def _run(self, batch: Sequence[Prepared]) -> tuple[Arrays, dict[str, float]]:
        timings: dict[str, float] = {}
        role = self._role(batch[0].mode)
        with timed(timings, "vision"):
            features = self._features({k: m for p in batch for k, m in zip(p.keys, p.media, strict=True)})
        with timed(timings, "gather"):
            inputs = (self._no_media() if not features else {}) | scorer_inputs(batch, self.family, features)
            wanted = {spec.name for spec in self._engine.graphs[role].inputs}
            inputs = {name: array for name, array in inputs.items() if name in wanted}
        with timed(timings, "scorer"):
            outputs = self._session.run(role, inputs)
        return outputs, timings | {"batch": sum(len(prepared.packs) for prepared in batch)}

    def _role(self, mode: Mode) -> str:
        role = "scorer.joint" if mode == "joint" else "scorer.segmented"
        if role not in self._engine.graphs:
            raise EngineError(
                f"{self._bundle.path} has no graph {role}, which {mode} mode needs; it has "
                f"{', '.join(self._engine.graphs)}. Export it again with this version of yoj."
            )
        return role

    def _features(self, media: Mapping[bytes, PreparedMedia]) -> dict[bytes, Arrays]:
        """Visual features of each medium: remembered ones, and the others from one run for each group."""
        features = {key: found for key in media if (found := self._cache.get(key)) is not None}
        groups: dict[Hashable, list[bytes]] = {}
        for key, medium in media.items():
            if key not in features:
                groups.setdefault(medium.group, []).append(key)
        for keys in groups.values():
            outputs = self._session.run("vision", self.family.vision_inputs([media[key] for key in keys]))
            begin = 0
            for key in keys:
                # Copies, so that what is remembered does not keep the whole group's arrays alive.
                rows = slice(begin, begin + media[key].rows)
                features[key] = {name: array[rows].copy() for name, array in outputs.items()}
                self._cache.put(key, features[key])
                begin = rows.stop
        return {key: features[key] for key in media}

    def _no_media(self) -> Arrays:
        """One row of zeros for each feature output: the scorer gathers from at least one row."""
        outputs = self._engine.graphs["vision"].outputs
        return {
            spec.name: np.zeros([size if isinstance(size, int) else 1 for size in spec.shape], spec.dtype)
            for spec in outputs
        }

    def _judge(self, prepared: Prepared, rows: Arrays, timings: dict[str, float]) -> Judgement:
        """From the outputs of its rows, each [k, N] by place in the order."""
        manifest, averaged = self.manifest, average(rows["scores"], prepared.orders)
        spread_N = by_response(rows["spread"], prepared.orders).mean(axis=0) if "spread" in rows else None
        given, read = prepared.frames or (None, None)
        n, orders = len(averaged.scores_N), len(prepared.orders)
        wrong = why_uncalibrated(manifest.probabilities, Read(n, prepared.mode, orders, self._engine.precision))
        return judge(
            averaged.scores_N,
            temperature_for(manifest.probabilities, n),
            wrong is None,
            uncalibrated=wrong,
            spread=None if spread_N is None else tuple(spread_N.tolist()),
            mode=prepared.mode,
            trained_mode=manifest.trained_mode,
            orders=orders,
            order_spread=None if averaged.spread_N is None else tuple(averaged.spread_N.tolist()),
            order_agreement=averaged.agreement,
            frames_given=given,
            frames_read=read,
            cuts=prepared.cuts,
            timings_ms=prepared.timings_ms | timings,
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        return {
            "engine": self._engine.engine,
            "precision": self._engine.precision,
            "family": self.manifest.family,
            "layout": self.manifest.layout.name,
            "manifest_sha256": self.manifest.digest,
        }


def _named(error: YojError, index: int, count: int) -> YojError:
    """The same error saying which request of a batch it is about."""
    return error if count == 1 else type(error)(f"requests[{index}]: {error}")
