"""Keep house on the disk: room for what comes, and the word on how long it lasts."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.contract import EventData, EventType, LossCause, instant
from edge_agent.core.eviction import Alarm, dropped, full_in_s
from edge_agent.core.status import Room
from edge_agent.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.contract import ItemName
    from edge_agent.core.status import SpoolStats

log = logging.getLogger(__name__)

_TURN_S: Final = 2.0
_TROUBLED_TURN_S: Final = 1.0
_WINDOW_MS: Final = 60_000
"""How far back growth is measured for the forecast."""


class _Spool(Protocol):
    """What must not overflow."""

    @property
    def run(self) -> str: ...
    @property
    def scanned(self) -> bool: ...
    def tend(self) -> str: ...
    def stats(self) -> SpoolStats: ...
    def make_room(self) -> list[ItemName]: ...


class Keep:
    """Drops what must go before it is too late, looks after the disk, and explains both.

    `warn_s` is how long before unsent footage must go it is said.
    """

    def __init__(
        self,
        spool: _Spool,
        clock: Clock,
        *,
        announce: Callable[[EventType, EventData], None],
        show: Callable[[Room], None],
        warn_s: float = 0,
    ) -> None:
        self._spool, self._clock, self._announce, self._show = spool, clock, announce, show
        self._grown: deque[tuple[int, int]] = deque()
        self._alarm = Alarm(warn_s)
        self._detail = self._trouble = ""

    def run_once(self) -> float:
        """The disk is looked after, room is made and measured; seconds until the next turn."""
        detail = self._spool.tend()
        self._tell_disk(detail)
        self.make_room()
        try:
            stats = self._spool.stats()
        except SpoolError as error:
            self._tell(error)
            return _TURN_S
        now_ms = self._clock.monotonic_ms()
        self._grown.append((now_ms, stats.taken_bytes - stats.sent_bytes))
        while now_ms - self._grown[0][0] > _WINDOW_MS:
            self._grown.popleft()
        (from_ms, before), (to_ms, now) = self._grown[0], self._grown[-1]
        full_s = full_in_s(stats.free_bytes, now - before, (to_ms - from_ms) / 1000)
        if not detail and to_ms - from_ms >= _WINDOW_MS / 2:
            self._warn(full_s, waits=stats.backlog_ms > _WINDOW_MS)
        self._show(Room(stats, full_s, detail))
        if detail:
            return _TROUBLED_TURN_S
        return _TURN_S if self._spool.scanned else 0

    def make_room(self) -> None:
        """What does not fit is dropped, as far as the disk lets us, and each loss is an event; any thread may ask."""
        try:
            lost = self._spool.make_room()
        except SpoolError as error:
            self._tell(error)
            return
        for loss in dropped(lost):
            self._announce(
                EventType.SPOOL_EVICTED,
                EventData(
                    run=self._spool.run,
                    camera=loss.camera,
                    cause=LossCause.EVICTED,
                    from_at=instant(loss.from_ms),
                    to_at=instant(loss.to_ms),
                    items=loss.items,
                    items_run=loss.run,
                    items_clock=loss.clock,
                ),
            )

    def _warn(self, full_s: float | None, *, waits: bool) -> None:
        before, self._alarm = self._alarm, self._alarm.after(full_s, waits=waits)
        if self._alarm.is_on and not before.is_on and full_s is not None:
            full_ms = self._clock.now_ms() + round(full_s * 1000)
            detail = f"full in {full_s / 3600:.1f} h"
            self._announce(
                EventType.SPOOL_FILLING, EventData(run=self._spool.run, detail=detail, from_at=instant(full_ms))
            )

    def _tell_disk(self, detail: str) -> None:
        before, self._detail = self._detail, detail
        if detail and not before:
            self._announce(EventType.SPOOL_TROUBLE, EventData(run=self._spool.run, detail=detail))
        elif before and not detail:
            self._announce(EventType.SPOOL_BACK, EventData(run=self._spool.run))

    def _tell(self, error: SpoolError) -> None:
        if str(error) != self._trouble:
            log.error("%s", error)
        self._trouble = str(error)
