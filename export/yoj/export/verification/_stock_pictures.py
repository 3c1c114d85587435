"""Pictures as the checkpoint's own image processor prepares them, compared with those of the runtime.

The scores of a comparison are made of the runtime's pixels on either side, so that they do not show a picture that was
prepared otherwise than in training. This does: transformers reads the checkpoint's folder and prepares the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig, AutoImageProcessor

from yoj.runtime.families import Arrays, Family

from ..checkpoint.checkpoint import Checkpoint

MOST_LEVELS = 1.0
"""Largest mean difference of a pixel, in levels of 256, that the processor's Pillow and torchvision kernels may make.
On noise they differ by up to 0.4; a mean or a deviation that is 2 % off makes more than 2."""


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement with the checkpoint's image processor."""

    processor: str | None = None
    """Class of the processor; None where transformers cannot load it here."""
    why_not: str | None = None
    """Reason why it cannot; empty where it can."""
    images: int = 0
    levels: float = 0.0
    """Largest mean difference of the pixels of one image, in levels of 256."""
    problem: str | None = None
    """Differences that were found."""

    @property
    def text(self) -> str:
        """One line for the person who exports."""
        if self.processor is None:
            return f"pictures were not compared with the checkpoint's own image processor: {self.why_not}"
        found = self.problem or f"mean difference up to {self.levels:.2f} of 256 levels, allowed {MOST_LEVELS:g}"
        return f"pictures against {self.processor}: {self.images} images, {found}; videos were not compared"


def compare_pictures(
    checkpoint: Checkpoint,
    family: Family,
    images: Sequence[NDArray[np.uint8]],
    arrays_of: Callable[[Mapping[str, Any]], Arrays],
) -> Pictures:
    """Prepare images with the checkpoint's own processor and with the runtime.

    Args:
        checkpoint: checkpoint in whose folders transformers finds the processor.
        family: family of the runtime.
        images: images, uint8 [H, W, 3] each.
        arrays_of: function from the processor's result for one image to what `Family.prepare_image` should have made.
    """
    stock = _load(checkpoint)
    if isinstance(stock, str):
        return Pictures(why_not=stock)
    name, worst = type(stock).__name__, 0.0
    to_levels = 255 * float(np.mean(stock.image_std))
    for number, image_HWC in enumerate(images, 1):
        size = f"one of {image_HWC.shape[1]}x{image_HWC.shape[0]} pixels"
        try:
            expected = arrays_of(stock(image_HWC, return_tensors="np"))
        except Exception as error:  # whatever a processor of any version makes of its settings
            return Pictures(why_not=f"{name} fails on {size}: {_first_line(error)}")
        got = family.prepare_image(image_HWC).arrays
        for what, array in expected.items():
            if got[what].shape != array.shape:
                problem = f"{size} gives {what} {got[what].shape} instead of {array.shape}"
                return Pictures(processor=name, images=number, problem=problem)
            if array.dtype.kind == "f":
                worst = max(worst, to_levels * float(np.abs(got[what] - array).mean()))
            elif not np.array_equal(got[what], array):
                return Pictures(processor=name, images=number, problem=f"{size} gives another {what}")
        if not worst <= MOST_LEVELS:
            problem = f"the pixels of {size} differ by {worst:.1f} levels of 256 on average, allowed {MOST_LEVELS:g}"
            return Pictures(processor=name, images=number, levels=worst, problem=problem)
    return Pictures(processor=name, images=len(images), levels=worst)


def _load(checkpoint: Checkpoint) -> Any:
    """Processor that transformers reads in the checkpoint's folders, or the reason why there is none."""
    why = ""
    for folder in checkpoint.places:
        try:
            return AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **_config(checkpoint.trunk)
            )
        except ImportError as error:  # the same for every folder
            return _first_line(error)
        except Exception as error:  # whatever a processor of any version makes of the files
            # The result goes into the bundle, which shall hold no path of this machine.
            why = why or _first_line(error).replace(str(folder), folder.name)
    return why


def _config(folder: Path) -> dict[str, Any]:
    """Configuration of the model, which names the processor where its own file does not."""
    try:
        return {"config": AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)}
    except Exception:  # one that this transformers cannot read; the file of the processor mostly names its class
        return {}


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    if "torchvision" in text.lower():  # each class of transformers says it in another way, and at length
        return "transformers needs torchvision for it, which cannot be imported here"
    return text.partition("\n")[0][:400] or type(error).__name__
