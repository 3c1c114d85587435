"""What every backbone family provides to the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..packing import Ids, Pack

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PreparedImage:
    """One image as the vision graph takes it."""

    arrays: Arrays
    """Inputs of the vision graph for this image alone."""
    ids: Ids
    """Token ids that stand for the image in the row."""
    rows: int
    """Visual tokens: rows that the vision graph returns for it."""


class Family(Protocol):
    """Pixels, placeholders and positions of one backbone, in NumPy."""

    visual_token: int
    """Id of the token that takes one row of visual features each."""

    def __init__(self, preprocessing: Mapping[str, Any], token_id: Callable[[str], int]) -> None: ...

    def prepare_image(self, image_HWC: NDArray[np.uint8]) -> PreparedImage:
        """Crops, index tables and placeholder tokens of one image."""
        ...

    def vision_inputs(self, images: Sequence[PreparedImage]) -> Arrays:
        """Inputs of one run of the vision graph over all images, whose rows come back in the images' order."""
        ...

    def token_inputs(self, pack: Pack) -> dict[str, Ids]:
        """What the scorer graph takes for each token beside the common inputs: name -> int64 [L], padded with 0."""
        ...
