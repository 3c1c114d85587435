"""Datasets of Ray Data, whose rows a pool of actors scores."""

from __future__ import annotations

import hashlib
import importlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from yoj.runtime import BundleError, EngineError, Judgement, RequestError
from yoj.runtime.strict_json import Fields

from ._ray_bundle import ShippedBundle, local_bundle, node_folder
from ._ray_deaths import Deaths
from ._score_batch import Results, RowScoring, ScoreBatch, check_columns

log = logging.getLogger("yoj.integrations")

DEADLY = 2
"""Processes that die of a row alone before it is given up."""


@dataclass(frozen=True)
class Actors:
    """Pool of actors, each of which holds the bundle."""

    count: int | tuple[int, int] = 1
    """Number of actors, or the least and the most, between which Ray chooses by the load."""
    cpus: float = 1
    """CPU cores of an actor, and threads of its engine."""
    gpus: float = 0
    """GPUs of an actor. An actor prepares one batch and scores it in turn: with 0.5 one of two does either."""
    batch_size: int = 64
    """Rows of a batch, which are read together and scored in batches by length."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RequestError: one cannot be.
        """
        least, most = self.bounds
        if not 1 <= least <= most:
            raise RequestError(f"count is {self.count!r}; give a number from 1, or the least and the most.")
        if self.cpus <= 0 or self.gpus < 0 or self.batch_size < 1:
            raise RequestError(
                f"cpus are {self.cpus!r}, gpus {self.gpus!r}, batch_size {self.batch_size!r}; give more than 0, gpus "
                "from 0."
            )

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and most actors."""
        return self.count if isinstance(self.count, tuple) else (self.count, self.count)


class ScoreActor(ScoreBatch):
    """`ScoreBatch` for actors of Ray: for ``map_batches`` with ``batch_format="pyarrow"``, as `score_dataset` uses it.

    Its engine has as many threads as the actor has CPU cores. Where a process dies, Ray starts another one and gives it
    the batch again; then each row is scored alone, and one that has killed two processes of a node gets an error.
    """

    def __init__(self, bundle: str | Path | ShippedBundle, settings: RowScoring | None = None, run: str | None = None):
        """Open the bundle, which is copied to this node before if it was shipped and is not here yet.

        Args:
            bundle: a folder that this node has, a name on the Hugging Face hub, or what `ship_bundle` returned.
            settings: None for the default ones.
            run: a new name for the run that all its actors share; None where deaths are not remembered.

        Raises:
            YojError: the bundle cannot be opened; see `yoj.runtime.Scorer.load`.
        """
        settings = settings or RowScoring()
        threads, has_gpu = assigned()
        if settings.engine is None and has_gpu:
            settings = replace(settings, engine="onnxruntime-cuda")
        super().__init__(local_bundle(bundle), settings, threads=engine_threads(settings.engine, threads))
        if isinstance(bundle, ShippedBundle) and self.scorer.manifest.digest != bundle.digest:
            raise BundleError(f"{node_folder()} holds another bundle under {bundle.digest}. Delete it there.")
        self._deaths = None if run is None else Deaths(node_folder() / f"run-{run}")

    def results(self, rows: Sequence[Fields]) -> Results:
        """Judgements and errors of rows; see `ScoreBatch.results`."""
        deaths = self._deaths
        if deaths is None:
            return super().results(rows)
        keys = [_digest(row) for row in rows]
        batch = hashlib.sha256("".join(keys).encode()).hexdigest()
        # A row that was given up kills again where its block comes again for another reason.
        deadly = deaths.count(batch) > 0 or any(deaths.count(_name(key)) for key in keys)
        with deaths.busy(batch):
            if not deadly:
                return super().results(rows)
            return [self._alone(row, _name(key), deaths) for row, key in zip(rows, keys, strict=True)]

    def _alone(self, row: Fields, name: str, deaths: Deaths) -> Judgement | Exception:
        if (dead := deaths.count(name)) >= DEADLY:
            return EngineError(
                f"{dead} processes died while they scored this row alone. It may need more memory than there is; "
                "Ray's log of the node says how they ended."
            )
        with deaths.busy(name):
            return super().results([row])[0]


def score_dataset(
    dataset: Any,
    bundle: str | Path | ShippedBundle,
    settings: RowScoring | None = None,
    actors: Actors | None = None,
) -> Any:
    """Score the rows of a dataset, each of which is a request, by a pool of actors.

    Nothing is computed before the result is read or written. Each row of the dataset is one row of the result; Ray does
    not keep their order, so rows are found again by their own columns, such as an ``id``.

    Args:
        dataset: a `ray.data.Dataset`; see `ScoreBatch` for its columns.
        bundle: a folder that every node has, a name on the Hugging Face hub, or what `ship_bundle` returned.
        settings: None for the default ones.
        actors: the pool; None for one actor with one CPU core.

    Returns:
        A `ray.data.Dataset`: the kept columns and those of the results; see `ScoreBatch`.

    Raises:
        RequestError: the columns, where they are known before anything is read, do not fit; see `check_columns`.
    """
    data: Any = importlib.import_module("ray.data")
    settings, actors = settings or RowScoring(), actors or Actors()
    _warn_of_no_room(actors)
    if (schema := dataset.schema(fetch_if_missing=False)) is not None:
        check_columns(schema.names, settings)
    least, most = actors.bounds
    return dataset.map_batches(
        ScoreActor,
        fn_constructor_args=(bundle, settings, uuid.uuid4().hex),
        batch_format="pyarrow",
        batch_size=actors.batch_size,
        compute=data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=actors.cpus,
        num_gpus=actors.gpus or None,
    )


def _warn_of_no_room(actors: Actors) -> None:
    ray: Any = importlib.import_module("ray")
    ray.get_runtime_context()  # starts Ray where it was not, as reading the rows would
    cores: float = ray.cluster_resources().get("CPU", 0)
    if (held := actors.bounds[0] * actors.cpus) >= cores:
        log.warning(
            "The actors hold %g CPU cores, and the cluster has %g: tasks that read rows need one, and wait for ever "
            "unless it grows. Take fewer actors, or give the least and the most of them.",
            held,
            cores,
        )


def assigned() -> tuple[int | None, bool]:
    """CPU cores of this actor of Ray, None outside of one, and whether it has a GPU."""
    ray: Any = importlib.import_module("ray")
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return None, False
    resources: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
    return max(1, int(resources.get("CPU", 1))), resources.get("GPU", 0) > 0


def engine_threads(engine: str | None, cpus: int | None) -> int | None:
    """Threads of an engine: of the TensorRT engines they are requests at once, not CPU cores."""
    return None if engine is not None and engine.startswith("tensorrt") else cpus


def _digest(row: Fields) -> str:
    return hashlib.sha256(msgspec.json.encode(row, enc_hook=repr, order="deterministic")).hexdigest()


def _name(key: str) -> str:
    """Name of a row in what is remembered, where a batch of it alone has another."""
    return f"row-{key}"
