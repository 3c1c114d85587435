"""Groups of rows by their places, whatever the prompts and the ranks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.integrations._layout import groups_of
from yoj.runtime import RequestError

PROMPT = st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"", b"x"]))
"""Digests of few prompts and pictures, so that neighbours are often equal."""


def shared(rows: list, cuts: list[int]) -> list[list]:
    """Rows split over ranks at any places."""
    bounds = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    return [rows[a:b] for a, b in zip(bounds, bounds[1:])]  # noqa: B905, RUF007


@settings(deadline=None)
@given(st.lists(PROMPT, max_size=6), st.integers(2, 5), st.lists(st.integers(0, 40), max_size=3))
def test_a_known_size_gives_its_groups_however_ranks_share_them(prompts, size, cuts):
    rows = [prompt for prompt in prompts for _ in range(size)]
    expected = tuple(tuple(range(k * size, (k + 1) * size)) for k in range(len(prompts)))
    assert groups_of(shared(rows, cuts), (size,), halves=False) == expected


@settings(deadline=None)
@given(st.lists(PROMPT, min_size=1, max_size=6), st.sampled_from([(4, 2), (2, 4), (3, 6)]), st.booleans())
def test_of_two_sizes_one_that_fits_is_taken(prompts, sizes, second):
    size = sizes[second]
    rows = [prompt for prompt in prompts for _ in range(size)]
    found = groups_of([rows], sizes, halves=False)
    assert [row for group in found for row in group] == list(range(len(rows)))
    assert all(len({rows[row] for row in group}) == 1 for group in found)
    if len(found[0]) != size:  # rows of equal neighbours can be groups of the larger size
        assert len(found[0]) == max(sizes) > size


@settings(deadline=None)
@given(st.lists(st.lists(PROMPT, max_size=4), min_size=1, max_size=3))
def test_halves_are_found_or_two_layouts_fit(batches):
    """Batches of Online DPO, of one rank each."""
    ranks = [batch * 2 for batch in batches]
    expected = []
    for begin, batch in zip((sum(map(len, ranks[:k])) for k in range(len(ranks))), batches, strict=True):
        expected += [(begin + k, begin + len(batch) + k) for k in range(len(batch))]
    rows = [row for rank in ranks for row in rank]
    adjacent = all(rows[k] == rows[k + 1] for k in range(0, len(rows), 2))
    if adjacent and any(len(batch) > 1 for batch in batches):
        with pytest.raises(RequestError, match="at the places of several layouts"):
            groups_of(ranks, (2, 2), halves=True)
    else:
        assert groups_of(ranks, (2, 2), halves=True) == tuple(expected)


@settings(deadline=None)
@given(st.lists(PROMPT, min_size=2, max_size=6), st.integers(2, 4), st.data())
def test_rows_at_wrong_places_are_refused(prompts, size, data):
    rows = [prompt for prompt in prompts for _ in range(size)]
    moved = data.draw(st.permutations(rows))
    if all(len({*moved[begin : begin + size]}) == 1 for begin in range(0, len(rows), size)):
        return
    with pytest.raises(RequestError, match=r"Rows \d+ and \d+ of this call have different (prompts|pictures)"):
        groups_of([moved], (size,), halves=False)
