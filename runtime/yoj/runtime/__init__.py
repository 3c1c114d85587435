"""Score N responses in one forward pass, without PyTorch.

>>> from yoj.runtime import Scorer
>>> scorer = Scorer.load("judge.yoj")
>>> print(scorer.score("What is in the picture?", ["A cat.", "Two dogs."], images=["photo.jpg"]))
"""

from __future__ import annotations

from .batch import Prepared
from .errors import (
    BundleError,
    EngineError,
    EngineMemoryError,
    LengthError,
    LimitError,
    MediaError,
    RequestError,
    ScoreError,
    YojError,
)
from .judgement import Judgement, TokenCounts
from .packing import Cut
from .request import Image, Message, Request, Video
from .scorer import Scorer
from .version import __version__

__all__ = [
    "BundleError",
    "Cut",
    "EngineError",
    "EngineMemoryError",
    "Image",
    "Judgement",
    "LengthError",
    "LimitError",
    "MediaError",
    "Message",
    "Prepared",
    "Request",
    "RequestError",
    "ScoreError",
    "Scorer",
    "TokenCounts",
    "Video",
    "YojError",
    "__version__",
]
