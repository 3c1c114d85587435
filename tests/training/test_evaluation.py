"""What was trained is what is served: packs and scores of a trained judge are those of its bundle."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from quiet import Quiet
from tiers import with_variants
from tiny_training import FAMILIES, Setup, train

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig as Export
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.runtime import Scorer
from yoj.runtime.batch import scorer_inputs
from yoj.training._feed import Feed, ProcessRank
from yoj.training._judge import open_base
from yoj.training._preparer import make_preparer
from yoj.training._trainer import Trainer
from yoj.training.evaluation import EvaluationMode, Report, evaluate, figures_by_kind, hit

pytestmark = [pytest.mark.export, pytest.mark.parity]

TOLERANCE = 1e-5
OBJECTIVES = {"molmo2": "n_way", "qwen3_vl": "joint"}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(setup):
    """served(family) -> a judge after a few steps, and the scorer of its checkpoint."""

    @functools.cache
    def make(family: str) -> tuple[Trainer, Scorer]:
        trainer = train(setup.recipe(family, f"run-{family}", objective=OBJECTIVES[family], max_steps=4))
        trainer.judge.eval()
        out = setup.folder / f"{family}.yoj"
        build(Export([Path(trainer.recipe.out)], None, "assistant", out), Quiet())
        return trainer, Scorer.load(out)

    return make


def differences(ours: list[list[float]], theirs: list[list[float]]) -> list[float]:
    """Largest of each request."""
    return [float(np.abs(np.subtract(a, b)).max()) for a, b in zip(ours, theirs, strict=True)]


@pytest.mark.slow  # almost all of it the tracing of the graphs
@pytest.mark.thorough  # test_trainer_dimensions has it with more dimensions
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_judge_scores_as_its_bundle(family, served, setup):
    trainer, scorer = served(family)
    requests = [numbered.request() for numbered in setup.samples]
    for reading in (
        EvaluationMode(),
        EvaluationMode(orders=2),
        EvaluationMode(mode="isolated"),
        EvaluationMode(media=False),
    ):
        ours = evaluate(trainer.judge, trainer.preparer, setup.samples, reading).scores
        shown = requests if reading.media else [type(r)(r.prompt, r.responses) for r in requests]
        judgements = scorer.score_batch(shown, mode=reading.mode, orders=reading.orders)
        assert max(differences(ours, [judgement.scores for judgement in judgements])) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_adapters_head_and_media_matter_to_the_scores(family, served, setup):
    trainer, _ = served(family)
    trained = evaluate(trainer.judge, trainer.preparer, setup.samples).scores
    assert np.median([np.std(scores) for scores in trained]) > 100 * TOLERANCE
    blind = evaluate(trainer.judge, trainer.preparer, setup.samples, EvaluationMode(media=False)).scores
    shows = [bool(n.sample.image or n.sample.video) for n in setup.samples]
    assert [d > 0 for d in differences(trained, blind)] == shows
    kept = {name: p.detach().clone() for name, p in trainer.judge.named_parameters() if "lora_B" in name}
    for name in kept:
        trainer.judge.get_parameter(name).data.zero_()
    without = evaluate(trainer.judge, trainer.preparer, setup.samples).scores
    for name, value in kept.items():
        trainer.judge.get_parameter(name).data.copy_(value)
    assert np.median(differences(trained, without)) > 100 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_rows_of_a_batch_are_those_of_the_runtime(family, served, setup):
    trainer, scorer = served(family)
    numbers = [0, 7, 8, 11, 3, 1]
    batch = trainer.feed.collate(numbers, epoch=2)
    prepared = []
    for row, number in enumerate(numbers):
        draw = random.Random(f"{trainer.recipe.seed} 2 {number}")
        numbered = setup.samples[number]
        n = len(numbered.sample.responses)
        order = draw.sample(range(n), n)
        prepared.append(scorer.prepare(numbered.request([numbered.sample.responses[i] for i in order])))
        assert batch.rankings_JRN[0][row, :n].tolist() == [numbered.sample.rankings[i] for i in order]
    rows = scorer_inputs(prepared, scorer.family, {})
    length = rows["input_ids"].shape[1]
    ours = batch.tokens | {"response_start": batch.response_start_RN, "response_end": batch.response_end_RN}
    assert ours.keys() == rows.keys()
    for name, expected in rows.items():
        got = ours[name][: len(numbers)].numpy()
        assert np.array_equal(got[..., :length] if got.shape[-1] >= length else got, expected)


@pytest.mark.parametrize(("objective", "mode"), [("bradley_terry", "isolated"), ("n_way", None)])
def test_how_responses_were_read_stands_in_the_checkpoint(objective, mode, setup, tmp_path):
    trainer = train(setup.recipe("qwen3_vl", str(tmp_path), objective=objective))
    assert Checkpoint.open([Path(trainer.recipe.out)]).training.trained_mode == mode


# Order.


@pytest.fixture(scope="module")
def feed(setup):
    """feed(**settings) -> batches of the Qwen3-VL base."""

    def make(place: ProcessRank | None = None, **settings) -> Feed:
        recipe = setup.recipe("qwen3_vl", "none", **settings)
        checkpoint = open_base(recipe)
        return Feed(setup.samples, make_preparer(checkpoint, open_family(checkpoint), recipe), recipe, place)

    return make


def read(feed: Feed, batch) -> list[list[tuple[float, str]]]:
    """Rank and text of every response, in the order of the row, from the tokens alone."""
    tokenizer = feed.preparer.levels[0].packer.encoder._tokenizer
    rows = []
    for ids, starts, ends, ranks in zip(
        batch.tokens["input_ids"], batch.response_start_RN, batch.response_end_RN, batch.rankings_JRN[0], strict=True
    ):
        spans = [
            (rank, tokenizer.decode(ids[start : end + 1].tolist()).strip())
            for start, end, rank in zip(starts.tolist(), ends.tolist(), ranks.tolist(), strict=True)
            if end >= 0
        ]
        rows.append(spans)
    return rows


@pytest.mark.parametrize("objective", ["n_way", "bradley_terry"])
def test_ranks_follow_their_responses(objective, feed, setup):
    feed = feed(objective=objective)
    batch = feed.collate(range(12), epoch=1)
    for numbered, found in zip(setup.samples, read(feed, batch), strict=True):
        sample = numbered.sample
        assert sorted(found) == sorted(zip(sample.rankings, sample.responses, strict=True))
    assert batch.isolated == (objective == "bradley_terry")
    assert torch.equal(batch.rankings_JRN[0].isnan(), batch.response_end_RN < 0)


def test_the_order_of_responses_depends_on_seed_and_epoch(feed):
    first = feed(seed=0)
    batches = [first.collate(range(12), 0), first.collate(range(12), 1), feed(seed=1).collate(range(12), 0)]
    orders = [[[text for _, text in row] for row in read(first, batch)] for batch in batches]
    assert orders[0] == [[text for _, text in row] for row in read(first, feed(seed=0).collate(range(12), 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # A sample's order is its own, whatever stands beside it.
    assert [text for _, text in read(first, first.collate([5], 0))[0]] == orders[0][5]


def test_every_place_is_taken_by_every_response_about_equally(feed, setup):
    feed, places = feed(), np.zeros((3, 3))
    for epoch in range(300):
        (row,) = read(feed, feed.collate([10], epoch))
        for place, (_, text) in enumerate(row):
            places[setup.samples[10].sample.responses.index(text), place] += 1
    # 4 standard deviations of 300 draws with probability 1/3.
    assert np.abs(places - 100).max() < 4 * np.sqrt(300 * 2 / 9)


def lines(batches) -> list[int]:
    return [line for batch in batches for line in batch.lines]


def test_an_epoch_takes_each_sample_once_in_an_order_of_its_own(feed):
    feed = feed(batch_size=3)
    epochs = [lines(feed.epoch(epoch)) for epoch in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(1, 13))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] == lines(feed.epoch(0))
    assert lines(feed.epoch(0, begin=2)) == epochs[0][6:]


def test_what_fills_no_batch_is_another_rest_each_epoch(feed):
    feed = feed(batch_size=5)
    assert feed.batches == 2
    left = [set(range(1, 13)) - set(lines(feed.epoch(epoch))) for epoch in range(3)]
    assert all(len(rest) == 2 for rest in left)
    assert len(set(map(frozenset, left))) > 1


def test_processes_share_out_an_epoch(feed):
    whole = [tuple(batch.lines) for batch in feed(batch_size=2).epoch(0)]
    parts = [[tuple(b.lines) for b in feed(ProcessRank(rank, 3), batch_size=2).epoch(0)] for rank in range(3)]
    assert [part for together in zip(*parts, strict=True) for part in together] == whole


def test_workers_give_the_same_batches(feed):
    alone, helped = (list(feed(workers=workers).epoch(0)) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert one.lines == other.lines
        assert all(torch.equal(one.tokens[name], other.tokens[name]) for name in one.tokens)


def test_text_to_learn_is_the_target_or_one_of_the_best(feed, setup):
    feed = feed(objective="joint")
    tokenizer = feed.preparer.levels[0].packer.encoder._tokenizer
    learnt = set()
    for epoch in range(12):
        for number in (0, 11):
            batch = feed.collate([number], epoch)
            text = tokenizer.decode(batch.labels_T.tolist()).strip()
            sample = setup.samples[number].sample
            if sample.language:
                assert text == sample.language.target
            else:
                learnt.add(text)
            length = batch.tokens["input_ids"].shape[1]
            assert torch.equal(batch.tokens["input_ids"].flatten()[batch.label_place_T + 1], batch.labels_T)
            assert set((batch.label_place_T // length).tolist()) == {1}
    assert learnt == {"It is red.", "It is blue."}


def sizes(batch) -> list[int]:
    return (batch.response_end_RN >= 0).sum(dim=1).tolist()


def test_the_batches_of_a_step_show_equally_many_responses_and_never_ties_alone(feed, setup):
    feed = feed(n=(2, 3), batch_size=2, accumulation=2)
    seen = set()
    for epoch in range(6):
        batches = list(feed.epoch(epoch))
        for first, second in zip(batches[::2], batches[1::2], strict=True):
            given = [len(setup.samples[line - 1].sample.responses) for line in (*first.lines, *second.lines)]
            shown = sizes(first) + sizes(second)
            (most,) = [k for k in (2, 3) if shown == [min(k, n) for n in given]] or [0]
            seen.add(most)
        ranks = [row[~row.isnan()] for batch in batches for row in batch.rankings_JRN[0]]
        assert all(len(set(row.tolist())) > 1 for row in ranks)
    assert seen == {2, 3}


def test_a_run_that_goes_on_draws_the_same_numbers(feed):
    whole = [sizes(batch) for batch in feed(n=(2, 4), batch_size=2).epoch(3)]
    assert [sizes(batch) for batch in feed(n=(2, 4), batch_size=2).epoch(3, begin=3)] == whole[3:]
    parts = [[sizes(b) for b in feed(ProcessRank(rank, 2), n=(2, 4), batch_size=1).epoch(3)] for rank in range(2)]
    assert [one + other for one, other in zip(*parts, strict=True)] == whole


def test_small_numbers_of_responses_are_as_frequent_as_large_ones(feed):
    feed = feed(n=(2, 15))
    drawn = np.array([feed._draw_n(0, step) for step in range(4000)])
    assert (drawn.min(), drawn.max()) == (2, 15)
    # log N is even: 2-3, 4-7 and 8-15 are a third each, within 4 standard deviations.
    for least, most in ((2, 3), (4, 7), (8, 15)):
        assert abs(((drawn >= least) & (drawn <= most)).sum() - 4000 / 3) < 4 * np.sqrt(4000 * 2 / 9)


@pytest.mark.parametrize(("n", "expected"), [(None, (2, 4)), ((2, 3), (2, 3)), ((3, 16), (2, 4))])
def test_the_numbers_of_the_training_stand_in_the_checkpoint(n, expected, setup, tmp_path):
    recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"), n=n, max_steps=1)
    Trainer(recipe, setup.samples, []).run(lambda _: None)
    assert Checkpoint.open([Path(recipe.out)]).training.trained_n == expected


def test_figures_are_counted_by_hand_for_each_kind(setup):
    pictures = [numbered for numbered in setup.samples if numbered.sample.kind == "identify"][:1]
    texts = [n for n in setup.samples if n.sample.kind is None][:3]  # ranks 2 1, 1 2 2, 3 1 2
    best = pictures[0].sample.rankings.index(1)
    scores = [[float(k == best) for k in range(4)], [0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 2.0]]
    samples = [*pictures, *texts]
    report = Report(scores, [hit(found, numbered) for found, numbered in zip(scores, samples, strict=True)])
    figures = figures_by_kind(report, samples)
    assert list(figures) == ["all", "identify"]
    assert figures["identify"].best_of_n == 1.0
    whole = figures["all"]
    assert (whole.requests, whole.best_of_n) == (4, 0.5)
    assert whole.chance == pytest.approx((1 / 4 + 1 / 2 + 1 / 3 + 1 / 3) / 4)
    ranks = pictures[0].sample.rankings
    apart = sum(a != b for k, a in enumerate(ranks) for b in ranks[:k])
    better = sum(rank != 1 for rank in ranks)
    # Two responses: right; one best of three last: none of 2; 3 1 2 with scores 0 2 2: two right, one half.
    right = better + (apart - better) / 2 + 1 + 0 + 2.5
    assert whole.pairs == apart + 1 + 2 + 3
    assert whole.pairwise == pytest.approx(right / whole.pairs)
