"""The row that a rationale continues has the tokens of the pack that the model was trained on, up to the rationale."""

from __future__ import annotations

import numpy as np
import pytest
from rationales import ASK, FAMILIES, requests_of
from tiers import with_variants

from yoj.runtime import Request
from yoj.runtime._rationale_row import rationale_script, with_room
from yoj.runtime.errors import RequestError
from yoj.runtime.script import script_of
from yoj.training.samples import explanation

KINDS = {"molmo2": "merged", "qwen3_vl": "qwen3_vl"}
RATIONALE = "The sky is red."


@pytest.mark.parametrize("family", with_variants(FAMILIES))
@pytest.mark.parametrize("name", [*requests_of()])
@pytest.mark.parametrize("response", [0, 1])
def test_tokens_are_those_of_training(family, name, response, scorer):
    judge = scorer(KINDS[family])
    request = requests_of()[name]
    row = judge._preparer.prepare_rationale(request, response, ASK, 4)
    (pack,) = row.packs
    (trained,) = judge.prepare(explanation(request, response, ASK, RATIONALE)).packs
    length = len(pack.input_ids_L) - 4
    assert length == trained.response_start_N[0]
    for got, expected in ((pack.input_ids_L, trained.input_ids_L), (pack.media_L, trained.media_L)):
        assert got[:length].tolist() == expected[:length].tolist()
    assert {*pack.owners} <= {0}
    own, all_of_it = (judge.family.token_inputs(one, row.media) for one in (pack, trained))
    for place, array in own.items():
        # Behind the row positions go on as they do over the rationale.
        np.testing.assert_array_equal(array[..., : length + 4], all_of_it[place][..., : length + 4])


@pytest.mark.parametrize("response", [-1, 2, True, 1.0, None])
def test_a_response_that_is_not_there_is_refused(response):
    told = r"response is .*; the request has N=2 responses, give a whole number from 0 to 1"
    with pytest.raises(RequestError, match=told):
        rationale_script(script_of(requests_of()["text"]), response, ASK)


def test_media_of_other_responses_are_left_out(scorer):
    request = requests_of()["pictures in both"]
    script = rationale_script(script_of(request), 1, ASK)
    assert (script.turns[-1].parts, len(script.media)) == (("Make it red: ", 0, 1, "done", ASK), 2)
    assert script.names == ("prompt[1]", "responses[1][0]")


def test_room_is_text_behind_the_row(scorer):
    (pack,) = scorer().prepare(Request("Which?", ["one"])).packs
    longer = with_room(pack, 3)
    length = len(pack.input_ids_L)
    assert longer.input_ids_L[:length].tolist() == pack.input_ids_L.tolist()
    assert longer.index_L.tolist() == [*range(length + 3)]
    assert not longer.media_L[length:].any()
