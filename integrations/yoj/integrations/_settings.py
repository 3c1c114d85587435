"""Settings of the reward of a group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, TypeAlias, get_args

from yoj.runtime import RequestError
from yoj.runtime.request import Overflow, Placeholders

Reward: TypeAlias = Literal["centred", "standardised", "log_probability", "rank", "raw"]


@dataclass(frozen=True)
class RewardSettings:
    """Settings by which the scores of a group become rewards."""

    reward: Reward = "centred"
    """Kind of reward: ``centred``, score less the group's mean; ``standardised``, that over the group's standard
    deviation; ``log_probability``, log P(best) in nats; ``rank``, from -1 for the last to 1 for the first; ``raw``, the
    score."""
    orders: int = 1
    """Number of orders in which a group is read, and its scores averaged. The first is drawn, the others are its
    rotations."""
    seed: int = 0
    """Seed from which, with the id of a group, its order is drawn."""
    max_responses: int | None = None
    """Most responses of one pack, from 2, such as the number that the judge was trained on; None for all of a group.
    Larger groups are read in random packs of at most so many, whose scores are joined by least squares."""
    spread_floor: float = 0.02
    """Standard deviation of a group's scores, in units of the score, below which its responses count as equal and get
    equal rewards (``standardised`` divides by it instead), so that trainers which divide by it amplify no noise."""
    overflow: Overflow = "error"
    """Treatment of a pack that is longer than the judge takes: ``error``, the group fails; ``truncate``, its longest
    responses are cut, which `RewardedGroup.cuts` says. Texts that no pack could hold however they are encoded fail in
    both cases; `max_response_characters` cuts before."""
    max_response_characters: int | None = None
    """Most characters of a response that the judge sees; what is behind them is cut, which `RewardedGroup.cuts` says.
    None for no limit. It comes before ``overflow``."""

    dimension: str | None = None
    """Dimension of the judge whose scores become rewards; None for the one that a group's request names, or else the
    pooled score."""
    placeholders: Placeholders = "error"
    """Meaning of ``<image>`` and its kin in the prompts of a trainer, where a group's request does not say it; see
    `yoj.runtime.Request`."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: a setting has a value that it cannot have.
        """
        for name, kinds in (
            ("reward", get_args(Reward)),
            ("overflow", get_args(Overflow)),
            ("placeholders", get_args(Placeholders)),
        ):
            if (value := getattr(self, name)) not in kinds:
                raise RequestError(f"{name} is {value!r}; give {' or '.join(map(repr, kinds))}.")
        for name, least in (("orders", 1), ("max_responses", 2), ("max_response_characters", 1)):
            value, optional = getattr(self, name), name != "orders"
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RequestError(
                    f"{name} is {value!r}; give a whole number from {least}{', or None' if optional else ''}."
                )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"seed is {self.seed!r}; give a whole number.")
        floor: object = self.spread_floor
        if isinstance(floor, bool) or not isinstance(floor, Real) or not 0 <= floor < math.inf:
            raise RequestError(f"spread_floor is {floor!r}; give a number from 0.")
