"""The look-ahead: rows in order, bounded, in the same batches whatever takes how long."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.runtime import RequestError
from yoj.runtime._jsonl import Done
from yoj.runtime.batch import BATCH_TOKENS
from yoj.runtime.bulk._look_ahead import CHUNK, LookAhead, Room
from yoj.runtime.bulk._preparation import ANSWER_BYTES, Ready
from yoj.runtime.bulk._rows import RowResult, ShardRow
from yoj.runtime.lines import Entry

ENTRY = Entry(0, "", RequestError())


def ready(size: int, longest: int = 10, mode: str = "joint", key: bytes = b"") -> Ready:
    return Ready(ENTRY, bytes(size), longest, 1, longest, mode, key)  # pyright: ignore[reportArgumentType]


def result(number: int) -> RowResult:
    return RowResult(b"", Done(number, "", ""))


@dataclass
class Simulated:
    """Processes that take any time, on rows whose sizes are known: None for a row that is wrong."""

    of: list[Ready | None]
    room: Room
    rng: random.Random
    preparers: int = 2
    most_held: int = 0
    batches: list[list[int]] = field(default_factory=list)
    out: dict[int, ShardRow] = field(default_factory=dict)
    chunks: list[list[int]] = field(default_factory=list)
    scoring: list[dict[int, Ready]] = field(default_factory=list)

    def run(self) -> list[int]:
        """Numbers of the results, in their order."""
        rows = (ShardRow(k, "", b"") for k in range(len(self.of)))
        ahead, found = LookAhead(rows, self.room), list[int]()
        while True:
            self._hand_out(ahead)
            due = [one.done.line for one in ahead.due()]
            found += due
            if ahead.done:
                return found
            if due:
                continue
            assert self.chunks or self.scoring, "nothing is on its way, and rows are left"
            if self.chunks and (not self.scoring or self.rng.random() < 0.5):
                self._prepare(ahead)
            else:
                batch = self.scoring.pop(self.rng.randrange(len(self.scoring)))
                for position, one in batch.items():
                    ahead.put_scored(position, one, result(position))

    def _hand_out(self, ahead: LookAhead) -> None:
        while len(self.chunks) < 2 * self.preparers and (rows := ahead.next_chunk(len(self.out))):
            self.out |= rows
            self.chunks.append([*rows])
        while len(self.scoring) < 3 and (batch := ahead.next_batch()):
            self.scoring.append(batch)
            self.batches.append([*batch])
        self.most_held = max(self.most_held, ahead.held)
        assert ahead.taken - ahead.returned <= 2 * self.room.rows

    def _prepare(self, ahead: LookAhead) -> None:
        size = 0
        for position in self.chunks.pop(self.rng.randrange(len(self.chunks))):
            row, one = self.out.pop(position), self.of[position]
            if size >= ANSWER_BYTES:
                ahead.put_back(position, row)
            elif one is None:
                ahead.put_error(position, result(position))
            else:
                ahead.put_prepared(position, one)
                size += len(one.content)


ROWS = st.lists(
    st.one_of(
        st.none(),
        st.builds(
            ready,
            st.integers(1, 3000),
            st.integers(1, 2 * BATCH_TOKENS),
            st.sampled_from(["joint", "isolated"]),
            st.sampled_from([b"", b"", b"one", b"two"]),
        ),
    ),
    max_size=150,
)


@settings(deadline=None)
@given(ROWS, st.integers(1, 60), st.integers(1, 20_000), st.integers(0, 99), st.integers(0, 99))
def test_rows_come_once_in_order_in_batches_that_no_timing_changes(of, rows, size, seed, other):
    room = Room(rows, size)
    first, again = Simulated(of, room, random.Random(seed)), Simulated(of, room, random.Random(other), preparers=3)
    assert first.run() == again.run() == [*range(len(of))]
    assert first.batches == again.batches
    scored = [position for batch in first.batches for position in batch]
    assert sorted(scored) == [k for k, one in enumerate(of) if one is not None]
    for batch in first.batches:
        longest = max(of[k].longest for k in batch)
        assert len(batch) == 1 or longest * len(batch) <= BATCH_TOKENS
        assert len({of[k].mode for k in batch}) == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(1, 3))
def test_prepared_rows_stay_within_two_windows(seed, preparers):
    """A few rows more may come of those that were under way when large ones followed small ones."""
    rng, megabyte = random.Random(seed), 2**20
    of = [ready(1000) if k < 40 else ready(rng.randrange(megabyte, 6 * megabyte)) for k in range(120)]
    simulated = Simulated(of, Room(512, 16 * megabyte), rng, preparers)
    assert simulated.run() == [*range(120)]
    under_way = 2 * preparers * (ANSWER_BYTES + 6 * megabyte)
    assert simulated.most_held <= 2 * 16 * megabyte + under_way
    assert simulated.most_held > 16 * megabyte


def test_rows_larger_than_all_room_come_one_by_one():
    simulated = Simulated([ready(1000) for _ in range(2 * CHUNK)], Room(512, 10), random.Random(0))
    assert simulated.run() == [*range(2 * CHUNK)]
    assert simulated.most_held <= 2 * 2 * 1000


def test_rows_that_show_one_medium_stand_side_by_side():
    keys = [b"a", b"", b"b", b"a", b"", b"b", b"a"]
    lengths = [10, 3000, 2000, 2000, 30, 20, 1500]
    of = [ready(10, length, key=key) for length, key in zip(lengths, keys, strict=True)]
    simulated = Simulated(of, Room(512, 2**20), random.Random(0))
    simulated.run()
    assert simulated.batches == [[1], [3, 6], [0, 2], [5, 4]]


def test_windows_grow_so_that_the_engine_need_not_wait_for_the_first():
    simulated = Simulated([ready(10, BATCH_TOKENS - k) for k in range(100)], Room(512, 2**20), random.Random(0))
    simulated.run()
    assert simulated.batches == [[k] for k in range(100)]
    upwards = Simulated([ready(10, 100 + k) for k in range(100)], Room(40, 2**20), random.Random(0))
    upwards.run()
    assert [max(batch) for batch in upwards.batches if max(batch) in (31, 71, 99)] == [31, 71, 99]
