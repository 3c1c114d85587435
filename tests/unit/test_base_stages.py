"""What lies between the stages of a small base: texts that are checked word by word, and layers on top."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from yoj.training.batch import collate
from yoj.training.deepen import deepen
from yoj.training.judge import Judge, open_base
from yoj.training.recipe import Optimiser, Recipe
from yoj.training.samples import Numbered, Sample
from yoj.training.shapes import Recipe as Shapes
from yoj.training.shapes import make_caption, make_check
from yoj.training.shapes.words import marked
from yoj.training.small import write_base
from yoj.training.trainer import make_preparer

TEXT = "Top left: a small red circle in front of a large blue square. Top right: nothing."


def test_marks_say_which_words_were_exchanged():
    kept = marks = 0
    for seed in range(400):
        text = marked(TEXT, random.Random(seed))
        assert len(text.split()) == len(TEXT.split())
        for word, original in zip(text.split(), TEXT.split(), strict=True):
            found = re.fullmatch(r"([a-z]+)([+-])(.*)", word)
            if found is None:
                continue
            same = found[1] == re.sub(r"\W", "", original)
            assert same == (found[2] == "+")
            kept, marks = kept + same, marks + 1
    assert abs(marks / (6 * 400) - 0.5) < 0.05
    assert abs(kept / marks - 0.5) < 0.05


def test_checks_are_drawn_anew_and_alike_each_time():
    recipe = Shapes(items=200, seed=0)
    checks = [make_check("checks", recipe, index)[0] for index in range(200)]
    assert checks == [make_check("checks", recipe, index)[0] for index in range(200)]
    assert {fields["kind"] for fields in checks} == {"check", "verdict"}
    assert all(len(fields["responses"]) == 1 for fields in checks)
    assert any("+" in fields["responses"][0] and "-" in fields["responses"][0] for fields in checks)


@pytest.mark.parametrize("family", ["molmo2", "qwen3_vl"])
def test_a_deeper_base_is_almost_the_base_and_opens_as_one(family, tmp_path):
    lines = [make_caption("captions", Shapes(items=200, seed=0), index)[0] for index in range(200)]
    write_base(family, (text for line in lines for text in (line["prompt"], *line["responses"])), tmp_path / "base")
    deepen(tmp_path / "base", tmp_path / "deep", layers=2, seed=0)
    before, after = (logits(tmp_path / name, lines[0]) for name in ("base", "deep"))
    assert before.shape == after.shape
    assert 0 < (before - after).std() < 0.3 * before.std()
    layers = json.loads((tmp_path / "deep" / "config.json").read_text("utf-8"))["text_config"]["num_hidden_layers"]
    assert (
        layers
        == json.loads((tmp_path / "base" / "config.json").read_text("utf-8"))["text_config"]["num_hidden_layers"] + 2
    )
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "deep"))
    assert all(torch.equal(value, new[name]) for name, value in old.items())


def logits(base: Path, line: dict) -> torch.Tensor:
    recipe = Recipe(str(base), "", "", objective="language", trainable="all", precision="float32")
    checkpoint = open_base(recipe)
    judge = Judge(checkpoint, recipe).eval()
    preparer = make_preparer(checkpoint, judge.family, recipe)
    prepared = preparer.prepare(Numbered(1, Sample(line["prompt"], line["responses"]), base).request())
    with torch.inference_mode():
        found = judge(collate((), (prepared,), preparer.family, (1,))).logits_TW
    assert found is not None
    return found


def test_muon_takes_the_matrices_of_the_layers_and_nothing_else(tmp_path):
    from yoj.training.optimisers import make_optimizers

    write_base("qwen3_vl", [TEXT] * 50, tmp_path / "base")
    recipe = Recipe(str(tmp_path / "base"), "", "", objective="language", trainable="all")
    judge = Judge(open_base(recipe), recipe)
    adamw, muon = make_optimizers(judge, Optimiser(kind="muon"))
    names = {id(parameter): name for name, parameter in judge.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    wanted = {n for n, p in judge.named_parameters() if n.startswith("scorer.layers.") and p.dim() == 2}
    assert by_muon == wanted
    assert by_adamw == {n for n, p in judge.named_parameters() if p.requires_grad} - wanted
    assert len(make_optimizers(judge, Optimiser())) == 1
    assert isinstance(judge.scorer.embedding, nn.Embedding)
