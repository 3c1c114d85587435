"""Named dimensions: the rows that they are read from, their pooling, and what a judgement says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from packs import script
from recorded import MERGED

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts.layout import encoder_of, render_layout
from yoj.runtime import Judgement
from yoj.runtime._judgement import DimensionScores, judge
from yoj.runtime.codec import Reading, decode_judgement, decode_request, encode_judgement
from yoj.runtime.dimensions import Asks, asks_of, by_dimension, pool, pooled
from yoj.runtime.manifest import Dimension, Piece, ValueHead
from yoj.runtime.orders import draw_orders
from yoj.runtime.packing import Pack, Packer, PackingOptions


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


@pytest.fixture(scope="module")
def rows():
    """rows(asks, responses, mode, orders) -> packs in the layout of a recorded checkpoint."""
    checkpoint = Checkpoint.open([MERGED])
    encoder, layout = encoder_of(checkpoint), render_layout(checkpoint, "assistant", open_family(checkpoint).markup())

    def make(asked: Asks, responses: list[str], **reading) -> tuple[Pack, ...]:
        packer = Packer(encoder, layout, 10**6, asked)
        return packer.pack(script("Which?", responses), (), PackingOptions(**reading))

    make.end = encoder.token_id("<|im_end|>")
    return make


ONE, TWO = (Piece(kind="text", value=" It is good?"),), (Piece(kind="text", value=" It is two?"),)
END = Piece(kind="token", value="<|im_end|>")
RESPONSES = ["A red car.", "No.", "Two trees, and not three."]


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_a_question_is_the_end_of_each_response(mode, rows):
    reading = {"mode": mode, "orders": draw_orders(3, 2) if mode == "joint" else None}
    got = rows(Asks((ONE, TWO)), RESPONSES, **reading)
    each = [rows(Asks(), [f"{response}{ask[0].value}" for response in RESPONSES], **reading) for ask in (ONE, TWO)]
    expected = [pack for of_order in zip(*each, strict=True) for pack in of_order]
    assert len(got) == (4 if mode == "joint" else 2)
    for pack, plain in zip(got, expected, strict=True):
        for name in ("input_ids_L", "segment_L", "index_L", "response_start_N", "response_end_N"):
            np.testing.assert_array_equal(getattr(pack, name), getattr(plain, name))


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_the_special_token_of_a_question_is_read(mode, rows):
    tail = Piece(kind="text", value="\n\nIt shows.")
    orders = draw_orders(3, 3) if mode == "joint" else None
    got = rows(Asks(((*ONE, END, tail), (*TWO, END)), True), RESPONSES, mode=mode, orders=orders)
    plain = rows(Asks(((*ONE, END, tail), (*TWO, END))), RESPONSES, mode=mode, orders=orders)
    for pack, other in zip(got, plain, strict=True):
        np.testing.assert_array_equal(pack.input_ids_L, other.input_ids_L)
        assert (pack.input_ids_L[pack.response_end_N] == rows.end).all()
        assert (pack.response_start_N < pack.response_end_N).all()
        assert len(set(pack.response_end_N.tolist())) == 3
    assert (got[0].response_end_N < plain[0].response_end_N).all(), "text stands behind the token"


def test_a_prompt_that_a_question_quotes_stands_nowhere_else(rows):
    quoting = (Piece(kind="text", value=" Asked: "), Piece(kind="prompt"))
    (quoted,) = rows(Asks((quoting,)), ["No."], mode="isolated")
    (plain,) = rows(Asks(((Piece(kind="text", value=" Asked: Which?"),),)), ["No."], mode="isolated")
    assert len(quoted.input_ids_L) < len(plain.input_ids_L)
    assert quoted.input_ids_L[-4:].tolist() == plain.input_ids_L[-4:].tolist()
