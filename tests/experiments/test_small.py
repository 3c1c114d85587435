"""Small base models: true architectures, a tokenizer of their own, readable by the exporter and by transformers."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText, AutoTokenizer

from experiments.small import MAX_FRAMES, write_base
from experiments.small_tokenizer import VOCABULARY
from yoj.export.checkpoint.checkpoint import SEPARATOR, Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts.layout import render_layout
from yoj.runtime import Request
from yoj.runtime.prepare import PackingConfig, Preparer
from yoj.runtime.text import TextEncoder
from yoj.training._errors import RecipeError

pytestmark = pytest.mark.slow

FAMILIES = ("molmo2", "qwen3_vl")
COLOURS = "red blue green yellow purple orange black white".split()  # noqa: SIM905
SHAPES = "circle square triangle star cross diamond".split()  # noqa: SIM905
PLACES = "left right top bottom middle".split()  # noqa: SIM905
COUNTS = "one two three four five six".split()  # noqa: SIM905
SENTENCES = (
    "The picture shows a {colour} {shape} on the {place}.",
    "There are {count} {colour} shapes in the image, and the {shape} is small",
    "What colour is the large {shape} at the {place}?",
    "In the video, it moves from the {place} and then turns {colour}.",
)


def texts() -> list[str]:
    draw = random.Random(0)
    return [
        draw.choice(SENTENCES).format(
            colour=draw.choice(COLOURS),
            shape=draw.choice(SHAPES),
            place=draw.choice(PLACES),
            count=draw.choice(COUNTS),
        )
        for _ in range(600)
    ]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def base(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(family) / "base"
    write_base(family, texts(), folder)
    return folder


@pytest.fixture(scope="module")
def merged(base: Path) -> Path:
    """The base model with a random head beside it, as a merged checkpoint has it."""
    folder = base.parent / "merged"
    shutil.copytree(base, folder)
    width = json.loads((base / "config.json").read_text("utf-8"))["text_config"]["hidden_size"]
    settings = {"value_head_type": "mlp", "value_head_hidden_dim": 64, "value_head_activation": "silu"}
    settings |= {"resp_repr_mode": "last", "hidden_state": "post_norm"}
    (folder / "reward_model_config.json").write_text(json.dumps(settings), "utf-8")
    torch.manual_seed(0)
    shapes = {"0.weight": (64, width), "0.bias": (64,), "2.weight": (1, 64), "2.bias": (1,)}
    # Large enough that a wrong hidden state moves scores by far more than the engine may be off.
    head = {name: torch.randn(shape) / (width**0.5 if name == "0.weight" else 1) for name, shape in shapes.items()}
    save_file(head, folder / "value_head.safetensors")
    return folder


def test_exporter_takes_every_tensor(merged):
    backbone = open_family(Checkpoint.open([merged]))
    assert {spec.role for spec in backbone.graphs} == {"vision", "scorer.joint", "scorer.segmented"}


def test_visual_tokens(merged, family):
    checkpoint = Checkpoint.open([merged])
    backbone = open_family(checkpoint)
    layout = render_layout(checkpoint, "assistant", backbone.markup())
    rules = PackingConfig(family, layout, backbone.limits, backbone.preprocessing(), "joint")
    preparer = Preparer(rules, TextEncoder.open(merged / "tokenizer.json"))
    noise = np.random.default_rng(0).integers(0, 256, (MAX_FRAMES, 64, 64, 3), np.uint8)

    def visual(**media) -> int:
        ids = preparer.prepare(Request("Which?", ["red", "blue"], **media)).packs[0].input_ids_L
        return int(np.isin(ids, preparer.family.visual_tokens).sum())

    # Molmo2 sees a picture twice: as a whole and as its one crop.
    assert visual(images=[noise[0]]) == {"molmo2": 8, "qwen3_vl": 4}[family]
    assert visual(images=[noise[0, :, :40]]) == {"molmo2": 8, "qwen3_vl": 6}[family]
    # Qwen3-VL takes two frames at once.
    for frames in (2, 6, MAX_FRAMES):
        tokens = {"molmo2": 4 * frames, "qwen3_vl": 2 * frames}[family]
        assert visual(video=list(noise[:frames]), fps=1.0) == tokens


def test_stock_class_takes_every_tensor(base):
    model, report = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    ids = torch.tensor([Tokenizer.from_file(str(base / "tokenizer.json")).encode("The picture shows a star").ids])
    logits = model(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids)).logits
    # Untrained, it must know nothing: no token far likelier than others.
    assert logits.std() < 1


def test_few_parameters(base):
    tensors = load_file(base / "model.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) <= 3_200_000
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    with safe_open(base / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_separator_is_the_last_special_token(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    special = tokenizer.get_added_tokens_decoder()
    assert all(token.special for token in special.values())
    assert special[max(special)].content == SEPARATOR
    assert max(special) == tokenizer.get_vocab_size() - 1
    assert min(special) <= VOCABULARY


def test_words_are_single_tokens(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    words = {word for text in texts() for word in re.findall(r" ?[A-Za-z]+", text)}
    words |= {"user", "assistant", "\n\n", ".\n\n", "?\n\n"}
    assert {word: tokens for word in words if len(tokens := tokenizer.encode(word).tokens) > 1} == {}


def test_transformers_reads_the_same_tokens(base):
    ours = Tokenizer.from_file(str(base / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(base, local_files_only=True)
    text = f"What colour is it?\n\n{SEPARATOR}\n\nCafe\u0301 au lait, 42 x.\n \n<|im_end|>\nstar \U0001f600"
    assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode("A star, 42!").ids) == "A star, 42!"
    assert theirs.eos_token == "<|im_end|>"


def test_the_seed_decides(family, base, tmp_path):
    write_base(family, iter(texts()), tmp_path / "same")
    write_base(family, texts(), tmp_path / "other", seed=1)
    names = sorted(file.name for file in base.iterdir())
    assert names == sorted(file.name for file in (tmp_path / "same").iterdir())
    for name in names:
        assert (base / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
        same = (base / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        assert same == (name != "model.safetensors")


def test_unknown_family(tmp_path):
    with pytest.raises(RecipeError, match="molmo2, qwen3_vl"):
        write_base("llava", [], tmp_path / "base")
