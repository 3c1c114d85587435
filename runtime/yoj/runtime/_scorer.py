"""Loaded bundle: requests in, judgements out."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, overload

import numpy as np
from numpy.typing import NDArray

from ._batch_errors import OnError, check_on_error, named, not_finite
from ._cache import FeatureCache
from ._judgement import Judgement, judge_request
from ._rationale import Rationale, greedy, language_path, most_tokens
from ._source import Opened, Source, preparing, role_of
from .batch import BATCH_TOKENS, Prepared, batches_by_length, scorer_inputs
from .bundle import Bundle
from .engines import Session
from .errors import EngineError, LimitError, RequestError, YojError
from .families import Arrays, Family, PreparedMedia
from .hub import origin
from .images import ImageInput
from .language import Continuation, Features
from .manifest import EngineEntry, Manifest, Mode
from .orders import Orders
from .prepare import Preparer, timed
from .request import Content, Conversation, Duplicates, Method, Overflow, Placeholders, Request
from .roles import LANGUAGE, VISION
from .video import VideoInput

if TYPE_CHECKING:
    from ._explanation import Explanation

CACHE_BYTES = 256 * 2**20
"""Bytes of visual features that are kept: some 25 images of a 4B model in float32."""


class Scorer:
    """Scorer of requests with one bundle. Safe to use from several threads.

    A scorer can be pickled: it travels as what it was loaded from, and is opened again when it is first used.

    >>> scorer = Scorer.load("judge.yoj")
    >>> judgement = scorer.score("What is shown?", ["A cat.", "A red bus."], images=["photo.jpg"])
    >>> judgement.best, judgement.scores
    """

    def __init__(self, bundle: Bundle, engine: EngineEntry, session: Session, preparer: Preparer | None = None):
        """Take an open session. Use `load`, unless the session is not one of the runtime's own.

        Args:
            bundle: the opened bundle.
            engine: the manifest's entry that the session executes.
            session: the session.
            preparer: preparer of the bundle's requests; None to open one.
        """
        preparer = preparer or preparing(bundle, engine, None).open()
        self._prepare_state(None, Opened(bundle, engine, session, preparer))

    def _prepare_state(self, source: Source | None, opened: Opened | None) -> None:
        self._source, self._opened = source, opened
        self._opening = threading.Lock()
        self.cache = FeatureCache(CACHE_BYTES)
        """Features of the images and videos used last, by their content."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        engine: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        modes: Collection[Mode] = (),
        max_pixels: int | None = None,
    ) -> Scorer:
        """Open a bundle, check its files against their hashes, and load one of its engines.

        Args:
            path: the bundle's folder; or, where there is none, ``org/name@revision`` of the Hugging Face hub, which is
                downloaded into its cache (``pip install 'yoj[hub]'``).
            engine: ``"onnxruntime"`` on the CPU, ``"onnxruntime-cuda"``, ``"tensorrt"`` or ``"tensorrt-rtx"``; None for
                the first that the bundle holds.
            precision: precision of the engine, such as ``"float32"`` or ``"int8"``; None for the first that the bundle
                holds.
            threads: with ONNX Runtime, CPU threads of one run, None for all cores; of the TensorRT engines, requests
                that run at once on the GPU, each with its own memory, None for two.
            modes: modes whose graphs are loaded now rather than when they are first used. The graph of the trained mode
                always is. ONNX Runtime holds the weights again for each.
            max_pixels: width times height of an image above which it is refused, where that is less than the bundle's.

        Raises:
            BundleError: the bundle is missing, changed, incomplete or of another version.
            EngineError: no such engine in the bundle, its library or its GPU is missing, or its plans do not fit them.
            HubError: the bundle cannot be downloaded.
        """
        if max_pixels is not None and (not isinstance(max_pixels, int) or max_pixels < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LimitError(f"max_pixels is {max_pixels!r}; give a number from 1, or None for the bundle's limit.")
        if isinstance(modes, str) or not {*modes} <= {*get_args(Mode)}:
            raise RequestError(f"modes is {modes!r}; give a list of 'joint' and 'isolated'.")
        source = replace(Source.of(path, engine, precision, threads), modes=tuple(modes), max_pixels=max_pixels)
        opened = source.open()
        return cls._from(replace(source, digest=opened.bundle.manifest.digest), opened)

    @classmethod
    def _from(cls, source: Source, opened: Opened | None = None) -> Scorer:
        scorer = cls.__new__(cls)
        scorer._prepare_state(source, opened)
        return scorer

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None:
            raise TypeError("This Scorer was made from a session. Only one of Scorer.load can be pickled.")
        return Scorer._from, (self._source,)

    def __repr__(self) -> str:
        if self._opened is None:
            assert self._source is not None
            return f"Scorer({str(self._source.path)!r}, not opened yet)"
        of, engine = self._opened.bundle, self._opened.engine
        return f"Scorer({str(of.path)!r}, {of.manifest.family}, {engine.engine}, {engine.precision})"

    def close(self) -> None:
        """Give back the engine's memory, on the GPU too; nothing can be scored afterwards. A ``with`` block does it."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        """Manifest of the bundle."""
        return self._bundle.manifest

    @property
    def engine(self) -> EngineEntry:
        """Entry of the loaded engine in the manifest."""
        return self._open().engine

    @property
    def family(self) -> Family:
        """Backbone family of the bundle, which makes pixels, placeholders and positions."""
        return self._preparer.family

    @property
    def _bundle(self) -> Bundle:
        return self._open().bundle

    @property
    def _session(self) -> Session:
        return self._open().session

    @property
    def _preparer(self) -> Preparer:
        return self._open().preparer

    def _open(self) -> Opened:
        if self._opened is not None:
            return self._opened
        with self._opening:
            if self._opened is None:
                assert self._source is not None
                self._opened = self._source.open()
            return self._opened

    def score(  # noqa: PLR0913  (what a caller may say of one request, by name)
        self,
        prompt: Content | Conversation,
        responses: Sequence[Content],
        *,
        images: Sequence[ImageInput] = (),
        video: VideoInput | None = None,
        fps: float | None = None,
        timestamps: Sequence[float] | None = None,
        overflow: Overflow = "error",
        mode: Mode | None = None,
        orders: Orders = 1,
        duplicates: Duplicates = "share",
        placeholders: Placeholders = "error",
        method: Method | None = None,
        passes: int | None = None,
        dimension: str | None = None,
    ) -> Judgement:
        """Score N responses to one prompt in one forward pass.

        Args:
            prompt: the question, as the user asked it; with media between its texts, or a conversation, see
                `yoj.runtime.Request`.
            responses: [N] the candidate answers, each a text or a sequence of texts, `Image` and `Video`.
            images: paths, bytes, PIL images or uint8 [H, W, 3] arrays that the question is about.
            video: a video file (needs the extra ``video``), a folder of frames, or a list of frames.
            fps: frames a second of a folder or list of frames; None for one every 4 seconds.
            timestamps: seconds at which each frame of a folder or list stands, instead of ``fps``.
            overflow: ``"error"`` refuses a pack over the bundle's length limit; ``"truncate"`` cuts the longest
                responses and reports it in ``Judgement.cuts``.
            mode: see `score_batch`.
            orders: see `score_batch`.
            duplicates: ``"share"`` scores equal responses once and gives each that score; ``"score"`` reads every copy.
            placeholders: meaning of ``<image>`` and its kin in the prompt; see `yoj.runtime.Request`.
            method: ``"groups"`` reads more responses than the model was trained on in several packs; see
                `yoj.runtime.Request`.
            passes: most packs of ``"groups"``.
            dimension: dimension of the judge that ranks the responses; None for the score that is pooled of all.

        Raises:
            RequestError: the request is not one that can be scored; see its subclasses.
            EngineError: the engine failed, or returned something that is not a score.
        """
        of = (prompt, responses, images, video, fps, timestamps)
        request = Request(*of, overflow, mode, orders, duplicates, placeholders, method, passes, dimension)
        return self.score_batch([request])[0]

    @overload
    def score_batch(
        self, requests: Sequence[Request], *, mode: Mode | None = None, orders: Orders | None = None
    ) -> list[Judgement]: ...
    @overload
    def score_batch(
        self,
        requests: Sequence[Request],
        *,
        mode: Mode | None = None,
        orders: Orders | None = None,
        on_error: Literal["return"],
    ) -> list[Judgement | YojError]: ...
    def score_batch(
        self,
        requests: Sequence[Request],
        *,
        mode: Mode | None = None,
        orders: Orders | None = None,
        on_error: OnError = "raise",
    ) -> list[Judgement] | list[Judgement | YojError]:
        """Score several requests, with different N and with or without images, together.

        Args:
            requests: any number of requests.
            mode: ``"joint"``, each response sees those before it, or ``"isolated"``, each sees the prompt and itself,
                as if it were scored alone; None for what the model was trained for. A request's own goes before.
            orders: orders of joint reading: k rotations of the responses in one batch, or ``"all"`` for up to 4
                responses. Scores are then centred in each order and averaged. None for one. A request's own go before.
            on_error: ``"raise"`` the first error, or ``"return"`` each error in the place of its judgement.

        Returns:
            One entry for each request, in the given order.
        """
        check_on_error(on_error)
        ready: list[Prepared | YojError] = []
        for index, request in enumerate(requests):
            try:
                ready.append(self.prepare(request, mode, orders))
            except YojError as error:
                # In a list of results an error's place says whose it is.
                ready.append(error if on_error == "return" else named(error, index, len(requests)))
        if on_error == "raise" and (first := next((one for one in ready if isinstance(one, YojError)), None)):
            raise first
        good = [one for one in ready if isinstance(one, Prepared)]
        judged = iter(self._score_prepared(good, on_error))
        return [next(judged) if isinstance(one, Prepared) else one for one in ready]

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders | None = None) -> Prepared:
        """Decode, preprocess and pack a request: everything before the engine, which another thread or process may do.

        Args:
            request: the request, unchecked.
            mode: see `score_batch`.
            orders: see `score_batch`.

        Raises:
            RequestError: the request cannot be scored; see its subclasses.
        """
        return self._preparer.prepare(request, mode, orders)

    def group_size(self) -> int:
        """Most responses of a pack of ``method="groups"``; see `yoj.runtime.prepare.Preparer.group_size`."""
        return self._preparer.group_size()

    @overload
    def score_prepared(self, prepared: Sequence[Prepared]) -> list[Judgement]: ...
    @overload
    def score_prepared(
        self, prepared: Sequence[Prepared], *, on_error: Literal["return"]
    ) -> list[Judgement | YojError]: ...
    def score_prepared(
        self, prepared: Sequence[Prepared], *, on_error: OnError = "raise"
    ) -> list[Judgement] | list[Judgement | YojError]:
        """Score requests that `prepare` of this scorer, or of one of the same bundle, made ready.

        Args:
            prepared: any number of requests, of any modes and orders.
            on_error: ``"raise"`` the first error, or ``"return"`` each of the engine's in the place of its judgement.

        Returns:
            One entry for each, in the given order.

        Raises:
            RequestError: a request was prepared for another bundle.
            EngineError: the engine failed, or returned something that is not a score.
        """
        check_on_error(on_error)
        for index, one in enumerate(prepared):
            if not isinstance(one, Prepared):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise RequestError(f"prepared[{index}] is a {type(one).__name__}; give what `prepare` returned.")
            one.check_bundle(self.manifest.digest, self._bundle.path, f"prepared[{index}]")
        return self._score_prepared(prepared, on_error)

    def explain(
        self,
        request: Request,
        *,
        mode: Mode | None = None,
        orders: Orders | None = None,
        grid: tuple[int, int] | None = None,
        max_passes: int = 512,
    ) -> Explanation:
        """Score a request with each sentence of its responses left out, and each region of its pictures covered.

        A region is covered with the mean colour of its picture. Media that do not change are not encoded again.

        Args:
            request: the request.
            mode: see `score_batch`.
            orders: see `score_batch`.
            grid: rows and columns of the regions of each picture; None for about 16 regions that are about square.
            max_passes: most packs that are read.

        Raises:
            LimitError: more packs would be read.
            RequestError: the request cannot be scored; see its subclasses.
            EngineError: the engine failed, or returned something that is not a score.
        """
        from ._explanation import ExplanationConfig, explain  # few who score explain

        config = ExplanationConfig(grid, max_passes)
        read = self._preparer.read(request, mode, orders, keep_pixels=True)
        return explain(self._preparer, self.score_prepared, read, config)

    def rationale(self, request: Request, response: int, *, max_tokens: int | None = None) -> Rationale:
        """Explain one response in words, by the bundle's language graph, which is loaded when it is first used.

        The likeliest token is chosen each time. No score depends on it.

        Args:
            request: the request, which need not have been scored. Its mode, orders, overflow, duplicates and method are
                those of scores, and without effect.
            response: index of the response that is explained.
            max_tokens: most tokens; None for the bundle's own number.

        Raises:
            BundleError: the bundle was exported without --language.
            EngineError: the engine has no language graph, or failed.
            RequestError: there is no such response, or the request cannot be read; see its subclasses.
        """
        language = language_path(self.manifest, self.engine)
        most = most_tokens(max_tokens, language)
        timings = dict[str, float]()
        with timed(timings, "prepare"):
            row = self.continuation(request, response, most)
        with timed(timings, "read"):
            logits_W = row.read_row(row.prepared.tokens - most)
        with timed(timings, "write"):
            tokens, stopped = greedy(logits_W, row.read_next, most, language.stop)
        return Rationale(self._preparer.packer.encoder.decode_ids(tokens), tuple(tokens), stopped, timings)

    def continuation(self, request: Request, response: int, room: int) -> Continuation:
        """Row that the rationale of a response continues, of which the language graph has read nothing yet.

        Args:
            request: see `rationale`.
            response: see `rationale`.
            room: most tokens that will be read behind it.

        Raises:
            BundleError: the bundle was exported without --language.
            EngineError: the engine has no language graph, or failed.
            RequestError: see `rationale`.
        """
        language = language_path(self.manifest, self.engine)
        prepared = self._preparer.prepare_rationale(request, response, language.prompt, room)
        features = self._features(dict(zip(prepared.keys, prepared.media, strict=True)))
        graph = self.engine.graphs[LANGUAGE]
        return Continuation(self._session, graph, prepared, self.family, Features(features, self._no_media()))

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Raw scores [B, N] of prepared requests of one mode in one batch, a row for each order of each request.

        -inf where a request has fewer than N responses. Of a judge with named dimensions [B, N, J], with as many rows
        for each order as the judge asks questions; `yoj.runtime.dimensions.pooled` makes scores of them.
        """
        return self.outputs(batch)["scores"]

    def outputs(self, batch: Sequence[Prepared]) -> Arrays:
        """Outputs of the scorer graph for such a batch, each float32 [B, N], or [B, N, J]; see `forward`.

        They are ``scores`` and, from a Gaussian head, ``spread``.
        """
        return self._run(batch)[0]

    def _score_prepared(self, prepared: Sequence[Prepared], on_error: OnError) -> list[Judgement | YojError]:
        results: dict[int, Judgement | YojError] = {}
        for mode in ("joint", "isolated"):
            places = [place for place, one in enumerate(prepared) if one.mode == mode]
            sizes = [prepared[k].tokens for k in places], [len(prepared[k].packs) for k in places]
            for group in batches_by_length(*sizes, BATCH_TOKENS):
                together = [places[k] for k in group]
                scored = self._score_together([prepared[k] for k in together], on_error)
                results |= dict(zip(together, scored, strict=True))
        return [results[place] for place in range(len(prepared))]

    def _score_together(self, batch: Sequence[Prepared], on_error: OnError) -> list[Judgement | YojError]:
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
        begin, rows = 0, sum(len(prepared.packs) for prepared in batch)
        for prepared in batch:
            own = slice(begin, begin + len(prepared.packs)), slice(prepared.places)
            begin += len(prepared.packs)
            values = {name: of_batch[own] for name, of_batch in outputs.items()}
            if (error := not_finite(values, prepared, self.engine)) is None:
                results.append(self._judge(prepared, values, timings, rows))
                continue
            if on_error == "raise":
                raise error
            results.append(error)
        return results

    def _run(self, batch: Sequence[Prepared]) -> tuple[Arrays, dict[str, float]]:
        timings: dict[str, float] = {}
        role = role_of(self._bundle, self.engine, batch[0].mode)
        wanted = {spec.name for spec in self.engine.graphs[role].inputs}
        if "token_types" in wanted and any(any(pack.owners) for prepared in batch for pack in prepared.packs):
            raise EngineError(
                f"{self._bundle.path} was written by a version of yoj whose graphs let the images of all responses see "
                "each other. Export it again to score responses that hold images."
            )
        with timed(timings, "vision"):
            features = self._features({k: m for p in batch for k, m in zip(p.keys, p.media, strict=True)})
        with timed(timings, "gather"):
            inputs = (self._no_media() if not features else {}) | scorer_inputs(batch, self.family, features)
            inputs = {name: array for name, array in inputs.items() if name in wanted}
        with timed(timings, "scorer"):
            outputs = self._session.run(role, inputs)
        return outputs, timings

    def _features(self, media: Mapping[bytes, PreparedMedia]) -> dict[bytes, Arrays]:
        """Visual features of each medium: cached ones, and the others from one run for each group."""
        features = {key: found for key in media if (found := self.cache.get(key)) is not None}
        groups: dict[Hashable, list[bytes]] = {}
        for key, medium in media.items():
            if key not in features:
                groups.setdefault(medium.group, []).append(key)
        for keys in groups.values():
            outputs = self._session.run(VISION, self.family.vision_inputs([media[key] for key in keys]))
            begin = 0
            for key in keys:
                # Copies, so that what is remembered does not keep the whole group's arrays alive.
                rows = slice(begin, begin + media[key].rows)
                features[key] = {name: array[rows].copy() for name, array in outputs.items()}
                self.cache.put(key, features[key])
                begin = rows.stop
        return {key: features[key] for key in media}

    def _no_media(self) -> Arrays:
        """Features of one row of zeros for each output: the scorer gathers from at least one row."""
        outputs = self.engine.graphs[VISION].outputs
        return {
            spec.name: np.zeros([size if isinstance(size, int) else 1 for size in spec.shape], spec.dtype)
            for spec in outputs
        }

    def _judge(self, prepared: Prepared, rows: Arrays, timings: dict[str, float], batch: int) -> Judgement:
        manifest, engine = self.manifest, self.engine
        judgement = judge_request(prepared, rows, manifest, engine.precision)
        provenance = {
            "engine": engine.engine,
            "precision": engine.precision,
            "family": manifest.family,
            "layout": manifest.layout.name,
            "manifest_sha256": manifest.digest,
        }
        if hub := origin(self._bundle.path):
            provenance["hub"] = hub
        return replace(
            judgement, timings_ms={**prepared.about.timings_ms, **timings}, batch=batch, provenance=provenance
        )
