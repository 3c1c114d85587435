"""Evaluation of judges: published benchmarks by their own rules, and rankings of N responses from votes.

>>> from yoj.evaluation import BENCHMARKS
"""

from __future__ import annotations

from ._errors import EvaluationError
from ._items import Item, Pass, Refusal, Scored
from .benchmarks._table import BENCHMARKS

__all__ = ["BENCHMARKS", "EvaluationError", "Item", "Pass", "Refusal", "Scored"]
