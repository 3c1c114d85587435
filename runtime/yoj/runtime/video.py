"""File, folder of frames or list of frames -> the frames that the model sees, with their times."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._budget import MeteredFile, opened
from ._clip import Clip, Sample, Timeline, VideoRules, evenly, notices_of_frames, stack
from .error_texts import shorten
from .errors import MediaError
from .images import HEAD_BYTES, Content, ImageInput, content_of, is_file, is_heif, load_image

__all__ = ["Clip", "Film", "Timeline", "VideoInput", "VideoRules", "evenly", "frame_files", "load_video"]

VideoInput: TypeAlias = "str | os.PathLike[str] | Content | Sequence[ImageInput] | NDArray[np.uint8]"

SECONDS_BETWEEN_FRAMES = 4.0
"""Frames per second of a folder or list where nothing else is said (the default of the YOJO code for frame folders)."""
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG_HEAD = b"\xff\xd8\xff"
OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")
"""Names that operating systems leave in folders, beside those that begin with a dot."""


@dataclass(frozen=True)
class Film:
    """Video as a caller gives it."""

    source: VideoInput
    """Video file or its content, folder of frames (sorted by name), or the frames themselves."""
    fps: float | None = None
    """Frames per second of a folder or list; None for one frame every 4 seconds. A file has its own rate."""
    timestamps: Sequence[float] | None = None
    """Seconds at which each frame of a folder or list begins, instead of ``fps``."""


def load_video(film: Film, rules: VideoRules, sample: Sample, name: str = "video") -> Clip:
    """Decode the frames that the model sees.

    The times of a file are those at which its frames are shown, from the first one on; where the rate is constant,
    the frames' numbers divided by it. What is to be shown turned or mirrored is.

    Args:
        film: the video as a caller gives it.
        rules: the bundle's rules for videos.
        sample: the family's choice among the frames of a file.
        name: name of the video in errors and notices.

    Raises:
        MediaError: the video is missing, unreadable, cut off or empty, of a container that is not read, or has frames
            of unequal size or impossible times.
        LimitError: a frame has too many pixels, or the request's budget is spent.
    """
    _check_times(film, name)
    rules = replace(rules, image=rules.image.with_spending())
    source, notices = film.source, ()
    from ._pictures import is_video_path

    if isinstance(source, list | tuple) and len(source) == 1 and is_video_path(only := source[0]):
        notices = (f"{name}: the one entry of the list is a video file, and was read as such",)
        source = only
    clip = _load(source, film, rules, sample, name)
    return Clip(clip.frames_FHWC, clip.seconds_F, clip.given, notices + clip.notices)


def frame_files(folder: Path) -> list[Path]:
    """Pictures of a folder, which are its frames, in their order.

    Raises:
        MediaError: the folder has no pictures.
    """
    from ._pictures import picture_endings

    endings = picture_endings()
    files = [path for path in _visible(folder) if path.suffix.lower() in endings and not path.is_dir()]
    files.sort(key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)])
    if not files:
        raise MediaError(f"{folder} holds no frames (.jpg, .png, .webp, .tif ...). Name them frame_0001.jpg and so on.")
    return files


def _load(source: VideoInput, film: Film, rules: VideoRules, sample: Sample, name: str) -> Clip:
    if isinstance(source, np.ndarray | list | tuple):
        return _load_frames(list(source), film, rules, name)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if _is_folder(path):
            files = frame_files(path)
            clip = _load_frames(files, film, rules, name)
            return Clip(clip.frames_FHWC, clip.seconds_F, clip.given, clip.notices + _left_out(path, files, name))
        if not is_file(path):
            raise MediaError(f"{name}: no file {shorten(str(path))}. Give a video file or a folder of frames.")
        label, given = f"{name}: {path}", path
    else:
        content = content_of(source, name)
        if content is None:
            raise MediaError(
                f"{name} is a {type(source).__name__}; give a file, its bytes, a folder of frames or a list of frames."
            )
        label, given = f"{name} ({len(content)} bytes)", content
    for times in ("fps", "timestamps"):
        if getattr(film, times) is not None:
            raise MediaError(
                f"{times} of a video is for a folder or list of frames; {label} has a frame rate of its own."
            )
    try:
        file = opened(given, rules.image.spent(), label)
    except OSError as error:
        raise MediaError(f"{label} cannot be opened: {error.strerror}. Give a file that can be read.") from error
    with file:
        return _load_file(file, label, rules, sample, name)


def _load_file(file: MeteredFile, label: str, rules: VideoRules, sample: Sample, name: str) -> Clip:
    # Most who import the runtime read no video files.
    from ._animation import is_animation, read_animation
    from ._movie import read_movie

    head = file.read(HEAD_BYTES)
    if is_heif(head):
        raise MediaError(f"{label} is a HEIC picture. Give it as an image, or in a list of frames.")
    if head[:4] in TIFF_HEADS:
        raise MediaError(f"{label} is a TIFF picture. Give its pages as images, or as a list of frames.")
    if head[:3] == JPEG_HEAD:
        from ._heads import check_alone
        from ._pictures import read_picture_file

        check_alone(file, label)
        pixels_HWC, _ = read_picture_file(file, rules.image, label)
        return Clip(pixels_HWC[None], (0.0,), 1)
    clip = read_animation(file, label, rules, sample, name) if is_animation(head) else None
    return clip or read_movie(file, label, rules, sample, name)


def _load_frames(sources: list[Any], film: Film, rules: VideoRules, name: str) -> Clip:
    from ._pictures import is_video_path

    if not sources:
        raise MediaError(f"{name} has no frames; give at least one.")
    if film.timestamps is not None and len(film.timestamps) != len(sources):
        raise MediaError(
            f"{name} has {len(sources)} frames but {len(film.timestamps)} timestamps; give one for each frame."
        )
    chosen = evenly(len(sources), rules.frames)
    frames, found = list[NDArray[np.uint8]](), list[str]()
    for i in chosen:
        label = f"{name}, frame {i}"
        if is_video_path(sources[i]):
            raise MediaError(f"{label} is a video, {sources[i]}; a list holds frames. Give a video file as text.")
        picture = load_image(sources[i], rules.image, label)
        height, width = picture.pixels_HWC.shape[:2]
        frames.append(picture.pixels_HWC)
        rules.image.spent().foresee_pixels((len(chosen) - len(frames)) * width * height, f"{name}, from frame {i} on")
        found += [notice.removeprefix(f"{label}: ") for notice in picture.notices]
    notices = notices_of_frames(found, len(chosen), name)
    return Clip(stack(frames), tuple(_time(film, i) for i in chosen), len(sources), notices)


def _time(film: Film, frame: int) -> float:
    """Seconds at which a frame of a folder or list begins."""
    if film.timestamps is not None:
        return float(film.timestamps[frame])
    return frame / film.fps if film.fps else frame * SECONDS_BETWEEN_FRAMES


def _check_times(film: Film, name: str) -> None:
    fps: Any = film.fps
    if fps is not None and not (_is_number(fps) and 0 < fps < math.inf):
        raise MediaError(f"fps of {name} is {fps!r}; give frames a second, above 0.")
    timestamps = film.timestamps
    if timestamps is None:
        return
    if fps is not None:
        raise MediaError(f"{name} has fps and timestamps; give one of them.")
    if not isinstance(timestamps, list | tuple | np.ndarray):  # a text, for instance, is a sequence too
        raise MediaError(f"timestamps of {name} are a {type(timestamps).__name__}; give a list of seconds.")
    before = -math.inf
    for number, time in enumerate(list[Any](timestamps)):
        if not (_is_number(time) and 0 <= time < math.inf):
            raise MediaError(f"timestamps[{number}] of {name} is {time!r}; give seconds, 0 or more.")
        if time <= before:
            raise MediaError(f"timestamps[{number}] of {name} is {time} after {before}; give increasing times.")
        before = time


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte
        return False


def _visible(folder: Path) -> list[Path]:
    """Files of a folder without those of the operating system."""
    return [path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in OF_THE_SYSTEM]


def _left_out(folder: Path, files: Sequence[Path], name: str) -> tuple[str, ...]:
    left = sorted({path.name for path in _visible(folder)} - {path.name for path in files})
    if not left:
        return ()
    shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
    return (f"{name}: {len(left)} entries of the folder are no pictures and were not taken: {shown}",)
