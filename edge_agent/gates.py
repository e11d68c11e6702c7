"""The two gates on the way out: one for fresh items, always open, and one for the backlog, which gives way to it.

Live footage and backlog share the link. The backlog stops between two slices while anything fresh is on its way, so it
takes what live leaves of whatever the link can carry just then, and nobody has to know how much that is.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from edge_agent.contract import ClockQuality, ItemKind, PaceLimit
from edge_agent.core.pace import DEEP_MS, SHALLOW_MS, Allowance, Meter, allowance, granted, slice_bytes
from edge_agent.errors import LinkError, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_agent.clock import Clock
    from edge_agent.contract import ItemName, Wish
    from edge_agent.core.pace import Grant, Limits

    Admit = Callable[[int], int]

_HOLD_S: Final = 10.0
"""The backlog sends a slice so often even while it gives way, lest somebody on the way hangs up on it."""
_TROUBLE_MS: Final = 30_000
"""For so long after a fresh item failed the backlog does not even try."""
_PAUSE_MS: Final = 15_000
_LOOK_AGAIN_S: Final = 1.0
_ALLOWANCE_MS: Final = 500
_LEISURE_BYTES_PER_S: Final = 64 * 1024
"""What is on its way when the backlog may go no more arrives at this pace."""
_LEAST_BYTES_PER_S: Final = 1024
"""Slower than this, and the centre would think that nobody is there."""


class FreshGate:
    """Always open. The backlog knows when somebody is in it, and whether the last one reached the centre."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trouble_until_ms = 0
        self._footage_ms: int | None = None
        self.free = threading.Event()
        """Set while nobody is in it."""
        self.free.set()

    def opens_in_s(self) -> float:
        """0."""
        return 0

    @contextmanager
    def passage(self, name: ItemName, progress: Callable[[], None]) -> Iterator[Admit]:
        """An item goes through; asked how much may go at once, it says: all."""

        def admit(most: int) -> int:
            progress()
            return most

        self.free.clear()
        try:
            yield admit
        except Rejected:
            raise
        except LinkError:
            self._trouble_until_ms = self._clock.monotonic_ms() + _TROUBLE_MS
            raise
        else:
            self._trouble_until_ms = 0
        finally:
            if name.kind is ItemKind.SEGMENT:
                self._footage_ms = self._clock.monotonic_ms()
            self.free.set()

    @property
    def is_live(self) -> bool:
        """Whether footage comes through it as it is recorded."""
        return self._footage_ms is not None and self._clock.monotonic_ms() - self._footage_ms < _PAUSE_MS

    @property
    def in_trouble(self) -> bool:
        """Whether the centre cannot be reached, as far as fresh items know."""
        return self._clock.monotonic_ms() < self._trouble_until_ms

    def hope(self) -> None:
        """The centre may be there again."""
        self._trouble_until_ms = 0


class LateGate:
    """Open while settings and centre let the backlog go; gives way to what is fresh. For any number of threads."""

    def __init__(self, fresh: FreshGate, limits: Limits, clock: Clock) -> None:
        self._fresh, self._limits, self._clock = fresh, limits, clock
        self._grant: Grant | None = None
        self._held = False
        self._known = Allowance(None, PaceLimit.NONE)
        self._known_until_ms = 0
        self._meter = Meter()
        self._lock = threading.Lock()
        self._nothing = threading.Event()

    def grant(self, wish: Wish) -> None:
        """What the wish grants holds from now on."""
        clock = self._clock
        self._grant = granted(wish, clock.now_ms(), clock.quality(), clock.monotonic_ms())
        self._known_until_ms = 0

    def hold(self, *, held: bool) -> None:
        """The backlog waits for mains from now on, or does so no longer."""
        self._held = held
        self._known_until_ms = 0

    def allowance(self) -> Allowance:
        """What the backlog may take just now, or half a second ago."""
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._known_until_ms:
            self._known, self._known_until_ms = self._look(now_ms), now_ms + _ALLOWANCE_MS
        return self._known

    def _look(self, now_ms: int) -> Allowance:
        moment = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).astimezone()
        local = None if self._clock.quality() is ClockQuality.UNSYNCED else moment
        return allowance(self._limits, self._grant, local, now_ms, held=self._held)

    def opens_in_s(self) -> float:
        """Seconds until it is worth asking again; 0 while an item may begin."""
        return _LOOK_AGAIN_S if self._fresh.in_trouble else self.allowance().opens_in_s

    def queue_ms(self) -> float:
        """How long the backlog may queue on its way: the less, the sooner a fresh item finds the way free."""
        return SHALLOW_MS if self._fresh.is_live else DEEP_MS

    @contextmanager
    def passage(self, _name: ItemName, progress: Callable[[], None]) -> Iterator[Admit]:
        """An item goes through, slice by slice; asked how much may go at once, it takes its time."""

        def admit(most: int) -> int:
            progress()
            if not self._fresh.free.is_set():
                self._clock.wait(self._fresh.free, _HOLD_S)
            bytes_per_s = self.allowance().bytes_per_s
            if bytes_per_s is None:
                return most
            bytes_per_s = max(bytes_per_s or _LEISURE_BYTES_PER_S, _LEAST_BYTES_PER_S)
            size_bytes = min(most, slice_bytes(bytes_per_s))
            with self._lock:
                wait_ms = self._meter.take(size_bytes, bytes_per_s, self._clock.monotonic_ms())
            if wait_ms >= 1:
                self._clock.wait(self._nothing, wait_ms / 1000)
            return size_bytes

        yield admit
