"""Look-ahead over the rows of one file: what is prepared next, which batches are scored, and which results are due.

Rows are prepared ahead of the engine and gathered in windows. A window ends after so many rows, tokens or bytes of
prepared rows; its batches hold rows of similar length, and rows that show one medium side by side. So batches depend
on the rows and the settings alone, not on the time that anything takes: a run that is repeated gives the same bytes.
Two windows may be there at once, one that is scored and one that is prepared. Whoever gives the rows may end a window
by giving None, so that what its rows hold open stays bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..batch import BATCH_TOKENS, batches_by_length
from ._preparation import Ready
from ._rows import RowResult, ShardRow

FIRST_WINDOW = 32
"""Rows of the first window, so that the engine has something to do soon; each has twice as many as the one before."""
CHUNK = 16
"""Most rows that are prepared as one task."""
WINDOW_TOKENS = 16 * BATCH_TOKENS
WINDOWS = 2
"""Windows that are there at once."""
FORGETTING = 0.9
"""Part of the size of the largest row that is still expected after each row that is smaller."""


@dataclass(frozen=True)
class Room:
    """Bounds of a window."""

    rows: int
    size: int
    """Bytes of prepared rows."""
    batch: int = BATCH_TOKENS
    """Tokens of a batch with its padding."""
    tokens: int = WINDOW_TOKENS
    """Tokens, so that results of a model that takes seconds for a row come, and are kept, within minutes."""


@dataclass
class LookAhead:
    """Rows of one file between being read and being returned."""

    rows: Iterator[ShardRow | None]
    """Rows; a window ends where None stands."""
    room: Room
    taken: int = 0
    """Number of rows that were read; the position of the next."""
    returned: int = 0
    """Number of rows whose results were returned."""
    held: int = 0
    """Bytes of prepared rows that are not yet scored."""
    exhausted: bool = False
    """Whether all rows were read."""
    _again: deque[tuple[int, ShardRow]] = field(default_factory=deque[tuple[int, ShardRow]])
    """Rows that were given back."""
    _prepared: dict[int, Ready | None] = field(default_factory=dict[int, "Ready | None"])
    """Rows behind those in windows, by position; None where a row has its result already."""
    _batches: deque[dict[int, Ready]] = field(default_factory=deque[dict[int, Ready]])
    _results: dict[int, RowResult] = field(default_factory=dict[int, RowResult])
    _ends: deque[int] = field(default_factory=deque[int])
    """First rows behind windows that were ended from outside, and whose results were not all returned."""
    _begin: int = 0
    """First row of the open window."""
    _end: int = 0
    """First row behind the open window."""
    _size: int = 0
    """Bytes of the open window."""
    _tokens: int = 0
    """Tokens of the open window."""
    _closed: int = 0
    """Bytes of the windows before it that are not yet scored."""
    _limit: int = 0
    """Most rows of the open window."""
    _expected: float = 0.0
    """Bytes that a row is expected to have when it is prepared."""

    def __post_init__(self) -> None:
        self._limit = min(FIRST_WINDOW, self.room.rows)

    @property
    def done(self) -> bool:
        """Whether the results of all rows were returned."""
        return self.exhausted and self.returned == self.taken

    def next_chunk(self, out: int) -> dict[int, ShardRow]:
        """Rows that are to be prepared next, by position; none where there is no room or nothing left.

        Args:
            out: number of rows that are being prepared.
        """
        most = self._most(out)
        rows: dict[int, ShardRow] = {}
        while len(rows) < most:
            if self._again:
                position, row = self._again.popleft()
            elif self._room_for_windows() and (found := self._next_row()) is not None:
                position, row = self.taken, found
                self.taken += 1
            else:
                break
            rows[position] = row
        self._gather()
        return rows

    def put_back(self, position: int, row: ShardRow) -> None:
        """Take a row back that was not prepared."""
        self._again = deque(sorted([*self._again, (position, row)], key=lambda one: one[0]))

    def put_prepared(self, position: int, ready: Ready) -> None:
        """Take a prepared row."""
        size = len(ready.content)
        self.held += size
        self._expected = max(size, FORGETTING * self._expected)
        self._prepared[position] = ready
        self._gather()

    def put_error(self, position: int, result: RowResult) -> None:
        """Take the result of a row that cannot be scored."""
        self._results[position] = result
        self._prepared[position] = None
        self._gather()

    def put_scored(self, position: int, ready: Ready, result: RowResult) -> None:
        """Take the result of a row that was scored."""
        self._results[position] = result
        self.held -= len(ready.content)
        self._closed -= len(ready.content)

    def next_batch(self) -> dict[int, Ready] | None:
        """Batch that is to be scored next, by position; None where there is none yet."""
        return self._batches.popleft() if self._batches else None

    def due(self) -> Iterator[RowResult]:
        """Results that come next in the order of the rows, as far as they are there."""
        while (result := self._results.pop(self.returned, None)) is not None:
            self.returned += 1
            yield result

    def _next_row(self) -> ShardRow | None:
        """Next row; None after the last, and where there is no room for another window."""
        for row in self.rows:
            if row is not None:
                return row
            if self.taken > (self._ends[-1] if self._ends else self.returned):
                self._ends.append(self.taken)
            if not self._room_for_windows():
                return None
        self.exhausted = True
        return None

    def _room_for_windows(self) -> bool:
        while self._ends and self._ends[0] <= self.returned:
            self._ends.popleft()
        return len(self._ends) < WINDOWS

    def _most(self, out: int) -> int:
        """Most rows that may be given to be prepared now, so that all that is held stays within two windows."""
        if self.exhausted and not self._again:
            return 0
        rows = CHUNK if self._again else min(CHUNK, WINDOWS * self.room.rows - (self.taken - self.returned))
        if not self._expected:  # nothing is known of their size
            return min(rows, 1)
        fitting = int((WINDOWS * self.room.size - self.held) / self._expected) - out
        # Where nothing is on its way that would make room, the window needs another row to become full.
        return min(rows, max(fitting, 0 if out or self._closed else 1))

    def _gather(self) -> None:
        """Let the open window grow, and make batches of it when it is full."""
        while True:
            if self._begin < self._end and self._is_full():
                self._close()
            elif self._end in self._prepared:
                ready = self._prepared[self._end]
                self._size += len(ready.content) if ready is not None else 0
                self._tokens += ready.tokens if ready is not None else 0
                self._end += 1
            else:
                return

    def _is_full(self) -> bool:
        return (
            self._end - self._begin == self._limit
            or self._size >= self.room.size
            or self._tokens >= self.room.tokens
            or self._end in self._ends
            or (self.exhausted and not self._again and self._end == self.taken)
        )

    def _close(self) -> None:
        window = {k: self._prepared.pop(k) for k in range(self._begin, self._end)}
        self._batches.extend(batches({k: ready for k, ready in window.items() if ready is not None}, self.room.batch))
        self._closed += self._size
        self._begin, self._size, self._tokens = self._end, 0, 0
        self._limit = min(2 * self._limit, self.room.rows)


def batches(window: dict[int, Ready], tokens: int) -> Iterable[dict[int, Ready]]:
    """Batches of a window, of so many tokens: rows of one mode and of similar length, by position."""
    for mode in ("joint", "isolated"):
        places = [position for position, ready in window.items() if ready.mode == mode]
        of = [window[position] for position in places]
        kin = [ready.key or position for position, ready in zip(places, of, strict=True)]
        sizes = [ready.longest for ready in of], [ready.packs for ready in of]
        for group in batches_by_length(*sizes, tokens, kin):
            yield {places[k]: of[k] for k in group}
