"""OpenRLHF: an agent executor whose samples of a prompt meet in their process.

Tried with OpenRLHF 0.11.2 without its pins and without vLLM: its own `SingleTurnAgentExecutor` ran in the way in which
its `RolloutRayActor.generate_responses` starts it, on an engine that returned given tokens. No training was run.

A file for ``--train.agent_func_path executor.py``:

>>> from yoj.integrations.openrlhf import GroupExecutor
>>> class AgentExecutor(GroupExecutor):
...     judge = "judge.yoj"
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from openrlhf.utils.agent import SingleTurnAgentExecutor

from yoj.runtime import RequestError
from yoj.runtime.request import Content, Conversation

from ._chats import medium
from ._figures import figures
from ._group import GroupReward
from ._judge import JudgeLike
from ._kinds import is_list
from ._meeting import MeetingPoint
from ._meeting_table import GroupSample, MeetingSettings
from ._settings import RewardSettings
from ._templates import question_in

__all__ = ["GroupExecutor"]

MEND = "Override `question` of the executor: it gets the label, which may hold the question."


@dataclass
class _Gathering:
    """Samples of one prompt that begin together."""

    key: str
    size: int = 0


class GroupExecutor(SingleTurnAgentExecutor):
    """Executor that rewards all samples of a prompt in one pass. Subclasses name the judge.

    OpenRLHF starts the samples of a prompt together, in one process and with the same objects, so that a group is known
    by these before anything is generated. Its training cannot do without a reward: where a group has none, it stops.
    """

    judge: ClassVar[str | Path | JudgeLike]
    """Bundle's folder, URL of a server, or a judge; see `GroupReward`."""
    settings: ClassVar[RewardSettings] = RewardSettings()
    """Settings of the rewards."""
    meeting: ClassVar[MeetingSettings] = MeetingSettings()
    """Settings of the meeting point; its time begins when the first sample of a group has been generated."""

    def __init__(self):
        super().__init__()
        self._meeting = MeetingPoint(GroupReward(self.judge, self.settings).rewards, self.meeting)
        self._begun = itertools.count()
        self._open: dict[tuple[int, ...], _Gathering] = {}

    def question(self, prompt: str, label: Any, tokenizer: Any, images: int) -> Content | Conversation:  # noqa: ARG002
        """Question for the judge, before which its images stand.

        Args:
            prompt: prompt of the policy, in its chat template where ``--data.apply_chat_template`` is given.
            label: label of the row.
            tokenizer: tokenizer or processor of the policy.
            images: number of images.

        Raises:
            RequestError: the prompt is in a chat template, and no single user turn.
        """
        return question_in(prompt, tokenizer, images, MEND)

    async def execute(  # noqa: PLR0913  (as OpenRLHF calls it)
        self,
        prompt: str,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """Generate one sample, and reward it in its group.

        Returns:
            What OpenRLHF's executor returns, with ``reward``, the judge's score as ``scores``, and the group's figures
            as ``extra_logs``.

        Raises:
            RequestError: the prompt or the images cannot be read.
            MeetingError: the group has no reward; see `MeetingPoint.submit`.
        """
        group, place = await self._join(prompt, sampling_params, images)
        shown = _pictures(images)
        question = self.question(prompt, label, hf_tokenizer, len(shown))
        output = await super().execute(
            prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=images
        )
        start, end = output["action_ranges"][-1]
        response = hf_tokenizer.decode(output["observation_tokens"][start:end], skip_special_tokens=True)
        sample = GroupSample(place, question, response, shown)
        met = await asyncio.wrap_future(self._meeting.submit(group.key, group.size, sample))
        logs = figures(met.group)
        return output | {"reward": met.reward, "scores": met.group.scores[met.place], "extra_logs": logs}

    async def _join(self, *common: Any) -> tuple[_Gathering, int]:
        """Group and place of a sample that begins.

        All samples of a prompt are scheduled at once, so that the others have joined when the loop comes back here.
        Who has the same objects later belongs to another group.
        """
        key = tuple(map(id, common))
        if (group := self._open.get(key)) is None:
            group = self._open[key] = _Gathering(f"prompt {next(self._begun)}")
        place, group.size = group.size, group.size + 1
        await asyncio.sleep(0)
        self._open.pop(key, None)
        return group, place


def _pictures(images: Any) -> list[Any]:
    """Images of a row: one or several, of which tables may hold None.

    Raises:
        RequestError: one cannot be loaded, which OpenRLHF would leave out.
    """
    from openrlhf.utils.vlm_utils import load_images

    given = [medium(one) for one in (images if is_list(images) else [images]) if one is not None]
    loaded = cast("list[Any]", load_images(given))
    if len(loaded) != len(given):
        raise RequestError(f"{len(given) - len(loaded)} of the {len(given)} images of a prompt could not be loaded.")
    return loaded
