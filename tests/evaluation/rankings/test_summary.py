"""Lines, summary and table of rankings."""

from __future__ import annotations

import json

import pytest

from yoj.evaluation.rankings import RankingSettings, Vote, count_votes, encode_ranking, rank, summarise
from yoj.evaluation.rankings._summary import table

CIRCLE = [Vote(("a", "b"))] * 3 + [Vote(("b", "c"))] * 2 + [Vote(("c", "a")), Vote(("a", "c"), tied=True)]
APART = [Vote(("x", "y")), Vote(("v", "w"), annotator="w1"), Vote(("v", "w"), tied=True)]


def ranked(settings, **items):
    return [rank(count_votes(item, votes), settings) for item, votes in items.items()]


def test_a_ranking_by_ged_has_its_best_candidate_first():
    settings = RankingSettings("ged")
    (found,) = ranked(settings, q=CIRCLE)
    assert encode_ranking(found, settings) == {
        "item": "q",
        "method": "ged",
        "candidates": ["a", "b", "c"],
        "ranks": [1, 2, 3],
        "scores": [2, 1, 0],
        "low": None,
        "high": None,
        "rank_low": None,
        "rank_high": None,
        "no_interval": None,
        "component": [0, 0, 0],
        "votes": 7,
        "ties": 1,
        "cyclic": True,
        "arcs": 3,
        "removed_arcs": 1,
        "removed_weight": pytest.approx(1 / 6, abs=1e-6),
        "agreement": {"bt pl": 1.0, "bt ged": 1.0, "pl ged": 1.0},
    }


def test_a_ranking_by_bt_has_intervals_in_the_order_of_its_candidates():
    settings = RankingSettings(resamples=20)
    (found,) = ranked(settings, q=[Vote(("b", "a"))] * 30 + [Vote(("a", "b"))] * 5)
    fields = json.loads(json.dumps(encode_ranking(found, settings)))
    assert fields["candidates"] == ["b", "a"]
    assert 0 < fields["low"][0] < fields["scores"][0] < fields["high"][0]
    assert fields["rank_low"] == fields["rank_high"] == [1, 2]


def test_the_summary_counts_over_items_and_names_what_is_disconnected():
    settings = RankingSettings("bt", resamples=0, seed=3)
    found = ranked(settings, q=CIRCLE, p=APART)
    assert summarise(found, settings) == {
        "method": "bt",
        "alpha": 0.01,
        "resamples": 0,
        "seed": 3,
        "without_intervals": [],
        "items": 2,
        "candidates": [3, 4],
        "votes": 10,
        "ties": 2,
        "lists": 0,
        "annotators": 1,
        "votes_without_annotator": 9,
        "cyclic": 1,
        "removed_arcs": 1,
        "removed_weight": pytest.approx(1 / 12, abs=1e-6),
        "disconnected": [{"item": "p", "components": [["v", "w"], ["x", "y"]]}],
        "agreement": {
            "bt pl": {"tau_b": 1.0, "undefined": 0},
            # In p, bt has x v w y and ged ties x with v, w with y: 4 of 6 pairs, tau-b 4 / sqrt(6 * 4).
            "bt ged": {"tau_b": pytest.approx((1 + 4 / 24**0.5) / 2, abs=1e-6), "undefined": 0},
            "pl ged": {"tau_b": pytest.approx((1 + 4 / 24**0.5) / 2, abs=1e-6), "undefined": 0},
        },
    }


def test_an_item_that_is_one_tie_is_left_out_of_the_agreement_and_counted():
    settings = RankingSettings(resamples=0)
    found = ranked(settings, q=CIRCLE, p=[Vote(("x", "y"), tied=True)])
    assert summarise(found, settings)["agreement"]["bt ged"] == {"tau_b": 1.0, "undefined": 1}
    alone = ranked(settings, p=[Vote(("x", "y"), tied=True)])
    assert summarise(alone, settings)["agreement"]["bt ged"] == {"tau_b": None, "undefined": 1}


def shown(settings, **items):
    found = ranked(settings, **items)
    return table(found, settings, summarise(found, settings)).splitlines()


def test_the_table_of_one_ranking():
    assert shown(RankingSettings("ged"), q=CIRCLE) == [
        " ged  candidate    score    bt    pl",
        "   1  a            2.000     1     1",
        "   2  b            1.000     2     2",
        "   3  c            0.000     3     3",
        "",
        "rankings: 1, of 3 candidates, written by preference graphs",
        "intervals: none; ged has no model of votes, and its scores are numbers of descendants",
        "votes: 7, of which 1 ties (half a win for both in bt and pl, none in ged) and 0 on three and more",
        "preference graphs with cycles: 1 of 1; removed to break them: 1 arcs, 16.7% of a graph's weight on average",
        "pl is bt here: they differ in votes on three and more alone",
        "Kendall's tau-b of bt and pl: 1.000 on average",
        "Kendall's tau-b of bt and ged: 1.000 on average",
        "Kendall's tau-b of pl and ged: 1.000 on average",
    ]


def test_the_table_of_several_rankings_with_parts_that_no_vote_links():
    lines = shown(RankingSettings(resamples=20), q=CIRCLE, p=APART, o=[Vote(("a", "b", "c"))])
    assert lines[0] == "rankings: 3, of 3 to 4 candidates, written by Bradley-Terry"
    assert lines[1] == "intervals: 95 %, from 20 resamples of the votes, none for 2 of 3 rankings; alpha=0.01, seed 0"
    assert "bt and ged count a vote on three and more as votes on all its pairs, pl as one ranking" in lines
    assert lines[-5:] == [
        "warning: 2 rankings have no intervals, as resampling their votes says nothing:",
        "  p: fewer votes than candidates",
        "  o: fewer votes than candidates",
        "warning: 1 rankings have parts that no vote links; how they compare is a guess of alpha:",
        "  p: v, w | x, y",
    ]


def test_a_ranking_that_resampling_says_nothing_of_has_no_interval():
    settings = RankingSettings(resamples=20)
    found = ranked(settings, q=[Vote(("a", "b"))])
    fields = encode_ranking(found[0], settings)
    assert [fields[name] for name in ("low", "high", "rank_low", "rank_high")] == [None] * 4
    assert fields["no_interval"] == "fewer votes than candidates"
    summary = summarise(found, settings)
    assert summary["without_intervals"] == [{"item": "q", "reason": "fewer votes than candidates"}]
    assert table(found, settings, summary).splitlines()[:3] == [
        "  bt  candidate    score     95 % interval    ranks    pl   ged",
        "   1  a            1.966                 -        -     1     1",
        "   2  b           -1.966                 -        -     2     2",
    ]


def test_an_annotator_of_two_items_counts_once():
    one, other = (Vote(("a", "b"), annotator=name) for name in ("w1", "w2"))
    settings = RankingSettings(resamples=0)
    assert "annotators: 2" in shown(settings, q=[one, other], p=[one])
    assert "annotators: 2; 1 votes name none" in shown(settings, q=[one, other], p=[Vote(("a", "b"))])
    assert not any("annotators" in line for line in shown(settings, q=[Vote(("a", "b"))]))


def test_a_long_table_says_what_it_leaves_out():
    votes = [Vote((f"m{k:02}", f"m{k + 1:02}")) for k in range(50)]
    lines = shown(RankingSettings(resamples=0), q=votes)
    assert lines[41] == "      and 11 more"
