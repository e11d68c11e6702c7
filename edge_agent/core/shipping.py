"""Which item goes to the centre next: what is fresh before the backlog, each oldest first."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_agent.contract import ItemKind, ItemName
from edge_agent.core.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRESH_MS: Final = 30_000
"""An item that waited longer has missed its live moment and queues with the backlog."""

_LOOK: Final = 32
"""Items join when they are complete, so the one that starts first is among the first few, not always the first."""


class _Waiting(NamedTuple):
    size_bytes: int
    since_ms: int


class Line:
    """The items without a receipt. Times are of the monotonic clock, in milliseconds; every step is O(1)."""

    def __init__(self) -> None:
        self._backlog = Index()
        self._fresh: OrderedDict[ItemName, _Waiting] = OrderedDict()
        self.bytes = 0
        self.duration_ms = 0

    def __len__(self) -> int:
        return len(self._backlog) + len(self._fresh)

    def __contains__(self, name: ItemName) -> bool:
        return name in self._fresh or name in self._backlog

    def items(self) -> Iterator[tuple[ItemName, int]]:
        """Each item with its size in bytes, oldest first."""
        return chain(self._backlog.items(), ((name, waiting.size_bytes) for name, waiting in self._fresh.items()))

    def candidates(self, stays: Callable[[ItemName], bool]) -> Iterator[tuple[ItemName, int]]:
        """Those that do not stay, oldest first, for a caller who makes them leave."""
        fresh = ((name, waiting.size_bytes) for name, waiting in self._fresh.items() if not stays(name))
        return chain(self._backlog.candidates(stays), fresh)

    def reconsider(self) -> None:
        """What stays may be another choice from now on."""
        self._backlog.reconsider()

    def forget(self) -> None:
        """Nothing waits any more."""
        self._backlog = Index()
        self._fresh.clear()
        self.bytes = self.duration_ms = 0

    def join(self, name: ItemName, size_bytes: int, now_ms: int) -> None:
        """A fresh item waits from now on."""
        self._count(name, size_bytes, 1)
        self._fresh[name] = _Waiting(size_bytes, now_ms)

    def join_backlog(self, name: ItemName, size_bytes: int) -> None:
        """An item of an earlier life waits from now on."""
        self._count(name, size_bytes, 1)
        self._backlog[name] = size_bytes

    def leave(self, name: ItemName) -> int | None:
        """The item waits no longer; its size in bytes, None when it did not wait."""
        waiting = self._fresh.pop(name, None)
        size_bytes = waiting.size_bytes if waiting else self._backlog.pop(name)
        if size_bytes is not None:
            self._count(name, size_bytes, -1)
        return size_bytes

    def next(self, now_ms: int) -> ItemName | None:
        """Whose turn it is; the item stays in line until it leaves."""
        while self._fresh:
            name, waiting = next(iter(self._fresh.items()))
            if now_ms - waiting.since_ms < FRESH_MS:
                return name
            self._backlog[name] = self._fresh.pop(name).size_bytes
        return next(iter(self._backlog), None)

    def oldest_start_ms(self) -> int | None:
        """Where the oldest waiting item starts, Unix milliseconds."""
        return min((name.start_ms for name, _ in islice(self.items(), _LOOK)), default=None)

    def _count(self, name: ItemName, size_bytes: int, sign: int) -> None:
        self.bytes += sign * size_bytes
        if name.kind is ItemKind.SEGMENT:
            self.duration_ms += sign * name.duration_ms
