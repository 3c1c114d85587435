"""The models of the bench have the proportions of the 4B ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from tiers import with_variants

from yoj.bench._large_checkpoint import write
from yoj.bench._shapes import LAYERS, SHAPES, WORDS
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family

JUDGES = Path(__file__).parents[2] / "checkpoints"
D, INNER, MLP = 2560, 32 * 128, 9728
"""Sizes of Molmo2-4B and Qwen3-VL-4B: hidden size, width of all query heads, intermediate size."""


def share_of_lm_head(layers: int, words: int, narrowed: int) -> float:
    width, inner, middle = D // narrowed, INNER // narrowed, MLP // narrowed
    layer = width * (inner + 2 * inner // 4) + inner * width + 3 * width * middle
    return words * width / (layers * layer)


@pytest.mark.parametrize("name", SHAPES)
def test_the_vocabulary_weighs_what_it_weighs_in_the_whole_model(name):
    shape = SHAPES[name]
    whole = share_of_lm_head(LAYERS, WORDS, 1)
    assert whole == pytest.approx(0.107, abs=5e-4)
    assert share_of_lm_head(shape.layers, shape.words, shape.narrowed) == pytest.approx(whole, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", with_variants(["qwen3_vl", "molmo2"]))
def test_a_narrower_model_has_fewer_heads_of_the_same_size(family, tmp_path):
    folder = write(JUDGES / f"shapes-{family}", tmp_path / "checkpoint", layers=2, words=1024, narrowed=8)
    config = json.loads((folder / "base" / "config.json").read_text("utf-8"))
    text = config["text_config"]
    assert (text["hidden_size"], text["num_attention_heads"], text["num_key_value_heads"]) == (320, 4, 1)
    assert (text["head_dim"], text["intermediate_size"], text["num_hidden_layers"]) == (128, 1216, 2)
    shapes: list[tuple[int, ...]] = []
    for file in sorted((folder / "base").glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            shapes += [tuple(opened.get_slice(name).get_shape()) for name in names]
    # No tower or adapter has a matrix like the table of embeddings.
    assert shapes.count((1024, 320)) == 1
    # And an export takes it: its processor files fit the sizes.
    assert open_family(Checkpoint.open([folder])).limits.N == 64
