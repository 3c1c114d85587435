"""Pictures and frames of videos as small data URLs, for pages that load nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ._clip import VideoRules, evenly
from .errors import YojError
from .images import ImageInput, ImageRules, load_image
from .request import Image, Video
from .video import Film, VideoInput, load_video

if TYPE_CHECKING:
    from PIL import Image as Pillow

FRAMES = 4
"""Most frames of a video that are shown."""
PIXELS = 2**28
"""Pixels of a picture above which it is not shown."""
LOSSLESS = 128 * 128
"""Pixels up to which a picture is kept without loss unless told otherwise."""


@dataclass(frozen=True)
class Thumbnail:
    """Small copy of a picture or of a frame."""

    name: str
    url: str
    """Data URL."""
    size: tuple[int, int]
    """Width and height of the original in pixels."""
    shown: tuple[int, int]
    """Width and height of the copy."""


@dataclass(frozen=True)
class Missing:
    """Medium that is not shown."""

    name: str
    reason: str

    @property
    def text(self) -> str:
        """Words in its place."""
        named = self.reason if self.reason.startswith(self.name) else f"{self.name}: {self.reason}"
        return f"not shown: {named}"


def thumbnails(medium: Image | Video, name: str, side: int, lossless: int = LOSSLESS) -> Iterator[Thumbnail | Missing]:
    """Small copies of a picture, or of a few frames of a video, or why there are none.

    Args:
        medium: the picture or video.
        name: its name.
        side: longest side of the copies in pixels; what is smaller stays as it is.
        lossless: pixels up to which a copy is kept without loss.
    """
    try:
        if isinstance(medium, Image):
            picture = load_image(cast("ImageInput", medium.source), ImageRules(PIXELS), name)
            yield _thumbnail(picture.pixels_HWC, name, side, lossless)
            return
        film = Film(cast("VideoInput", medium.source), medium.fps, medium.timestamps)
        rules = VideoRules(FRAMES, ImageRules(PIXELS))
        clip = load_video(film, rules, lambda timeline: evenly(timeline.frames, FRAMES), name)
        for pixels_HWC, seconds in zip(clip.frames_FHWC, clip.seconds_F, strict=True):
            yield _thumbnail(pixels_HWC, f"{name}, frame of {clip.given} at {seconds:.4g} s", side, lossless)
    except YojError as error:
        yield Missing(name, str(error))


def _thumbnail(pixels_HWC: NDArray[np.uint8], name: str, side: int, lossless: int) -> Thumbnail:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.ascontiguousarray(pixels_HWC))
    size = picture.size
    picture.thumbnail((side, side))
    form: dict[str, Any] = {"format": "PNG"} if np.prod(picture.size) <= lossless else {"format": "JPEG", "quality": 82}
    return Thumbnail(name, data_url(picture, **form), size, picture.size)


def data_url(picture: Pillow.Image, **form: Any) -> str:
    """Picture as a data URL, saved in a format with its settings as Pillow takes them."""
    stream = io.BytesIO()
    picture.save(stream, **form)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{form['format'].lower()};base64,{data}"
