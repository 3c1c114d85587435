"""Interface of a backbone family in the runtime."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..packing import Pack
from ..stretch import Span
from ..video import Timeline

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PreparedMedia:
    """One image or video as the vision graph takes it."""

    arrays: Arrays
    """Inputs of the vision graph for this medium alone."""
    spans: tuple[Span, ...]
    """Text and tokens that represent the medium in the row; no text of a request can become the tokens."""
    rows: int
    """Number of visual tokens: rows that the vision graph returns for the medium."""
    group: Hashable
    """Group of media that can go through the vision graph together."""
    grids: tuple[tuple[int, int], ...]
    """Number of rows and columns of visual tokens of each image or frame, in the order of the tokens."""


class Family(Protocol):
    """Pixels, placeholders and positions of one backbone, in NumPy."""

    visual_tokens: tuple[int, ...]
    """Ids of the tokens that take one row of visual features each."""

    def __init__(self, preprocessing: Mapping[str, Any], token_id: Callable[[str], int]) -> None: ...

    def prepare_image(self, image_HWC: NDArray[np.uint8]) -> PreparedMedia:
        """Prepare pixels, index tables and placeholder tokens of one image.

        Raises:
            MediaError: the backbone cannot take the shape.
        """
        ...

    def prepare_video(self, frames_FHWC: NDArray[np.uint8], seconds_F: Sequence[float]) -> PreparedMedia:
        """Prepare the frames of a video, with the time of each.

        Raises:
            MediaError: the backbone cannot take the shape.
        """
        ...

    def sample_frames(self, timeline: Timeline) -> list[int]:
        """Choose the frames of a video file that the model sees, ascending and each once, by their true times."""
        ...

    @staticmethod
    def multiples(settings: Mapping[str, Any]) -> dict[str, int]:
        """Axis letter -> number that its size is always a multiple of; others are free.

        Args:
            settings: the manifest's ``preprocessing``.
        """
        ...

    def vision_inputs(self, media: Sequence[PreparedMedia]) -> Arrays:
        """Inputs of one run of the vision graph over media of one group; its rows come back in their order."""
        ...

    def token_inputs(self, pack: Pack, media: Sequence[PreparedMedia]) -> Arrays:
        """Inputs of the scorer graph for each token beside the common ones: name -> int64 [..., L]."""
        ...
