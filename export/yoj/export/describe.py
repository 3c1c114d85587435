"""What a bundle takes, in words, for its model card and ``yoj-export inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from yoj.runtime.manifest import Layout

from .names import QUANTISATION, VISION


def describe_prompts(layout: Layout) -> str:
    """What the checkpoint's chat template can show beside one question with its media in front."""
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


def describe_quantisation(bundle: Path) -> str | None:
    """What of a bundle is in 8 or 4 bits, from the plan inside it; None where nothing is.

    Raises:
        msgspec.DecodeError: the plan is no JSON.
    """
    if not (bundle / QUANTISATION).is_file():
        return None
    plan = msgspec.json.decode((bundle / QUANTISATION).read_bytes(), type=dict[str, Any])
    tower = sum(name.startswith(VISION) for name in plan["layers"])
    parts = {"of the trunk": len(plan["layers"]) - tower, "of the vision tower": tower}
    said = ", ".join(f"{count} {'matrix' if count == 1 else 'matrices'} {where}" for where, count in parts.items())
    return f"{plan['scheme']}: {said}{', rows of the embedding table' if plan.get('embeddings') else ''}"
