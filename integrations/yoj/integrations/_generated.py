"""Generated images as their trainers hold them, tensors, arrays or pictures, in a form that a request takes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yoj.runtime import MediaError, RequestError
from yoj.runtime.error_texts import shorten
from yoj.runtime.images import ImageInput

from ._kinds import is_array, is_list

Generated: TypeAlias = "ImageInput | MediaError"
"""Image that a request takes; or the reason why it is none, which its group alone shall bear."""

CHANNELS = 3
HALF_STEP = 0.5 / 255
"""Distance from 0..1 up to which a value still rounds to 8 bits without being cut."""
FORMS = "Give a tensor [B, 3, H, W] of floats from 0 to 1, an array [B, H, W, 3] of uint8 or such floats, or a list."


def generated_images(images: Any, name: str) -> list[Generated]:
    """Read a batch of images.

    Args:
        images: a tensor of PyTorch [B, 3, H, W]; an array [B, H, W, 3]; or a list of such images without the axis B,
            PIL images, paths or bytes. Numbers are uint8, or floats from 0 to 1, which are rounded to 8 bits.
        name: name of the batch in errors.

    Returns:
        One image for each row. In the place of one with numbers that are not finite, which a policy can produce in one
        row, stands the error.

    Raises:
        RequestError: the batch is of another form, or an image has another shape, type or range; which one, and its
            values.
    """
    if is_list(images):
        return [generated_image(one, f"{name}[{index}]") for index, one in enumerate(images)]
    first = _is_tensor(images)
    if not first and not is_array(images):
        raise RequestError(f"{name} is {shorten(repr(images), 80)}, no batch of images. {FORMS}")
    batch = _numbers(images)
    if batch.ndim != 4:
        raise RequestError(f"{name} has the shape {_shape(batch)}, and a batch of images has four axes. {FORMS}")
    return [_pixels(one, first, f"{name}[{index}]") for index, one in enumerate(batch)]


def generated_image(image: Any, name: str) -> Generated:
    """Read one image as it stands in a list of `generated_images`, which says what it returns and raises."""
    first = _is_tensor(image)  # of what holds no numbers the runtime says what it is
    return _pixels(_numbers(image), first, name) if first or is_array(image) else image


def _is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of PyTorch, which need not be installed here."""
    return callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None))


def _numbers(value: Any) -> NDArray[Any]:
    """Array of a tensor's numbers. Its floats become float32, since NumPy has no bfloat16."""
    if not _is_tensor(value):
        return value
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).numpy()


def _pixels(image: NDArray[Any], first: bool, name: str) -> NDArray[np.uint8] | MediaError:
    """Pixels uint8 [H, W, 3] of one image, whose channels stand first in a tensor and last in an array."""
    form = "[3, H, W]" if first else "[H, W, 3]"
    if image.ndim != 3 or image.shape[0 if first else -1] != CHANNELS or not image.size:
        kind = "a tensor" if first else "an array"
        raise RequestError(f"{name} has the shape {_shape(image)}, and an image is {form} in the form of {kind}.")
    image_HWC = np.moveaxis(image, 0, -1) if first else image
    if image_HWC.dtype == np.uint8:
        return np.ascontiguousarray(image_HWC)
    if not np.issubdtype(image_HWC.dtype, np.floating):
        raise RequestError(f"{name} has numbers of the type {image_HWC.dtype}; give uint8, or floats from 0 to 1.")
    lost = int(image_HWC.size - np.isfinite(image_HWC).sum())
    if lost:
        return MediaError(f"{name} has {lost} of {image_HWC.size} numbers that are NaN or infinite: it is no picture.")
    low, high = float(image_HWC.min()), float(image_HWC.max())
    if low < -HALF_STEP or high > 1 + HALF_STEP:
        raise RequestError(
            f"{name} has numbers from {low:.6g} to {high:.6g}, and the floats of an image are from 0 to 1. Rescale "
            "them as the pipeline does for its output (from -1..1: x / 2 + 0.5; from 0..255: give uint8)."
        )
    return np.rint(image_HWC * 255).clip(0, 255).astype(np.uint8)


def _shape(array: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
