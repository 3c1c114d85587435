"""Visual features are computed once for each picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.runtime import Request, Scorer
from yoj.runtime._cache import FeatureCache

IMAGE = Path(__file__).parents[1] / "golden" / "data" / "images" / "odd_small.png"
OTHER = IMAGE.with_name("checker_odd.png")


def features(size: int) -> dict[str, np.ndarray]:
    return {"image_features": np.zeros(size, np.float32)}


def test_what_was_not_used_for_longest_makes_room():
    cache = FeatureCache(max_bytes=40)
    cache.put(b"a", features(4))
    cache.put(b"b", features(4))
    assert cache.get(b"a") is not None
    cache.put(b"c", features(4))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.get(b"c") is not None
    assert (cache.hits, cache.misses) == (3, 1)


def test_more_than_the_cache_holds_is_not_kept_and_drives_nothing_out():
    cache = FeatureCache(max_bytes=40)
    cache.put(b"a", features(4))
    cache.put(b"big", features(100))
    assert cache.get(b"big") is None
    assert cache.get(b"a") is not None


@pytest.fixture
def counted(bundle, monkeypatch):
    """A scorer, and the number of crops of each run of its vision graph."""
    scorer, runs = Scorer.load(bundle("merged", "assistant")), []
    run = scorer._session.run

    def counting(role, inputs):
        if role == "vision":
            runs.append(len(inputs["pixel_values"]))
        return run(role, inputs)

    monkeypatch.setattr(scorer._session, "run", counting)
    return scorer, runs


def test_the_same_picture_is_seen_once_however_it_is_given(counted):
    scorer, runs = counted
    pixels = np.asarray(Image.open(IMAGE).convert("RGB"))
    first = scorer.score("What?", ["a", "b"], images=[IMAGE])
    for same in (str(IMAGE), IMAGE.read_bytes(), pixels, Image.open(IMAGE)):
        assert scorer.score("What?", ["a", "b"], images=[same]).scores == first.scores
    assert len(runs) == 1


def test_a_batch_sees_each_picture_once(counted):
    scorer, runs = counted
    requests = [Request("What?", ["a", "b"], [IMAGE]), Request("Why?", ["a"], [OTHER, IMAGE]), Request("So?", ["c"])]
    together = scorer.score_batch(requests)
    assert len(runs) == 1
    assert runs[0] == 2 + 3
    for request, judgement in zip(requests, together, strict=True):
        alone = scorer.score(request.prompt, request.responses, images=request.images)
        np.testing.assert_allclose(judgement.scores, alone.scores, atol=2e-6)
    assert len(runs) == 1


def test_several_orders_see_a_picture_once(counted):
    scorer, runs = counted
    scorer.score("What?", ["a", "b", "c"], images=[IMAGE], orders=3)
    assert len(runs) == 1


def test_a_picture_shown_twice_is_scored_as_two(counted):
    scorer, runs = counted
    twice = scorer.score("What?", ["a", "b"], images=[IMAGE, IMAGE])
    assert len(runs) == 1
    fresh = scorer.score("What?", ["a", "b"], images=[IMAGE, OTHER])
    assert twice.scores != fresh.scores
