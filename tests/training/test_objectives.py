"""Losses against computations of their own: loops in float64, enumeration of rankings, sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.training import _objectives as objectives

NAN = math.nan
RANKED = ("n_way", "plackett_luce", "bradley_terry")
MIXED = torch.tensor(
    [
        [1, NAN, NAN, NAN, NAN],
        [2, 1, NAN, NAN, NAN],
        [NAN, 1, 1, 2, NAN],
        [3, 1, NAN, 2, 1],
        [4, 2, 5, 1, 3],
        [2, 1, 1, 2, 2],
    ]
)
"""Requests of 1 to 5 responses, with ties; the absent ones stand anywhere."""


@st.composite
def requests(draw: st.DrawFn, ties: bool = True, least: int = 2) -> tuple[list[float], list[int]]:
    n = draw(st.integers(least, 6))
    scores = draw(st.lists(st.floats(-8, 8), min_size=n, max_size=n))
    ranks = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n) if ties else st.permutations(range(1, n + 1)))
    return scores, list(ranks)


def loss(name: str, scores: list[float], ranks: list[float], log_sigma: list[float] | None = None) -> float:
    """Of one request, in float64."""
    rows = [torch.tensor([row], dtype=torch.float64) for row in (scores, *([log_sigma] if log_sigma else []), ranks)]
    return float(getattr(objectives, name)(*rows))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def choice(scores: list[float], among: list[int], chosen: int) -> float:
    """Log probability of choosing one among several."""
    top = max(scores[i] for i in among)
    return scores[chosen] - top - math.log(sum(math.exp(scores[i] - top) for i in among))


def loop_n_way(scores: list[float], ranks: list[int]) -> float:
    everyone = list(range(len(scores)))
    best = [i for i in everyone if ranks[i] == min(ranks)]
    return -sum(choice(scores, everyone, i) for i in best) / len(best)


def loop_plackett_luce(scores: list[float], ranks: list[int]) -> float:
    everyone = range(len(scores))
    chosen = [i for i in everyone if ranks[i] < max(ranks)]
    total = sum(choice(scores, [j for j in everyone if ranks[j] >= ranks[i]], i) for i in chosen)
    return -total / max(1, len(chosen))


def loop_bradley_terry(scores: list[float], ranks: list[int]) -> float:
    better = [(i, j) for i in range(len(scores)) for j in range(len(scores)) if ranks[i] < ranks[j]]
    return -sum(math.log(sigmoid(scores[i] - scores[j])) for i, j in better) / max(1, len(better))


@pytest.mark.slow
@settings(deadline=None)
@given(request_=requests(least=1))
@pytest.mark.parametrize("name", RANKED)
def test_a_loop_in_float64_gives_the_same(name, request_):
    expected = globals()[f"loop_{name}"](*request_)
    assert loss(name, *request_) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", RANKED)
def test_the_loss_is_the_mean_over_requests(name):
    scores = torch.randn(MIXED.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = []
    for row, ranks in zip(scores, MIXED, strict=True):
        there = ~ranks.isnan()
        rows.append(globals()[f"loop_{name}"](row[there].tolist(), ranks[there].tolist()))
    assert float(getattr(objectives, name)(scores, MIXED)) == pytest.approx(np.mean(rows), abs=1e-9)


def test_n_way_of_one_best_is_the_log_probability_of_a_categorical_distribution():
    scores = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    ranks = torch.stack([torch.randperm(5, generator=torch.Generator().manual_seed(k)) + 1.0 for k in range(7)])
    expected = -torch.distributions.Categorical(logits=scores).log_prob(ranks.argmin(dim=1)).mean()
    torch.testing.assert_close(objectives.n_way(scores, ranks), expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=5))
def test_plackett_luce_is_a_distribution_over_rankings(scores):
    n = len(scores)
    losses = [loss("plackett_luce", scores, list(ranks)) for ranks in itertools.permutations(range(1, n + 1))]
    # The loss is for each of the n - 1 choices; the last response is not chosen, it is left.
    assert sum(math.exp(-(n - 1) * value) for value in losses) == pytest.approx(1, abs=1e-9)


def test_plackett_luce_multiplies_the_choices_of_a_ranking():
    scores, ranks = [0.3, -1.0, 2.0], [2, 3, 1]
    e = [math.exp(score) for score in scores]
    probability = e[2] / sum(e) * e[0] / (e[0] + e[1])
    assert loss("plackett_luce", scores, ranks) == pytest.approx(-math.log(probability) / 2, abs=1e-12)


def test_objectives_agree_on_two_responses():
    values = [loss(name, [0.4, -0.9], [2, 1]) for name in RANKED]
    assert values == pytest.approx([-math.log(sigmoid(-1.3))] * 3, abs=1e-12)


@pytest.mark.slow
@settings(deadline=None)
@given(request_=requests(least=1), shift=st.floats(-50, 50))
@pytest.mark.parametrize("name", [*RANKED, "gaussian"])
def test_a_shift_of_all_scores_changes_nothing(name, request_, shift):
    scores, ranks = request_
    sigma = [[0.1 * k for k in range(len(ranks))]] if name == "gaussian" else []
    shifted = [score + shift for score in scores]
    assert loss(name, shifted, ranks, *sigma) == pytest.approx(loss(name, scores, ranks, *sigma), abs=1e-9)


def run(name: str, ranks: torch.Tensor, absent: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradients in float32 where the absent responses have this score (and log sigma)."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(ranks.shape, generator=generator) for _ in range(2 if name == "gaussian" else 1)]
    for tensor in inputs:
        tensor[ranks.isnan()] = absent
        tensor.requires_grad_()
    value = getattr(objectives, name)(*inputs, ranks)
    value.backward()
    return value.detach(), [tensor.grad for tensor in inputs if tensor.grad is not None]


@pytest.mark.parametrize("name", [*RANKED, "gaussian"])
def test_absent_responses_take_no_part(name):
    value, gradients = run(name, MIXED, 0.0)
    for absent in (-300.0, 80.0, 1e30):
        other, theirs = run(name, MIXED, absent)
        assert torch.equal(value, other)
        assert all(torch.equal(ours, them) for ours, them in zip(gradients, theirs, strict=True))
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert (gradient[MIXED.isnan()] == 0).all()
        assert (gradient[~MIXED.isnan()] != 0).any()


@pytest.mark.parametrize("name", [*RANKED, "gaussian"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_gradients_are_finite_for_extreme_scores(name, n):
    ranks = torch.arange(1.0, n + 1).expand(2, n)
    inputs = [torch.linspace(-1e4, 1e4, n).repeat(2, 1).requires_grad_() for _ in range(1 + (name == "gaussian"))]
    value = getattr(objectives, name)(*inputs, ranks)
    value.backward()
    assert value.isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("name", [*RANKED, "gaussian"])
def test_a_step_down_the_gradient_raises_the_better_responses(name):
    scores, ranks = torch.zeros(1, 4, requires_grad=True), torch.tensor([[3.0, 1.0, 2.0, 3.0]])
    extra = [torch.zeros(1, 4)] if name == "gaussian" else []
    getattr(objectives, name)(scores, *extra, ranks).backward()
    first, second, last, other = scores.grad[0, [1, 2, 0, 3]].neg().tolist()
    assert first > 0 > last == pytest.approx(other)
    assert first > second >= last


def test_several_best_share_the_probability():
    shared = loss("n_way", [1.0, 2.0, 0.0], [1, 1, 2])
    drawn = [loss("n_way", [1.0, 2.0, 0.0], ranks) for ranks in ([1, 2, 3], [2, 1, 3])]
    assert shared == pytest.approx(np.mean(drawn), abs=1e-12)


def test_one_of_several_best_is_drawn_evenly():
    ranks, draws = torch.tensor([1.0, 3.0, 1.0, NAN, 1.0, 2.0]).expand(6000, 6), 6000
    drawn = objectives.draw_best(ranks, torch.Generator().manual_seed(0))
    lowest = drawn.nan_to_num(math.inf)
    best = lowest == lowest.min(dim=1, keepdim=True).values
    assert (best.sum(dim=1) == 1).all()
    # 4 standard deviations of a count of draws with probability 1/3.
    assert best.sum(dim=0)[[0, 2, 4]].numpy() == pytest.approx(draws / 3, abs=4 * math.sqrt(draws * 2 / 9))
    assert torch.equal(drawn[:, [1, 5]], ranks[:, [1, 5]])
    assert drawn[:, 3].isnan().all()


def test_the_draw_depends_on_the_seed_alone():
    first, same, other = (objectives.draw_best(MIXED, torch.Generator().manual_seed(k)) for k in (1, 1, 6))
    assert torch.equal(first.nan_to_num(9), same.nan_to_num(9))
    assert not torch.equal(first.nan_to_num(9), other.nan_to_num(9))
    assert torch.equal(first[4], MIXED[4])


@pytest.mark.slow
@pytest.mark.parametrize("mean", [-2.0, 0.0, 0.7, 2.5])
@pytest.mark.parametrize("sigmas", [(0.1, 0.1), (0.5, 1.0), (1.5, 2.0), (3.0, 0.2)])
def test_the_gaussian_likelihood_is_that_of_samples(mean, sigmas):
    """MacKay's approximation is within 0.02 of the probability; of the samples' mean the error is below 0.0005."""
    draw = np.random.default_rng(0)
    better, worse = (draw.normal(m, sigma, 1_000_000) for m, sigma in zip((mean, 0.0), sigmas, strict=True))
    sampled = float((1 / (1 + np.exp(worse - better))).mean())
    closed = math.exp(-loss("gaussian", [mean, 0.0], [1, 2], [math.log(sigma) for sigma in sigmas]))
    assert closed == pytest.approx(sampled, abs=0.02)


@pytest.mark.slow
@settings(deadline=None)
@given(request_=requests(least=1))
def test_without_spread_the_gaussian_loss_is_bradley_terry(request_):
    scores, ranks = request_
    certain = loss("gaussian", scores, ranks, [-30.0] * len(scores))
    assert certain == pytest.approx(loss("bradley_terry", scores, ranks), abs=1e-6)


def test_spread_costs_right_answers_and_forgives_wrong_ones():
    for scores, sign in (([2.0, 0.0], 1), ([0.0, 2.0], -1)):
        values = [loss("gaussian", scores, [1, 2], [log_sigma] * 2) for log_sigma in (-2.0, 0.0, 2.0)]
        assert [math.copysign(1, d) for d in np.diff(values)] == [sign, sign]


def test_pairs_are_those_of_unequal_ranks():
    found = objectives.pairs(torch.tensor([[2.0, 1.0, NAN, 2.0, 3.0]]))[0]
    assert sorted(map(tuple, found.nonzero().tolist())) == [(0, 4), (1, 0), (1, 3), (1, 4), (3, 4)]


def test_language_is_the_mean_over_tokens():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([3, 0, 10, 3, 7])
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(5), labels.numpy()]).mean()
    assert float(objectives.language(logits, labels)) == pytest.approx(expected, abs=1e-6)


def test_no_text_is_no_loss():
    logits = torch.zeros(0, 11, requires_grad=True)
    value = objectives.language(logits, torch.zeros(0, dtype=torch.int64))
    value.backward()
    assert float(value.detach()) == 0
