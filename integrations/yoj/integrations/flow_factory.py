"""Flow-Factory: groupwise rewards of generated and of edited images.

Written against a recorded contract, tests/data/contracts/flow_factory.json: Flow-Factory itself was never run here,
since it needs a diffusion model and a GPU.

::

    rewards:
      - name: yoj
        reward_model: yoj.integrations.flow_factory.GroupwiseEditReward
        judge: judge.yoj
        orders: 2

Beside ``judge`` (or the URL of a server) stand the fields of `RewardSettings`.
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flow_factory.rewards import GroupwiseRewardModel, RewardModelOutput

from yoj.runtime import Image, Request, RequestError

from ._figures import report
from ._group import GroupReward
from ._keywords import settings_from
from ._settings import RewardSettings

__all__ = ["GroupwiseEditReward", "GroupwiseImageReward"]


class GroupwiseImageReward(GroupwiseRewardModel):
    """Reward of images that were generated from a prompt alone."""

    required_fields = ("prompt", "image")
    use_tensor_inputs = False

    def __init__(self, config: Any, accelerator: Any):
        """Take the judge that the configuration names; it is opened when the first group comes.

        Args:
            config: configuration of Flow-Factory, with ``judge`` and fields of `RewardSettings` among its extra ones.
            accelerator: accelerator of the trainer.

        Raises:
            RequestError: there is no judge, or another extra field has a name that nothing reads or a wrong value.
        """
        super().__init__(config, accelerator)
        given = {**config.extra_kwargs}
        judge = given.pop("judge", None)
        if not isinstance(judge, str):
            raise RequestError(f"judge of the reward {config.name!r} is {judge!r}; write judge: judge.yoj beside it.")
        self._reward = GroupReward(judge, settings_from(RewardSettings, given, f"the reward {config.name!r}"))

    def __call__(
        self, prompt: Sequence[str], image: Sequence[Any] | None = None, condition_images: Any = None
    ) -> RewardModelOutput:
        """Reward the images of one group.

        Args:
            prompt: the group's prompt, once for each image.
            image: PIL images.
            condition_images: for each image a list of the pictures that were given with the prompt; None without.

        Returns:
            One reward for each image, in their order.

        Raises:
            RequestError: there are no images, such as of a model of videos; or their prompts are not one.
            YojError: the group has no rewards. Flow-Factory takes numbers alone, so training ends with the reason.
        """
        if image is None:
            raise RequestError("Flow-Factory gave a group without images; a judge reads these and no videos.")
        if len(set(prompt)) != 1:
            raise RequestError(f"Flow-Factory gave one group with {len(set(prompt))} prompts: {sorted(set(prompt))}.")
        sources = () if condition_images is None else condition_images[0]
        (answer,) = self._reward.rewards([Request(prompt[0], [Image(one) for one in image], sources)])
        report([answer])
        if answer.rewards is None:
            raise answer.error or RequestError("The judge gave no rewards, and no reason.")
        return RewardModelOutput(rewards=list(answer.rewards))


class GroupwiseEditReward(GroupwiseImageReward):
    """Reward of edited images, which the judge compares with the pictures that were edited."""

    required_fields = ("prompt", "image", "condition_images")

    def __call__(
        self, prompt: Sequence[str], image: Sequence[Any] | None = None, condition_images: Any = None
    ) -> RewardModelOutput:
        """Reward the images of one group; see `GroupwiseImageReward`.

        Raises:
            RequestError: there are no pictures that were edited.
        """
        if condition_images is None or not condition_images[0]:
            raise RequestError(
                "Flow-Factory gave a group without condition_images, the pictures that were edited. Give them in the "
                "data set, or take GroupwiseImageReward, which needs none."
            )
        return super().__call__(prompt, image, condition_images)
