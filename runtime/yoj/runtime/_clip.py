"""Time line of a video, the rules for its frames, and the frames that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import MediaError
from .images import ImageRules

UNEVEN = 0.25
"""Largest distance of a frame from its place at a constant rate, as a share of a frame's duration."""


@dataclass(frozen=True)
class Timeline:
    """Number and times of a video's frames, known before they are decoded."""

    frames: int
    fps: float
    """Frames per second; at a variable rate the mean, by which the last frame begins when it does."""
    seconds_F: tuple[float, ...] | None = None
    """Seconds at which each frame begins, the first at 0; None where the rate is constant."""

    def nearest(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Frame numbers, with fractions, at the times at which ``places`` would stand at a constant rate.

        Args:
            places: frame numbers, with fractions.

        Returns:
            The same where the rate is constant.
        """
        if self.seconds_F is None:
            return places
        return np.interp(places / self.fps, self.seconds_F, np.arange(self.frames))

    def times(self, chosen: Sequence[int]) -> tuple[float, ...]:
        """Seconds at which these frames begin."""
        return tuple(i / self.fps if self.seconds_F is None else self.seconds_F[i] for i in chosen)


Sample: TypeAlias = Callable[[Timeline], list[int]]
"""Rule of a family that chooses frames of a file."""


@dataclass(frozen=True)
class VideoRules:
    """Rules of a model's bundle for videos."""

    frames: int
    """Most frames that are taken."""
    image: ImageRules
    """Rules for each frame as a picture."""


@dataclass(frozen=True)
class Clip:
    """Frames that the model sees."""

    frames_FHWC: NDArray[np.uint8]
    seconds_F: tuple[float, ...]
    given: int
    """Number of frames of the source, of which these are a choice."""
    notices: tuple[str, ...] = ()
    """Differences from the video as it was given, in phrases that begin with its name."""


def timeline_of(seconds_F: NDArray[np.float64], stated: float, tick: float) -> Timeline:
    """Build the time line of frames that begin at these times.

    Args:
        seconds_F: [F] begin of each frame in seconds, ascending from 0.
        stated: frames per second that the file states; 0 for none.
        tick: resolution of the file's times, in seconds.
    """
    frames = len(seconds_F)
    if frames == 1 or not seconds_F[-1]:
        return Timeline(frames, stated or 1.0)
    measured = round((frames - 1) / float(seconds_F[-1]), 6)
    typical = float(np.median(np.diff(seconds_F)))
    slack = max(UNEVEN * typical, min(tick, 0.75 * typical))
    # Times may be rounded to milliseconds; the stated rate is exact, where it is not another one.
    for fps in (stated, measured):
        if fps and np.abs(seconds_F - np.arange(frames) / fps).max() <= slack:
            return Timeline(frames, fps)
    return Timeline(frames, (frames - 1) / float(seconds_F[-1]), tuple(seconds_F.tolist()))


def choose(timeline: Timeline, rules: VideoRules, sample: Sample) -> list[int]:
    """Numbers of the frames that the model sees, ascending."""
    wanted = sample(timeline)
    return [wanted[i] for i in evenly(len(wanted), rules.frames)]


def evenly(total: int, most: int) -> list[int]:
    """At most ``most`` indices, evenly from the first to the last, as the YOJO code chooses frames of a folder."""
    if total <= most:
        return list(range(total))
    return [round(j * (total - 1) / (most - 1)) for j in range(most)] if most > 1 else [0]


def stack(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Frames as one array [F, H, W, 3]; the list is emptied on the way, so that no frame is held twice.

    Raises:
        MediaError: the frames are not of one size.
    """
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) > 1:
        sizes = ", ".join(f"{shape[1]}x{shape[0]}" for shape in shapes)
        raise MediaError(f"The frames of one video have different sizes: {sizes}. Resize them to one.")
    stacked = np.empty((len(frames), *frames[0].shape), np.uint8)
    for number in reversed(range(len(frames))):
        stacked[number] = frames.pop()
    return stacked


def notices_of_frames(found: Sequence[str], seen: int, name: str) -> tuple[str, ...]:
    """One notice for each kind, with the number of frames that it is true of.

    Args:
        found: notices, each once for every frame that it is true of.
        seen: number of frames in all.
        name: name of the video in notices.
    """
    return tuple(f"{name}: in {found.count(text)} of {seen} frames, {text}" for text in dict.fromkeys(found))
