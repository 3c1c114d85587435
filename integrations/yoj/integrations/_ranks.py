"""Ranks of a distributed training, which exchange what a group needs that straddles them."""

from __future__ import annotations

import sys
import threading
from typing import Any, TypeVar

T = TypeVar("T")
_lock = threading.Lock()
_own: list[Any] = [None, None]
"""Process group of the trainer, and the one beside it that was made for this module."""


class Ranks:
    """All ranks of the process group, or this process alone.

    Objects travel through a group of its own with the backend gloo: collectives of the trainer cannot come in between,
    and no GPU is needed, which a thread would have to choose.
    """

    def __init__(self):
        """Join the other ranks. With several, all must do so at the same call."""
        distributed: Any = sys.modules.get("torch.distributed")  # who trains with several ranks has loaded it
        self._group: Any = None
        self.rank, self.count = 0, 1
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        if self.count == 1:
            return
        self._distributed = distributed
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
