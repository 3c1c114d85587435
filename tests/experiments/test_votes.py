"""Simulated votes, and the record of which method recovers the truth best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.votes import LAYOUTS, WORLDS, Layout, World, recover, tables, vote

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "experiments" / "votes.json").read_text("utf-8"))
APART_N = np.array([4.0, 0.0, -4.0])
BY_NAME = {world.name: world for world in WORLDS}


def shares(world: World, scores_N=APART_N, votes=20_000):
    """Share of wins of the row over the column of all votes on both, and share of ties of all votes."""
    drawn = vote(world, scores_N, votes, np.random.default_rng(0))
    wins_NN = drawn.counts.wins_RNN[0]
    return wins_NN / (wins_NN + wins_NN.T + np.eye(len(wins_NN))), drawn.ties / drawn.votes


def test_votes_follow_the_logistic_curve():
    share_NN, ties = shares(World("", threshold=0.0))
    assert share_NN[0, 1] == pytest.approx(1 / (1 + np.exp(-4)), abs=0.01)
    assert ties == 0


def test_equal_models_tie_as_the_threshold_says():
    _, ties = shares(World("", threshold=1.2), np.zeros(3))
    assert ties == pytest.approx(np.tanh(0.6), abs=0.01)  # logistic noise between -1.2 and 1.2


def test_the_same_share_is_wrong_however_far_models_are_apart():
    share_NN, _ = shares(World("", threshold=0.0, wrong=0.3))
    assert share_NN[0, 1] == pytest.approx(0.7, abs=0.02)
    assert share_NN[0, 2] == pytest.approx(0.7, abs=0.02)


def test_annotators_who_turn_votes_round_win_for_the_worse():
    share_NN, _ = shares(World("", threshold=0.0, reliability=(-1.0,)))
    assert share_NN[0, 1] == pytest.approx(1 / (1 + np.exp(4)), abs=0.01)


def test_rankings_of_four_are_a_sixth_as_many():
    drawn = vote(BY_NAME["rankings of four"], np.arange(6.0), 1200, np.random.default_rng(0))
    assert (drawn.votes, drawn.listed) == (200, 200)
    assert {len(one) for one in drawn.lists} == {4}


def test_models_without_votes_are_no_part_of_the_ranking():
    drawn = vote(World(""), np.arange(19.0), 3, np.random.default_rng(0))
    assert len(drawn.candidates) <= 6
    found = recover(World(""), Layout("", 3, 3, 1), np.random.default_rng(0))
    assert found.unseen >= 13


def test_the_record_was_made_with_these_files():
    number = 3
    world, layout = WORLDS[number], LAYOUTS[1]
    recorded = RECORDED[f"{layout.name} / {world.name} / 0"]
    found = recover(world, Layout(layout.name, 150, layout.votes, 1), np.random.default_rng([0, number]))
    for method, tau in found.tau_b.items():
        assert tau == pytest.approx(recorded["tau_b"][method], abs=0.05)  # of 150 items instead of 752
    assert found.removed_weight == pytest.approx(recorded["removed_weight"], abs=0.02)


def test_the_page_shows_the_record():
    assert tables(RECORDED).strip() in (ROOT / "docs" / "rankings.md").read_text("utf-8")


def test_bt_recovers_a_larger_share_of_the_order_than_ged_from_few_votes():
    for world in WORLDS:
        for seed in range(5):
            tau = RECORDED[f"{LAYOUTS[1].name} / {world.name} / {seed}"]["tau_b"]
            assert tau["bt"] > tau["ged"]


def test_it_takes_seconds():
    assert all(one["seconds"] < 60 for one in RECORDED.values())
