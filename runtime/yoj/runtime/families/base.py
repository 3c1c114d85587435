"""What every backbone family provides to the runtime."""

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
    """What stands for it in the row: text, and tokens that come from nothing else."""
    rows: int
    """Visual tokens: rows that the vision graph returns for it."""
    group: Hashable
    """Media of the same group can go through the vision graph together."""
    grids: tuple[tuple[int, int], ...]
    """Rows and columns of visual tokens of each image or frame, in the order of the tokens."""


class Family(Protocol):
    """Pixels, placeholders and positions of one backbone, in NumPy."""

    visual_tokens: tuple[int, ...]
    """Ids of the tokens that take one row of visual features each."""

    def __init__(self, preprocessing: Mapping[str, Any], token_id: Callable[[str], int]) -> None: ...

    def prepare_image(self, image_HWC: NDArray[np.uint8]) -> PreparedMedia:
        """Pixels, index tables and placeholder tokens of one image.

        Raises:
            MediaError: a shape that the backbone cannot take.
        """
        ...

    def prepare_video(self, frames_FHWC: NDArray[np.uint8], seconds_F: Sequence[float]) -> PreparedMedia:
        """The same for the frames of a video and the time at which each stands.

        Raises:
            MediaError: a shape that the backbone cannot take.
        """
        ...

    def sample_frames(self, timeline: Timeline) -> list[int]:
        """Which frames of a video file the model sees, in order and each once: the family's rule on the true times."""
        ...

    def vision_inputs(self, media: Sequence[PreparedMedia]) -> Arrays:
        """Inputs of one run of the vision graph over media of one group; its rows come back in their order."""
        ...

    def token_inputs(self, pack: Pack, media: Sequence[PreparedMedia]) -> Arrays:
        """What the scorer graph takes for each token beside the common inputs: name -> int64 [..., L]."""
        ...
