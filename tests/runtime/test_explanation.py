"""Explanations: each is what scoring the request without the sentence or with the covered region gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from yoj.runtime import Image, LengthError, LimitError, MediaError, Request, RequestError, Scorer
from yoj.runtime._explanation import ExplanationConfig, explain, grid_for
from yoj.runtime.prepare import Preparer, packing_config

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
SAME = 2e-5
RESPONSES = ["A red ball. It is big!", "Two squares.\n\nAnd a dog. "]


def picture(seed: int, height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def covered(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    changed = pixels.copy()
    changed[top:bottom, left:right] = np.rint(pixels.reshape(-1, 3).mean(axis=0))
    return changed


def leads(scores: tuple[float, ...]) -> list[float]:
    return [score - max((*scores[:k], *scores[k + 1 :])) for k, score in enumerate(scores)]


@pytest.mark.parametrize("family", ["merged", "qwen3_vl"])
@pytest.mark.parametrize("reading", [{}, {"mode": "isolated"}, {"orders": 2}])
def test_effects_are_those_of_scoring_each_change_by_itself(family, reading, scorer):
    judge, pixels = scorer(family), [picture(0), picture(1)]
    request = Request("What is shown?", RESPONSES, pixels, **reading)
    found = judge.explain(request, grid=(2, 3))
    whole = judge.score_batch([request])[0]
    np.testing.assert_allclose(found.judgement.scores, whole.scores, atol=SAME)
    texts = [(one.response, one.text) for one in found.sentences]
    assert texts == [(0, "A red ball. "), (0, "It is big!"), (1, "Two squares.\n\n"), (1, "And a dog. ")]
    shorter = ["It is big!", "A red ball.", "And a dog. ", "Two squares. "]
    for one, text in zip(found.sentences, shorter, strict=True):
        responses = [text if k == one.response else given for k, given in enumerate(RESPONSES)]
        (alone,) = judge.score_batch([replace(request, responses=responses)])
        np.testing.assert_allclose(one.scores, alone.scores, atol=SAME)
        assert one.effect == pytest.approx(
            leads(whole.scores)[one.response] - leads(alone.scores)[one.response], abs=SAME
        )
        assert one.margin == pytest.approx(leads(alone.scores)[whole.best], abs=SAME)
    assert len(found.regions) == 12
    assert found.regions[5].box == (60, 30, 90, 60)
    for one in found.regions[4:8]:
        images = [covered(given, one.box) if k == one.picture else given for k, given in enumerate(pixels)]
        (alone,) = judge.score_batch([replace(request, images=images)])
        np.testing.assert_allclose(one.scores, alone.scores, atol=SAME)
        assert one.effect == pytest.approx(leads(whole.scores)[whole.best] - leads(alone.scores)[whole.best], abs=SAME)
    assert found.passes == (1 + 4 + 12) * whole.passes


def test_pictures_of_responses_are_covered_too(scorer):
    judge = scorer("qwen3_vl")
    request = Request(["Paint: ", Image(picture(0))], [["So. ", Image(picture(1))], [Image(picture(2)), "Or so."]])
    found = judge.explain(request, grid=(1, 2))
    assert [(one.name, one.medium, one.owner) for one in found.pictures] == [
        ("prompt[1]", 0, None), ("responses[0][1]", 1, 0), ("responses[1][0]", 2, 1),
    ]  # fmt: skip
    assert [(one.response, one.part) for one in found.sentences] == [(0, 0), (1, 1)]
    last = found.regions[-1]
    other = [Image(covered(picture(2), last.box)), "Or so."]
    (alone,) = judge.score_batch([replace(request, responses=[request.responses[0], other])])
    np.testing.assert_allclose(last.scores, alone.scores, atol=SAME)


def test_a_picture_that_does_not_change_is_encoded_once(scorer):
    judge = scorer("merged")
    judge.cache.misses = judge.cache.hits = 0
    judge.explain(Request("What is shown?", RESPONSES, [picture(10), picture(11)]), grid=(1, 1))
    assert judge.cache.misses == 4  # both, and both covered


def test_equal_responses_change_together_and_count_as_one(scorer):
    found = scorer("merged").explain(Request("Why?", ["So. Bb.", "Because.", "So. Bb."]))
    assert {one.response for one in found.sentences} == {0, 1}
    alone = scorer("merged").explain(Request("Why?", ["So. Bb.", "Because."]))
    effects = [[one.effect for one in of.sentences] for of in (found, alone)]
    np.testing.assert_allclose(*effects, atol=SAME)


def test_one_response_is_measured_by_its_score(scorer):
    found = scorer("merged").explain(Request("Why?", ["Because. Or so."]))
    assert [one.margin for one in found.sentences] == [None, None]
    score = found.judgement.scores[0]
    assert [one.effect for one in found.sentences] == [pytest.approx(score - one.scores[0]) for one in found.sentences]


def test_the_only_sentence_leaves_an_empty_response(scorer):
    (one, _) = scorer("merged").explain(Request("Why?", ["Because.", "No."])).sentences
    alone = scorer("merged").score("Why?", ["", "No."])
    np.testing.assert_allclose(one.scores, alone.scores, atol=SAME)


def short(judge: Scorer, most: int) -> Preparer:
    """Preparer of a bundle, with a limit of this many tokens."""
    rules = packing_config(judge.manifest)
    limits = msgspec.structs.replace(rules.limits, L=most)
    return Preparer(replace(rules, limits=limits), judge._preparer.packer.encoder)


def test_what_was_cut_off_is_not_let_in_again(scorer):
    judge, long = scorer("merged"), "A red ball. " * 40
    preparer = short(judge, 100)
    read = preparer.read(Request("What is shown?", [long, "No."], overflow="truncate"))
    found = explain(preparer, judge.score_prepared, read, ExplanationConfig())
    (cut,) = found.judgement.cuts
    assert 20 < cut.kept < len(long)
    assert [one.end for one in found.sentences if one.response == 0][-1] == cut.kept
    kept = long[: cut.kept]
    without = judge.score("What is shown?", [kept.removeprefix("A red ball. "), "No."])
    np.testing.assert_allclose(found.sentences[0].scores, without.scores, atol=SAME)


def test_a_request_that_is_too_long_is_refused(scorer):
    preparer = short(scorer("merged"), 100)
    read = preparer.read(Request("Why?", ["a red ball " * 400]))
    with pytest.raises(LengthError, match="limit of this bundle is 100"):
        explain(preparer, scorer("merged").score_prepared, read, ExplanationConfig())


def test_of_a_video_no_regions_are_covered_and_it_is_said(scorer):
    found = scorer("merged").explain(Request("What happens?", RESPONSES, video=IMAGES / "frames_ball"))
    assert (found.pictures, found.regions) == ((), ())
    assert "the request has a video" in found.notices[-1]


@pytest.mark.parametrize(
    ("size", "wanted", "grid"),
    [
        ((64, 64), None, (4, 4)), ((400, 100), None, (8, 2)), ((10, 1000), None, (1, 16)), ((1, 1), None, (1, 1)),
        ((3, 2), (9, 9), (3, 2)), ((64, 64), (2, 5), (2, 5)),
    ],
)  # fmt: skip
def test_regions_are_about_square_and_have_a_pixel_at_least(size, wanted, grid):
    assert grid_for(size, wanted) == grid


def test_every_pixel_lies_in_one_region(scorer):
    found = scorer("merged").explain(Request("What?", ["a", "b"], [picture(0, 17, 31)]), grid=(5, 4))
    seen = np.zeros((17, 31), int)
    for left, top, right, bottom in (one.box for one in found.regions):
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()
    assert found.effects(0).shape == (5, 4)


@pytest.mark.parametrize("grid", [(0, 2), (2,), (2.0, 2), (1, -1), 4, "22"])
def test_a_grid_that_is_none_is_refused(grid, scorer):
    with pytest.raises(RequestError, match="give \\(rows, columns\\)"):
        scorer("merged").explain(Request("Why?", ["a", "b"]), grid=grid)


def test_too_many_passes_are_refused_with_their_number(scorer):
    request = Request("Why?", ["So. Bb.", "No."], [picture(0)])
    with pytest.raises(LimitError, match="3 sentences and covers 15 regions, which takes 19 packs; the limit is 18"):
        scorer("merged").explain(request, max_passes=18)
    assert scorer("merged").explain(request, max_passes=19).passes == 19
    with pytest.raises(RequestError, match="whole number from 1"):
        scorer("merged").explain(request, max_passes=0)


def test_what_cannot_be_scored_cannot_be_explained(scorer, tmp_path):
    judge = scorer("merged")
    with pytest.raises(RequestError, match="no responses"):
        judge.explain(Request("Why?", []))
    with pytest.raises(MediaError, match="no file"):
        judge.explain(Request("Why?", ["a"], [tmp_path / "none.png"]))


def test_as_text_it_shows_every_effect(scorer):
    found = scorer("merged").explain(Request("Why?", RESPONSES, [picture(0)]), grid=(2, 2))
    told = str(found)
    assert all(f"{one.effect:+9.4f}" in told for one in (*found.sentences, *found.regions))
    assert "explained with 9 packs" in told
    assert set(found.to_dict()) == {"sentences", "regions", "pictures", "passes", "notices"}
