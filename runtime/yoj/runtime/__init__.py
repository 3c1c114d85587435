"""Score N responses in one forward pass, without PyTorch.

>>> from yoj.runtime import Scorer
>>> scorer = Scorer.load("judge.yoj")
>>> print(scorer.score("What is in the picture?", ["A cat.", "Two dogs."], images=["photo.jpg"]))
"""

from __future__ import annotations

import logging

from .errors import BundleError, EngineError, LimitError, MediaError, RequestError, YojError
from .judgement import Judgement
from .request import Request
from .scorer import Scorer
from .version import __version__

__all__ = [
    "BundleError",
    "EngineError",
    "Judgement",
    "LimitError",
    "MediaError",
    "Request",
    "RequestError",
    "Scorer",
    "YojError",
    "__version__",
]

logging.getLogger("yoj").addHandler(logging.NullHandler())
