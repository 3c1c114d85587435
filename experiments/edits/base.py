"""Base of the judges of edits: that of a shipped judge, whose tokenizer has learnt the words of instructions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from yoj.training.checkpoints import MODEL, save_tensors

SHAPES = Path(__file__).parents[2] / "checkpoints" / "shapes-qwen3_vl" / "base"
"""Base that has learnt to see and name the shapes, one picture at a time."""
WORDS = (
    "Turn", "Make", "Change", "Swap", "Move", "Remove", "Add", "One", "Explain", "Right", "False", "Four", "Three",
    "Two", "Nothing", " turn", " make", " change", " swap", " move", " remove", " add", " one", " opposite", " colour",
    " size", " other", " side", " row", " and", " more", " fewer", " in", " grade", " changed", " all", " half",
    " wrong", " no", " specks", " light", " heavy",
)  # fmt: skip
"""Words that become one token each, with the space before them."""
EMBEDDING = "model.language_model.embed_tokens.weight"


def write_edits_base(folder: Path) -> None:
    """Copy the base with more words: each new token begins with the mean of the embeddings of its letters.

    The special tokens come behind them, as everywhere.
    """
    shutil.copytree(SHAPES, folder)
    file = folder / "tokenizer.json"
    before, settings = Tokenizer.from_file(str(file)), json.loads(file.read_text("utf-8"))
    first = len(settings["model"]["vocab"])
    added = add_words(settings, WORDS)
    for token in settings["added_tokens"]:
        token["id"] += len(added)
    file.write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    tensors = load_file(folder / MODEL)
    table_VD = tensors[EMBEDDING]
    known = [[piece.id for piece in before.model.tokenize(token)] for token in added]
    new_VD = torch.stack([table_VD[ids].float().mean(0) for ids in known]).to(table_VD.dtype)
    tensors[EMBEDDING] = torch.cat([table_VD[:first], new_VD, table_VD[first:]])
    save_tensors(tensors, folder / MODEL)
    for name in ("config.json", "tokenizer_config.json"):
        values = _moved(json.loads((folder / name).read_text("utf-8")), len(added))
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _moved(values: dict[str, Any], by: int) -> dict[str, Any]:
    """Settings in which every special token's id, and the number of tokens, is larger."""
    moved: dict[str, Any] = {}
    for name, value in values.items():
        if name.endswith("_token_id") or name == "vocab_size":
            moved[name] = value + by
        elif name == "added_tokens_decoder":
            moved[name] = {str(int(number) + by): token for number, token in value.items()}
        else:
            moved[name] = _moved(value, by) if isinstance(value, dict) else value
    return moved


def add_words(settings: dict[str, Any], words: Iterable[str]) -> list[str]:
    """Add merges to a byte-level BPE until each word is one token; new tokens come behind all others.

    Args:
        settings: content of ``tokenizer.json``, which is changed.
        words: words, with the space before them where they have one.

    Returns:
        New tokens as the vocabulary spells them, in the order of their ids.
    """
    model, added = settings["model"], list[str]()
    for word in words:
        pieces = [token.value for token in _bpe(settings).tokenize(_spell(word))]
        while len(pieces) > 1:
            merged = pieces[0] + pieces[1]
            model["merges"].append(pieces[:2])
            if merged not in model["vocab"]:
                model["vocab"][merged] = len(model["vocab"])
                added.append(merged)
            pieces = [token.value for token in _bpe(settings).tokenize(_spell(word))]
    return added


def _bpe(settings: dict[str, Any]) -> Any:
    return Tokenizer.from_str(json.dumps(settings)).model


def _spell(word: str) -> str:
    """Word as the vocabulary spells it: ASCII, with a letter of its own for the space."""
    return word.replace(" ", "\u0120")


def tokenizer_file() -> Path:
    """File of the shipped judge's tokenizer, which the editor reads with too."""
    return Path(__file__).parents[2] / "checkpoints" / "edits-qwen3_vl" / "tokenizer.json"
