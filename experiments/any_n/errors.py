"""Probes of how a judge errs: by place, on copies, and by the style of what it reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..shapes import ShapesConfig, make_item
from ..shapes.answers import STYLES, Answer, grade
from ..shapes.words import say
from . import figures
from .calibration import calibration
from .data import NAME, SEED, StudyItem, request_of
from .judges import Judge
from .methods import above, hit_by_scores

PROBED = (2, 4, 8, 16)
PARTLY = "partly right"
SOUND = ("empty talk", PARTLY)
"""Labels of the answers that rank above false ones."""


def position(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Read each item in all N rotations, so that every answer stands at every place once.

    A judge that minds no place puts every place first equally often, the right answer or not. Chi-square takes the
    readings for independent; those of an item are not, and without any bias of place they are more even than
    independent ones, so that p is too large rather than too small. The widest gap is above 0 by chance alone.
    """
    from scipy.stats import chisquare

    hits_SN = np.zeros((len(items), n))
    wins_N = np.zeros(n, np.int64)
    for row, item in enumerate(items):
        packs = [item.pack(n).turned(turn) for turn in range(n)]
        for pack, scores_N in zip(packs, judge.scores([item.request(p.answers) for p in packs]), strict=True):
            hits_SN[row, pack.gold] = hit_by_scores(scores_N.tolist(), pack.gold)
            wins_N[int(scores_N.argmax())] += 1
    found = chisquare(wins_N)
    return {
        "items": len(items),
        "accuracy_by_place": [figures.mean(hits_SN[:, place].tolist()) for place in range(n)],
        "widest_gap": figures.figure(lambda own: float(np.ptp(hits_SN[own].mean(axis=0))), len(items)),
        "wins_by_place": wins_N.tolist(),
        "chi_square": float(found.statistic),
        "p": float(found.pvalue),
    }


def duplicates(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Read N - 1 answers, then the same with one that lost doubled, whose copy stands at a random place."""
    apart, relative, earlier, changed = list[float](), list[float](), list[float](), list[float]()
    for item in items:
        rng = random.Random(f"{NAME} duplicates {item.index} {n}")
        once = list(item.pack(n - 1).answers)
        (scores_M,) = judge.scores([item.request(once)])
        winner = once[int(scores_M.argmax())]
        loser = rng.choice([answer for answer in once if answer != winner])
        twice = list(once)
        twice.insert(rng.randrange(n), loser)
        (scores_N,) = judge.scores([replace(item.request(twice), duplicates="score")])
        first, second = (place for place, answer in enumerate(twice) if answer == loser)
        difference = float(scores_N[first] - scores_N[second])
        apart.append(abs(difference))
        relative.append(abs(difference) / float(scores_N.std()))
        earlier.append((1 + float(np.sign(difference))) / 2)
        changed.append(float(twice[int(scores_N.argmax())] != winner))
    return {
        "items": len(items),
        "difference": figures.mean(apart),
        "difference_over_deviation": figures.mean(relative),
        "earlier_higher": figures.mean(earlier),
        "winner_changes": figures.mean(changed),
    }


def length(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Read the best answer in its three styles, the rival and others, N in all, in random order.

    Scores by style are less the mean of the three, whose content is the same.
    """
    wins = {name: list[float]() for name in (*STYLES, "another")}
    centred: dict[str, list[float]] = {style: [] for style in STYLES}
    longest_less_shortest: list[float] = []
    for item in items:
        gold = item.answers[0]
        answers = [Answer(gold.claim, style) for style in STYLES] + list(item.answers[1 : n - len(STYLES) + 1])
        random.Random(f"{NAME} length {item.index} {n}").shuffle(answers)
        (scores_N,) = judge.scores([item.request(answers)])
        won = answers[int(scores_N.argmax())]
        winner = won.style if won.claim == gold.claim else "another"
        for name, found in wins.items():
            found.append(float(name == winner))
        by_style = {style: float(scores_N[answers.index(Answer(gold.claim, style))]) for style in STYLES}
        for style, score in by_style.items():
            centred[style].append(score - float(np.mean(list(by_style.values()))))
        lengths = {style: len(say(item.shapes.question, Answer(gold.claim, style))) for style in STYLES}
        ends = max(lengths, key=lengths.__getitem__), min(lengths, key=lengths.__getitem__)
        longest_less_shortest.append(by_style[ends[0]] - by_style[ends[1]])
    return {
        "items": len(items),
        "wins": {name: figures.mean(found) for name, found in wins.items()},
        "centred": {style: figures.mean(found) for style, found in centred.items()},
        "longest_less_shortest": figures.mean(longest_less_shortest),
    }


def fluency(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Read the best answer in the terse style among fluent ones, and in the fluent style among terse ones."""
    hits: dict[str, list[float]] = {}
    rivals: dict[str, list[float]] = {}
    for style, of_others in (("terse", "fluent"), ("fluent", "terse")):
        hits[style], rivals[style] = [], []
        for item in items:
            pack = item.pack(n)
            answers = [Answer(a.claim, style if k == pack.gold else of_others) for k, a in enumerate(pack.answers)]
            scores_N = judge.scores([item.request(answers)])[0].tolist()
            hits[style].append(hit_by_scores(scores_N, pack.gold))
            rivals[style].append(above(scores_N, pack))
    fluent_less_terse = [f - t for f, t in zip(hits["fluent"], hits["terse"], strict=True)]
    return {
        "items": len(items),
        "terse_among_fluent": figures.mean(hits["terse"]),
        "fluent_among_terse": figures.mean(hits["fluent"]),
        "difference": figures.mean(fluent_less_terse),
        "above_rival_terse": figures.mean(rivals["terse"]),
        "above_rival_fluent": figures.mean(rivals["fluent"]),
    }


def false_fluent(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Read descriptions that are false altogether, fluent and then terse, beside terse ones that are better.

    Of each pair of a false answer and a better one it counts whether the false one has the higher score; equal ones
    count half. Pairs are those of which the false answer is the worse one in either style. The items are others than
    those given, of the kind "specific", and as many.
    """
    counted = {(style, label): (list[float](), list[float]()) for style in ("fluent", "terse") for label in SOUND}
    for index in range(len(items)):
        item = make_item(f"{NAME}-specific-{n}", ShapesConfig(len(items), SEED, n, ("specific",)), index)
        terse = [Answer(answer.claim, "terse") for answer in item.answers]
        grades = [grade(item.scene, item.question, answer) for answer in terse]
        false = [k for k, found in enumerate(grades) if found.quality < 0 and found.label != PARTLY]
        for style in ("fluent", "terse"):
            answers = [Answer(one.claim, style if k in false else "terse") for k, one in enumerate(terse)]
            (scores_N,) = judge.scores([request_of(item, answers)])
            for label in SOUND:
                better = [k for k, found in enumerate(grades) if found.label == label]
                compared = [(k, b) for k in false for b in better if grades[k].quality < grades[b].quality]
                outranked, pairs = counted[style, label]
                outranked.append(sum((1 + float(np.sign(scores_N[k] - scores_N[b]))) / 2 for k, b in compared))
                pairs.append(len(compared))
    found = {f"{style} above {label}": figures.share(*both) for (style, label), both in counted.items()}
    return {"items": len(items), **found}


Probe = Callable[[Judge, Sequence[StudyItem], int], dict[str, Any]]
PROBES: dict[str, tuple[Probe, tuple[int, ...]]] = {
    "calibration": (calibration, PROBED),
    "position": (position, PROBED),
    "duplicates": (duplicates, PROBED[1:]),
    "length": (length, PROBED[1:]),
    "fluency": (fluency, PROBED),
    "false fluent": (false_fluent, PROBED[1:]),
}
"""Probes by name, and the N at which each is made: copies and three styles need more than two places."""
