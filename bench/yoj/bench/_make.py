"""Model with the layers or the width of the 4B backbones and random weights, and its bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from yoj.export import ExportConfig, build
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.quantisation.config import RANGE, QuantisationConfig, QuantisationSpec, matrices, write_config
from yoj.runtime.roles import JOINT
from yoj.runtime.schemes import SCHEMES

from ._large_checkpoint import write
from ._shapes import ModelShape
from ._workbench import BUNDLE, CHECKPOINT

SOME_RANGE = 8.0
"""Static range of activations; the time does not depend on it."""


class Stages:
    """Progress that names the stages of an export, and nothing more."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """Begin a stage; see `yoj.export.bundle._config.Progress`."""
        click.echo(f"{name}{f' ({bytes_to_write / 1e6:,.0f} MB)' if bytes_to_write else ''} ...", err=True)

    def advance(self, count: int) -> None:
        """Ignore written bytes; see `yoj.export.bundle._config.Progress`."""

    def note(self, text: str) -> None:
        """Ignore steps; see `yoj.export.bundle._config.Progress`."""


def make(judge: Path, folder: Path, shape: ModelShape, precisions: tuple[str, ...]) -> None:
    """Write ``checkpoint``, and a bundle ``<judge>.<precision>.yoj`` for each precision.

    Quantised bundles have all matrices of the trunk in their scheme.

    Args:
        judge: folder of a small judge whose family, tokenizer and head settings are taken.
        folder: folder to make.
        shape: name from `yoj.bench._shapes.SHAPES`.
        precisions: precisions of the bundles.
    """
    checkpoint = write(judge, folder / CHECKPOINT, shape.layers, shape.words, shape.narrowed)
    opened = Checkpoint.open([checkpoint])
    scorer = next(spec for spec in open_family(opened).graphs if spec.role == JOINT)
    names, hashes = tuple(matrices(scorer)), checkpoint_hashes(opened)
    for precision in precisions:
        changes: dict[str, Any] = {"precision": precision}
        if precision in SCHEMES:
            ranges = {RANGE + name: torch.tensor(SOME_RANGE) for name in names if SCHEMES[precision].static}
            spec = QuantisationSpec(scheme=changes["precision"], layers=names, checkpoint=hashes)
            changes["quantisation"] = folder / f"{precision}.quantisation"
            write_config(QuantisationConfig(spec, ranges), changes["quantisation"])
        out = folder / f"{judge.name}.{precision}{BUNDLE}"
        build(ExportConfig([checkpoint], None, "assistant", out, compare=False, **changes), Stages())
