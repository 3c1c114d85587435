"""Errors of a training run."""

from __future__ import annotations

from yoj.runtime.errors import LimitError, YojError


class RecipeError(YojError, ValueError):
    """Recipe that asks for something that does not exist or does not fit together."""


class DataError(YojError, ValueError):
    """Samples that cannot be trained on."""


class VisionBudgetError(LimitError):
    """Sample of more visual tokens than the recipe allows, however small its pictures are made."""


class TrainingError(YojError, RuntimeError):
    """Run that cannot go on."""
