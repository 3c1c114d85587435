"""ms-swift: a reward function whose groups are the responses of one prompt.

Tried with ms-swift 4.6.0: the rewards went through its own `swift.rl_core.grpo_algorithm.score_completions` into its
`compute_advantages`, with samples made by its `GRPOSample`. No training was run, and neither Megatron nor multi-turn.

A file for ``--external_plugins plugin.py --reward_funcs yoj``:

>>> from yoj.integrations.swift import register
>>> register("judge.yoj")
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from yoj.runtime import Request, RequestError

from ._chats import medium, turns
from ._figures import report
from ._group import GroupReward
from ._identity import identity
from ._judge import JudgeLike
from ._settings import RewardSettings

__all__ = ["YojReward", "register"]

MEDIA = ("images", "videos", "audios")


def register(judge: str | Path | JudgeLike, settings: RewardSettings | None = None) -> None:
    """Register the reward as ``orms["yoj"]``.

    Args:
        judge: a bundle's folder, the URL of a server, or a judge; see `GroupReward`.
        settings: settings of the reward; None for the default ones.
    """
    from swift.rewards import orms  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    orms["yoj"] = functools.partial(YojReward, judge, settings)


class YojReward:
    """Reward function of ms-swift.

    ms-swift gives rows with equal messages one ``prompt_id``, and messages name pictures by ``<image>`` alone. So a
    group here is what has the same id and the same media, and of its rows ``num_generations`` in a row.
    """

    def __init__(self, judge: str | Path | JudgeLike, settings: RewardSettings | None = None, args: Any = None):
        """Take a judge, which is opened when it is first used.

        Args:
            judge: a bundle's folder, the URL of a server, or a judge.
            settings: settings of the reward; None for the default ones.
            args: arguments of the trainer, which ms-swift gives.

        Raises:
            RequestError: the arguments do not say how many responses a group has, or a group would be spread over
                several processes.
        """
        size = getattr(args, "num_generations", None)
        if not isinstance(size, int):
            raise RequestError(
                f"The arguments of ms-swift have num_generations {size!r}, which is the size of a group."
            )
        of_eval = getattr(args, "num_generations_eval", None)
        self._sizes = (size, of_eval) if isinstance(of_eval, int) else (size,)
        _check_whole(args, size)
        self._reward = GroupReward(judge, settings)

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Rewards [rows] of completions; None for all of a group that failed.

        Args:
            completions: the last message of each row.
            columns: columns of ms-swift, each of one value for a row: ``messages``, ``prompt_id``, ``images``,
                ``videos``, ``audios``; and ``trainer_state``.

        Raises:
            RequestError: rows that are no whole groups, or prompts that differ in a group.
            YojError: the judge cannot be opened.
        """
        groups = [chunk for rows in _alike(columns, len(completions)) for chunk in self._chunks(rows, columns)]
        step = getattr(columns.get("trainer_state"), "global_step", None)
        keys = [None if step is None else f"step {step}: row {rows[0]}" for rows in groups]
        answers = self._reward.rewards(
            [_request(rows, completions, columns, key) for rows, key in zip(groups, keys, strict=True)]
        )
        report(answers)
        rewards: list[float | None] = [None] * len(completions)
        for rows, answer in zip(groups, answers, strict=True):
            for row, reward in zip(rows, answer.rewards or [None] * len(rows), strict=True):
                rewards[row] = reward
        return rewards

    def _chunks(self, rows: Sequence[int], columns: Mapping[str, Any]) -> list[Sequence[int]]:
        """Groups of rows with one prompt, which may have been drawn several times."""
        size = next((size for size in self._sizes if len(rows) % size == 0), None)
        if size is None:
            raise RequestError(
                f"{columns['prompt_id'][rows[0]]} has {len(rows)} responses with the same media in this process, which "
                f"are no whole groups of {' or '.join(map(str, self._sizes))}. Make per_device_train_batch_size x "
                "steps_per_generation, and per_device_eval_batch_size, multiples of num_generations."
            )
        return [rows[start : start + size] for start in range(0, len(rows), size)]


def _check_whole(args: Any, size: int) -> None:
    """Refuse batches whose groups would be spread over processes, where the trainer's arguments tell."""
    batch, steps = (getattr(args, name, None) for name in ("per_device_train_batch_size", "steps_per_generation"))
    if isinstance(batch, int) and isinstance(steps, int) and batch * steps % size:
        raise RequestError(
            f"per_device_train_batch_size {batch} x steps_per_generation {steps} = {batch * steps} is no multiple of "
            f"num_generations {size}, so that a group would be spread over several processes. Make it one."
        )


def _alike(columns: Mapping[str, Any], count: int) -> list[list[int]]:
    """Rows of the same prompt and media, in the order of their first."""
    found: dict[object, list[int]] = {}
    for row in range(count):
        media = identity([_media(columns, kind, row) for kind in MEDIA])[0]
        found.setdefault((columns["prompt_id"][row], media), []).append(row)
    return list(found.values())


def _media(columns: Mapping[str, Any], kind: str, row: int) -> list[Any]:
    given: Any = columns[kind][row] if columns.get(kind) is not None else None
    if given is None:
        return []
    return [medium(one) for one in (cast("Sequence[Any]", given) if isinstance(given, list | tuple) else [given])]


def _request(rows: Sequence[int], completions: Sequence[str], columns: Mapping[str, Any], key: str | None) -> Request:
    prompts = [columns["messages"][row][:-1] for row in rows]
    if any(prompt != prompts[0] for prompt in prompts):
        raise RequestError(
            f"The prompts of {columns['prompt_id'][rows[0]]} differ in its group: the judge reads responses to one "
            "prompt, and no trajectories of several turns."
        )
    images, videos, audios = (_media(columns, kind, rows[0]) for kind in MEDIA)
    if len(videos) > 1 or audios:
        raise RequestError(
            f"A prompt has {len(videos)} videos and {len(audios)} audios; a judge reads one video at most."
        )
    return Request(
        turns(prompts[0]),
        [completions[row] for row in rows],
        images,
        next(iter(videos), None),
        placeholders="media",
        id=key,
    )
