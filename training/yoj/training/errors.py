"""What can be wrong with a training run."""

from __future__ import annotations

from yoj.runtime.errors import LimitError, YojError


class RecipeError(YojError, ValueError):
    """The recipe asks for something that does not exist or does not fit together."""


class DataError(YojError, ValueError):
    """Samples that cannot be trained on."""


class VisionBudgetError(LimitError):
    """A sample of more visual tokens than the recipe takes, however small its pictures are made."""


class TrainingError(YojError, RuntimeError):
    """The run cannot go on."""
