"""Dumps: what the graphs of a bundle are given and return, in files that a host without Python can read.

A dump is a folder with a folder for each scored request, named by the number of its line, 1 for one on the command
line. In it::

    runs.txt       one line for each run, in order: its folder, a space, and the file of the graph in the bundle
    RUN/in/*.npy   the graph's inputs, by their names
    RUN/out/*.npy  the graph's outputs, by their names
    orders.npy     int64 [k, M], the distinct response that stands in each place of each row
    copies.npy     int64 [N], the distinct response of each response given
    scores.npy     float32 [N], the scores of the judgement
    dimensions.npy float32 [J, N], the scores of each named dimension; absent where the judge has none

Arrays are in C order and little-endian, ``<i8`` or ``<f4``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._cache import FeatureCache
from ._judgement import Judgement
from ._scorer import Scorer
from ._source import Source
from .batch import Prepared
from .bundle import Bundle
from .engines import ENGINES, Session
from .errors import EngineError, RequestError
from .families import Arrays
from .manifest import EngineEntry
from .schemes import SCHEMES

RUNS_NAME = "runs.txt"


class RecordingSession:
    """Session that remembers its runs; see `yoj.runtime.engines.Session`."""

    def __init__(self, session: Session):
        self._session = session
        self.runs: list[tuple[str, Arrays, Arrays]] = []
        """Role, inputs and outputs of each run since the list was last emptied."""

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph and remember it."""
        outputs = self._session.run(role, inputs)
        self.runs.append((role, inputs, outputs))
        return outputs

    def open(self, role: str) -> None:
        """Load one graph."""
        self._session.open(role)

    def close(self) -> None:
        """Release all memory."""
        self._session.close()


class RecordingScorer(Scorer):
    """Scorer that remembers the runs of the request that it scored last. For one thread, one request at a time."""

    def __init__(self, bundle: Bundle, engine: EngineEntry, session: Session):
        self.recorder = RecordingSession(session)
        self.judged: tuple[Prepared, Judgement] | None = None
        super().__init__(bundle, engine, self.recorder)
        self.cache = FeatureCache(0)  # so that the vision graph runs for each request

    def _judge(self, prepared: Prepared, rows: Arrays, timings: dict[str, float], batch: int) -> Judgement:
        judgement = super()._judge(prepared, rows, timings, batch)
        self.judged = prepared, judgement
        return judgement


class Dump:
    """Folder that takes the runs of each request that `load`'s scorer scores."""

    def __init__(self, folder: Path):
        """Check that the folder can be made.

        Raises:
            RequestError: something is there already, or the folder around it is missing.
        """
        if folder.exists() or folder.is_symlink():
            raise RequestError(f"{folder} is there already. Give a folder that is not, or remove it first.")
        if not folder.absolute().parent.is_dir():
            raise RequestError(f"{folder.absolute().parent} is no folder, so that {folder} cannot be made in it.")
        self.folder = folder
        self.written = 0
        """Number of requests written."""
        self._scorer: RecordingScorer | None = None

    def load(self, path: str | Path, *, engine: str | None = None, threads: int | None = None) -> Scorer:
        """Load a scorer whose runs are remembered; see `Scorer.load`. Score one request at a time with it.

        Raises:
            EngineError: the engine does not run the bundle's graphs as they are in its files.
        """
        opened = Source.of(path, engine, threads=threads).open()
        _check_reproducible(opened.engine)
        self._scorer = RecordingScorer(opened.bundle, opened.engine, opened.session)
        return self._scorer

    def write(self, number: int) -> None:
        """Write the request that was scored last; nothing where it failed.

        Args:
            number: number of its line.
        """
        assert self._scorer is not None, "load comes first"
        judged, runs = self._scorer.judged, self._scorer.recorder.runs
        self._scorer.judged, self._scorer.recorder.runs = None, []
        if judged is None:
            return
        prepared, judgement = judged
        if judgement.method == "groups":
            raise RequestError("A dump is of responses that are read in one pack. Leave method='groups' out.")
        folder = self.folder / str(number)
        folder.mkdir(parents=True)
        lines: list[str] = []
        for place, (role, inputs, outputs) in enumerate(runs, 1):
            run = f"{place}-{role}"
            lines.append(f"{run} {self._scorer.engine.graphs[role].file}\n")
            _save(folder / run / "in", inputs)
            _save(folder / run / "out", outputs)
        copies = prepared.about.copies or range(len(judgement.scores))
        about = {
            "orders": np.array(prepared.orders, np.int64),
            "copies": np.array(copies, np.int64),
            "scores": np.array(judgement.scores, np.float32),
        }
        if judgement.dimensions:
            about["dimensions"] = np.array([one.scores for one in judgement.dimensions], np.float32)
        _save(folder, about)
        (folder / RUNS_NAME).write_text("".join(lines), "utf-8")
        self.written += 1


def _check_reproducible(engine: EngineEntry) -> None:
    if ENGINES[engine.engine].library is not None:
        raise EngineError(
            f"A dump is of ONNX graphs, and {engine.engine} runs plans. Choose another with --engine onnxruntime."
        )
    if engine.precision in SCHEMES:
        raise EngineError(
            f"A dump of a bundle in {engine.precision} would not tell all: on some CPUs yoj changes its weights and "
            "the session's settings while it loads them. Dump from a bundle in float32 or float16."
        )


def _save(folder: Path, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", _plain(array), allow_pickle=False)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array in C order and little-endian."""
    plain = np.ascontiguousarray(array)
    return plain if sys.byteorder == "little" else plain.astype(plain.dtype.newbyteorder("<"))
