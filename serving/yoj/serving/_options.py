"""Options that several commands of ``yoj-serve`` have, and what they make."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from yoj.runtime import Scorer
from yoj.runtime.engines import ENGINES, GPU_ENGINES

from ._settings import QueueSettings


class Finite(click.FloatRange):
    """Type of a number that is neither infinite nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a value; see `click.ParamType.convert`."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number.", param, ctx)
        return found


engine_option = click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    help=f"Engine that executes the graphs; {GPU_ENGINES} need a GPU.  [default: the first of the bundle]",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of one run; with the TensorRT engines, requests that run at once.  [default: all cores; 2]",
)
max_queue_option = click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Most requests in the server at once; one more is refused at once, as over capacity.",
)
max_delay_option = click.option(
    "--max-delay",
    type=Finite(min=0),
    default=2.0,
    show_default=True,
    help="Most milliseconds that a request waits for others which are being decoded, to be scored with them.",
)
deadline_option = click.option(
    "--deadline",
    type=Finite(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds after which a request that was not scored is answered with an error.",
)


def queue_settings(scorer: Scorer, threads: int | None, max_queue: int, max_delay: float) -> QueueSettings:
    """Settings of the queue before a scorer from the options; ``max_delay`` is in milliseconds."""
    at_once = ENGINES[scorer.engine.engine].library is not None  # those of TensorRT; on a CPU one run takes all cores
    return QueueSettings(
        max_queue=max_queue,
        max_delay=max_delay / 1000,
        intake_threads=max(2, min(16, os.cpu_count() or 2)),
        runs=(threads or 2) if at_once else 1,
    )


def model_name(bundle: str | Path) -> str:
    """Name that a model has where none is given: that of its bundle."""
    return Path(bundle).name.partition("@")[0].removesuffix(".yoj")
