"""Tokenizer of a small base model: byte-level BPE by Qwen's rules, trained on the texts that the model will see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 640
"""Most tokens that are not special. Training stops by itself once every word that occurs twice is one token; about 100
words come to 500."""

# The rule of Qwen2 and Qwen3: single digits, and newlines joined to the punctuation before them.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BETWEEN = ("user\n", "assistant\n", "Image 1", "<0.5 seconds>")
"""Texts that templates and processors put between the given ones."""

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], special: Iterable[str]) -> Tokenizer:
    """Train a byte-level BPE; the special tokens follow the learned ones, in their order.

    Args:
        texts: texts from which it learns.
        special: tokens that stand for no text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()  # pyright: ignore[reportAttributeAccessIssue]
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_as_packed(texts), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _as_packed(texts: Iterable[str]) -> Iterator[str]:
    """Texts between the newlines that packing puts around them, so that those are learned too."""
    for text in texts:
        yield from BETWEEN
        yield f"\n\n{text}\n\n"


def tokenizer_config(ids: Mapping[str, int], tokens: Mapping[str, str], longest: int) -> dict[str, Any]:
    """Content of ``tokenizer_config.json`` for these ids of special tokens, this length, and more settings."""
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): {"content": token} | plain for token, number in ids.items()},
        "additional_special_tokens": [token for token in ids if token != END_OF_TEXT],
        "eos_token": "<|im_end|>",
        "model_max_length": longest,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
        **tokens,
    }
