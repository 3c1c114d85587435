"""What a bundle takes, in words, for its model card and ``yoj-export inspect``."""

from __future__ import annotations

from yoj.runtime.manifest import Layout


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
