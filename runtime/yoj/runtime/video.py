"""A file, a folder of frames or a list of frames -> the frames that the model sees, with their times."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import MediaError, YojError
from .images import ImageInput, is_file, load_image, shorten

VideoInput: TypeAlias = "str | os.PathLike[str] | Sequence[ImageInput] | NDArray[np.uint8]"

SECONDS_BETWEEN_FRAMES = 4.0
"""Of a folder or list of frames where nothing else is said (the reference's default for frame folders)."""
FRAME_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
UNEVEN = 0.25
"""Largest deviation of a frame's duration from the median, as a share of it, before a file counts as variable."""


@dataclass(frozen=True)
class Timeline:
    """What is known of a video file before its frames are decoded."""

    frames: int
    fps: float


@dataclass(frozen=True)
class Video:
    """The frames that the model sees."""

    frames_FHWC: NDArray[np.uint8]
    seconds_F: tuple[float, ...]
    given: int
    """Frames of the source, of which these are a choice."""


@dataclass(frozen=True)
class VideoLimits:
    """What bounds the choice of frames."""

    frames: int
    pixels: int
    """Of one frame."""


def load_video(
    video: VideoInput, fps: float | None, limits: VideoLimits, sample: Callable[[Timeline], list[int]]
) -> Video:
    """Decode the frames that the model sees.

    Args:
        video: a video file, a folder of frames (sorted by name), or the frames themselves.
        fps: frames a second of a folder or list; None for one every 4 seconds. A file has its own.
        limits: of the bundle.
        sample: the family's choice among the frames of a file.

    Raises:
        MediaError: missing, unreadable, truncated, empty, rotated or of variable frame rate; frames of unequal size.
        LimitError: a frame of too many pixels.
    """
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MediaError(f"fps is {fps!r}; give frames a second, above 0.")
    if not isinstance(video, str | os.PathLike | list | tuple | np.ndarray):
        raise MediaError(f"video is a {type(video).__name__}; give a file, a folder of frames or a list of frames.")
    if isinstance(video, str | os.PathLike) and not _is_folder(Path(video)):
        if fps is not None:
            raise MediaError(f"fps is for a folder or list of frames; {video} has a frame rate of its own.")
        return _read_file(Path(video), limits, sample)
    sources = frame_files(Path(video)) if isinstance(video, str | os.PathLike) else list(video)
    if not sources:
        raise MediaError("The video has no frames; give at least one.")
    chosen = evenly(len(sources), limits.frames)
    frames = [load_image(sources[i], limits.pixels, f"frame {i}") for i in chosen]
    seconds = tuple(i / fps if fps else i * SECONDS_BETWEEN_FRAMES for i in chosen)
    return Video(_stack(frames), seconds, len(sources))


def evenly(total: int, most: int) -> list[int]:
    """At most ``most`` indices from the first to the last, as the reference chooses among the frames of a folder."""
    if total <= most:
        return list(range(total))
    return [round(j * (total - 1) / (most - 1)) for j in range(most)] if most > 1 else [0]


def frame_files(folder: Path) -> list[Path]:
    """The frames of a folder, in their order.

    Raises:
        MediaError: there are none.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_ENDINGS]
    files.sort(key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)])
    if not files:
        raise MediaError(f"{folder} holds no frames ({', '.join(FRAME_ENDINGS)}). Name them frame_0001.jpg and so on.")
    return files


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte
        return False


def _read_file(file: Path, limits: VideoLimits, sample: Callable[[Timeline], list[int]]) -> Video:
    if not is_file(file):
        raise MediaError(f"No video {shorten(str(file))}. Give a video file or a folder of frames.")
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise MediaError(f"Reading {file} needs PyAV ({error}). Install it with: pip install 'yoj[video]'") from error
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise MediaError(f"{file} has no video stream. Give a video file or a folder of frames.")
            timeline = _timeline(container, file)
        wanted = sample(timeline)
        chosen = [wanted[i] for i in evenly(len(wanted), limits.frames)]
        # Opened again: not every container can go back exactly to its first frame.
        with av.open(str(file)) as container:
            frames = _decode(container, file, chosen, limits)
    except YojError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{file} is not a video that can be decoded, or is cut off: {error}. Replace the file."
        ) from error
    return Video(_stack(frames), tuple(i / timeline.fps for i in chosen), timeline.frames)


def _timeline(container: Any, file: Path) -> Timeline:
    """Frames and rate from the packets' time stamps, without decoding."""
    stream = container.streams.video[0]
    seconds = np.sort([packet.pts for packet in container.demux(stream) if packet.pts is not None]) * float(
        stream.time_base
    )
    if not len(seconds):
        raise MediaError(f"{file} has no frames with time stamps; it is empty, cut off or a bare stream. Replace it.")
    gaps = np.diff(seconds)
    typical = float(np.median(gaps)) if len(gaps) else 0.0
    announced, covered = _announced_seconds(container), float(seconds[-1] - seconds[0]) + typical
    if len(seconds) < stream.frames - 1 or covered < min(announced - 1.5 * typical, 0.98 * announced):
        raise MediaError(
            f"{file} is cut off: it holds {len(seconds)} frames, {covered:.2f} s, of the "
            f"{max(stream.frames, len(seconds))} frames, {announced:.2f} s, that it announces. Replace the file."
        )
    if (np.abs(gaps - typical) > max(UNEVEN * typical, float(stream.time_base))).any():
        raise MediaError(
            f"{file} has a variable frame rate: frames last from {gaps.min():.3f} to {gaps.max():.3f} s. "
            "Make it constant first, for example with: ffmpeg -i in.mp4 -vf fps=10 out.mp4"
        )
    stated = float(stream.average_rate or 0)
    if not len(gaps):
        return Timeline(1, stated or 1.0)
    measured = 1.0 / float(gaps.mean())
    # Time stamps may be rounded to milliseconds; the stated rate is exact, where it is not another one.
    return Timeline(len(seconds), stated if abs(stated - measured) < 0.02 * measured else measured)


def _announced_seconds(container: Any) -> float:
    """How long the header says the video is; 0 where it says nothing of the video alone."""
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: hours:minutes:seconds
        hours, minutes, rest = tag.split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(rest)
    return container.duration / 1e6 if len(container.streams) == 1 and container.duration else 0.0


def _decode(container: Any, file: Path, chosen: Sequence[int], limits: VideoLimits) -> list[NDArray[np.uint8]]:
    wanted, frames = set(chosen), dict[int, NDArray[np.uint8]]()
    for number, frame in enumerate(container.decode(video=0)):
        if number == 0 and (rotation := int(getattr(frame, "rotation", 0) or 0)) % 360:
            raise MediaError(
                f"{file} is to be shown rotated by {rotation} degrees, which the model was not trained on. "
                "Write it upright first, for example with: ffmpeg -i in.mp4 out.mp4"
            )
        if number in wanted:
            frames[number] = load_image(frame.to_ndarray(format="rgb24"), limits.pixels, f"frame {number} of {file}")
        if len(frames) == len(wanted):
            return [frames[i] for i in chosen]
    raise MediaError(
        f"{file} is cut off: {len(frames)} of the {len(wanted)} frames could be decoded. Replace the file."
    )


def _stack(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) > 1:
        sizes = ", ".join(f"{shape[1]}x{shape[0]}" for shape in shapes)
        raise MediaError(f"The frames of one video have different sizes: {sizes}. Resize them to one.")
    return np.stack(frames)

Clip=Film=VideoRules=None
