"""Trajectories of verl: what its reward loop hands over, as samples of a meeting point."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, cast

from yoj.runtime import RequestError

from ._chats import turns
from ._meeting_table import GroupSample


def group_size(fields: Mapping[str, Any], trained: int, validated: int) -> int:
    """Number of responses of the group to which a trajectory belongs.

    verl does not tell its reward managers whether they see training or validation; where the numbers differ, the split
    that its scripts for data write into ``extra_info`` must.

    Args:
        fields: fields of the trajectory that are no tensors.
        trained: ``rollout.n``.
        validated: ``rollout.val_kwargs.n``.

    Raises:
        RequestError: the numbers differ, and there is no split.
    """
    if trained == validated:
        return trained
    about = fields.get("extra_info")
    split = cast("Mapping[str, Any]", about).get("split") if isinstance(about, Mapping) else None
    if split is None:
        raise RequestError(
            f"rollout.n is {trained} and rollout.val_kwargs.n {validated}, and verl does not say of which a sample is. "
            "Make them equal, or write extra_info.split into the rows of the data: 'train' for training."
        )
    return trained if split == "train" else validated


def key_of(fields: Mapping[str, Any]) -> str:
    """Key of the group of a trajectory, which verl draws for each prompt of a step.

    Raises:
        RequestError: there is none.
    """
    if (uid := fields.get("uid")) is None:
        raise RequestError(
            f"verl's sample has no uid, but {', '.join(sorted(fields))}: nothing tells which samples belong together. "
            "With a reward model on the training GPUs verl hands none over; leave reward.reward_model.enable off."
        )
    return str(uid)


def sample_of(item: Any, tokenizer: Any) -> GroupSample:
    """Sample of a trajectory.

    Args:
        item: verl's DataProtoItem: the tensors ``responses`` [R] and ``attention_mask`` [L], and the fields
            ``raw_prompt`` and, in the V1 trainer, ``session_id`` and ``response_len``.
        tokenizer: tokenizer of the policy. Special tokens are left out of the response.

    Raises:
        RequestError: the prompt cannot be read.
    """
    fields = item.non_tensor_batch
    response = tokenizer.decode(_tokens(item), skip_special_tokens=True)
    session = fields.get("session_id")
    # The older trainer names no rollouts and sends each once. Responses stand in the order of these names.
    own = f"{hashlib.sha256(response.encode()).hexdigest()}-{uuid.uuid4().hex}" if session is None else int(session)
    return GroupSample(own, turns(fields["raw_prompt"]), response)


def _tokens(item: Any) -> Any:
    """Tokens of the response without padding.

    The rows of one trajectory are padded at the end of the whole row, so that the mask of all but the longest does not
    tell the length of the response. Where verl says the length, it counts.
    """
    responses = item.batch["responses"]
    length = item.non_tensor_batch.get("response_len")
    return responses[: int(item.batch["attention_mask"][-responses.shape[-1] :].sum() if length is None else length)]
