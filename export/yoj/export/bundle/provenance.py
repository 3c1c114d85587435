"""Provenance of a bundle: hashes of the checkpoint, library versions, this machine."""

from __future__ import annotations

import datetime
import importlib.metadata
from pathlib import Path

from yoj.runtime import manifest as m
from yoj.runtime.bundle import sha256
from yoj.runtime.hub import origin
from yoj.runtime.machine import instruction_sets
from yoj.runtime.version import __version__

from ..checkpoint.checkpoint import Checkpoint

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "numpy",
    "pillow",
)


def provenance(checkpoint: Checkpoint, overflow: dict[str, float] | None, processor: dict[str, str]) -> m.Provenance:
    """Provenance for the manifest.

    Args:
        checkpoint: exported checkpoint.
        overflow: layers that float16 may not hold, with their largest magnitudes; None where that was not examined.
        processor: kind of medium -> the file that its settings were read from.
    """
    versions = {"yoj": __version__} | {name: _version(name) for name in LIBRARIES}
    return m.Provenance(
        checkpoint=checkpoint_hashes(checkpoint),
        libraries={name: version for name, version in versions.items() if version},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        instruction_sets=instruction_sets(),
        float16_overflow=overflow,
        processor=processor,
        hub=tuple(filter(None, map(origin, dict.fromkeys((*checkpoint.folders, checkpoint.trunk))))),
    )


def checkpoint_hashes(checkpoint: Checkpoint) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint, by folder and name."""
    return {_relative(file): sha256(file) for file in checkpoint.files()}


def provenance_differences(manifest: m.Manifest, checkpoint: Checkpoint) -> list[str]:
    """Files of a checkpoint whose content differs from those that a bundle was made from."""
    made_from = manifest.provenance.checkpoint
    known = set(made_from.values())
    return [f"{file} is not what the bundle was made from" for file in checkpoint.files() if sha256(file) not in known]


def _relative(file: Path) -> str:
    """Folder and file name: enough to tell shards of a base and an adapter apart, without a path of this machine."""
    return f"{file.parent.resolve().name}/{file.name}"  # the file itself may be a link to a cache's nameless content


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
