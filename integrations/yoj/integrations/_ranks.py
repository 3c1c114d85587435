"""Ranks of a distributed training, which exchange what a group needs that straddles them."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from yoj.runtime import RequestError

T = TypeVar("T")
Scope = Literal["shared", "own", "alone"]
"""Process group in which ranks meet: ``shared``, one for all rewards of a process, which call it in turn; ``own``, one
of its own, which a reward needs that is called beside others from several threads; ``alone``, none."""
_lock = threading.Lock()
_own: list[Any] = [None, None]
"""Process group of the trainer, and the one beside it that was made for this module."""


@atexit.register
def _forget() -> None:
    """Let go of the groups while their threads can still end; when modules are torn down they abort the process."""
    _own[:] = None, None


class Ranks:
    """All ranks of the process group, or this process alone.

    Objects travel through a group of its own with the backend gloo: collectives of the trainer cannot come in between,
    and no GPU is needed, which a thread would have to choose.
    """

    def __init__(self, scope: Scope = "shared"):
        """Join the other ranks. With several, all must do so at the same call."""
        distributed, self.count = _world()
        self._group: Any = None
        self.rank = 0
        if scope == "alone":
            self.count = 1
        if self.count == 1:
            return
        self.rank = distributed.get_rank()
        self._distributed = distributed
        if scope == "own":
            self._group = distributed.new_group(backend="gloo")
            return
        with _lock:
            if _own[0] is not distributed.group.WORLD:
                _own[:] = distributed.group.WORLD, distributed.new_group(backend="gloo")
            self._group = _own[1]

    def gather(self, value: T) -> list[T]:
        """Values of all ranks, in their order. Every rank must call."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.count
        self._distributed.all_gather_object(values, value, group=self._group)
        return values

    def exchange(self, values: Sequence[T]) -> list[T]:
        """Give each rank the value at its place, and return what the ranks gave this one. Every rank must call."""
        if self._group is None:
            return list(values)
        given: list[Any] = [None] * self.count
        for rank, value in enumerate(values):
            here = given if rank == self.rank else None
            self._distributed.gather_object(value, here, dst=rank, group=self._group)
        return given


class CallTurns:
    """Calls from several threads that go through one after the other, in the order in which they came.

    Ranks that meet more than once in a call would else take what another call of theirs sent.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._came = 0
        self._done = 0

    @contextmanager
    def take(self) -> Generator[int]:
        """Wait for the calls before. Gives the number of this one, from 0."""
        with self._changed:
            number = self._came
            self._came += 1
            self._changed.wait_for(lambda: self._done == number)
        try:
            yield number
        finally:
            with self._changed:
                self._done += 1
                self._changed.notify_all()


def rank_count() -> int:
    """Number of ranks of the process group now; 1 where there is none."""
    return _world()[1]


def _world() -> tuple[Any, int]:
    """PyTorch's module of process groups, and the number of ranks."""
    distributed: Any = sys.modules.get("torch.distributed")  # who trains with several ranks has loaded it
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None, 1
    return distributed, distributed.get_world_size()


def failure_text(error: BaseException | None) -> str | None:
    """Text by which a rank tells the others that it failed; None where it did not."""
    return None if error is None else f"{type(error).__name__}: {error}"


def raise_first(own: Exception | None, texts: Sequence[str | None]) -> None:
    """Raise the failure of this rank, or else that of the first other one that failed.

    Args:
        own: failure of this rank.
        texts: `failure_text` of each rank.

    Raises:
        RequestError: another rank failed, or the failure of this one was such.
        Exception: the failure of this rank.
    """
    if own is not None:
        raise own
    for rank, text in enumerate(texts):
        if text is not None:
            raise RequestError(f"Rank {rank} failed: {text}")
