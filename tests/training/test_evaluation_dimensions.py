"""Figures of judges of several dimensions: counted by hand, and the same of a checkpoint and of its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from tiny_edits import DIMENSIONS, write_edits
from tiny_training import Setup, open_run, train

from yoj.export.cli import main as export
from yoj.runtime import Reading
from yoj.training._feed import Feed
from yoj.training._recipe import Head
from yoj.training.checkpoints import newest, results_of
from yoj.training.cli import main
from yoj.training.evaluation import Report, evaluate, evaluate_language, figures_by_kind, hit
from yoj.training.samples import NumberedSample, Sample

HEAD = Head(hidden=16, init_std=0.3, dimensions=DIMENSIONS)
RANKS = (
    ([1, 2, 3], [1, 2, 3], [3, 2, 1]),
    (None, [1, 2, None], [1, 1, 2]),
    (None, [None, None, None], [2, 1, None]),
)
SCORES = [[3.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 1.0, 5.0]]


def samples() -> list[NumberedSample]:
    return [
        NumberedSample(
            line,
            Sample("Edit.", ["a", "b", "c"], rankings=overall, kind="swap" if line > 1 else None,
                   dimension_rankings=dict(zip(DIMENSIONS, own, strict=True))),
            Reading(),
        )
        for line, (overall, *own) in enumerate(RANKS, 1)
    ]  # fmt: skip


def test_figures_are_counted_by_hand():
    given = samples()
    hits = [hit(scores, numbered) for scores, numbered in zip(SCORES, given, strict=True)]
    # Right; of two dimensions none; of one dimension none, since the worse response has the same score.
    assert hits == [1.0, 0.0, 0.0]
    report = Report(SCORES, hits, {"instruction": SCORES, "quality": [[0.0] * 3, [2.0, 1.0, 0.0], [0.0, 1.0, 9.0]]})
    figures = figures_by_kind(report, given)
    assert list(figures) == ["all", "swap"]
    whole = figures["all"]
    assert (whole.requests, whole.best_of_n) == (3, pytest.approx(1 / 3))
    # One of three; one of two, or two of three; one of two.
    assert whole.chance == pytest.approx((1 / 3 + (1 / 2 + 2 / 3) / 2 + 1 / 2) / 3)
    # Overall 3 of 3; instruction 0 of 1 and quality 0 of 2; a half of 1.
    assert (whole.pairs, whole.pairwise) == (7, pytest.approx(3.5 / 7))
    instruction, quality = (whole.dimensions[name] for name in DIMENSIONS)
    assert (instruction.pairs, instruction.pairwise) == (4, pytest.approx(3 / 4))
    assert (quality.pairs, quality.pairwise) == (6, pytest.approx((1.5 + 2 + 1) / 6))
    assert set(figures["swap"].dimensions) == set(DIMENSIONS)
    assert figures["swap"].dimensions["instruction"].pairs == 1
    assert whole.language_loss is None
    silent = figures_by_kind(Report(SCORES, hits, report.dimensions), given[:1])["all"]
    assert silent.pairs == 3


def test_the_language_loss_is_a_mean_over_tokens():
    given = samples()
    report = Report(SCORES, [1.0, 1.0, 0.0], losses=[(4.0, 2), (0.0, 0), (9.0, 3)])
    figures = figures_by_kind(report, given)
    assert figures["all"].language_loss == pytest.approx(13 / 5)
    assert figures["swap"].language_loss == pytest.approx(3.0)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("evaluation-dimensions"), write_edits)


@pytest.mark.slow
def test_the_loss_of_each_sample_is_that_of_its_text(setup):
    trainer = open_run(setup.recipe("qwen3_vl", "none", objective="joint", head=HEAD, batch_size=4))
    trainer.judge.eval()
    found = evaluate_language(trainer.judge, trainer.feed, setup.samples)
    alone = Feed(setup.samples, trainer.preparer, msgspec.structs.replace(trainer.recipe, objective="language"))
    for number, (nats, tokens) in enumerate(found):
        batch = alone.collate([number], 0)
        with torch.inference_mode():
            logits = trainer.judge(batch).logits_TW
        assert tokens == len(batch.labels_T)
        assert nats == pytest.approx(float(F.cross_entropy(logits, batch.labels_T, reduction="sum")), abs=1e-4)


@pytest.mark.slow
def test_a_head_with_other_dimensions_is_refused(setup):
    trainer = open_run(setup.recipe("qwen3_vl", "none", objective="joint", head=HEAD))
    with pytest.raises(ValueError, match="The judge has 2 dimensions, its settings name 0"):
        evaluate(trainer.judge, trainer.preparer, setup.samples)


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_a_run_a_checkpoint_and_its_bundle_are_evaluated_alike(trainable, setup, tmp_path):
    data = setup.folder / "train.jsonl"
    recipe = setup.recipe(
        "qwen3_vl", str(tmp_path / "run"), objective="joint", head=HEAD, trainable=trainable, held_out=str(data)
    )
    train(recipe)
    last, bundle = newest(Path(recipe.out)), tmp_path / "judge.yoj"
    assert last is not None
    made = CliRunner().invoke(export, [str(last), "--layout", "assistant", "--out", str(bundle), "--no-compare"])
    assert made.exit_code == 0, made.output
    found = []
    for judge in (last, bundle):
        result = CliRunner().invoke(main, ["evaluate", str(judge), str(data), "--json", str(tmp_path / "figures.json")])
        assert result.exit_code == 0, result.output
        found.append(json.loads((tmp_path / "figures.json").read_text("utf-8")))
        assert all(name in result.output for name in DIMENSIONS)
    ours, theirs = found
    kept = results_of(last)
    assert kept["best_of_n"] == pytest.approx(ours["all"]["best_of_n"])
    assert kept["language_loss"] == pytest.approx(ours["all"].pop("language_loss"), abs=1e-5)
    assert theirs["all"].pop("language_loss") is None
    for name in DIMENSIONS:
        assert kept[f"pairwise/{name}"] == pytest.approx(ours["all"]["dimensions"][name]["pairwise"])
    assert set(ours) == {"all", "move", "recolour"}
    assert ours["all"]["dimensions"] == theirs["all"]["dimensions"]
    assert {k: v for k, v in ours["all"].items() if k != "dimensions"} == pytest.approx(
        {k: v for k, v in theirs["all"].items() if k != "dimensions"}
    )
    for judge in (last, bundle):
        lines = [json.loads(line) | {"dimension_rankings": {"style": [1, 2, 3]}} for line in data.open()]
        (data.parent / "style.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = CliRunner().invoke(main, ["evaluate", str(judge), str(data.parent / "style.jsonl")])
        assert result.exit_code == 1
        assert "dimension_rankings names style; the dimensions of the head are instruction, quality" in result.output
    if trainable == "all":
        result = CliRunner().invoke(main, ["evaluate", str(last), str(data), "--base", recipe.base])
        assert "is a whole model: all its weights were trained. Leave --base out." in result.output
