"""Tokenizer of a bundle: text to ids, each text once, however many rows it stands in."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids: TypeAlias = NDArray[np.int64]
T = TypeVar("T")

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern by which the tokenizers of Qwen2 and its successors cut a text into words; no token crosses a cut."""
SPACE = re.compile(r"(?<=[!-~]) (?=[!-~])")
"""Pattern of a space at which `SPLIT` always cuts: a printable ASCII character on either side decides it alone."""
MARK = re.compile(r"<\|[^<>|\s]+\|>")
"""Pattern of a token that separates parts of a row, as models write them."""
SHORTEST_MIDDLE = 64
"""Length in characters below which a text is not worth being encoded apart."""
LAST_SPACE_WITHIN = 256
"""Characters from the end of a text within which its last such space is looked for."""


@dataclass(frozen=True)
class Encoded:
    """One encoded text."""

    ids: Ids
    """Token ids, int64 [tokens]."""
    _encoding: Any

    def token_at(self, character: int) -> int:
        """Index of the first token that ends behind a character; the number of tokens where there is none."""
        return next((place for place, (_, end) in enumerate(self._encoding.offsets) if end > character), len(self.ids))

    @property
    def ends(self) -> list[int]:
        """End of each token, in characters."""
        return [end for _, end in self._encoding.offsets]


class TextEncoder:
    """Encoder of text with a tokenizer in which no text becomes a special token. Safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer):
        """Take over a tokenizer; its settings are changed.

        Raises:
            BundleError: the tokenizer does not give each text one row of tokens, the whole text.
        """
        self._tokenizer: Any = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._cuts = _cuts_at_spaces(self._tokenizer)
        self._special: dict[str, Ids] = {}
        self._characters: int | None = None
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        if problem := _unfaithful(self._tokenizer, self._vocabulary):
            raise BundleError(f"The tokenizer {problem}. Export with the tokenizer that the model was trained with.")
        self._characters = _most_characters(self._tokenizer, self._vocabulary)

    @classmethod
    def open(cls, file: Path) -> TextEncoder:
        """Load ``tokenizer.json``; see `decode`."""
        return cls.decode(file.read_bytes(), str(file))

    @classmethod
    def decode(cls, content: bytes, where: str) -> TextEncoder:
        """Decode the content of a ``tokenizer.json``.

        Args:
            content: content of the file.
            where: name of the file in errors.

        Raises:
            BundleError: the content is no tokenizer, or one that does not give each text one row of tokens.
        """
        try:
            return cls(read_tokenizer(content))
        except BundleError as error:
            raise BundleError(f"{where}: {error}") from error
        except ValueError as error:
            raise BundleError(f"{where} is not a tokenizer: {error}. Export the bundle again.") from error

    @property
    def largest_id(self) -> int:
        """Largest id of any token."""
        return max(self._vocabulary.values(), default=0)

    def fewest_tokens(self, characters: int) -> int:
        """Number of tokens that a text of so many characters has at least; 0 where nothing is known."""
        return -(-characters // self._characters) if self._characters else 0

    def token_id(self, token: str) -> int:
        """Id of a token that must exist, and that no text can become.

        Raises:
            BundleError: there is no such token, or a text that looks like it would become it.
        """
        found = self._vocabulary.get(token)
        if found is None:
            raise BundleError(
                f"The tokenizer has no token {token}. Export the bundle again, or, to train, name a token that it has."
            )
        if problem := not_special(self._tokenizer, token):
            raise BundleError(f"{problem}. Export the bundle again from a checkpoint whose tokenizer has it so.")
        return found

    def forgeable(self, text: str) -> str | None:
        """Problem of the first mark, such as ``<|im_end|>``, in a layout text that texts of requests could forge.

        None where no mark can be forged.
        """
        marks = MARK.findall(text) if "<|" in text else ()
        return next((problem for mark in marks if (problem := not_special(self._tokenizer, mark))), None)

    def special(self, token: str) -> Ids:
        """Ids of a token that must exist, int64 [1].

        Raises:
            BundleError: there is no such token.
        """
        if token not in self._special:
            self._special[token] = np.array([self.token_id(token)], np.int64)
        return self._special[token]

    def encode(self, texts: Iterable[str]) -> dict[str, Encoded]:
        """Encode each of the texts."""
        distinct = list(dict.fromkeys(texts))
        encodings = of_library(lambda: self._tokenizer.encode_batch(distinct, add_special_tokens=False), BundleError)
        return {
            text: Encoded(np.array(encoding.ids, np.int64), encoding)
            for text, encoding in zip(distinct, encodings, strict=True)
        }

    def decode_ids(self, ids: Sequence[int]) -> str:
        """Text of tokens, without special ones."""
        return of_library(lambda: self._tokenizer.decode(list(ids), skip_special_tokens=True), BundleError)

    def pieces(self, text: str) -> tuple[str, ...]:
        """Split a text into up to three pieces, whose middle has the same tokens whatever stands around the text."""
        return _pieces(text) if self._cuts else (text,)


@functools.lru_cache(maxsize=256)
def _pieces(text: str) -> tuple[str, ...]:
    first = SPACE.search(text)
    begin = first.start() if first else len(text)
    spaces = list(SPACE.finditer(text, max(begin + SHORTEST_MIDDLE, len(text) - LAST_SPACE_WITHIN)))
    return (text[:begin], text[begin : spaces[-1].start()], text[spaces[-1].start() :]) if spaces else (text,)


def of_library(call: Callable[[], T], error: type[Exception]) -> T:
    """Result of a call into the tokenizers library.

    Raises:
        Exception: ``error`` with the library's message, whatever it raised: plain ``Exception``, or a panic of Rust,
            which is none.
    """
    try:
        return call()
    except BaseException as raised:
        if not isinstance(raised, Exception) and type(raised).__name__ != "PanicException":
            raise
        raise error(
            f"the tokenizers library says: {str(raised).splitlines()[0] if str(raised) else raised!r}"
        ) from raised


def read_tokenizer(content: bytes) -> Tokenizer:
    """Decode a ``tokenizer.json``.

    Raises:
        ValueError: the content is no tokenizer; the library's reason is in the text.
    """
    from tokenizers import Tokenizer

    return of_library(lambda: Tokenizer.from_buffer(content), ValueError)


def not_special(tokenizer: Any, token: str) -> str | None:
    """Reason why texts could forge a token, or be changed by it; None for a special, unnormalised token."""
    added = {entry.content: entry for entry in tokenizer.get_added_tokens_decoder().values()}.get(token)
    if added is not None and added.special and not added.normalized:
        return None
    fault = "an ordinary token" if added is None else "not special" if not added.special else "normalised"
    return (
        f"{token} is {fault} in the tokenizer, where it has to be special and unnormalised so that no text becomes it"
    )


def _unfaithful(tokenizer: Any, vocabulary: Mapping[str, int]) -> str | None:
    """Reason why a tokenizer drops parts of a text, or encodes it in several ways; None where it does not."""
    from tokenizers import pre_tokenizers

    model = tokenizer.model
    if getattr(model, "dropout", None):
        return f"leaves out merges at random (dropout {model.dropout}), so that no score could be had twice"
    words = tokenizer.pre_tokenizer
    in_bytes = words is not None and b"ByteLevel" in bytes(words.__getstate__())
    if in_bytes and (missing := set(pre_tokenizers.ByteLevel.alphabet()) - vocabulary.keys()):
        return f"has no token for {len(missing)} of the 256 bytes, which it would leave out of every text"
    return None


def _most_characters(tokenizer: Any, vocabulary: Mapping[str, int]) -> int | None:
    """Most characters of a text that one token can stand for; None where that is not known.

    In a vocabulary of bytes a token's characters are bytes. NFC, which may come before, joins up to four characters.
    """
    normalizer = None if tokenizer.normalizer is None else json.loads(tokenizer.normalizer.__getstate__())
    words = tokenizer.pre_tokenizer
    if normalizer not in (None, {"type": "NFC"}) or words is None or b"ByteLevel" not in bytes(words.__getstate__()):
        return None
    return max(map(len, vocabulary), default=1) * (1 if normalizer is None else 4)


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
