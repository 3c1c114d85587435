"""Shapes of the models of a bench, in proportion to a 4B backbone."""

from __future__ import annotations

from dataclasses import dataclass

LAYERS = 36
"""Layers of the trunks of Molmo2-4B and Qwen3-VL-4B."""
WORDS = 151_936
"""Rows of the embedding tables of Molmo2-4B and Qwen3-VL-4B."""


@dataclass(frozen=True)
class ModelShape:
    """Part of a 4B model that a bench can afford."""

    layers: int
    """Layers of the trunk, and most layers of the vision tower."""
    narrowed: int
    """Divisor of all widths; heads keep their size."""

    @property
    def words(self) -> int:
        """Rows of the embedding table.

        ``lm_head`` then has the share of the trunk's matrices that it has in the whole model.
        """
        return -(-WORDS * self.layers // (LAYERS * self.narrowed))


SHAPES = {"deep": ModelShape(layers=36, narrowed=4), "wide": ModelShape(layers=3, narrowed=1)}
"""Shapes by name. All layers at a quarter of the width, or three at full width, where the work that is done in the last
layer alone weighs twelve times as much as in the whole model."""
