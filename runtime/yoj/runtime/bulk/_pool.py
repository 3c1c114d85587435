"""Pool of processes of one kind, which outlives them: what a process leaves undone when it ends is done by another.

Nobody can tell which of its rows ended a process, or whether something else did. So each of them is then done alone, by
a process that has nothing else to do; only a row that ends such a process twice is given up.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from .._log import logger
from ..errors import EngineError
from ._children import Child, Failed, Worker

MOST_DEATHS = 10
"""Number of processes that may end one after the other without one answer between them."""
DEADLY = 2
"""Number of processes that a row may end while it is alone in them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """Kind of process."""

    name: str
    opening: Callable[[Any], Worker]
    """Function that opens the worker in the process."""
    depth: int
    """Most tasks that a process has at once, those that wait in it included."""
    sent: Callable[[T], Any]
    """Function from a row to what the process is sent of it."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of the rows of a task, or of some of them."""

    of_rows: Mapping[int, Any]
    """Position of a row -> what became of it."""
    engine_seconds: float = 0.0
    """Seconds since the last answer in which the engine ran."""


@dataclass(frozen=True)
class GivenUp:
    """Outcome of a row that ended two processes while it was alone in them."""

    how: str
    """End of the last of them, such as SIGKILL."""


@dataclass
class _Place(Generic[T]):
    """Place of a process in the pool, and of those that come after it."""

    child: Child
    setup: Any = None
    ready: bool = False
    alone: bool = False
    """Whether its one task is a row that ended a process, and is to have no company."""
    tasks: dict[int, dict[int, T]] = field(default_factory=dict[int, dict[int, T]])
    """Number of a task -> its rows that are not yet answered, by their positions."""


class Pool(Generic[T]):
    """Pool of processes that work on rows, each known by its position."""

    def __init__(self, kind: Kind[T], size: int):
        """Start the processes, which wait for `setup`."""
        self._kind = kind
        self._places = [_Place[T](Child(f"{kind.name}-{k}", kind.opening)) for k in range(size)]
        self._suspects = deque[tuple[int, T]]()
        """Rows that are to be done alone, by positions."""
        self._deaths = Counter[int]()
        """Number of processes that a row ended while it was alone."""
        self._deaths_in_turn = 0
        self._tasks = 0
        self.told: list[Any] = []
        """Message of each process when it was open, in the order in which they came."""
        self.restarts = 0
        """Number of processes that ended and were replaced."""

    def setup(self, setups: Sequence[Any]) -> None:
        """Tell each process what to open; those that come after it open the same."""
        for place, setup in zip(self._places, setups, strict=True):
            place.child.send(setup)
        self.renew(setups)

    def renew(self, setups: Sequence[Any]) -> None:
        """Change what those open that come after the processes."""
        for place, setup in zip(self._places, setups, strict=True):
            place.setup = setup

    @property
    def size(self) -> int:
        """Number of processes at a time."""
        return len(self._places)

    @property
    def ready(self) -> bool:
        """Whether all processes are open."""
        return all(place.ready for place in self._places)

    @property
    def rows_out(self) -> int:
        """Number of rows that were given and not yet answered."""
        return len(self._suspects) + sum(len(rows) for place in self._places for rows in place.tasks.values())

    @property
    def connections(self) -> list[Connection]:
        """Connection of each process, to wait for."""
        return [place.child.connection for place in self._places]

    def has_room(self) -> bool:
        """Whether a task can be given."""
        return self._roomiest() is not None

    def give(self, rows: Mapping[int, T]) -> None:
        """Give a task, rows by their positions, to the process that has least to do. `has_room` must hold."""
        place = self._roomiest()
        assert place is not None
        self._send(place, rows)

    def receive(self, connection: Connection) -> tuple[list[tuple[int, T, Any]], float]:
        """Take a message of the process with this connection.

        Returns:
            Position, row and outcome of each row that is answered or given up, and seconds in which the engine ran.

        Raises:
            YojError: a worker cannot be opened, or processes end again and again.
        """
        place = next(place for place in self._places if place.child.connection is connection)
        try:
            message = place.child.receive()
        except EOFError:
            return self._replace(place), 0.0
        if isinstance(message, Failed):
            raise message.error
        if not place.ready:
            place.ready = True
            self.told.append(message)
            self._give_suspects()
            return [], 0.0
        self._deaths_in_turn = 0
        task, answer = message
        return self._take(place, task, answer.of_rows), answer.engine_seconds

    def forget(self) -> None:
        """Forget all rows: what is being worked on has no outcome any more."""
        self._suspects.clear()
        self._deaths.clear()
        for place in self._places:
            place.tasks = {task: {} for task in place.tasks}

    def close(self) -> None:
        """End all processes, at once."""
        for place in self._places:
            place.child.kill()
        for place in self._places:
            place.child.end()

    def _roomiest(self) -> _Place[T] | None:
        """Process that may have another task; None where there is none, or where rows wait that are to be alone."""
        if self._suspects:
            return None
        free = [p for p in self._places if p.ready and not p.alone and len(p.tasks) < self._kind.depth]
        return min(free, key=lambda place: len(place.tasks), default=None)

    def _send(self, place: _Place[T], rows: Mapping[int, T]) -> None:
        self._tasks += 1
        place.tasks[self._tasks] = dict(rows)
        place.child.send((self._tasks, {position: self._kind.sent(row) for position, row in rows.items()}))

    def _give_suspects(self) -> None:
        for place in self._places:
            if self._suspects and place.ready and not place.tasks:
                position, row = self._suspects.popleft()
                place.alone = True
                self._send(place, {position: row})

    def _take(self, place: _Place[T], task: int, outcomes: Mapping[int, Any]) -> list[tuple[int, T, Any]]:
        rows = place.tasks.get(task, {})
        taken = [(k, rows.pop(k), outcome) for k, outcome in outcomes.items() if k in rows]
        if not rows:
            place.tasks.pop(task, None)
            place.alone = place.alone and bool(place.tasks)
        self._give_suspects()
        return taken

    def _replace(self, place: _Place[T]) -> list[tuple[int, T, Any]]:
        """Start a process in the place of one that ended, and see to what that left undone."""
        name, how = place.child.name, place.child.end()
        self._deaths_in_turn += 1
        self.restarts += 1
        if self._deaths_in_turn == MOST_DEATHS:
            raise EngineError(
                f"{MOST_DEATHS} processes of {name.rpartition('-')[0]} ended one after the other without a result "
                f"between them, the last with {how}. SIGKILL mostly means that memory is short: try fewer --workers."
            )
        logger().warning("process %s ended with %s; another takes its place", name, how)
        left = {position: row for rows in place.tasks.values() for position, row in rows.items()}
        given_up: list[tuple[int, T, Any]] = []
        if len(left) == 1:
            ((position, row),) = left.items()
            self._deaths[position] += 1
            if self._deaths[position] == DEADLY:
                given_up, left = [(position, row, GivenUp(how))], {}
        self._suspects.extend(left.items())
        place.child, place.ready, place.alone, place.tasks = Child(name, self._kind.opening), False, False, {}
        if place.setup is not None:
            place.child.send(place.setup)
        self._give_suspects()
        return given_up
