"""Base with more words: old texts keep their tokens, new words are one token, special tokens move together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from experiments.edits.base import EMBEDDING, SHAPES, WORDS, write_edits_base
from experiments.edits.dataset import make_item
from yoj.training.checkpoints import MODEL


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edits") / "start"
    write_edits_base(folder)
    return folder


def test_words_are_one_token_and_old_texts_are_as_before(base: Path) -> None:
    before, after = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (SHAPES, base))
    assert all(len(after.encode(word).ids) == 1 for word in WORDS)
    old = "You can clearly see a small red circle behind it."
    assert before.encode(old).ids == after.encode(old).ids
    item = make_item("test", 0, 1)
    for text in (item.instruction, *item.rationales()):
        assert after.decode(after.encode(text).ids) == text


def test_ids_of_special_tokens_are_those_of_the_settings(base: Path) -> None:
    tokenizer, config = (
        Tokenizer.from_file(str(base / "tokenizer.json")),
        json.loads((base / "config.json").read_text()),
    )
    assert config["image_token_id"] == tokenizer.token_to_id("<|image_pad|>")
    assert config["vision_end_token_id"] == tokenizer.token_to_id("<|vision_end|>")
    assert config["text_config"]["vocab_size"] == tokenizer.get_vocab_size()
    named = json.loads((base / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {int(number): token["content"] for number, token in named.items()} == {
        number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()
    }


def test_new_rows_of_the_table_are_means_and_special_rows_move(base: Path) -> None:
    before, after = load_file(SHAPES / MODEL)[EMBEDDING], load_file(base / MODEL)[EMBEDDING]
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (SHAPES, base))
    assert torch.equal(after[new.token_to_id("<|image_pad|>")], before[old.token_to_id("<|image_pad|>")])
    pieces = old.encode("Swap").ids
    mean = before[pieces].float().mean(0).to(before.dtype)
    assert torch.equal(after[new.encode("Swap").ids[0]], mean)
