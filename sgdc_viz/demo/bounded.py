"""What is kept while the page is used: the newest things, of at most so many bytes together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Things by name; the one that was used longest ago goes first. Safe with several threads.

    Args:
        most: bytes of all things together. A single thing that is larger is kept alone.
        size: bytes of one.
    """

    def __init__(self, most: int, size: Callable[[T], int]):
        self.most, self._size = most, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._kept

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, name: Hashable) -> T | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: Hashable, thing: T) -> T:
        with self._lock:
            if name in self._kept:
                self._bytes -= self._size(self._kept.pop(name))
            self._kept[name] = thing
            self._bytes += self._size(thing)
            while self._bytes > self.most and len(self._kept) > 1:
                self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return thing

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0
