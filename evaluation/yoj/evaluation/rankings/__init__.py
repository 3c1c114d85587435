"""Full rankings of candidates from votes of people, and items of N responses sampled from them.

>>> from yoj.evaluation.rankings import RankingSettings, rank, read_votes
>>> rankings = [rank(comparisons, RankingSettings("bt")) for comparisons in read_votes(Path("votes.jsonl"))]
"""

from __future__ import annotations

from ._sample import RankedPrompt, SampleSettings, has_item, read_prompts, sample_items
from ._summary import encode_ranking, summarise
from ._votes_file import read_votes
from .comparisons import Comparisons, Vote, count_votes
from .ranking import METHODS, Method, Ranking, RankingSettings, rank

__all__ = [
    "METHODS",
    "Comparisons",
    "Method",
    "RankedPrompt",
    "Ranking",
    "RankingSettings",
    "SampleSettings",
    "Vote",
    "count_votes",
    "encode_ranking",
    "has_item",
    "rank",
    "read_prompts",
    "read_votes",
    "sample_items",
    "summarise",
]
