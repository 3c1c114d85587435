"""Trajectories in the form in which `AgentLoopWorker._compute_score` of verl 0.9.1 hands them over."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from yoj.integrations._trajectory import group_size, key_of, sample_of
from yoj.runtime import RequestError

END = 1
"""A special token. 0, which verl pads with, is a token like any other."""


class Characters:
    """Tokenizer whose tokens are characters."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(chr(one) if one else "!" for one in ids if one != END)


def item(rows, fields=None, **others):
    """Last row of a trajectory: prompt and response of each row, padded at the end of the whole row."""
    whole = [[*map(ord, prompt), *map(ord, response), END] for prompt, response in rows]
    ends = [[*map(ord, response), END] for _, response in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones(len(ids), dtype=torch.int64) for ids in whole], batch_first=True)
    batch = {"responses": pad([torch.tensor(ids) for ids in ends], batch_first=True)[-1], "attention_mask": mask[-1]}
    turns = np.array([{"role": "user", "content": "Which?", "name": None}])
    known = {"raw_prompt": turns, "session_id": np.int64(2), "response_len": len(ends[-1]), "uid": np.str_("a")}
    return types.SimpleNamespace(batch=batch, non_tensor_batch=(known if fields is None else fields) | others)


def test_the_response_has_no_padding_and_no_special_tokens():
    sample = sample_of(item([("Which?", "A cat.")]), Characters())
    assert (sample.id, sample.response) == (2, "A cat.")
    assert sample.prompt == [{"role": "user", "content": "Which?"}]


def test_a_last_turn_that_is_shorter_than_the_others_is_not_cut():
    rows = [("Which?", "A first turn that is long."), ("And what else is there to be seen?", "A dog.")]
    assert sample_of(item(rows), Characters()).response == "A dog."


def test_without_its_length_the_mask_tells_the_response():
    fields = {"raw_prompt": [{"role": "user", "content": "Which?"}], "uid": "a"}
    assert sample_of(item([("Which?", "A cat.")], fields), Characters()).response == "A cat."


def test_equal_responses_without_a_session_are_two_samples_in_one_place():
    fields = {"raw_prompt": [{"role": "user", "content": "Which?"}], "uid": "a"}
    first, second = (sample_of(item([("Which?", "A cat.")], fields), Characters()).id for _ in range(2))
    other = sample_of(item([("Which?", "A dog.")], fields), Characters()).id
    assert first != second
    assert first[:64] == second[:64] != other[:64]


def test_pictures_stay_in_the_prompt():
    content = [{"type": "image", "image": "a.png", "text": None}, {"type": "text", "text": "Which?", "image": None}]
    sample = sample_of(item([("Which?", "A cat.")], raw_prompt=[{"role": "user", "content": content}]), Characters())
    assert sample.prompt[0]["content"] == [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Which?"}]


@pytest.mark.parametrize(("split", "size"), [("train", 8), ("test", 1), ("validation", 1)])
def test_the_split_tells_the_size_of_the_group(split, size):
    assert group_size({"extra_info": {"split": split}}, 8, 1) == size


def test_equal_sizes_need_no_split():
    assert group_size({}, 8, 8) == 8


@pytest.mark.parametrize("fields", [{}, {"extra_info": None}, {"extra_info": {"index": 3}}])
def test_sizes_that_differ_without_a_split_are_refused(fields):
    with pytest.raises(RequestError) as error:
        group_size(fields, 8, 1)
    assert str(error.value) == (
        "rollout.n is 8 and rollout.val_kwargs.n 1, and verl does not say of which a sample is. Make them equal, or "
        "write extra_info.split into the rows of the data: 'train' for training."
    )


def test_a_trajectory_without_a_uid_is_refused():
    assert key_of({"uid": np.str_("a")}) == "a"
    with pytest.raises(RequestError) as error:
        key_of({"raw_prompt": [], "data_source": "x"})
    assert "verl's sample has no uid, but data_source, raw_prompt" in str(error.value)
    assert "leave reward.reward_model.enable off" in str(error.value)
