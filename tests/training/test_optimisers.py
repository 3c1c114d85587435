"""Which weights Muon takes, and which AdamW."""

from __future__ import annotations

from experiments.small import write_base
from yoj.training._judge import Judge, open_base
from yoj.training._optimisers import make_optimizers
from yoj.training._recipe import Optimiser, Recipe


def test_muon_takes_the_matrices_between_embeddings_and_heads_and_nothing_else(tmp_path):
    write_base("qwen3_vl", ["Top left: a small red circle."] * 50, tmp_path / "base", layers=4)
    recipe = Recipe(str(tmp_path / "base"), "", "", objective="language", trainable="all")
    judge = Judge(open_base(recipe), recipe)
    adamw, muon = make_optimizers(judge, Optimiser(kind="muon"))
    names = {id(parameter): name for name, parameter in judge.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    weights = {name: p for name, p in judge.named_parameters() if p.requires_grad}
    assert by_muon.isdisjoint(by_adamw)
    assert by_muon | by_adamw == set(weights)
    assert all(weights[name].dim() == 2 for name in by_muon)
    assert {name.split(".")[0] for name in by_muon} == {"vision", "scorer"}
    outside = ("scorer.embedding.weight", "vision.patch_embed.proj.weight", "vision.pos_embed.weight")
    assert {name for name in by_adamw if weights[name].dim() == 2} == set(outside)
    assert len(make_optimizers(judge, Optimiser())) == 1
