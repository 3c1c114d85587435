"""slime: a reward function of whole groups.

Written against a recorded contract, tests/data/contracts/slime.json: slime itself was never run here, since it needs
Megatron and SGLang. Evaluation cannot use it: slime refuses ``--group-rm`` there.

::

    --group-rm --custom-rm-path yoj.integrations.slime.reward --custom-config-path yoj.yaml

The file ``yoj.yaml`` holds ``yoj_judge: judge.yoj`` (or the URL of a server) and, if wanted, ``yoj_settings`` with
fields of `RewardSettings`.
"""

# pyright: reportMissingImports=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

from yoj.runtime import Request, RequestError
from yoj.runtime.error_texts import shorten

from ._chats import turns
from ._figures import report
from ._group import GroupReward
from ._keywords import settings_from
from ._kinds import is_list
from ._settings import RewardSettings
from ._templates import question_in, without_end

__all__ = ["reward"]

MEND = "Leave out --apply-chat-template, or give prompts of one user turn."
UNFINISHED = ("pending", "aborted")
"""Values of a sample's status that has no response yet."""


async def reward(args: Any, samples: Sequence[Any]) -> list[float]:
    """Rewards [N] of the samples of one prompt.

    Args:
        args: arguments of slime, with ``yoj_judge``.
        samples: samples of slime.

    Returns:
        One reward for each sample, in their order.

    Raises:
        RequestError: there is no group of finished samples of one prompt, or no judge is named.
        YojError: the group has no rewards. slime takes numbers alone, so training ends with the reason.
    """
    request = await asyncio.to_thread(_request, args, samples)
    (answer,) = await asyncio.to_thread(_judge(args).rewards, [request])
    report([answer])
    if answer.rewards is None:
        raise answer.error or RequestError(f"The judge gave no rewards for {request.id!r}, and no reason.")
    return list(answer.rewards)


def _judge(args: Any) -> GroupReward:
    judge = getattr(args, "yoj_judge", None)
    if not isinstance(judge, str):
        raise RequestError(f"yoj_judge is {judge!r}; write yoj_judge: judge.yoj into the file of --custom-config-path.")
    return _opened(judge, settings_from(RewardSettings, getattr(args, "yoj_settings", None), "yoj_settings"))


@functools.cache
def _opened(judge: str, settings: RewardSettings) -> GroupReward:
    return GroupReward(judge, settings)


def _request(args: Any, samples: Any) -> Request:
    """Request of a group."""
    if not is_list(samples) or not samples or any(is_list(one) for one in samples):
        raise RequestError(
            f"slime gave {shorten(repr(samples), 80)} for a group of samples. Give --group-rm; of a rollout that is "
            "split into several samples no response is known."
        )
    first = samples[0]
    for sample in samples:
        if sample.status.value in UNFINISHED:
            raise RequestError(f"Sample {sample.index} of group {sample.group_index} is {sample.status.value}.")
        if (sample.group_index, sample.prompt) != (first.group_index, first.prompt):
            raise RequestError(
                f"Sample {sample.index} of group {sample.group_index} has another prompt or group than sample "
                f"{first.index} of group {first.group_index}, with which it came."
            )
    text, policy = isinstance(first.prompt, str), _policy(args.hf_checkpoint)
    images = _images(first) if text else []  # in messages they stand in their parts
    return Request(
        question_in(first.prompt, policy, len(images), MEND) if text else turns(first.prompt),
        [without_end(sample.response, policy) for sample in samples],
        images,
        id=None if first.group_index is None else f"group {first.group_index}",
    )


def _images(sample: Any) -> list[Any]:
    media: dict[str, Any] = {kind: given for kind, given in (sample.multimodal_inputs or {}).items() if given}
    images: list[Any] = list(media.pop("images", []))
    if media:
        raise RequestError(f"A prompt has {', '.join(media)}; of media images alone are read here.")
    return images


@functools.cache
def _policy(checkpoint: str) -> Any:
    """Processor of the policy, or its tokenizer where it has none."""
    from slime.utils.processing_utils import load_processor, load_tokenizer

    return load_processor(checkpoint, trust_remote_code=True) or load_tokenizer(checkpoint, trust_remote_code=True)
