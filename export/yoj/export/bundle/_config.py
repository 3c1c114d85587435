"""Settings of an export, and the protocol by which it reports progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from yoj.runtime import Reading
from yoj.runtime import manifest as m

from ..checkpoint.checkpoint import Training
from ..graph.precision import Precision


class Progress(Protocol):
    """Receiver of the progress of an export."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """Begin a new stage."""
        ...

    def advance(self, count: int) -> None:
        """Report ``count`` more bytes written."""
        ...

    def note(self, text: str) -> None:
        """Report that a step inside the stage is done."""
        ...


@dataclass(frozen=True)
class ExportConfig:
    """Settings of one export."""

    checkpoints: Sequence[str | Path]
    base: str | Path | None
    layout: m.LayoutName
    out: Path
    mode: m.Mode | None = None
    """Mode in which the model was trained to read the responses; None for what the checkpoint says, else joint."""
    force: bool = False
    """Whether an existing bundle is replaced."""
    training: Training = field(default_factory=Training)
    """Facts about the training beside the checkpoint's own settings."""
    precision: str = "float32"
    """Precision of the graphs. auto: float16 where it holds what the layers compute on sample requests, else
    bfloat16."""
    samples: Path | None = None
    """File of requests for auto and float16, in JSON lines, the first of which are run. None: noise, which rarely finds
    the largest values."""
    reading: Reading | None = None
    """Settings for reading the samples: sources of media, and ignored fields."""
    compare: bool = True
    """Whether the bundle is compared with the stock model, which takes both models into memory."""
    quantisation: Path | None = None
    """Folder of a quantisation config, from ``yoj-calibrate quantisation``; the precision is then its scheme."""
    base_precision: Precision = "float32"
    """Base precision, of the unquantised part of the graphs, beside a quantisation config."""
    language: bool = False
    """Whether the bundle gets the language graph, which explains responses in words."""
