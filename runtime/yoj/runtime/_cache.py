"""Cache of visual features by the content of their image or video."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .families import Arrays


class FeatureCache:
    """Cache of the features of the media used last, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, Arrays] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        """Times that features were found."""
        self.misses = 0
        """Times that they were not."""

    def get(self, key: bytes) -> Arrays | None:
        """Cached features of this content, or None."""
        with self._lock:
            if key not in self._entries:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: bytes, features: Arrays) -> None:
        """Remember features and drop those unused for longest. Features larger than the whole cache are not kept."""
        size = _bytes(features)
        with self._lock:
            if size > self._max_bytes or key in self._entries:
                return
            self._entries[key] = features
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= _bytes(self._entries.popitem(last=False)[1])


def _bytes(features: Arrays) -> int:
    return sum(array.nbytes for array in features.values())
