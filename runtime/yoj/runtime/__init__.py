"""Score N responses in one forward pass, without PyTorch.

>>> from yoj.runtime import Scorer
>>> scorer = Scorer.load("judge.yoj")
>>> print(scorer.score("What is in the picture?", ["A cat.", "Two dogs."], images=["photo.jpg"]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._judgement import DimensionScores, Judgement, TokenCounts
from ._rationale import Rationale
from ._scorer import Scorer
from .batch import Prepared
from .errors import (
    BundleError,
    EngineError,
    EngineMemoryError,
    HubError,
    LengthError,
    LimitError,
    MediaError,
    RequestError,
    ScoreError,
    YojError,
)
from .lazy import lazily
from .packing import Truncation
from .request import Image, Message, Request, Video
from .version import __version__

if TYPE_CHECKING:
    from ._explanation import Explanation, LeftOutRegion, LeftOutSentence, ShownPicture
    from ._knockout import Knockout, knockout
    from .codec import Reading, decode_request, encode_judgement
    from .sources import Policy

__all__ = [
    "BundleError",
    "DimensionScores",
    "EngineError",
    "EngineMemoryError",
    "Explanation",
    "HubError",
    "Image",
    "Judgement",
    "Knockout",
    "LeftOutRegion",
    "LeftOutSentence",
    "LengthError",
    "LimitError",
    "MediaError",
    "Message",
    "Policy",
    "Prepared",
    "Rationale",
    "Reading",
    "Request",
    "RequestError",
    "ScoreError",
    "Scorer",
    "ShownPicture",
    "TokenCounts",
    "Truncation",
    "Video",
    "YojError",
    "__version__",
    "decode_request",
    "encode_judgement",
    "knockout",
]


# Who gives requests in Python needs no reader of JSON, and importing it would cost a tenth more.
_lazy = lazily(
    __name__,
    {
        "Explanation": "._explanation",
        "Knockout": "._knockout",
        "LeftOutRegion": "._explanation",
        "LeftOutSentence": "._explanation",
        "Policy": ".sources",
        "Reading": ".codec",
        "ShownPicture": "._explanation",
        "decode_request": ".codec",
        "encode_judgement": ".codec",
        "knockout": "._knockout",
    },
)


def __getattr__(name: str) -> object:
    if name == "Cut":
        from .deprecation import warn_renamed

        warn_renamed("yoj.runtime.Cut", "yoj.runtime.Truncation", stacklevel=3)
        return Truncation
    return _lazy(name)
