"""Comparison of a finished bundle with the checkpoint that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yoj.runtime.bundle import Bundle
from yoj.runtime.errors import BundleError

from ..bundle._config import Progress
from ..bundle.provenance import provenance_differences
from ..checkpoint._dimension_texts import DimensionText, text_of
from ..checkpoint.checkpoint import Checkpoint, Training
from ..families.opening import open_family
from .fidelity import Fidelity, measure, require
from .scorer import open_scorer


@dataclass(frozen=True)
class VerifyJob:
    """Bundle to verify, and what to compare it with."""

    bundle: Path
    checkpoints: Sequence[str | Path]
    """Checkpoint that the bundle was made from; several are adapters in the order they are applied."""
    base: str | Path | None = None
    """Base model under LoRA adapters."""
    engine: str | None = None
    """Engine of the bundle; None for its first."""


def verify(job: VerifyJob, progress: Progress) -> Fidelity:
    """Compare the scores of a bundle with those of its checkpoint in PyTorch.

    Files of the checkpoint that are not those that the bundle was made from are noted, and the scores compared all the
    same.

    Raises:
        BundleError: no bundle, a damaged one, or one of another family than the checkpoint.
        CheckpointError: something is wrong with the checkpoint.
        EngineError: the engine cannot be opened.
        FidelityError: the engine does not agree with the checkpoint.
    """
    opened = Bundle.open(job.bundle)
    head, video = opened.manifest.value_head, opened.manifest.layout.video
    training = Training(head.hidden_state, "flat" if len(video) == 1 else "nested", opened.manifest.trained_mode)
    # A judge of several responses names its questions in its settings.
    if any(one.asks for one in head.dimensions) and opened.manifest.layout.separator is None:
        training = replace(training, dimensions=tuple(DimensionText(d.name, text_of(d.asks)) for d in head.dimensions))
    checkpoint = Checkpoint.open(job.checkpoints, job.base, training)
    if checkpoint.family != opened.manifest.family:
        raise BundleError(
            f"{job.bundle} was made from a {opened.manifest.family}, {checkpoint.trunk} is a {checkpoint.family}. Give "
            "the checkpoint that it was made from."
        )
    for difference in provenance_differences(opened.manifest, checkpoint):
        progress.note(f"warning: {difference}")
    progress.stage("compare with the stock model")
    family = open_family(checkpoint)
    scorer = open_scorer(opened, checkpoint, family, job.engine)
    fidelity = measure(scorer, checkpoint, family, progress.note)
    require(fidelity)
    return fidelity
