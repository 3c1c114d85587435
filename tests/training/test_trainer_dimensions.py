"""Judges of several dimensions: losses by hand, what is trained, what goes on, and what is served."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from quiet import Quiet
from safetensors.torch import load_file
from tiers import with_variants
from tiny_edits import DIMENSIONS, write_edits
from tiny_training import FAMILIES, Setup, differing, open_run, train, weights
from transformers import AutoModelForImageTextToText

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig as Export
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.runtime import RequestError, Scorer
from yoj.training import _objectives as objectives
from yoj.training._recipe import Head, Lora, Optimiser, Recipe
from yoj.training.checkpoints import newest
from yoj.training.evaluation import EvaluationMode, evaluate

pytestmark = pytest.mark.slow

HEAD = Head(hidden=16, init_std=0.3, dimensions=DIMENSIONS)
JOINT = {"objective": "joint", "head": HEAD}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("trainer-dimensions"), write_edits)


def newest_of(recipe: Recipe) -> Path:
    folder = newest(Path(recipe.out))
    assert folder is not None
    return folder


# Losses.


@pytest.mark.parametrize("objective", ["joint", "plackett_luce", "bradley_terry", "n_way"])
def test_a_loss_is_the_mean_over_dimensions(objective, setup):
    settings = {"language_share": 0.0} if objective == "joint" else {}
    recipe = setup.recipe("qwen3_vl", "none", objective=objective, head=HEAD, lora=Lora(4, 16, 0.0), **settings)
    trainer = open_run(recipe)
    batch = trainer.feed.collate([0, 1, 2], 0)
    with torch.inference_mode():
        outputs = trainer.judge.eval()(batch)
        found = trainer._loss(outputs, batch)
    heads = outputs.heads_RNJK
    assert heads.shape == (3, 3, 2, 2 if objective == "joint" else 1)
    assert outputs.logits_TW is None
    total = 0.0
    for place in range(2):
        ranks = batch.rankings_JRN[place]
        if objective == "joint":
            total += float(objectives.gaussian(heads[:, :, place, 0], heads[:, :, place, 1], ranks))
        else:
            total += float(getattr(objectives, objective)(heads[:, :, place, 0], ranks))
    assert float(found.total) == pytest.approx(total / 2, abs=1e-6)
    # Five rankings: of the third sample's quality nothing is known.
    assert float(found.right[1]) == 5


def test_ranks_follow_their_responses_in_every_dimension(setup):
    trainer = open_run(setup.recipe("qwen3_vl", "none", **JOINT))
    for number, numbered in enumerate(setup.samples):
        batch = trainer.feed.collate([number], 3)
        rows = [[None if np.isnan(rank) else rank for rank in row.tolist()] for row in batch.rankings_JRN[:, 0]]
        given = [numbered.sample.dimension_rankings[name] for name in DIMENSIONS]
        assert sorted(zip(*rows, strict=True), key=str) == sorted(zip(*given, strict=True), key=str)


def test_every_loss_has_a_gradient_where_a_dimension_is_not_judged():
    scores = torch.zeros(2, 3, requires_grad=True)
    ranks = torch.tensor([[torch.nan] * 3, [2.0, 1.0, torch.nan]])
    for name in ("n_way", "plackett_luce", "bradley_terry"):
        (gradient,) = torch.autograd.grad(getattr(objectives, name)(scores, ranks), scores)
        assert gradient.isfinite().all()
        assert not gradient[0].any()
        assert gradient[1, 1] < 0 < gradient[1, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rationale_is_learnt_as_the_stock_model_reads_it(family, setup):
    """With pictures in the prompt and of the response, whose tokens the stock model gets."""
    recipe = setup.recipe(family, "none", **JOINT)
    trainer = open_run(recipe)
    batch = trainer.feed.collate([3], 0)
    tokenizer = trainer.preparer.levels[0].packer.encoder._tokenizer
    assert tokenizer.decode(batch.labels_T.tolist()).strip() in setup.samples[3].sample.rationales
    prompt = tokenizer.decode(batch.tokens["input_ids"][1].tolist(), skip_special_tokens=False)
    assert recipe.rationale_prompt in prompt
    if family == "molmo2":
        return  # its stock model is no part of transformers
    with torch.inference_mode():
        logits = trainer.judge.eval()(batch).logits_TW
        stock = AutoModelForImageTextToText.from_pretrained(recipe.base, dtype=torch.float32).eval()
        ids = batch.tokens["input_ids"][1:]
        rows = batch.tokens["segment_ids"][1] >= 0
        ids, visual = ids[:, rows], batch.tokens["visual_index"][1:, rows]
        features = trainer.judge._features(batch)
        names = list(trainer.judge.vision_spec.outputs)
        embeds = stock.model.language_model.embed_tokens(ids)
        shown = visual > 0
        embeds[shown] = features[names[0]][visual[shown] - 1]
        hidden = stock.model.language_model(
            inputs_embeds=embeds,
            position_ids=batch.tokens["position_ids"][1:, :, rows].permute(1, 0, 2),
            visual_pos_masks=shown,
            deepstack_visual_embeds=[features[name][visual[shown] - 1] for name in names[1:]],
        ).last_hidden_state
        expected = stock.lm_head(hidden)[0]
    length = batch.tokens["input_ids"].shape[1]
    torch.testing.assert_close(logits, expected[batch.label_place_T - length], atol=TOLERANCE, rtol=0)


# Weights.


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_two_steps_move_what_is_trained_and_nothing_else(trainable, family, setup):
    recipe = setup.recipe(family, f"moved-{family}-{trainable}", trainable=trainable, batch_size=6, **JOINT)
    trainer = open_run(recipe)
    before = weights(trainer)
    trainer.run(lambda _: None)
    moved = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    expected = {name for name, parameter in trainer.judge.named_parameters() if parameter.requires_grad}
    assert moved <= expected
    assert {name for name in expected - moved if not name.endswith("bias")} == set()
    assert any("value_head" in name for name in moved)
    assert (trainable == "all") == any(name.startswith("vision.") for name in moved)


def test_the_language_path_costs_nothing_where_its_share_is_nothing(setup):
    trainer = open_run(setup.recipe("qwen3_vl", "none", trainable="all", language_share=0.0, **JOINT))
    batch = trainer.feed.collate([0, 1], 0)
    assert len(batch.tokens["input_ids"]) == 2
    assert len(batch.labels_T) == 0
    assert trainer.judge.language_head is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rationale_ends_with_the_token_at_which_the_bundle_stops(family, setup):
    """Molmo2's chat template closes the assistant's turn with no token, so that nothing would teach it to stop."""
    trainer = open_run(setup.recipe(family, "none", **JOINT))
    batch = trainer.feed.collate([0], 0)
    stop = trainer.checkpoint.tokenizer.token_to_id("<|im_end|>")
    assert (batch.labels_T == stop).sum() == 1
    assert stop in batch.labels_T[-2:]


def test_a_batch_without_texts_gives_the_language_head_gradients_of_zero(setup):
    """Other processes may have texts, and gradients are added up over all."""
    trainer = open_run(setup.recipe("molmo2", "none", trainable="all", **JOINT))
    numbered = trainer.feed.samples[0]
    silent = msgspec.structs.replace(numbered.sample, rationales=[None] * 3)
    trainer.feed.samples[0] = type(numbered)(numbered.line, silent, numbered.reading)
    batch = trainer.feed.collate([0], 0)
    assert len(batch.labels_T) == 0
    trainer._loss(trainer.judge(batch), batch).total.backward()
    head = trainer.judge.language_head
    assert head is not None
    assert head.grad is not None
    assert not head.grad.any()


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(trainable, setup):
    settings = JOINT | {"trainable": trainable, "max_steps": 3, "save_every": 1, "keep": 5}
    whole = setup.recipe("qwen3_vl", f"whole-{trainable}", **settings)
    train(whole)
    parts = setup.recipe("qwen3_vl", f"parts-{trainable}", **settings | {"max_steps": 1})
    train(parts)
    notes = list[str]()
    train(parts := msgspec.structs.replace(parts, max_steps=3), notes.append)
    assert any("Goes on from" in note and "Changed since: max_steps 1 -> 3." in note for note in notes)
    assert differing(whole, parts) == []


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_a_judge_begins_with_the_weights_of_another(trainable, setup):
    first = train(setup.recipe("qwen3_vl", f"first-{trainable}", trainable=trainable, **JOINT))
    folder = newest_of(first.recipe)
    again = open_run(
        setup.recipe("qwen3_vl", "none", trainable=trainable, init_from=str(folder), objective="joint", head=HEAD)
    )
    ours = weights(first)
    assert all(torch.equal(value, ours[name]) for name, value in weights(again).items())


# Checkpoints.


@pytest.mark.parametrize("family", FAMILIES)
def test_a_judge_of_which_all_is_trained_is_a_whole_model(family, setup):
    recipe = setup.recipe(family, f"all-{family}", trainable="all", rationale_prompt="Why?", **JOINT)
    folder = newest_of(train(recipe).recipe)
    before, after = (load_file(path / "model.safetensors") for path in (Path(recipe.base), folder))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert "lm_head.weight" not in before or "lm_head.weight" in changed
    checkpoint = Checkpoint.open([folder])
    assert (checkpoint.head.dimensions, checkpoint.head.pooling, checkpoint.head.outputs) == (DIMENSIONS, "mean", 2)
    assert checkpoint.training.response_images == "same_size"
    settings = json.loads((folder / "reward_model_config.json").read_text("utf-8"))
    assert (settings["value_head_dimensions"], settings["value_head_pooling"]) == (list(DIMENSIONS), "mean")
    assert settings["rationale_prompt"] == "Why?"
    names = set(load_file(folder / "value_head.safetensors"))
    assert names == {f"{name}.{layer}.{leaf}" for name in DIMENSIONS for layer in (0, 2) for leaf in ("weight", "bias")}


def test_ranking_alone_leaves_the_language_head_as_it_was(setup):
    recipe = setup.recipe("molmo2", "rank-all", trainable="all", objective="plackett_luce", head=HEAD)
    folder = newest_of(train(recipe).recipe)
    before, after = (load_file(path / "model.safetensors") for path in (Path(recipe.base), folder))
    assert torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    assert "rationale_prompt" not in json.loads((folder / "reward_model_config.json").read_text("utf-8"))


# Serving.


@pytest.mark.export
@pytest.mark.parity
@pytest.mark.parametrize(
    ("family", "trainable", "head"),
    with_variants(
        [
            ("qwen3_vl", "all", {"readout": "token", "token": "<|im_end|>", "ask": "How good?"}),
            ("molmo2", "lora", {"pooling": "min"}),
            ("molmo2", "all", {"readout": "token", "token": "<|im_end|>"}),
            ("qwen3_vl", "all", {}),
            ("qwen3_vl", "lora", {"pooling": "sum"}),
        ]
    ),
    ids=lambda one: "-".join(one) if isinstance(one, dict) else one,
)
def test_a_trained_judge_scores_as_its_bundle(family, trainable, head, setup):
    out = f"served-{family}-{trainable}-{'-'.join(head)}"
    head = msgspec.structs.replace(HEAD, **head)
    # Slower where all weights learn: steps of 0.02 leave nothing of the base, and all responses alike.
    optimiser = Optimiser(learning_rate=0.02 if trainable == "lora" else 0.001, schedule="constant")
    settings = {"objective": "joint", "trainable": trainable, "optimiser": optimiser}
    trainer = train(setup.recipe(family, out, head=head, max_steps=4, **settings))
    trainer.judge.eval()
    bundle = setup.folder / f"{out}.yoj"
    build(Export([newest_of(trainer.recipe)], None, "assistant", bundle), Quiet())
    scorer = Scorer.load(bundle)
    assert [dimension.name for dimension in scorer.manifest.value_head.dimensions] == list(DIMENSIONS)
    requests = [numbered.request() for numbered in setup.samples]
    for reading in (EvaluationMode(), EvaluationMode(orders=2), EvaluationMode(mode="isolated")):
        ours = evaluate(trainer.judge, trainer.preparer, setup.samples, reading, head)
        judged = scorer.score_batch(requests, mode=reading.mode, orders=reading.orders)
        np.testing.assert_allclose(ours.scores, [one.scores for one in judged], atol=TOLERANCE, rtol=0)
        for place, name in enumerate(DIMENSIONS):
            theirs = [one.dimensions[place].scores for one in judged]
            np.testing.assert_allclose(ours.dimensions[name], theirs, atol=TOLERANCE, rtol=0)
            assert np.ptp(theirs, axis=1).min() > 10 * TOLERANCE
    with pytest.raises(RequestError, match=r"responses\[0\] shows? no picture"):
        scorer.score(requests[0].prompt, ["Done."])
