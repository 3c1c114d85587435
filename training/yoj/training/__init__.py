"""Training of multi-response reward models: LoRA, or all weights, and a value head, packed as the runtime packs.

Recipe -> samples -> packs -> judge -> checkpoint in the adapter layout of the YOJO code, or a whole model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._errors import DataError, RecipeError, TrainingError

if TYPE_CHECKING:
    from ._convert import ConversionJob, convert
    from ._recipe import Recipe, read_recipe
    from ._trainer import Trainer
    from .evaluation import EvaluationMode, Report, evaluate
    from .setup import load_samples

__all__ = [
    "ConversionJob",
    "DataError",
    "EvaluationMode",
    "Recipe",
    "RecipeError",
    "Report",
    "Trainer",
    "TrainingError",
    "convert",
    "evaluate",
    "load_samples",
    "read_recipe",
]

__getattr__ = lazily(
    __name__,
    {
        "ConversionJob": "._convert",
        "convert": "._convert",
        "EvaluationMode": ".evaluation",
        "Report": ".evaluation",
        "evaluate": ".evaluation",
        "Recipe": "._recipe",
        "read_recipe": "._recipe",
        "load_samples": ".setup",
        "Trainer": "._trainer",
    },
)
