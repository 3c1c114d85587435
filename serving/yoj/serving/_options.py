"""Options that several commands of ``yoj-serve`` have, and what they make."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import click

from yoj.integrations import MeetingSettings, RewardSettings
from yoj.runtime import Scorer
from yoj.runtime.engines import ENGINES, GPU_ENGINES

from ._settings import GroupSettings, QueueSettings


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

group_timeout_option = click.option(
    "--group-timeout",
    type=Finite(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds for which a group waits for its last sample.",
)
group_partial_option = click.option(
    "--group-partial",
    type=click.Choice(["fail", "score"]),
    default="fail",
    show_default=True,
    help="What becomes of a group whose time is over: no rewards, or those of the samples that came.",
)
group_reward_option = click.option(
    "--group-reward",
    type=click.Choice(["centred", "standardised", "log_probability", "rank", "raw"]),
    default="centred",
    show_default=True,
    help="What the reward of a sample is.",
)
group_orders_option = click.option(
    "--group-orders",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Orders in which a group is read, and its scores averaged.",
)


def check_group_options(groups: bool) -> None:
    """Refuse what is said of groups where they are not served.

    Args:
        groups: whether they are.

    Raises:
        click.UsageError: such an option was given.
    """
    context = click.get_current_context()
    for name in context.params:
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if name.startswith("group_") and given and not groups:
            raise click.UsageError(f"--{name.replace('_', '-')} is for groups. Give --groups too, or leave it out.")


def group_settings(
    timeout: float,
    partial: Literal["fail", "score"],
    reward: Literal["centred", "standardised", "log_probability", "rank", "raw"],
    orders: int,
) -> GroupSettings:
    """Settings of the routes for groups from the options; ``timeout`` is in seconds."""
    return GroupSettings(MeetingSettings(timeout, partial), RewardSettings(reward, orders))


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
