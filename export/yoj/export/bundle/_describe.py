"""Description of a bundle in words, for its model card and ``yoj-export inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from yoj.runtime.manifest import Layout, Manifest, ValueHead

from .names import QUANTISATION, VISION_PREFIX

if TYPE_CHECKING:  # they load PyTorch, which describing a bundle needs not
    from ..checkpoint.checkpoint import Checkpoint
    from ..families import ExportFamily


def describe_prompts(layout: Layout) -> str:
    """Turns and media that the checkpoint's chat template can show beside one question with its media in front."""
    before = layout.with_media.before
    shown = {
        "texts and media in any order": layout.text_glue is not None,
        "a system turn": "system" in before,
        "earlier turns": "assistant>user" in before,
    }
    media = f"media in {', '.join(layout.media_roles)} turns"
    missing = [name for name, there in shown.items() if not there]
    return ", ".join([*(name for name, there in shown.items() if there), media]) + (
        f"; the chat template does not show {' or '.join(missing)}" if missing else ""
    )


def describe_training(manifest: Manifest) -> str:
    """Mode and numbers of responses of the training."""
    if manifest.trained_mode == "isolated":
        return "isolated"
    if manifest.trained_n is None:
        return "joint, on how many responses together is not known"
    least, most = manifest.trained_n
    return f"joint, on N={least}" + (f" to {most}" if most > least else "")


def describe_dimensions(head: ValueHead) -> str:
    """Dimensions of a head and the rule that makes one score of them; empty where it has one score alone."""
    if not head.dimensions:
        return ""
    return f", {head.pooling} of {', '.join(dimension.name for dimension in head.dimensions)}"


def describe_quantisation(bundle: Path) -> str | None:
    """Summary of the matrices in 8 or 4 bits, from the config inside the bundle; None where there are none.

    Raises:
        msgspec.DecodeError: the file is no JSON.
    """
    if not (bundle / QUANTISATION).is_file():
        return None
    config = msgspec.json.decode((bundle / QUANTISATION).read_bytes(), type=dict[str, Any])
    tower = sum(name.startswith(VISION_PREFIX) for name in config["layers"])
    parts = {"of the trunk": len(config["layers"]) - tower, "of the vision tower": tower}
    said = ", ".join(f"{count} {'matrix' if count == 1 else 'matrices'} {where}" for where, count in parts.items())
    return f"{config['scheme']}: {said}{', rows of the embedding table' if config.get('embeddings') else ''}"


def describe_assumptions(checkpoint: Checkpoint, family: ExportFamily) -> Iterator[str]:
    """Assumptions made where no file tells how the model was trained."""
    from ..prompts._template_files import read_template

    file, template = read_template(checkpoint)
    if "strftime_now" in template:
        yield f"{file.name} shows the date, and that of this export stays in every prompt of the bundle"
    if not checkpoint.head.layout.single:
        return
    markup = family.markup()
    if checkpoint.training.video_expansion is None and len(markup.video) > 1:
        nested = markup.packed_video == markup.video
        assumed, other, version = ("nested", "flat", 5) if nested else ("flat", "nested", 4)
        yield (
            f"videos: --video-expansion {assumed} is assumed, as the processor's files are those of transformers "
            f"{version}; give {other} if the model was trained with the other's processor"
        )
    if markup.bos is not None:
        yield (
            f"rows without media begin without {markup.bos}, as the tokenizer alone writes them; a trainer that gave "
            "them to the processor had it there, and other scores"
        )
