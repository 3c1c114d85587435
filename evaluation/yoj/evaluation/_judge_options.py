"""Options that name the judge of a run: a bundle, a checkpoint, or a server."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import click

from yoj.runtime.engines import ENGINES
from yoj.runtime.manifest import LayoutName
from yoj.runtime.options import HubFolder

from ._judges import BenchmarkJudge, CheckpointSource, TorchPrecision, open_bundle, open_checkpoint, open_server

KEY = "YOJ_API_KEY"
"""Environment variable with the API key of a server, which no list of processes shows."""


@dataclass(frozen=True)
class JudgeOptions:
    """Options that name the judge."""

    bundle: str | None
    checkpoints: tuple[Path, ...]
    url: str | None
    engine: str | None
    threads: int | None
    precision: str | None
    base: Path | None
    layout: LayoutName | None
    hidden_state: Any
    video_expansion: Any

    def check(self) -> None:
        """Check that one judge is given, and no option of another kind.

        Raises:
            click.UsageError: several or none are, or an option is of another kind.
        """
        kinds = {"--bundle": self.bundle, "--checkpoint": self.checkpoints, "--url": self.url}
        given = [name for name, value in kinds.items() if value]
        if len(given) != 1:
            raise click.UsageError(f"Give one judge: --bundle, --checkpoint or --url; {len(given)} are given.")
        of = {
            "--engine": (self.engine, ("--bundle",)),
            "--threads": (self.threads, ("--bundle",)),
            "--precision": (self.precision, ("--bundle", "--checkpoint")),
            "--base": (self.base, ("--checkpoint",)),
            "--layout": (self.layout, ("--checkpoint",)),
            "--hidden-state": (self.hidden_state, ("--checkpoint",)),
            "--video-expansion": (self.video_expansion, ("--checkpoint",)),
        }
        for name, (value, owners) in of.items():
            if value is not None and given[0] not in owners:
                raise click.UsageError(f"{name} goes with {' or '.join(owners)}, not with {given[0]}.")
        if not self.checkpoints:
            return
        if self.layout is None:
            raise click.UsageError("--checkpoint needs --layout, the turn in which the responses stood in training.")
        if self.precision not in (None, *get_args(TorchPrecision)):
            raise click.UsageError(f"--precision of a checkpoint is one of {', '.join(get_args(TorchPrecision))}.")

    @property
    def kind(self) -> str:
        """Kind of the judge: bundle, checkpoint or url."""
        return "bundle" if self.bundle else "url" if self.url else "checkpoint"

    @property
    def told(self) -> str:
        """Judge as it was given."""
        return self.bundle or self.url or " ".join(map(str, self.checkpoints))

    def open(self) -> BenchmarkJudge:
        """Open the judge.

        Raises:
            YojError: it cannot be opened.
            click.ClickException: the libraries for a checkpoint are missing.
        """
        if self.bundle is not None:
            return open_bundle(self.bundle, self.engine, self.precision, self.threads)
        if self.url is not None:
            return open_server(self.url, os.environ.get(KEY) or None)
        try:
            from yoj.export.checkpoint.checkpoint import Training
            from yoj.export.options import prepare_libraries
        except ImportError as error:
            raise click.ClickException(f"{error}. For a checkpoint run: pip install 'yoj[export]'") from error
        prepare_libraries()
        assert self.layout is not None
        precision: Any = self.precision or "float32"
        training = Training(self.hidden_state, self.video_expansion)
        return open_checkpoint(CheckpointSource(self.checkpoints, self.base, self.layout, precision, training))


def judge_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options that name a judge, passed to it as ``judge``, a checked `JudgeOptions`."""
    options = [
        click.option("--bundle", help="Judge: a bundle, a folder or org/name@revision of the hub."),
        click.option(
            "--checkpoint",
            "checkpoints",
            multiple=True,
            type=HubFolder("checkpoint"),
            help="Judge: a checkpoint, run by PyTorch on the CPU (pip install 'yoj[export]'); repeat it for several "
            "adapters, in their order.",
        ),
        click.option("--url", help=f"Judge: the address of a yoj-serve http. Its API key is read from {KEY}."),
        click.option("--engine", type=click.Choice(list(ENGINES)), help="Engine of the bundle.  [default: its first]"),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the bundle.  [default: all cores]"),
        click.option(
            "--precision",
            help="Precision: one that the bundle holds, or float32, float16 or bfloat16 of the checkpoint.  [default: "
            "the bundle's first; float32]",
        ),
        click.option(
            "--base",
            type=HubFolder("checkpoint"),
            help="Base model of the checkpoint's adapters.  [default: the folder that the adapter names]",
        ),
        click.option(
            "--layout",
            type=click.Choice(list(get_args(LayoutName))),
            help="Turn in which the responses stood in the checkpoint's training; it must be given.",
        ),
        click.option(
            "--hidden-state",
            type=click.Choice(["post_norm", "pre_norm"]),
            help="Of the checkpoint; see yoj-export build.",
        ),
        click.option(
            "--video-expansion", type=click.Choice(["flat", "nested"]), help="Of the checkpoint; see yoj-export build."
        ),
    ]

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> None:
        judge = JudgeOptions(**{one.name: values.pop(one.name) for one in fields(JudgeOptions)})
        judge.check()
        command(*args, judge=judge, **values)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
