"""Preference graph of votes, and the same without its cycles.

This is the "preference graph ensemble and denoising" of arXiv 2410.12869. It gives each evaluator a graph, whose arcs
are the net wins of his votes, and adds the graphs; opposite arcs cancel. Net wins add up to the same numbers however
votes are shared between evaluators, so the sum is computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .comparisons import Floats

Marks: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True)
class Denoised:
    """Preference graph of N candidates without cycles."""

    arcs_NN: Floats
    """Weights of the arcs that remain, from better (row) to worse (column)."""
    below_N: NDArray[np.int64]
    """Number of descendants: candidates that can be reached along arcs."""
    cyclic: bool
    """Whether the graph had a cycle."""
    arcs: int
    """Number of arcs before."""
    removed: int
    """Number of arcs that were removed."""
    removed_weight: float
    """Share of the weight of all arcs that was removed, from 0 to 1."""


def net_arcs(wins_NN: Floats) -> Floats:
    """Arcs of the preference graph: wins less losses where these are fewer, and else 0, float64 [N, N]."""
    return np.maximum(wins_NN - wins_NN.T, 0)


def denoise(arcs_NN: Floats) -> Denoised:
    """Remove arcs of little weight so that no cycle remains.

    The arcs that are removed are those that point backwards in the order of Eades, Lin and Smyth (1993), a greedy
    approximation of the removal of least weight.

    Args:
        arcs_NN: weights of the arcs from row to column, 0 where there is none; one direction for each pair at most.
    """
    cyclic = bool(reachable(arcs_NN > 0).diagonal().any())
    place_N = np.argsort(feedback_order(arcs_NN))
    kept_NN = np.where(place_N[:, None] < place_N[None, :], arcs_NN, 0)
    total, arcs = float(arcs_NN.sum()), int((arcs_NN > 0).sum())
    return Denoised(
        kept_NN,
        reachable(kept_NN > 0).sum(axis=1),
        cyclic,
        arcs,
        arcs - int((kept_NN > 0).sum()),
        (total - float(kept_NN.sum())) / total if total else 0.0,
    )


def feedback_order(arcs_NN: Floats) -> NDArray[np.int64]:
    """Order of Eades, Lin and Smyth (1993), in which arcs that point backwards have little weight.

    Sinks go to the end and sources to the beginning; where there is neither, the candidate with the most weight out
    less in goes to the beginning. Of equal candidates the first is taken.

    Args:
        arcs_NN: weights of the arcs from row to column.

    Returns:
        [N] indices in order.
    """
    n = len(arcs_NN)
    here_N = np.ones(n, np.bool_)
    head: list[int] = []
    tail: list[int] = []
    there_NN, weights_NN = arcs_NN > 0, arcs_NN.astype(np.float64)
    out_N, in_N = there_NN.sum(axis=1), there_NN.sum(axis=0)
    surplus_N = weights_NN.sum(axis=1) - weights_NN.sum(axis=0)
    while here_N.any():
        if (sinks := np.flatnonzero(here_N & (out_N == 0))).size:
            taken, side = int(sinks[0]), tail
        elif (sources := np.flatnonzero(here_N & (in_N == 0))).size:
            taken, side = int(sources[0]), head
        else:
            taken, side = int(np.where(here_N, surplus_N, -np.inf).argmax()), head
        side.append(taken)
        here_N[taken] = False
        out_N -= there_NN[:, taken]
        in_N -= there_NN[taken]
        surplus_N += weights_NN[taken] - weights_NN[:, taken]
    return np.array(head + tail[::-1], np.int64)


def reachable(arcs_NN: Marks) -> Marks:
    """Whether a way of one arc or more leads from row to column, bool [N, N]."""
    ways_NN = arcs_NN.copy()
    for middle in range(len(ways_NN)):
        ways_NN |= ways_NN[:, middle, None] & ways_NN[middle]
    return ways_NN


def components(met_NN: Marks) -> NDArray[np.int64]:
    """Number of the component of each candidate, int64 [N] from 0, by the pairs that were compared.

    Scores of different components do not compare: no vote links them.
    """
    linked_NN = reachable(met_NN | met_NN.T) | np.eye(len(met_NN), dtype=np.bool_)
    first_N = linked_NN.argmax(axis=1)
    return np.searchsorted(np.unique(first_N), first_N).astype(np.int64)
