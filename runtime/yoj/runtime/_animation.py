"""Animated GIF, WebP, APNG or AVIF file -> the frames that the model sees, decoded by Pillow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ._budget import MeteredFile
from ._clip import Clip, Sample, VideoRules, choose, notices_of_frames, stack, timeline_of
from ._formats import ANIMATIONS, check_own_memory
from ._pictures import FORMATS, open_picture, readable
from ._rgb import to_rgb
from ._whole import is_cut_off
from .error_texts import reason
from .errors import LimitError, MediaError, YojError
from .images import AVIF_BRANDS, SAID, check_size

TICKS = {"GIF": 0.01, "PNG": 0.001, "WEBP": 0.001, "AVIF": 0.001}
"""Seconds to which a format, or Pillow's reader of it, rounds times."""
NO_TIME, SHOWN_TIME = 10.0, 100.0
"""Longest duration in milliseconds that counts as none and becomes 100 ms, as in browsers and FFmpeg."""

DECODED_PIXELS = 10_000_000_000
"""Most pixels (frames times width times height) of an animation, all of whose frames are decoded to learn their
times."""


def is_animation(head: bytes) -> bool:
    """Whether the beginning of a file is that of a format that Pillow reads as an animation."""
    if head[4:8] == b"ftyp":
        return head[8:12] in AVIF_BRANDS
    return head[:4] == b"GIF8" or head[:8] == b"\x89PNG\r\n\x1a\n" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_animation(file: MeteredFile, label: str, rules: VideoRules, sample: Sample, name: str) -> Clip | None:
    """Decode the frames that the model sees; None where this Pillow cannot read the format.

    Args:
        file: the animation, seekable.
        label: name of the file in errors.
        rules: the bundle's rules for frames.
        sample: the family's choice among its frames.
        name: name of the video in notices.

    Raises:
        MediaError: the file is cut off or damaged.
        LimitError: the frames have too many pixels, or the request's budget is spent.
    """
    file.seek(0)
    if is_cut_off(file):
        raise MediaError(f"{label} is cut off: it ends before the end that it announces. Replace the file.")
    try:
        with open_picture(file, label, [form for form in ANIMATIONS if form in readable()]) as image:
            return _read(image, rules, sample, label, name)
    except UnidentifiedImageError:
        return None
    except YojError:
        raise
    except Exception as error:  # on damaged files Pillow's readers raise whatever their parsing runs into
        raise MediaError(f"{label} is truncated or damaged: {reason(error)}. Replace the file.") from error


def _read(image: Image.Image, rules: VideoRules, sample: Sample, label: str, name: str) -> Clip:
    hidden = int(bool(getattr(image, "default_image", False)))  # an APNG's picture for those who read PNG only
    lasting = _durations(image, hidden, rules, label)
    untimed = [ms <= NO_TIME and image.format != "AVIF" for ms in lasting]
    shown = [SHOWN_TIME if no_time else ms for ms, no_time in zip(lasting, untimed, strict=True)]
    seconds_F = np.cumsum([0.0, *shown[:-1]]) / 1e3
    timeline = timeline_of(seconds_F, 0.0, TICKS.get(image.format or "", 0.001))
    chosen = choose(timeline, rules, sample)
    frames, found = list[NDArray[np.uint8]](), list[str]()
    rules.image.spent().foresee_pixels(len(chosen) * image.width * image.height, label)
    for number in chosen:
        image.seek(number + hidden)
        _check(image, rules, label)
        rules.image.spent().take_pixels(image.width * image.height, label)
        pixels_HWC, see_through = to_rgb(image, rules.image.transparency, f"{label}, frame {number}", ours=False)
        frames.append(pixels_HWC)
        found += [SAID[rules.image.transparency]] * see_through
    notices = notices_of_frames(found, len(chosen), name)
    if len(lasting) > 1 and any(untimed):
        notices += (f"{name}: {sum(untimed)} frames without a duration were shown for 0.1 s, as browsers do",)
    return Clip(stack(frames), timeline.times(chosen), timeline.frames, notices)


def _durations(image: Image.Image, hidden: int, rules: VideoRules, label: str) -> list[float]:
    """Milliseconds for which each frame is shown; 0 where the file leaves it open."""
    durations: list[float] = []
    frames: int = getattr(image, "n_frames", 1)
    if (pixels := frames * image.width * image.height) > DECODED_PIXELS:
        raise LimitError(
            f"{label} has {frames:,} frames of {image.width}x{image.height}, {pixels:,} pixels together; "
            f"{DECODED_PIXELS:,} are the limit of an animation. Give it as a video, or fewer or smaller frames."
        )
    for number in range(hidden, frames):
        image.seek(number)
        _check(image, rules, label)
        image.load()  # some formats tell the duration only then
        durations.append(float(image.info.get("duration") or 0.0))
    return durations


def _check(image: Image.Image, rules: VideoRules, label: str) -> None:
    """Check the time and the frame's size before it is decoded. Frames of a GIF may differ in size."""
    rules.image.spent().check_time(label)
    check_size(image.width, image.height, rules.image, label)
    check_own_memory(FORMATS[image.format or ""], image.width, image.height, label)
