"""The tokenizer of a bundle: text to ids, each text once, however many rows it stands in."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids: TypeAlias = NDArray[np.int64]

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern by which the tokenizers of Qwen2 and its successors cut a text into words; no token crosses a cut."""
SPACE = re.compile(r"(?<=[!-~]) (?=[!-~])")
"""A space at which `SPLIT` always cuts: a printable ASCII character on either side decides it alone."""
SHORTEST_MIDDLE = 64
"""Characters; a shorter text is not worth being encoded apart."""
LAST_SPACE_WITHIN = 256
"""Characters from the end of a text in which its last such space is looked for."""


@dataclass(frozen=True)
class Encoded:
    """One encoded text."""

    ids: Ids
    """int64 [tokens]."""
    _encoding: Any

    def token_at(self, character: int) -> int:
        """Number of the first token that ends behind a character; the number of tokens where there is none."""
        return next((place for place, (_, end) in enumerate(self._encoding.offsets) if end > character), len(self.ids))

    @property
    def ends(self) -> list[int]:
        """Where each token ends, in characters."""
        return [end for _, end in self._encoding.offsets]


class TextEncoder:
    """Encodes text with a tokenizer in which no text becomes a special token. Safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer):
        """Take a tokenizer over; its settings are changed."""
        self._tokenizer: Any = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._cuts = _cuts_at_spaces(self._tokenizer)
        self._special: dict[str, Ids] = {}

    @classmethod
    def open(cls, file: Path) -> TextEncoder:
        """Load ``tokenizer.json``.

        Raises:
            BundleError: the file is no tokenizer.
        """
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_file(str(file)))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"{file} is not a tokenizer: {error}. Export the bundle again.") from error

    def token_id(self, token: str) -> int:
        """Id of a token that must exist.

        Raises:
            BundleError: it does not.
        """
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise BundleError(f"The bundle's tokenizer has no token {token}. Export the bundle again.")
        return found

    def special(self, token: str) -> Ids:
        """A token that must exist as ids, int64 [1].

        Raises:
            BundleError: it does not.
        """
        if token not in self._special:
            self._special[token] = np.array([self.token_id(token)], np.int64)
        return self._special[token]

    def encode(self, texts: Iterable[str]) -> dict[str, Encoded]:
        """Each of the texts, encoded."""
        distinct = list(dict.fromkeys(texts))
        encodings = self._tokenizer.encode_batch(distinct, add_special_tokens=False)
        return {
            text: Encoded(np.array(encoding.ids, np.int64), encoding)
            for text, encoding in zip(distinct, encodings, strict=True)
        }

    def pieces(self, text: str) -> tuple[str, ...]:
        """A text in up to three pieces, of which the middle has the same tokens whatever stands around the text."""
        return _pieces(text) if self._cuts else (text,)


@functools.lru_cache(maxsize=256)
def _pieces(text: str) -> tuple[str, ...]:
    first = SPACE.search(text)
    begin = first.start() if first else len(text)
    spaces = list(SPACE.finditer(text, max(begin + SHORTEST_MIDDLE, len(text) - LAST_SPACE_WITHIN)))
    return (text[:begin], text[begin : spaces[-1].start()], text[spaces[-1].start() :]) if spaces else (text,)


def _cuts_at_spaces(tokenizer: Any) -> bool:
    """Whether this tokenizer is known to encode a text that is cut at `SPACE` as it encodes it whole."""
    try:
        normalizer = None if tokenizer.normalizer is None else json.loads(tokenizer.normalizer.__getstate__())
        words = json.loads(tokenizer.pre_tokenizer.__getstate__())["pretokenizers"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    in_bytes = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        normalizer in (None, {"type": "NFC"})
        and len(words) == 2
        and words[0] == split
        and in_bytes.items() <= words[1].items()
        and getattr(tokenizer.model, "dropout", None) is None
        and not any(token.lstrip or token.rstrip or token.single_word or " " in token.content for token in added)
    )
