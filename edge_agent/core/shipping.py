"""Which item goes to the centre next: fresh events, fresh footage, then the backlog, what is wanted of it first."""

from __future__ import annotations

from collections import Counter, OrderedDict
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_agent.contract import ItemKind, ItemName
from edge_agent.core.index import Index
from edge_agent.core.status import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from edge_agent.contract import Stretch

FRESH_MS: Final = 30_000
"""An item that waited longer has missed its live moment and queues with the backlog."""

_APART_MS: Final = 30_000
"""So long others have their turn before one that could not be read is tried again."""

_TRIES: Final = 3
"""So often an item fails by its own fault before nobody believes in it any more."""

_LOOK: Final = 32
"""Items join when they are complete, so the one that starts first is among the first few, not always the first."""


class Order(StrEnum):
    """Which end of the backlog goes first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Want(NamedTuple):
    """A stretch of one camera's time, Unix milliseconds."""

    camera: str
    from_ms: int
    to_ms: int

    @classmethod
    def of(cls, stretch: Stretch) -> Want:
        """The stretch of a wish."""
        return cls(stretch.camera, _unix_ms(stretch.from_at), _unix_ms(stretch.to_at))

    def takes(self, name: ItemName) -> bool:
        """Whether any of the item lies in it."""
        return name.camera == self.camera and name.start_ms < self.to_ms and name.end_ms > self.from_ms


class _Waiting(NamedTuple):
    size_bytes: int
    since_ms: int


class Line:
    """The items without a receipt. Times are of the monotonic clock, in milliseconds; every step is O(1).

    Several may take from it at once: what is taken stays in line, but is nobody else's until it is released or leaves.
    """

    def __init__(self, order: Order = Order.OLDEST) -> None:
        self._order = order
        self._backlog = Index()
        self._events: OrderedDict[ItemName, _Waiting] = OrderedDict()
        self._fresh: OrderedDict[ItemName, _Waiting] = OrderedDict()
        self._apart: OrderedDict[ItemName, _Waiting] = OrderedDict()
        self._faults: Counter[ItemName] = Counter()
        self._taken: set[ItemName] = set()
        self._wants: Sequence[Want] = ()
        self._wanted: OrderedDict[ItemName, None] = OrderedDict()
        self.bytes = 0
        self.duration_ms = 0

    @property
    def backlog(self) -> Backlog:
        """All that waits, fresh or not."""
        return Backlog(len(self), self.bytes, self.duration_ms)

    def __len__(self) -> int:
        return len(self._backlog) + len(self._events) + len(self._fresh) + len(self._apart)

    def __contains__(self, name: ItemName) -> bool:
        return name in self._lane(name) or name in self._apart or name in self._backlog

    def items(self) -> Iterator[tuple[ItemName, int]]:
        """Each item with its size in bytes: what was put off, then the others, oldest first."""
        return chain(_sizes(self._apart), self._backlog.items(), _sizes(self._events), _sizes(self._fresh))

    def candidates(self, stays: Callable[[ItemName], bool]) -> Iterator[tuple[ItemName, int]]:
        """Those that do not stay, in the order of `items`, for a caller who makes them leave."""
        parts = self._apart, self._events, self._fresh
        apart, events, fresh = ((item for item in _sizes(part) if not stays(item[0])) for part in parts)
        return chain(apart, self._backlog.candidates(stays), events, fresh)

    def reconsider(self) -> None:
        """What stays may be another choice from now on."""
        self._backlog.reconsider()

    def forget(self) -> None:
        """Nothing waits any more."""
        self._backlog = Index()
        for part in (self._events, self._fresh, self._apart, self._faults, self._wanted):
            part.clear()
        self.bytes = self.duration_ms = 0

    def join(self, name: ItemName, size_bytes: int, now_ms: int) -> None:
        """A fresh item waits from now on."""
        self._count(name, size_bytes, 1)
        self._lane(name)[name] = _Waiting(size_bytes, now_ms)

    def join_backlog(self, name: ItemName, size_bytes: int) -> None:
        """An item of an earlier life waits from now on."""
        self._count(name, size_bytes, 1)
        self._wait_late(name, size_bytes)

    def leave(self, name: ItemName) -> int | None:
        """The item waits no longer; its size in bytes, None when it did not wait."""
        self._taken.discard(name)
        self._faults.pop(name, None)
        size_bytes = self._pop(name)
        if size_bytes is not None:
            self._count(name, size_bytes, -1)
        return size_bytes

    def put_off(self, name: ItemName, now_ms: int, *, is_at_fault: bool) -> bool:
        """It could not be sent and gives way to all others for a while; false when it was at fault too often."""
        size_bytes = self._pop(name)
        if size_bytes is None:
            return True
        self._apart[name] = _Waiting(size_bytes, now_ms)
        self._faults[name] += is_at_fault
        return self._faults[name] < _TRIES

    def next(self, now_ms: int) -> ItemName | None:
        """Whose turn it is, taken or not."""
        self._age(now_ms)
        return next(chain(self._events, self._fresh, self._late()), None)

    def take_fresh(self, now_ms: int, *, events_only: bool = False) -> ItemName | None:
        """The fresh item whose turn it is, taken."""
        self._age(now_ms)
        return self._take(self._events if events_only else chain(self._events, self._fresh))

    def take_late(self, now_ms: int) -> ItemName | None:
        """The item of the backlog whose turn it is, taken."""
        self._age(now_ms)
        return self._take(self._late())

    def release(self, name: ItemName) -> None:
        """It can be taken again."""
        self._taken.discard(name)

    def want(self, wants: Sequence[Want]) -> None:
        """What comes late from now on goes first where it is wanted; the backlog has to be looked through."""
        self._wants = wants
        self._wanted.clear()

    def look_for_wanted(self, after: tuple[str, int], most: int) -> tuple[str, int] | None:
        """What is wanted of the next items behind that run and sequence goes first; where they end, None at the end."""
        names = self._backlog.after(*after, most)
        self._wanted.update((name, None) for name in names if self._is_wanted(name))
        return (names[-1].run, names[-1].sequence) if names else None

    @property
    def has_late(self) -> bool:
        """Whether there is a backlog."""
        return bool(self._backlog)

    def oldest_start_ms(self) -> int | None:
        """Where the oldest waiting item starts, Unix milliseconds."""
        return min((name.start_ms for name, _ in islice(self.items(), _LOOK)), default=None)

    def _lane(self, name: ItemName) -> OrderedDict[ItemName, _Waiting]:
        """Events do not wait for footage: they are small, and one of them may be the last word of the site."""
        return self._events if name.kind is ItemKind.EVENT else self._fresh

    def _age(self, now_ms: int) -> None:
        """What waited too long is fresh no more, unless it is on its way; what was put off for long has its turn."""
        for part, most_ms in ((self._events, FRESH_MS), (self._fresh, FRESH_MS), (self._apart, _APART_MS)):
            while part:
                name, waiting = next(iter(part.items()))
                if now_ms - waiting.since_ms < most_ms or name in self._taken:
                    break
                self._wait_late(name, part.pop(name).size_bytes)

    def _pop(self, name: ItemName) -> int | None:
        self._wanted.pop(name, None)
        waiting = self._lane(name).pop(name, None) or self._apart.pop(name, None)
        return waiting.size_bytes if waiting else self._backlog.pop(name)

    def _wait_late(self, name: ItemName, size_bytes: int) -> None:
        self._backlog[name] = size_bytes
        if self._is_wanted(name):
            self._wanted[name] = None

    def _is_wanted(self, name: ItemName) -> bool:
        return any(want.takes(name) for want in self._wants)

    def _late(self) -> Iterator[ItemName]:
        rest = reversed(self._backlog) if self._order is Order.NEWEST else iter(self._backlog)
        return chain(self._wanted, rest)

    def _take(self, names: Iterable[ItemName]) -> ItemName | None:
        name = next((name for name in names if name not in self._taken), None)
        if name is not None:
            self._taken.add(name)
        return name

    def _count(self, name: ItemName, size_bytes: int, sign: int) -> None:
        self.bytes += sign * size_bytes
        if name.kind is ItemKind.SEGMENT:
            self.duration_ms += sign * name.duration_ms


def _sizes(waiting: dict[ItemName, _Waiting]) -> Iterator[tuple[ItemName, int]]:
    return ((name, one.size_bytes) for name, one in waiting.items())


def _unix_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
