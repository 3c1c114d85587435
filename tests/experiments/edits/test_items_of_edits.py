"""Items of the edits task: one right edit of four, and no way to tell it from less than everything."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from experiments.edits.dataset import make_item
from experiments.edits.drawing import Drawing
from experiments.edits.grades import BANDS, changes
from experiments.edits.items import COMPOSED, EditItem, N, instruct
from experiments.edits.parts import EXPLICIT, KINDS

ITEMS = [make_item("test", 7, index) for index in range(1500)]


def test_every_kind_of_instruction_and_of_edit_occurs() -> None:
    kinds = Counter(item.kind for item in ITEMS)
    labels = Counter(one.label for item in ITEMS for one in item.grades())
    assert set(kinds) == {*KINDS, COMPOSED}
    assert min(kinds.values()) > 60
    graded = {"right", "right and damaged", "right with flaws", "wrong object", "wrong attribute", "nothing done"}
    assert {*graded, "half done"} <= set(labels)
    assert min(labels[one] for one in graded) > 60


def test_one_edit_is_right_and_all_differ() -> None:
    for item in ITEMS:
        assert [one.overall for one in item.grades()].count(2 * BANDS) == 1
        assert len({edit.pixels().tobytes() for edit in item.results}) == N


def test_right_edit_stands_in_every_place_equally_often() -> None:
    places = Counter([one.label for one in item.grades()].index("right") for item in ITEMS)
    assert all(abs(places[k] / len(ITEMS) - 1 / N) < 0.05 for k in range(N))


def test_same_seed_gives_the_same_item_and_another_another() -> None:
    assert make_item("test", 7, 3) == ITEMS[3]
    assert make_item("test", 8, 3) != ITEMS[3]


def _middle(edits: tuple[Drawing, ...]) -> set[int]:
    """Edits that differ least from the others, in all places together."""
    distance = [sum(len(changes(edit, other)) + (edit.flaw != other.flaw) for other in edits) for edit in edits]
    return {k for k, far in enumerate(distance) if far == min(distance)}


def _guesses(item: EditItem) -> dict[str, float]:
    """Chance of each reader, who lacks something, to be right with one guess."""
    right = [one.label for one in item.grades()].index("right")
    clean = [k for k, edit in enumerate(item.results) if edit.flaw is None]
    # Without the instruction: any clean edit that changed something may be what was asked for.
    changed = [k for k in clean if changes(item.source, item.results[k])]
    fewest = min(len(changes(item.source, item.results[k])) for k in changed)
    least = [k for k in changed if len(changes(item.source, item.results[k])) == fewest]
    # Without source and instruction: the one in the middle of the others.
    middle = sorted(_middle(item.results) & set(clean)) or clean
    guesses = {"no instruction": changed, "fewest changes": least, "the middle": middle, "clean": clean}
    return {name: (right in one) / len(one) for name, one in guesses.items()}


@pytest.mark.parametrize("name", ["no instruction", "fewest changes", "the middle", "clean"])
def test_guesses_without_the_instruction_stay_near_chance(name: str) -> None:
    assert sum(_guesses(item)[name] for item in ITEMS) / len(ITEMS) < 0.40


def test_guess_without_the_source_stays_near_chance() -> None:
    """What a reader without the source can rule out: edits whose end the instruction states otherwise."""
    found: list[float] = []
    for item in ITEMS:
        stated = [part for part in item.parts if not _relative(part.words)]
        fits = [
            k
            for k, edit in enumerate(item.results)
            if edit.flaw is None and all(part.done(item.source, edit) for part in stated)
        ]
        right = [one.label for one in item.grades()].index("right")
        found.append((right in fits) / len(fits))
    assert sum(found) / len(found) < 0.45


def _relative(words: str) -> bool:
    return any(sign in words for sign in ("opposite", "change the size", "other side", "other row", "swap", "one "))


def test_instruction_is_a_sentence() -> None:
    rng = random.Random(0)
    for item in rng.sample(ITEMS, 50):
        assert instruct(item.parts) == item.instruction
        assert item.instruction[0].isupper()
        assert item.instruction.endswith(".")
    relative = sum(all(_relative(part.words) for part in item.parts) for item in ITEMS if item.kind == "recolour")
    assert relative / sum(item.kind == "recolour" for item in ITEMS) == pytest.approx(1 - EXPLICIT, abs=0.1)
