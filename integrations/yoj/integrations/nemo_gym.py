"""NeMo Gym: a resources server that rewards the rollouts of a task in one pass.

Tried with nemo-gym 0.7.0: its own `SimpleResourcesServer` served ``/verify`` over HTTP to requests in the form of its
`GenRMCompareResourcesServer`, whose groups these are. Neither its agents nor NeMo RL were run.

A file ``resources_servers/yoj_judge/app.py``, whose configuration has ``judge: judge.yoj`` (or the URL of a server) and
``num_rollouts_per_prompt: 8``, and if wanted ``settings`` and ``meeting`` with fields of `RewardSettings` and
`MeetingSettings`:

>>> from yoj.integrations.nemo_gym import YojResourcesServer
>>> YojResourcesServer.run_webserver()
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import HTTPException
from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    ReverifyMode,
    SimpleResourcesServer,
)
from nemo_gym.global_config import ROLLOUT_INDEX_KEY_NAME, TASK_INDEX_KEY_NAME
from nemo_gym.judge import JudgeError
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from yoj.runtime import RequestError

from ._chats import turns
from ._figures import figures
from ._group import GroupReward
from ._keywords import settings_from
from ._meeting import MeetingPoint
from ._meeting_table import GroupSample, MeetingError, MeetingSettings
from ._settings import RewardSettings

__all__ = ["YojConfig", "YojResourcesServer", "YojVerifyRequest", "YojVerifyResponse"]

CONFLICT, UNREADABLE, UNAVAILABLE = 409, 422, 503
ROLES = {"developer": "system"}
"""Role of the Responses API -> that of a conversation."""


class YojConfig(BaseResourcesServerConfig):
    """Configuration of the server."""

    REVERIFY_MODE: ClassVar[ReverifyMode] = ReverifyMode.UNSUPPORTED

    judge: str
    num_rollouts_per_prompt: int = Field(ge=2)
    settings: dict[str, Any] = Field(default_factory=dict)
    meeting: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_process(self) -> YojConfig:
        if (self.num_workers or 1) > 1:
            raise ValueError("num_workers is above 1: groups meet in one process. Leave it at 1.")
        return self


class YojVerifyRequest(BaseVerifyRequest):
    """Rollout with its place in its group, as `GenRMCompareResourcesServer` takes it."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, serialize_by_alias=True)

    task_index: int | None = Field(default=None, alias=TASK_INDEX_KEY_NAME)
    rollout_index: int | None = Field(default=None, alias=ROLLOUT_INDEX_KEY_NAME)
    group_id: str | None = Field(default=None, alias="_ng_group_id")
    group_attempt: int = Field(default=0, alias="_ng_group_attempt", ge=0)
    prompt_id: str | None = None


class YojVerifyResponse(BaseVerifyResponse):
    """Reward, with the judge's score and the group's figures as fields of their own, and the place in the group."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, serialize_by_alias=True)

    rollout_index: int | None = Field(default=None, alias=ROLLOUT_INDEX_KEY_NAME)
    group_id: str | None = Field(default=None, alias="_ng_group_id")
    group_attempt: int = Field(default=0, alias="_ng_group_attempt")


@dataclass
class _Run:
    """One time at which the rollouts of a task were made."""

    number: int = 0
    responses: dict[int, bytes] = field(default_factory=dict[int, bytes])


class YojResourcesServer(SimpleResourcesServer):
    """Server whose ``/verify`` answers when all rollouts of a group have come."""

    config: YojConfig
    ray_enabled = False
    _meeting: MeetingPoint = PrivateAttr()
    _runs: dict[str, _Run] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Make the meeting point; the judge is opened when the first group is whole."""
        super().model_post_init(context)
        reward = GroupReward(self.config.judge, settings_from(RewardSettings, self.config.settings, "settings"))
        self._meeting = MeetingPoint(reward.rewards, settings_from(MeetingSettings, self.config.meeting, "meeting"))

    async def verify(self, body: YojVerifyRequest) -> YojVerifyResponse:
        """Reward of a rollout in its group.

        A group that the judge fails for ends as one whose judge failed in the sense of NeMo Gym: its rollouts are
        masked, with the reason.

        Raises:
            HTTPException: 422 where the rollout does not say its group or cannot be read, 409 where it contradicts its
                group, 503 where others of the group did not come in time.
            JudgeError: the judge failed.
        """
        size, index = self.config.num_rollouts_per_prompt, body.rollout_index
        if index is None or not 0 <= index < size:
            raise HTTPException(UNREADABLE, f"{ROLLOUT_INDEX_KEY_NAME} is {index!r}; give 0 to {size - 1}.")
        response = _answer(body.response)
        try:
            sample = GroupSample(index, _prompt(body.responses_create_params), response)
        except RequestError as error:
            raise HTTPException(UNREADABLE, str(error)) from error
        name, run = self._run(body, index, response)
        try:
            met = await asyncio.wrap_future(self._meeting.submit(f"{name}, run {run.number}", size, sample))
        except MeetingError as error:
            if self._runs.get(name) is run:
                self._runs[name] = _Run(run.number + 1)
            if error.reason == "judge":
                raise JudgeError(str(error)) from error
            raise HTTPException(CONFLICT if error.reason == "conflict" else UNAVAILABLE, str(error)) from error
        about = {"yoj/score": met.group.scores[met.place]} | figures(met.group)
        return YojVerifyResponse(
            responses_create_params=body.responses_create_params,
            response=body.response,
            reward=met.reward,
            rollout_index=index,
            group_id=body.group_id,
            group_attempt=body.group_attempt,
            **{name.replace("/", "_"): value for name, value in about.items()},
        )

    def _run(self, body: YojVerifyRequest, index: int, response: str) -> tuple[str, _Run]:
        """Name of a group, and the time at which it is made.

        Where callers give no id of the group, the same task comes again in later steps: a new run begins when one is
        whole and another response comes.
        """
        named = {"group": body.group_id, "task": body.task_index, "prompt": body.prompt_id}
        kind, value = next(((kind, one) for kind, one in named.items() if one is not None), (None, None))
        if kind is None:
            raise HTTPException(
                UNREADABLE, f"The rollout names no group; give _ng_group_id, {TASK_INDEX_KEY_NAME} or prompt_id."
            )
        name = f"{kind} {value}" + (f", attempt {body.group_attempt}" if kind == "group" else "")
        run, digest = self._runs.setdefault(name, _Run()), hashlib.sha256(response.encode()).digest()
        whole = len(run.responses) == self.config.num_rollouts_per_prompt
        if kind != "group" and whole and run.responses[index] != digest:
            run = self._runs[name] = _Run(run.number + 1)
        run.responses.setdefault(index, digest)
        return name, run


def _answer(response: Any) -> str:
    """Text of the last message of a response of the Responses API; empty where there is none."""
    messages = [one for one in response.output if one.type == "message"]
    return "".join(part.text for part in messages[-1].content if part.type == "output_text") if messages else ""


def _prompt(params: Any) -> list[dict[str, Any]]:
    """Conversation of a request of the Responses API.

    Raises:
        RequestError: there are calls of tools, which a judge cannot read.
    """
    given: dict[str, Any] = params.model_dump(mode="json", exclude_none=True)
    items: Any = given["input"]
    messages: list[Any] = [{"role": "user", "content": items}] if isinstance(items, str) else items
    if instructions := given.get("instructions"):
        messages = [{"role": "system", "content": instructions}, *messages]
    if other := sorted({str(one.get("type")) for one in messages} - {"message", "None"}):
        raise RequestError(f"The prompt has items of the type {', '.join(other)}; a judge reads messages alone.")
    return turns({"role": ROLES.get(one["role"], one["role"]), "content": one.get("content")} for one in messages)
