"""Judges that score the groups of a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from yoj.runtime import Judgement, Request, YojError


class JudgeLike(Protocol):
    """Judge of several requests; `yoj.runtime.Scorer` and `RemoteJudge` are such."""

    def score_batch(
        self, requests: Sequence[Request], *, on_error: Literal["return"]
    ) -> Sequence[Judgement | YojError]:
        """Score requests.

        Args:
            requests: any number of requests.
            on_error: each error stands in the place of its judgement.

        Returns:
            One entry for each request, in the given order.
        """
        ...
