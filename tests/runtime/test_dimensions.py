"""Named dimensions: the rows that they are read from, their pooling, and what a judgement says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from yoj.runtime import Judgement
from yoj.runtime._judgement import DimensionScores, judge
from yoj.runtime.codec import Reading, decode_judgement, decode_request, encode_judgement
from yoj.runtime.dimensions import Asks, asks_of, by_dimension, pool, pooled
from yoj.runtime.manifest import Dimension, Piece, ValueHead


def head(*dimensions: Dimension, pooling: str = "mean", readout: str = "last") -> ValueHead:
    of = {"type": "linear", "activation": None, "hidden_state": "post_norm", "divisor": 1.0}
    return ValueHead(readout=readout, dimensions=dimensions, pooling=pooling, **of)


def asks(text: str) -> tuple[Piece, ...]:
    return (Piece(kind="text", value=text), Piece(kind="token", value="<|end|>"))


FIRST, SECOND, THIRD = (
    Dimension(name="a", asks=asks("One?")),
    Dimension(name="b", asks=asks("Two?")),
    Dimension(name="c", asks=asks("One?")),
)


def test_equal_questions_share_a_row():
    assert asks_of(head()) == Asks(((),), False)
    assert asks_of(head(Dimension(name="a"), Dimension(name="b"))).rows == ((),)
    found = asks_of(head(FIRST, SECOND, THIRD, readout="token"))
    assert found.rows == (FIRST.asks, SECOND.asks)
    assert [found.of(one) for one in (FIRST, SECOND, THIRD)] == [0, 1, 0]
    assert found.reads_token


def test_each_dimension_is_read_from_its_own_row():
    scores_RNJ = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(4, 3, 3)  # two orders of two questions
    found = by_dimension({"scores": scores_RNJ}, head(FIRST, SECOND, THIRD))
    np.testing.assert_array_equal(found["a"]["scores"], scores_RNJ[[0, 2], :, 0])
    np.testing.assert_array_equal(found["b"]["scores"], scores_RNJ[[1, 3], :, 1])
    np.testing.assert_array_equal(found["c"]["scores"], scores_RNJ[[0, 2], :, 2])


A = {"scores": np.array([[1.0, 5.0, -2.0]], np.float32), "spread": np.array([[3.0, 0.5, 1.0]], np.float32)}
B = {"scores": np.array([[2.0, 1.0, -3.0]], np.float32), "spread": np.array([[4.0, 1.2, 0.1]], np.float32)}


@pytest.mark.parametrize(
    ("rule", "scores", "sigma"),
    [
        ("mean", [1.5, 3.0, -2.5], [2.5, 0.65, 0.5024938]),
        ("sum", [3.0, 6.0, -5.0], [5.0, 1.3, 1.0049876]),
        ("min", [1.0, 1.0, -3.0], [3.0, 1.2, 0.1]),
    ],
)
def test_pooling(rule, scores, sigma):
    found = pool([A, B], rule)
    np.testing.assert_allclose(found["scores"][0], scores, rtol=1e-6)
    np.testing.assert_allclose(found["spread"][0], sigma, rtol=1e-6)
    plain = pool([{"scores": A["scores"]}, {"scores": B["scores"]}], rule)
    assert list(plain) == ["scores"]
    assert found["scores"].dtype == np.float32


def test_outputs_without_dimensions_stay_as_they_are():
    assert pooled(A, head()) is A


def judgement() -> Judgement:
    dimensions = (DimensionScores("instruction", (1.0, 2.0), (0.1, 0.2)), DimensionScores("quality", (3.0, 0.0), None))
    return judge(np.array([2.0, 1.0], np.float32), 1.0, False, dimensions=dimensions, dimension="quality")


def test_a_judgement_shows_and_carries_its_dimensions():
    told = str(judgement())
    assert "instruction    quality" in told.splitlines()[0]
    assert told.splitlines()[1].split()[-2:] == ["1.0000", "3.0000"]
    assert "ranked by quality alone, as the request asks" in told
    encoded = json.loads(json.dumps(encode_judgement(judgement())))
    assert encoded["dimensions"][0] == {"name": "instruction", "scores": [1.0, 2.0], "sigma": [0.1, 0.2]}
    assert encoded["dimension"] == "quality"
    assert decode_judgement(encoded) == judgement()


def test_a_request_in_json_names_the_dimension():
    line = {"prompt": "?", "responses": ["a"], "dimension": "quality"}
    assert decode_request(json.dumps(line).encode()).dimension == "quality"
    of_run = Reading(dimension="instruction")
    assert decode_request(json.dumps(line).encode(), of_run).dimension == "quality"
    assert decode_request(b'{"prompt": "?", "responses": ["a"]}', of_run).dimension == "instruction"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (head(FIRST, FIRST), "names one twice: a, a"),
        (head(readout="token"), "no dimension that says which one"),
        (head(Dimension(name="a"), readout="token"), "asks of 'a' has 0 special tokens"),
        (head(Dimension(name="a", asks=(Piece(kind="media"),))), "has a piece media, which has no meaning there"),
    ],
)
def test_a_head_that_cannot_be_read_is_told(wrong, told):
    assert told in "; ".join(wrong.problems())


def test_a_head_with_questions_is_sound():
    quoting = Dimension(name="d", asks=(Piece(kind="prompt"), *asks("?")))
    assert not [*head(FIRST, SECOND, quoting, readout="token").problems()]
