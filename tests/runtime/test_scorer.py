"""Requests of every shape through a loaded bundle, and the judgements that come back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from yoj.runtime import Judgement, Request
from yoj.runtime._judgement import judge
from yoj.runtime.errors import EngineError, LimitError, MediaError, RequestError, YojError
from yoj.runtime.packing import Truncation

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
SAME = 2e-6
"""How far a score may move with the shape of its batch: a matrix product over other shapes may sum in another order."""


@pytest.fixture(scope="module", params=["assistant", "user"])
def judging(request, scorer):
    return scorer("merged", request.param)


@pytest.fixture(scope="module")
def one(scorer):
    return scorer("merged", "assistant")


def refusal(one, prompt="Which?", responses=("a",), error=RequestError, **options) -> str:
    with pytest.raises(error) as caught:
        one.score(prompt, responses, **options)
    return str(caught.value)


def scores_or_refusal(one, responses) -> tuple[float, ...] | str:
    """Where both are right; anything but scores or an error about the request comes through."""
    try:
        return one.score("Which?", responses).scores
    except RequestError as error:
        return str(error)


def requests_of_every_kind() -> list[Request]:
    """Different N, lengths, and numbers and sizes of images."""
    picture, portrait = IMAGES / "odd_small.png", IMAGES / "noise_portrait.png"
    return [
        Request("What is shown?", ["A cat.", "Two dogs near a red car.", "Nothing."], [picture]),
        Request("Is water wet?", ["Yes."]),
        Request("Which is longer?", ["word " * 60, "word " * 3]),
        Request("Compare the two.", ["The first.", "The second.", "", "Neither."], [portrait, picture]),
        Request("Choose.", [f"option {k}" for k in range(11)]),
        Request("And this?", ["One pixel."], [np.full((1, 1, 3), 200, np.uint8)]),
    ]


# Number and kind of the responses


@pytest.mark.parametrize("count", [1, 2, 3, 17, 63, 64])
def test_every_number_of_responses_up_to_the_limit_gives_as_many_finite_scores(count, judging):
    judgement = judging.score("Which of these?", [f"answer {k}" for k in range(count)])
    assert len(judgement.scores) == len(judgement.probabilities) == len(judgement.ranks) == count
    assert np.isfinite(judgement.scores).all()


def test_all_numbers_of_responses_score_together(one):
    requests = [Request("Which of these?", [f"answer {k}" for k in range(count)]) for count in range(1, 65)]
    judgements = one.score_batch(requests)
    assert [len(judgement.scores) for judgement in judgements] == list(range(1, 65))
    assert all(np.isfinite(judgement.scores).all() for judgement in judgements)


def test_no_response_is_refused(one):
    assert "at least one" in refusal(one, responses=[])


def test_more_responses_than_the_limit_are_refused_and_the_limit_named(one):
    text = refusal(one, responses=["a"] * 65, error=LimitError)
    assert "N=65" in text
    assert "limit of this bundle is 64" in text


@pytest.mark.parametrize("responses", [[""], ["", "a"], ["a", "", "b"], ["a", ""], ["", "", ""]])
def test_an_empty_response_is_scored_as_what_it_is(responses, judging):
    judgement = judging.score("Which?", responses)
    assert len(judgement.scores) == len(responses)
    assert np.isfinite(judgement.scores).all()


def test_identical_responses_are_each_scored(judging):
    judgement = judging.score("Which?", ["the same"] * 5)
    assert len(judgement.scores) == 5
    assert np.isfinite(judgement.scores).all()


def test_a_response_sees_only_those_before_it(judging):
    """Another last response changes no score before it; another first one changes those after it."""
    scores = np.array(judging.score("Which?", ["one", "two", "three"]).scores)
    other_last = np.array(judging.score("Which?", ["one", "two", "something else"]).scores)
    other_first = np.array(judging.score("Which?", ["something else", "two", "three"]).scores)
    np.testing.assert_allclose(other_last[:2], scores[:2], rtol=0, atol=SAME)
    assert (np.abs(other_first[1:] - scores[1:]) > 1e-4).all()


def test_one_string_as_responses_is_refused(one):
    assert "list" in refusal(one, responses="a single answer")
    assert "list" in refusal(one, responses=b"a single answer")


@pytest.mark.parametrize("response", [None, 3, b"bytes", {"nested"}])
def test_a_response_that_is_no_string_is_refused_by_its_number_and_type(response, one):
    text = refusal(one, responses=["fine", response])
    assert "responses[1]" in text
    assert type(response).__name__ in text


@pytest.mark.parametrize(
    "responses", [5, {"a", "b"}, (text for text in "ab"), object()], ids=["number", "set", "generator", "object"]
)
def test_responses_that_are_no_list_are_refused(responses, one):
    """A set has no order that scores could be in, a generator no length."""
    assert "list" in refusal(one, responses=responses)


def test_a_tuple_is_a_list(one):
    assert one.score("Which?", ("one", "two")).scores == one.score("Which?", ["one", "two"]).scores


def test_an_array_of_strings_is_a_list_or_refused(one):
    result = scores_or_refusal(one, np.array(["one", "two"]))
    assert "list" in result if isinstance(result, str) else result == one.score("Which?", ["one", "two"]).scores


def test_missing_responses_are_refused(one):
    assert "responses" in refusal(one, responses=None)


@pytest.mark.parametrize("prompt", [None, 3, b"bytes", {"a"}])
def test_a_prompt_that_is_no_string_is_refused_by_its_type(prompt, one):
    text = refusal(one, prompt=prompt)
    assert text.startswith("prompt is a")
    assert type(prompt).__name__ in text


def test_an_empty_prompt_is_scored(judging):
    assert np.isfinite(judging.score("", ["one", "two"]).scores).all()


@pytest.mark.parametrize("code", [0xD800, 0xDC80, 0xDFFF])
def test_a_lone_surrogate_is_refused_by_its_place(code, one):
    text = refusal(one, responses=["fine", f"ab{chr(code)}cd"])
    assert "responses[1]" in text
    assert "character 2" in text
    assert f"U+{code:04X}" in text
    assert "prompt" in refusal(one, prompt=chr(code))


@pytest.mark.parametrize(
    "text", ["\0", "\x1b[31m", "\ufeff", "\u202e", "😀" * 50, "e" + "\u0301" * 200, "<|resp_sep|>"]
)
def test_strange_but_valid_text_is_scored(text, judging):
    judgement = judging.score(text, [text, "plain", text])
    assert len(judgement.scores) == 3
    assert np.isfinite(judgement.scores).all()


@pytest.mark.parametrize("character", ["a", " ", "\n", "é", "hello world ", "1"])
def test_a_hundred_thousand_characters_are_scored_or_over_a_named_limit(character, one):
    long = (character * 100_000)[:100_000]
    result = scores_or_refusal(one, ["short", long])
    if isinstance(result, str):
        assert f"limit of this bundle is {one.manifest.limits.L:,}" in result
        assert "L=" in result
    else:
        assert np.isfinite(result).all()


def test_a_long_pack_under_the_limit_is_scored(one):
    judgement = one.score("Which?", ["hello world " * 500, "short"])
    assert np.isfinite(judgement.scores).all()


def test_an_unknown_overflow_is_refused(one):
    assert "'truncate'" in refusal(one, overflow="cut")


# Images


def test_more_images_than_the_limit_are_refused_and_the_limit_named(one):
    text = refusal(one, images=[Image.new("RGB", (3, 3))] * 17, error=LimitError)
    assert "17 images" in text
    assert "limit of this bundle is 16" in text


@pytest.mark.parametrize(
    "images",
    ["photo.jpg", b"bytes", Path("photo.jpg"), Image.new("RGB", (30, 20)), np.zeros((30, 20, 3), np.uint8), 5],
    ids=["text", "bytes", "path", "pil", "array", "number"],
)
def test_one_image_that_is_not_in_a_list_is_refused(images, one):
    text = refusal(one, images=images)
    assert "images" in text
    assert "list" in text


def test_a_bad_image_is_named_by_its_number(one):
    text = refusal(one, images=[IMAGES / "odd_small.png", "nowhere.png"], error=MediaError)
    assert "images[1]" in text
    assert "nowhere.png" in text


def test_what_the_image_shows_and_the_order_of_images_count(one):
    first, second = IMAGES / "odd_small.png", IMAGES / "gradient_square.png"
    both = one.score("Which?", ["one", "two"], images=[first, second]).scores
    swapped = one.score("Which?", ["one", "two"], images=[second, first]).scores
    assert max(abs(a - b) for a, b in zip(both, swapped, strict=True)) > 1e-4


# Batches


def test_the_same_request_gives_the_same_bits_every_time(judging):
    for request in requests_of_every_kind():
        first = judging.score_batch([request])[0].scores
        assert all(judging.score_batch([request])[0].scores == first for _ in range(3))


def test_the_same_batch_gives_the_same_bits_every_time(judging):
    requests = requests_of_every_kind()
    first = [judgement.scores for judgement in judging.score_batch(requests)]
    assert [judgement.scores for judgement in judging.score_batch(requests)] == first


def test_a_request_scores_alone_as_in_a_batch_of_others(judging):
    requests = requests_of_every_kind()
    together = judging.score_batch(requests)
    for request, judgement in zip(requests, together, strict=True):
        alone = judging.score_batch([request])[0]
        np.testing.assert_allclose(judgement.scores, alone.scores, rtol=0, atol=SAME)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_a_batch_does_not_matter(seed, judging):
    requests = requests_of_every_kind()
    expected = judging.score_batch(requests)
    order = np.random.default_rng(seed).permutation(len(requests))
    for place, judgement in zip(order, judging.score_batch([requests[k] for k in order]), strict=True):
        np.testing.assert_allclose(judgement.scores, expected[place].scores, rtol=0, atol=SAME)


def test_padding_to_a_longer_neighbour_changes_nothing(judging):
    """In one run of the graph, where every row is padded to the longest and every N to the largest."""
    requests = requests_of_every_kind()
    prepared = [judging.prepare(request) for request in requests]
    together = judging.forward(prepared)
    assert together.shape == (len(requests), 11)
    for row, alone in zip(together, prepared, strict=True):
        count = len(alone.packs[0].response_end_N)
        np.testing.assert_allclose(row[:count], judging.forward([alone])[0], rtol=0, atol=SAME)
        assert np.isneginf(row[count:]).all()


def test_what_does_not_fit_into_memory_is_refused_before_it_starts(one, monkeypatch):
    from yoj.runtime.engines import onnxruntime

    image = np.zeros((300, 300, 3), np.uint8)
    monkeypatch.setattr(onnxruntime, "free_memory", lambda: 200_000)
    with pytest.raises(EngineError, match=r"vision|crops or frames of P=169 patches needs about .* GiB"):
        one.score("What?", ["a", "b"], images=[image])
    with pytest.raises(EngineError, match=r"rows of L=.* tokens needs about .* GiB"):
        one.score("word " * 500, ["a", "b"])
    assert len(one.score("What?", ["a", "b"]).scores) == 2


def test_no_requests_give_no_judgements(one):
    assert one.score_batch([]) == []


def mixed() -> list[Request]:
    good = requests_of_every_kind()
    return [
        good[0],
        Request("Which?", []),
        good[3],
        Request("Which?", ["a"], ["nowhere.png"]),
        Request("Which?", ["a"] * 65),
        good[2],
    ]


def test_returned_errors_stand_in_their_place_and_leave_the_others_alone(one):
    results = one.score_batch(mixed(), on_error="return")
    kinds = [Judgement, RequestError, Judgement, MediaError, LimitError, Judgement]
    assert [type(result) for result in results] == kinds
    for request, result in zip(mixed(), results, strict=True):
        if isinstance(result, YojError):
            assert "requests[" not in str(result)  # its place says whose it is
        else:
            np.testing.assert_allclose(result.scores, one.score_batch([request])[0].scores, rtol=0, atol=SAME)


def test_only_bad_requests_return_only_errors(one):
    results = one.score_batch([Request("Which?", []), Request(None, ["a"])], on_error="return")
    assert [type(result) for result in results] == [RequestError, RequestError]


def test_the_first_error_is_raised_with_the_number_of_its_request(one):
    with pytest.raises(RequestError, match=r"^requests\[1\]: .*no responses"):
        one.score_batch(mixed())


def test_the_error_of_a_single_request_has_no_number(one):
    assert "requests[" not in refusal(one, responses=[])


def test_truncation_is_reported_in_the_judgement(one):
    """Up to the limit attention would need more memory than a small machine has, so the report is made directly."""
    judgement = judge(np.array([1, 2], np.float32), 1.0, False, cuts=(Truncation(1, 900, 70),))
    assert "response 1 was cut from 900 to 70 characters" in str(judgement)
    assert judgement.to_dict()["cuts"] == ({"response": 1, "characters": 900, "kept": 70},)
    assert one.score("Which?", ["one", "two"], overflow="truncate").cuts == ()


# Judgements

SCORES = st.lists(
    st.one_of(st.floats(-100, 100, width=32), st.sampled_from([0.0, 1.0, -1.0, 1e-30])), min_size=1, max_size=64
)
TEMPERATURES = st.sampled_from([0.05, 0.7, 1.0, 20.0])


def judged(scores: list[float], temperature: float = 1.0) -> Judgement:
    return judge(np.array(scores, np.float32), temperature, False)


@pytest.mark.slow
@settings(deadline=None)
@given(scores=SCORES, temperature=TEMPERATURES)
def test_probabilities_sum_to_one_and_follow_the_scores(scores, temperature):
    judgement = judged(scores, temperature)
    chances = judgement.probabilities
    assert math.isclose(sum(chances), 1, abs_tol=1e-12)
    assert all(0 <= chance <= 1 for chance in chances)
    for one, other in zip(range(len(scores)), range(1, len(scores)), strict=False):
        if judgement.scores[one] >= judgement.scores[other]:
            assert chances[one] >= chances[other]


@pytest.mark.slow
@settings(deadline=None)
@given(scores=SCORES, temperature=TEMPERATURES)
def test_ranks_order_the_scores_and_equal_scores_share_the_better_rank(scores, temperature):
    judgement = judged(scores, temperature)
    ordered = sorted(judgement.scores, reverse=True)
    assert list(judgement.ranks) == [ordered.index(score) + 1 for score in judgement.scores]
    assert judgement.best == judgement.ranks.index(1) == judgement.scores.index(max(judgement.scores))


@pytest.mark.slow
@settings(deadline=None)
@given(scores=SCORES, temperature=TEMPERATURES)
def test_entropy_lies_between_certain_and_undecided(scores, temperature):
    assert 0 <= judged(scores, temperature).entropy <= math.log(len(scores)) + 1e-9


@pytest.mark.slow
@settings(deadline=None)
@given(scores=SCORES)
def test_the_margin_is_between_the_two_highest_scores(scores):
    judgement = judged(scores)
    if len(scores) == 1:
        assert judgement.margin is None
        return
    first, second = sorted(judgement.scores, reverse=True)[:2]
    assert judgement.margin == pytest.approx(first - second, rel=1e-6, abs=1e-30)


def test_entropy_of_equal_scores_is_the_logarithm_of_their_number():
    judgement = judged([0.5] * 4)
    assert judgement.entropy == pytest.approx(math.log(4))
    assert judgement.ranks == (1, 1, 1, 1)
    assert judgement.margin == 0


def test_a_higher_temperature_makes_the_probabilities_more_even():
    entropies = [judged([0.0, 1.0, 3.0], temperature).entropy for temperature in (0.1, 1, 10)]
    assert entropies == sorted(entropies)


def test_probabilities_of_known_scores():
    assert judged([0.0, math.log(3)]).probabilities == pytest.approx([0.25, 0.75])
    assert judged([0.0, math.log(9)], 2.0).probabilities == pytest.approx([0.25, 0.75])


def test_scores_far_apart_give_no_overflow():
    judgement = judged([-30_000.0, 30_000.0], 0.01)
    assert judgement.probabilities == (0.0, 1.0)
    assert judgement.entropy == 0


def test_a_judgement_is_json_and_back(one):
    judgement = one.score("Which?", ["one", "two"], images=[IMAGES / "odd_small.png"])
    read = json.loads(json.dumps(judgement.to_dict(), allow_nan=False))
    assert read["scores"] == list(judgement.scores)
    assert read["ranks"] == list(judgement.ranks)
    assert read["best"] == judgement.best
    assert read["provenance"]["engine"] == "onnxruntime"
    assert read["provenance"]["layout"] == "assistant"
    assert read["timings_ms"]["scorer"] > 0


def test_the_judgement_of_one_response(one):
    judgement = one.score("Which?", ["only"])
    assert judgement.probabilities == (1.0,)
    assert (judgement.best, judgement.ranks, judgement.margin, judgement.entropy) == (0, (1,), None, 0)
    assert "None" not in str(judgement)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_the_printed_table_has_a_line_for_each_response_best_first(count, one):
    judgement = one.score("Which?", [f"answer {k}" for k in range(count)])
    head, *rows, foot = str(judgement).splitlines()
    assert head.split() == ["rank", "response", "score", "P(best)"]
    assert len(rows) == count
    assert [int(row.split()[1]) for row in rows] == sorted(range(count), key=lambda k: -judgement.scores[k])
    assert "entropy" in foot
    assert "not calibrated" in foot


def test_the_table_shows_labels_on_one_short_line_each(one):
    judgement = one.score("Which?", ["one\ntwo", "x" * 500])
    table = judgement.table(["one\ntwo", "x" * 500])
    assert len(table.splitlines()) == 4
    assert "one two" in table
    assert max(map(len, table.splitlines())) < 120
