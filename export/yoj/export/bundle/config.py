"""What an export is asked for, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from yoj.runtime import manifest as m
from yoj.runtime.codec import Reading

from ..checkpoint.checkpoint import Training
from ..graph.precision import Precision


class Progress(Protocol):
    """Who is told how far the work is."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """A new stage begins."""
        ...

    def advance(self, count: int) -> None:
        """So many bytes more were written."""
        ...

    def note(self, text: str) -> None:
        """A step inside the stage is done."""
        ...


@dataclass(frozen=True)
class ExportConfig:
    """What to build."""

    checkpoints: Sequence[str | Path]
    base: str | Path | None
    layout: m.LayoutName
    out: Path
    mode: m.Mode | None = None
    """How the model was trained to read the responses; None: what the checkpoint says, else joint."""
    force: bool = False
    """Replace an existing bundle."""
    training: Training = field(default_factory=Training)
    """What is known of it beside the checkpoint's own settings."""
    precision: str = "float32"
    """Of the graphs. auto: float16 where it holds what the layers compute on sample packs, else bfloat16."""
    samples: Path | None = None
    """For auto and float16: JSON lines of requests, the first of which are run. None: noise, which rarely finds the
    largest."""
    reading: Reading | None = None
    """How the samples are read: where media may come from, and which fields are passed over."""
    compare: bool = True
    """Compare the bundle with the reference, which takes both models into memory."""
    quantisation: Path | None = None
    """Folder of a quantisation config, from ``yoj-calibrate quantisation``; the precision is then its scheme."""
    base_precision: Precision = "float32"
    """Precision of the unquantised part of the graphs, where some matrices are quantised."""
