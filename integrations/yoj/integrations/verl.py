"""verl: a reward manager whose samples meet in one actor of Ray.

Tried with verl 0.9.1 on the CPU: its own `RewardLoopManager` and workers, configured by its own `ppo_trainer`, scored
batches (of which verl repeats rows) and single trajectories on a local Ray. No training was run, and no GPU.

::

    python -m verl.trainer.main_ppo ... reward.reward_manager.source=importlib \\
        reward.reward_manager.name=YojRewardManager reward.reward_manager.module.path=pkg://yoj.integrations.verl \\
        +reward.reward_kwargs.judge=judge.yoj +reward.reward_kwargs.actor.num_cpus=4

``reward.reward_kwargs`` takes ``judge`` (a bundle's folder, or the URL of a server), ``settings`` (fields of
`RewardSettings`), ``meeting`` (fields of `MeetingSettings`) and ``actor`` (Ray's options for the actor of the judge).
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import asyncio
from typing import Any, cast

from omegaconf import OmegaConf
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from yoj.runtime import RequestError

from ._figures import figures
from ._keywords import check_names, settings_from
from ._meeting_table import MeetingSettings
from ._settings import RewardSettings
from ._trajectory import group_size, key_of, sample_of
from .ray import meeting_actor

__all__ = ["YojRewardManager"]

ACTOR = "yoj-judge"
WHERE = "reward.reward_kwargs"


class YojRewardManager(RewardManagerBase):
    """Reward manager that gives each trajectory its reward in its group.

    verl sends a trajectory to any worker, so that those of a group come together in an actor, where they are scored in
    one pass. A group that fails raises in all its trajectories: verl's V1 trainer then leaves it out, the older one
    stops.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any,
        reward_router_address: str | None = None,  # noqa: ARG002  (verl gives it)
        reward_model_tokenizer: Any = None,  # noqa: ARG002
    ):
        """Take verl's configuration and start the actor, or find it.

        Raises:
            RequestError: the configuration names no judge, something that nothing would read, or a reward of verl's own
                beside the judge.
            MeetingError: the actor is there with another judge or other settings.
        """
        super().__init__(config, tokenizer, compute_score)
        given = _plain(config.reward.get("reward_kwargs"))
        check_names(given, ["judge", "settings", "meeting", "actor"], WHERE)
        if not given.get("judge"):
            raise RequestError(f"{WHERE} names no judge; add +{WHERE}.judge=judge.yoj, or the URL of a server.")
        if config.reward.reward_model.enable or config.reward.custom_reward_function.path is not None:
            raise RequestError(
                "reward.reward_model.enable or reward.custom_reward_function.path is set: verl would score with that, "
                "or it would not be read. Leave both out; the judge is the reward."
            )
        rollout = config.actor_rollout_ref.rollout
        self._sizes = (int(rollout.n), int(rollout.val_kwargs.n))
        self._actor = meeting_actor(
            ACTOR,
            given["judge"],
            settings_from(RewardSettings, given.get("settings"), f"{WHERE}.settings"),
            settings_from(MeetingSettings, given.get("meeting"), f"{WHERE}.meeting"),
            given.get("actor"),
        )

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Reward of a trajectory, as soon as its group is whole.

        Args:
            data: verl's DataProto: the rows of one trajectory, of which the last one is scored.

        Returns:
            ``reward_score``, and the score and the group's figures as ``reward_extra_info``.

        Raises:
            RequestError: the trajectory does not say its group, or its prompt cannot be read.
            MeetingError: its group has no reward; see `MeetingPoint.submit`.
        """
        item = data[len(data) - 1]
        key, size = key_of(item.non_tensor_batch), group_size(item.non_tensor_batch, *self._sizes)
        sample = await asyncio.to_thread(sample_of, item, self.tokenizer)
        met = await self._actor.reward.remote(key, size, sample)
        extra = {"yoj/score": met.group.scores[met.place]} | figures(met.group)
        return {"reward_score": met.reward, "reward_extra_info": extra}


def _plain(config: Any) -> dict[str, Any]:
    """Configuration of OmegaConf as dictionaries."""
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(config or {}), resolve=True))
