"""Choice among rows and responses: the best response of each row, the first k, rows whose best is clearly ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABOUT = ("line", "request", "run", "id", "metadata", "error")
"""Fields of a result that say which row it is of, or why there is none."""


@dataclass(frozen=True)
class RowSelection:
    """Choice of what is written of each row. Equal responses, which share a score, count as one."""

    best: bool = False
    """Whether the best response is written instead of the judgement."""
    top: int | None = None
    """Number of best responses that are written, as lists, instead of the judgement."""
    min_margin: float | None = None
    """Least margin of rows that are not left out."""

    @property
    def responses(self) -> bool:
        """Whether responses of the input are written."""
        return self.best or self.top is not None

    def of(self, result: Mapping[str, Any], responses: Sequence[Any] | None) -> dict[str, Any] | None:
        """Choose from one row.

        Args:
            result: fields of its result.
            responses: [N] responses of the row; None where they are not written.

        Returns:
            Fields that are written; None where the row is left out.
        """
        failed = "error" in result
        margin = None if failed else margin_of(result)
        if self.min_margin is not None and (margin is None or margin < self.min_margin):
            return None
        if not self.responses:
            return dict(result)
        about = {name: result[name] for name in ABOUT if name in result}
        if failed:
            return about
        assert responses is not None
        places, scores = best_first(result), result.get("scores")
        if self.best:
            index = places[0]
            score = None if scores is None else scores[index]
            return about | {"response": responses[index], "index": index, "score": score, "margin": margin}
        first = places[: self.top]
        return about | {
            "top_responses": [responses[index] for index in first],
            "top_indices": first,
            "top_scores": [result["scores"][index] for index in first],
            "margin": margin,
        }


def best_first(result: Mapping[str, Any]) -> list[int]:
    """Indices of the responses of a judgement, best first, the first of equal ones alone; of a knockout the best."""
    scores = result.get("scores")
    if scores is None:
        return [result["best"]]
    copies = result.get("duplicates") or range(len(scores))
    distinct = [index for index in range(len(scores)) if copies[index] == index]
    return sorted(distinct, key=lambda index: (-scores[index], index))


def margin_of(result: Mapping[str, Any]) -> float | None:
    """Score of the best response less that of the next which differs from it; None where there is no other."""
    places = best_first(result)
    if len(places) < 2:
        return None
    return result["scores"][places[0]] - result["scores"][places[1]]
