"""Facts about the samples of a run that a checkpoint records of its judge."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from yoj.runtime import Image
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime.manifest import ResponseImages
from yoj.runtime.script import Script, script_of

from ._recipe import Recipe, learns_language
from .samples import NumberedSample

ORIENTATION = 0x0112
"""EXIF tag whose values from `TURNED` on exchange width and height."""
TURNED = 5
NAMED = 3
"""Most lines that a note names."""


@dataclass(frozen=True)
class Facts:
    """Facts that serving has to know."""

    trained_n: tuple[int, int]
    """Fewest and most responses that the judge reads together."""
    response_images: ResponseImages | None = None
    """Pictures that every response shows: of any size, or as large as the prompt's last; None where some have none."""
    rationales: bool = False
    """Whether the language path learns rationales."""


def facts_of(samples: Sequence[NumberedSample], recipe: Recipe) -> Facts:
    """Collect the facts of a run; reads the heads of picture files where responses show pictures.

    Raises:
        MediaError: a picture cannot be read.
    """
    told = any(text is not None for numbered in samples for text in numbered.sample.rationales or ())
    explains = recipe.objective == "joint" and learns_language(recipe)
    return Facts(_trained_n(samples, recipe), response_images(samples), told and explains)


def _trained_n(samples: Sequence[NumberedSample], recipe: Recipe) -> tuple[int, int]:
    sizes = [len(numbered.sample.responses) for numbered in samples]
    least, most = (min(sizes), max(sizes)) if recipe.n is None else recipe.n
    return min(least, *sizes), min(most, max(sizes))


def response_images(samples: Sequence[NumberedSample]) -> ResponseImages | None:
    """Find out whether every response shows a picture, and whether all are as large as the last of their prompt.

    Raises:
        MediaError: a picture cannot be read.
    """
    found: ResponseImages = "same_size"
    for numbered in samples:
        script = script_of(numbered.request())
        if not _all_show(script):
            return None
        if found == "same_size" and not _same_size(script):
            found = "any_size"
    return found if samples else None


def tell_bare(samples: Sequence[NumberedSample], note: Callable[[str], None]) -> None:
    """Report samples with responses that show no picture among samples whose responses all do."""
    bare = [
        numbered.line
        for numbered in samples
        # Texts, which most data are, need not be decoded.
        if any(isinstance(response, str) for response in numbered.sample.responses)
        or not _all_show(script_of(numbered.request()))
    ]
    if 0 < len(bare) < len(samples):
        lines = ", ".join(map(str, bare[:NAMED])) + (", ..." if len(bare) > NAMED else "")
        note(
            f"{len(bare):,} of {len(samples):,} samples have a response without a picture (lines {lines}): the judge "
            "will take such responses when it scores. Leave these samples out if every response is meant to show one."
        )


def _pictures(script: Script) -> list[int]:
    """Numbers of the media that are pictures."""
    return [number for number, medium in enumerate(script.media) if isinstance(medium, Image)]


def _all_show(script: Script) -> bool:
    """Whether every response shows a picture."""
    return {script.owners[number] for number in _pictures(script)} - {0} == set(range(1, len(script.responses) + 1))


def _same_size(script: Script) -> bool:
    """Whether the pictures of the responses are as large as the prompt's last one, of which there is one."""
    pictures = _pictures(script)
    of_prompt = [number for number in pictures if script.owners[number] == 0]
    shown = of_prompt[-1:] + [number for number in pictures if script.owners[number] > 0]
    return bool(of_prompt) and len({_size(script.media[n].source, script.names[n]) for n in shown}) == 1


def _size(source: Any, name: str) -> tuple[int, int]:
    """Width and height of an upright picture, from the head of its file where Pillow finds them there."""
    try:
        with Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source)) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ORIENTATION, 1) >= TURNED
    except (OSError, TypeError, ValueError, SyntaxError):
        height, width = load_image(source, ImageRules(Pillow.MAX_IMAGE_PIXELS or 1), name).pixels_HWC.shape[:2]
        turned = False
    return (height, width) if turned else (width, height)
