"""Ways to read, with a real bundle: what they count, and that they are those of the runtime."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.any_n.data import Pack, draw_items
from experiments.any_n.judges import Judge
from experiments.any_n.methods import Reading, above, hit, measure, methods_for, read, third
from yoj.runtime import Request, Scorer
from yoj.runtime.packs import draw_groups, join


@pytest.fixture(scope="module")
def judge(bundle):
    return Judge(bundle("qwen3_vl", "assistant"))


@pytest.fixture(scope="module")
def items():
    return draw_items(2)


def named(n, name):
    (found,) = [method for method in methods_for("joint", n) if method.name == name]
    return found


def test_methods_are_those_that_n_allows():
    assert [method.name for method in methods_for("joint", 2)] == ["one pack", "isolated"]
    assert [method.name for method in methods_for("joint", 4)] == ["one pack", "4 orders", "isolated"]
    assert [method.name for method in methods_for("joint", 8)] == [
        "one pack", "4 orders", "groups of 4, 2 rounds", "groups of 4, 4 rounds",
        "knockout of 4", "isolated",
    ]  # fmt: skip
    assert len(methods_for("joint", 64)) == 2 + 6 + 3 + 1
    assert [method.name for method in methods_for("isolated", 64)] == ["isolated"]


@pytest.mark.export
@pytest.mark.parametrize(
    ("name", "packs"),
    [
        ("one pack", 1), ("4 orders", 4), ("groups of 4, 2 rounds", 4), ("groups of 4, 4 rounds", 8),
        ("knockout of 4", 3), ("isolated", 1),
    ],
)  # fmt: skip
def test_a_reading_counts_its_packs_and_looks_once(judge, items, name, packs):
    request = items[0].request(items[0].pack(8).answers)
    method = named(8, name)
    first, again = (read(judge, request, method) for _ in range(2))
    assert first.packs == again.packs == packs
    assert first.tokens == again.tokens
    assert first.best == again.best
    assert judge.scorer(method.size).cache.misses >= 1
    assert len(judge.scorer(method.size).cache._entries) == 1
    assert first.cpu_milliseconds > 0


@pytest.mark.export
def test_groups_are_packs_that_are_joined(judge, items, bundle):
    answers = items[0].pack(8).answers
    request = items[0].request(answers)
    packs = draw_groups(8, 4, 4)
    alone = Scorer.load(bundle("qwen3_vl", "assistant"))
    parts = [Request(request.prompt, [request.responses[k] for k in p], images=request.images) for p in packs]
    expected = join(8, packs, [one.scores for one in alone.score_batch(parts)]).scores_N
    found = read(judge, request, named(8, "groups of 4, 2 rounds"))
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    assert found.tokens == sum(alone.prepare(part).tokens for part in parts)


@pytest.mark.export
def test_a_record_has_all_figures(judge, items):
    record = measure(judge, items, named(4, "one pack"), 4)
    assert (record["method"], record["n"], record["items"], record["passes"]) == ("one pack", 4, 2, 1)
    assert record["top1"]["count"] == record["tau_b"]["count"] == record["above_rival"]["count"] == 2
    assert record["first_is_true"]["value"] >= record["top1"]["value"]
    # The best answer stands at the places 0 and 1 of 4.
    assert [record["thirds"][name] and record["thirds"][name]["count"] for name in ("first", "middle", "last")] == [
        1, 1, None,
    ]  # fmt: skip
    record = measure(judge, items, named(8, "knockout of 4"), 8)
    assert (record["above_rival"], record["tau_b"], record["passes"]) == (None, None, 3)


def test_thirds_are_alike_from_both_ends():
    assert [third(place, 2) for place in range(2)] == ["first", "last"]
    assert [third(place, 4) for place in range(4)] == ["first", "middle", "middle", "last"]
    assert [third(place, 8) for place in range(8)] == ["first"] * 3 + ["middle"] * 2 + ["last"] * 3


def test_equal_scores_share_the_credit(items):
    pack = Pack(items[0].answers[:4], 0, 1)

    def reading(*scores):
        return Reading(scores, int(np.argmax(scores)), 1, 1, 1.0, 1.0)

    assert hit(reading(2, 1, 0, 0), pack) == 1
    assert hit(reading(2, 2, 0, 2), pack) == pytest.approx(1 / 3)
    assert hit(reading(0, 2, 0, 0), pack) == 0
    assert hit(Reading(None, 0, 1, 1, 1.0, 1.0), pack) == 1
    assert hit(Reading(None, 1, 1, 1, 1.0, 1.0), pack) == 0
    assert [above(scores, pack) for scores in ([2, 1, 9, 9], [1, 1, 0, 0], [0, 1, 0, 0])] == [1, 0.5, 0]
