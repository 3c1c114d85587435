"""A few hundred mutated pictures and videos; `tests/fuzz/media.py` runs as many as it is told to."""

from __future__ import annotations

import random
import warnings

import media
import mutate
import pytest

from yoj.runtime import _formats as formats
from yoj.runtime.errors import MediaError


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "videos"])
def test_mutated_media_end_prepared_or_in_an_error_of_ours(kind):
    run = {"pictures": media.pictures, "videos": media.videos}[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of much in damaged files
        report = run.report(seed=18, count=300)
    assert not report.faults, str(report)
    # Mutations that all fail, or none, would show nothing.
    assert report.ends["answer"] > 30
    assert report.ends["MediaError"] > 30


@pytest.mark.slow
def test_every_listed_format_and_container_is_mutated():
    assert {form.name for form in formats.PICTURES} <= media.picture_cases().keys()
    assert formats.CONTAINERS.keys() | {*formats.ANIMATIONS} == media.video_cases().keys()


@pytest.mark.slow
def test_every_case_is_prepared_before_it_is_mutated():
    for run in (media.pictures(), media.videos()):
        for case, content in run.cases.items():
            assert run.take(case, content), case


def test_a_run_repeats_itself_and_counts_faults():
    def take(case: str, content: bytes) -> None:
        if content == b"whole":
            raise MediaError("")
        raise MediaError("damaged") if len(content) % 2 else KeyError("foreign")

    run = mutate.Run({"a": b"whole", "b": b"other"}, mutate.mutate_bytes, take, 10)
    first, second = run.report(1, 200), run.report(1, 200)
    assert first.ends == second.ends
    assert [one.number for one in first.faults] == [one.number for one in second.faults]
    assert first.ends["foreign error"] == sum("KeyError" in one.what for one in first.faults) > 20
    number = first.faults[0].number
    assert run.mutation(1, number) == run.mutation(1, number)
    assert run.report(1, 1, number).faults == first.faults[:1]
    assert run.report(2, 200).ends != first.ends


def test_trees_change_and_the_given_one_does_not():
    tree = {"a": [1, "two", {"b": None}], "c": 2.5}
    changed = [mutate.mutate_tree(tree, random.Random(number)) for number in range(200)]
    assert tree == {"a": [1, "two", {"b": None}], "c": 2.5}
    assert sum(one != tree for one in changed) > 150
