"""Files of votes, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from yoj.evaluation import EvaluationError
from yoj.evaluation.rankings import read_votes

A_B = {"item": "q1", "a": "x", "b": "y", "winner": "a", "annotator": "w1"}


def written(folder, *rows):
    file = folder / "votes.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return file


def test_votes_of_two_and_of_more(tmp_path):
    file = written(
        tmp_path,
        A_B,
        A_B | {"winner": "b", "annotator": None},
        A_B | {"winner": "tie", "item": "q2", "annotator": 7},
        {"item": "q1", "ranking": ["z", "x", "y"], "annotator": "w2"},
        {"item": "q2", "ranking": ["y", "x"]},
    )
    first, second = read_votes(file)
    assert (first.item, first.candidates, first.votes, first.lists) == ("q1", ("x", "y", "z"), 3, ((2, 0, 1),))
    assert first.counts.wins_RNN[0].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert (first.annotators, first.unnamed) == ({"w1", "w2"}, 1)
    assert (second.item, second.votes, second.ties, second.listed) == ("q2", 2, 1, 0)
    assert second.counts.wins_RNN[0].tolist() == [[0, 0], [1, 0]]


def test_all_items_together(tmp_path):
    (found,) = read_votes(written(tmp_path, A_B, A_B | {"item": "q2"}, A_B | {"item": None}), together=True)
    assert (found.item, found.votes, found.annotators) == (None, 3, {"w1"})


def test_votes_without_items_are_one(tmp_path):
    row = {"a": "x", "b": "y", "winner": "a"}
    (found,) = read_votes(written(tmp_path, row, row))
    assert (found.item, found.votes, found.unnamed) == (None, 2, 2)


def test_an_array_and_gzip_are_read_too(tmp_path):
    array, packed = tmp_path / "votes.json", tmp_path / "votes.jsonl.gz"
    array.write_text(json.dumps([A_B, A_B]), "utf-8")
    packed.write_bytes(gzip.compress(json.dumps(A_B).encode()))
    assert [one.votes for one in read_votes(array)] == [2]
    assert [one.votes for one in read_votes(packed)] == [1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"item": "q", "a": "x", "winner": "a"}, "The vote has no b."),
        ({"item": "q"}, "The vote has no a and no b and no winner."),
        (A_B | {"winner": None}, "The vote has no winner."),
        (A_B | {"winner": "x"}, "winner is 'x'; give 'a', 'b' or 'tie'."),
        (A_B | {"winner": 1}, "winner is 1; give 'a', 'b' or 'tie'."),
        (A_B | {"b": "x"}, "The candidate 'x' is compared with itself."),
        (A_B | {"a": ""}, "a is ''; give the name of a candidate."),
        (A_B | {"a": 3}, "a is 3; give the name of a candidate."),
        (A_B | {"time": 3}, "The vote has the field 'time', which is not read. Leave it out."),
        (A_B | {"ranking": ["x", "y"]}, "The vote has the field 'a', 'b', 'winner', which is not read."),
        (A_B | {"item": True}, "item is True; give a text or a whole number."),
        (A_B | {"annotator": ["w"]}, "annotator is ['w']; give a text."),
        ({"ranking": "x"}, "ranking is 'x'; give a list of names, the best first."),
        ({"ranking": ["x"]}, "A vote compares two candidates or more."),
        ({"ranking": ["x", "y", "x"]}, "The candidate 'x' is compared with itself."),
        ({"ranking": ["x", ["y", "z"]]}, "ranking[1] is ['y', 'z']; give the name of a candidate."),
        ("[1]", "is a list"),
        ("{", "is not JSON"),
        ('{"a": "x\\ud800", "b": "y", "winner": "a"}', "a holds a lone surrogate"),
    ],
)
def test_a_line_that_is_no_vote_is_named(tmp_path, row, told):
    with pytest.raises(EvaluationError, match=r"2 of 4 lines are no votes:\nline 2: ") as caught:
        read_votes(written(tmp_path, A_B, row, A_B, row))
    assert re.search(rf"line 4: .*{re.escape(told)}", str(caught.value))


def test_many_wrong_lines_are_counted(tmp_path):
    with pytest.raises(EvaluationError, match=r"30 of 31 lines are no votes:(\nline \d+: .*){10}\n\.\.\. and 20 more"):
        read_votes(written(tmp_path, A_B, *[{"a": "x"}] * 30))


def test_some_items_without_a_name_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="1 of 3 votes name no item, the others do"):
        read_votes(written(tmp_path, A_B, A_B, {"a": "x", "b": "y", "winner": "a"}))


def test_a_number_and_the_same_text_are_no_two_items(tmp_path):
    file = written(tmp_path, A_B, A_B | {"item": 3}, A_B | {"item": "3"}, A_B | {"item": 3}, A_B | {"item": "03"})
    with pytest.raises(EvaluationError) as caught:
        read_votes(file)
    assert str(caught.value) == (
        f'{file}: 1 items are named both by a number and by a text:\nitem 3 in line 2, item "3" in line 3\n'
        "Write each name the same way in all lines, or other names where they are different items."
    )
    (found,) = read_votes(file, together=True)
    assert found.votes == 5


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="is empty"):
        read_votes(written(tmp_path))
