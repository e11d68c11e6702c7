"""Keep house on the disk: room for what comes, and the word on how long it lasts."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.contract import EventData, EventType, LossCause, instant
from edge_agent.core.eviction import dropped, full_in_s
from edge_agent.core.status import Room
from edge_agent.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.contract import ItemName
    from edge_agent.core.status import SpoolStats

log = logging.getLogger(__name__)

_TURN_S: Final = 2.0
_WINDOW_MS: Final = 60_000
"""How far back growth is measured for the forecast."""


class _Spool(Protocol):
    """What must not overflow."""

    @property
    def run(self) -> str: ...
    def stats(self) -> SpoolStats: ...
    def make_room(self) -> list[ItemName]: ...


class Keep:
    """Drops what must go before it is too late, and explains it."""

    def __init__(
        self,
        spool: _Spool,
        clock: Clock,
        *,
        announce: Callable[[EventType, EventData], None],
        show: Callable[[Room], None],
    ) -> None:
        self._spool, self._clock, self._announce, self._show = spool, clock, announce, show
        self._grown: deque[tuple[int, int]] = deque()
        self._trouble = ""

    def run_once(self) -> float:
        """Room is made and measured; seconds until the next turn."""
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
        self._show(Room(stats, full_in_s(stats.free_bytes, now - before, (to_ms - from_ms) / 1000)))
        return _TURN_S

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

    def _tell(self, error: SpoolError) -> None:
        if str(error) != self._trouble:
            log.error("%s", error)
        self._trouble = str(error)
