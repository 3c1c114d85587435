"""Judges that are measured: a bundle, a checkpoint in PyTorch, or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from yoj.integrations import RemoteJudge
from yoj.runtime import Image, Judgement, Request, Scorer, YojError
from yoj.runtime.errors import ScoreError
from yoj.runtime.manifest import LayoutName

from ._errors import EvaluationError

if TYPE_CHECKING:
    from yoj.calibration import CalibratedModel
    from yoj.export.checkpoint.checkpoint import Training
    from yoj.export.graph.traced import TracedSession

TorchPrecision = Literal["float32", "float16", "bfloat16"]
SIDE = 64
"""Pixels of the side of a picture that a judge is asked about before anything else."""


@dataclass(frozen=True)
class JudgeAnswer:
    """Scores of one request, with what the judge says of them."""

    scores: tuple[float, ...]
    """[N] scores in the order of the request's responses."""
    temperature: float = 1.0
    """Temperature of the probabilities; 1 where none was fitted."""
    calibrated: bool = False
    notices: tuple[str, ...] = ()
    frames: tuple[int, int] | None = None
    """Frames of the request's videos: given, and read; None without a video."""


class BenchmarkJudge(Protocol):
    """Judge of several requests."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts by which one judge is told from another, such as hashes, engine and precision."""
        ...

    def read(self, requests: Sequence[Request]) -> list[JudgeAnswer | YojError]:
        """Read requests; one entry for each, in the given order."""
        ...


@dataclass(frozen=True)
class JudgementsOf:
    """Judge that gives judgements: a loaded bundle, or a server."""

    source: Scorer | RemoteJudge
    about: Mapping[str, Any]
    """Provenance that each of its judgements has."""

    def read(self, requests: Sequence[Request]) -> list[JudgeAnswer | YojError]:
        """Read requests; see `BenchmarkJudge.read`.

        Raises:
            EvaluationError: the server has another bundle or engine than at the start.
            RemoteError: the server does not answer.
        """
        return [self._answer(one) for one in self.source.score_batch(requests, on_error="return")]

    def _answer(self, found: Judgement | YojError) -> JudgeAnswer | YojError:
        if not isinstance(found, Judgement):
            return found
        if found.provenance != self.about:
            raise EvaluationError(
                f"The server answers with another judge than at the start: {found.provenance}, which was "
                f"{dict(self.about)}. Give it the first one again, or begin a run in another folder."
            )
        given, read = found.frames_given, found.frames_read
        frames = None if given is None or read is None else (given, read)
        return JudgeAnswer(found.scores, found.temperature, found.calibrated, found.notices, frames)


def open_bundle(path: str, engine: str | None, precision: str | None, threads: int | None) -> JudgementsOf:
    """Load a bundle; arguments as of `yoj.runtime.Scorer.load`.

    Raises:
        BundleError: the bundle cannot be read.
        EngineError: it has no such engine, or the engine cannot be loaded.
        HubError: it cannot be downloaded.
    """
    return _asked(Scorer.load(path, engine=engine, precision=precision, threads=threads))


def open_server(url: str, key: str | None) -> JudgementsOf:
    """Open a judge that a ``yoj-serve http`` serves.

    Args:
        url: address of the server.
        key: its API key; None for none.

    Raises:
        RequestError: the address or the key cannot be one.
        RemoteError: the server does not answer.
    """
    return _asked(RemoteJudge(url, key=key))


def _asked(source: Scorer | RemoteJudge) -> JudgementsOf:
    """Judge with the provenance of its answer to a first request, which a server tells in no other way.

    Some judges need texts, others a picture in every response.
    """
    one, two = (Image(np.full((SIDE, SIDE, 3), grey, np.uint8)) for grey in (64, 192))
    first = [Request("Which?", ["One.", "Two."]), Request([one, "Which?"], [[one], [two]])]
    texts, pictures = source.score_batch(first, on_error="return")
    found = texts if isinstance(texts, Judgement) else pictures
    if not isinstance(found, Judgement):
        raise EvaluationError(f"The judge can score neither two texts nor two pictures: {texts}") from found
    return JudgementsOf(source, found.provenance)


@dataclass(frozen=True)
class CheckpointJudge:
    """Checkpoint in PyTorch, whose requests are packed as those of its bundle."""

    model: CalibratedModel
    session: TracedSession
    precision: TorchPrecision
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def read(self, requests: Sequence[Request]) -> list[JudgeAnswer | YojError]:
        """Read requests; see `BenchmarkJudge.read`."""
        from yoj.runtime.batch import BATCH_TOKENS, Prepared, batches_by_length

        results: dict[int, JudgeAnswer | YojError] = {}
        ready: dict[int, Prepared] = {}
        for place, request in enumerate(requests):
            try:
                ready[place] = self.model.preparer.prepare(request)
            except YojError as error:
                results[place] = error
        for mode in ("joint", "isolated"):
            places = [place for place, one in ready.items() if one.mode == mode]
            sizes = [ready[k].tokens for k in places], [len(ready[k].packs) for k in places]
            for group in batches_by_length(*sizes, BATCH_TOKENS):
                together = [places[k] for k in group]
                results |= zip(together, self._scored([ready[k] for k in together]), strict=True)
        return [results[place] for place in range(len(requests))]

    def _scored(self, batch: Sequence[Any]) -> list[JudgeAnswer | YojError]:
        scores = self.session.score(batch, self.model.preparer.family)["scores"]
        ends = np.cumsum([len(prepared.packs) for prepared in batch])
        rows = np.split(scores, ends[:-1])
        return [self._answer(prepared, own) for prepared, own in zip(batch, rows, strict=True)]

    def _answer(self, prepared: Any, rows: Any) -> JudgeAnswer | YojError:
        from yoj.runtime.dimensions import asks_of, pooled
        from yoj.runtime.orders import average

        head = self.model.preparer.rules.head
        orders, rows_KN = prepared.orders, rows
        if head is not None and head.dimensions:
            # Each order has a row for each question.
            orders = orders[:: len(asks_of(head).rows)]
            rows_KN = pooled({"scores": rows}, head)["scores"]
        scores_M = average(rows_KN[:, : prepared.places], orders).scores_N
        if not np.isfinite(scores_M).all():
            return ScoreError(
                f"PyTorch {self.precision} returned {scores_M.tolist()} for a request of {prepared.tokens} tokens. Try "
                "another --precision."
            )
        # Equal responses were read once.
        copies = prepared.about.copies or range(len(scores_M))
        about = prepared.about
        return JudgeAnswer(tuple(float(scores_M[copy]) for copy in copies), notices=about.notices, frames=about.frames)


@dataclass(frozen=True)
class CheckpointSource:
    """Checkpoint, with what its files may not say."""

    folders: Sequence[Path]
    """Folder of one merged checkpoint, or of adapters in their order."""
    base: Path | None
    """Base model of the adapters; None for the folder that the first names."""
    layout: LayoutName
    precision: TorchPrecision
    training: Training
    """Facts of its training that are not in its files."""


def open_checkpoint(source: CheckpointSource) -> CheckpointJudge:
    """Open a checkpoint in PyTorch on the CPU. Reads all of its files for their hashes.

    Raises:
        CheckpointError: something is wrong with the checkpoint.
    """
    import torch

    from yoj.calibration import CalibratedModel
    from yoj.export.bundle.provenance import checkpoint_hashes
    from yoj.export.checkpoint.checkpoint import Checkpoint
    from yoj.export.graph.traced import TracedSession

    checkpoint = Checkpoint.open(source.folders, source.base, source.training)
    model = CalibratedModel.open(checkpoint, source.layout)
    about = {
        "engine": f"PyTorch {torch.__version__}",
        "precision": source.precision,
        "family": checkpoint.family,
        "layout": source.layout,
        "trained_mode": model.preparer.rules.trained_mode,
        "hidden_state": checkpoint.training.hidden_state,
        "video_expansion": checkpoint.training.video_expansion,
        "files_sha256": checkpoint_hashes(checkpoint),
    }
    session = TracedSession.load(checkpoint, model.family.graphs, source.precision)
    return CheckpointJudge(model, session, source.precision, about)
