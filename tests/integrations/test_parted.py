"""Groups over ranks against a search of all rows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoj.integrations._parted import PartedGroups
from yoj.runtime import RequestError

RANKS = st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=6), min_size=1, max_size=4)


@given(RANKS)
def test_all_ranks_find_the_same_groups_and_each_row_reaches_its_owner(digests):
    rows = [(rank, digest) for rank, share in enumerate(digests) for digest in share]
    found = [PartedGroups(digests, rank) for rank in range(len(digests))]
    assert len({(one.groups, one.digests, one.owners, one.straddles) for one in found}) == 1
    names = dict.fromkeys(digest for _, digest in rows)
    right = tuple(tuple(k for k, (_, digest) in enumerate(rows) if digest == name) for name in names)
    assert (found[0].groups, found[0].digests) == (right, tuple(names))
    assert found[0].straddles == any(len({rows[k][0] for k in group}) > 1 for group in right)
    begin = [*itertools.accumulate(map(len, digests), initial=0)]
    sent = [one.lent(range(begin[rank], begin[rank + 1])) for rank, one in enumerate(found)]
    for rank, one in enumerate(found):
        needed = {row for k in one.owned for row in one.groups[k] if not one.here(row)}
        came = {row: value for other in sent for row, value in other[rank].items()}
        assert came == {row: row for row in needed}


@given(RANKS)
def test_the_owner_has_most_of_the_group(digests):
    one = PartedGroups(digests, 0)
    for owner, group in zip(one.owners, one.groups, strict=True):
        counts = [sum(one.rank_of(row) == rank for row in group) for rank in range(len(digests))]
        assert counts[owner] == max(counts)


def test_of_several_ranks_that_have_as_much_the_idlest_is_chosen():
    assert PartedGroups([[*b"abcd"], [*b"abcd"]], 0).owners == (0, 1, 0, 1)


def test_parts_of_groups_are_refused():
    whole = PartedGroups([[b"a", b"b", b"a"], [b"b", b"a", b"a"]], 1)
    whole.check(2)
    whole.check(None)
    with pytest.raises(RequestError, match=r"4 rows .* have the prompt and source of row 0, and groups have 3"):
        whole.check(3)
    with pytest.raises(RequestError, match=r"2 rows .* of row 1, and groups have 4 .* over its 2 ranks"):
        whole.check(4)
