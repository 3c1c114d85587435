"""Reading the responses in several orders."""

from __future__ import annotations

import itertools
import shutil

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoj.runtime import Request, RequestError, Scorer
from yoj.runtime.manifest import encode, seal
from yoj.runtime.orders import average, draw_orders

SAME = 2e-6
"""Rows of a batch are summed in another order than single rows."""
RESPONSES = ["A red ball.", "Two blue squares, one of them small.", "Nothing.", "I cannot tell", "Green"]


@pytest.mark.slow
@given(n=st.integers(1, 64), data=st.data())
def test_rotations_visit_places_that_are_spread_out(n, data):
    k = data.draw(st.integers(1, n))
    orders = draw_orders(n, k)
    assert orders[0] == tuple(range(n))
    assert len(set(orders)) == k
    assert all(sorted(order) == list(range(n)) for order in orders)
    places = sorted(order.index(0) for order in orders)
    gaps = np.diff([*places, places[0] + n])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_orders(n):
    assert set(draw_orders(n, "all")) == set(itertools.permutations(range(n)))


@pytest.mark.parametrize(("n", "orders"), [(3, 0), (3, -1), (3, 4), (5, "all"), (3, "some"), (3, 1.5), (3, True)])
def test_orders_that_there_are_not(n, orders):
    with pytest.raises(RequestError, match="give"):
        draw_orders(n, orders)


def test_scores_return_to_their_responses_and_are_centred():
    orders = ((0, 1, 2), (1, 2, 0))
    averaged = average(np.array([[3.0, 1.0, 2.0], [10.0, 12.0, 14.0]], np.float32), orders)
    # By response: 3, 1, 2 about their mean 2; then 14, 10, 12 about their mean 12.
    np.testing.assert_allclose(averaged.scores_N, [1.5, -1.5, 0])
    np.testing.assert_allclose(averaged.spread_N, [0.5, 0.5, 0])
    assert averaged.agreement == 1.0


def test_agreement_is_the_share_of_orders_with_the_same_best():
    orders = ((0, 1), (1, 0))
    assert average(np.array([[5.0, 1.0], [4.0, 3.0]], np.float32), orders).agreement == 0.5


@pytest.mark.parametrize("orders", [2, 3, 5])
def test_a_judgement_of_several_orders_is_the_average_of_single_ones(orders, scorer):
    judge = scorer("merged", "assistant")
    judgement = judge.score("What is shown?", RESPONSES, orders=orders)
    rows = []
    for order in draw_orders(5, orders):
        scores = np.array(judge.score("What is shown?", [RESPONSES[i] for i in order]).scores)
        rows.append(scores[np.argsort(order)] - scores.mean())
    np.testing.assert_allclose(judgement.scores, np.mean(rows, axis=0), atol=SAME)
    np.testing.assert_allclose(judgement.order_spread, np.std(rows, axis=0), atol=SAME)
    assert judgement.orders == orders
    assert f"{orders} orders" in str(judgement)


def test_all_orders_make_scores_independent_of_the_order(scorer):
    judge, four = scorer("merged", "user"), RESPONSES[:4]
    given_scores = judge.score("What is shown?", four, orders="all").scores
    turned = judge.score("What is shown?", four[::-1], orders="all").scores[::-1]
    np.testing.assert_allclose(given_scores, turned, atol=SAME)
    single = judge.score("What is shown?", four).scores, judge.score("What is shown?", four[::-1]).scores[::-1]
    assert np.abs(np.subtract(*single)).max() > 0.1


def test_all_orders_read_the_same_cut_texts(bundle, tmp_path):
    judge = Scorer.load(altered(bundle("merged", "assistant"), tmp_path / "b.yoj", limit=120))
    texts = [f"{k} " + "word, and another. " * (10 + k) for k in range(3)]
    request = Request("Which?", texts, overflow="truncate")
    prepared = judge.prepare(request, orders=3)
    cuts = prepared.packs[0].cuts
    assert cuts
    kept = [text[: next((c.kept for c in cuts if c.response == k), None)] for k, text in enumerate(texts)]
    for order, pack in zip(prepared.orders, prepared.packs, strict=True):
        (alone,) = judge.prepare(Request("Which?", [kept[i] for i in order])).packs
        assert pack.input_ids_L.tolist() == alone.input_ids_L.tolist()
    assert judge.score_batch([request], orders=3)[0].cuts == cuts


def altered(bundle, out, limit):
    """A bundle that takes fewer tokens."""
    shutil.copytree(bundle, out)
    manifest = Scorer.load(bundle).manifest
    limits = msgspec.structs.replace(manifest.limits, L=limit)
    (out / "manifest.json").write_bytes(encode(seal(msgspec.structs.replace(manifest, limits=limits))))
    return out


def test_one_order_says_nothing_of_orders(scorer):
    judgement = scorer("merged", "assistant").score("Why?", RESPONSES)
    assert (judgement.orders, judgement.order_spread, judgement.order_agreement) == (1, None, None)


def test_requests_of_several_orders_share_a_batch(scorer):
    judge = scorer("merged", "assistant")
    requests = [Request("Why?", RESPONSES), Request("How?", RESPONSES[:3])]
    for together, request in zip(judge.score_batch(requests, orders=3), requests, strict=True):
        alone = judge.score(request.prompt, request.responses, orders=3)
        np.testing.assert_allclose(together.scores, alone.scores, atol=SAME)
