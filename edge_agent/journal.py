"""Events: made once, kept in the spool and told on the bus in the same bytes."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Protocol

from edge_agent.clock import stamp
from edge_agent.contract import Event, ItemKind, instant
from edge_agent.errors import SpoolError

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.contract import ClockQuality, EventData, EventType, ItemName

log = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where events are kept."""

    @property
    def run(self) -> str:
        """This life of the agent."""
        ...

    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName:
        """The item is durable."""
        ...


class Voice(Protocol):
    """Where events are told."""

    def event(self, body: bytes) -> None:
        """The event is told soon, if it can be."""
        ...


class Journal:
    """Writes events; from any thread."""

    def __init__(self, source: str, shelf: Shelf, voice: Voice, clock: Clock) -> None:
        self._source, self._shelf, self._voice, self._clock = source, shelf, voice, clock
        self._numbers = itertools.count(1)

    def announce(self, kind: EventType, data: EventData) -> None:
        """The event is on its way to the broker, then in the spool; on a disk that is full or hangs it is only told."""
        log.info("%s %s", kind.removeprefix("simpang."), data.model_dump_json(exclude_defaults=True, exclude={"run"}))
        at = stamp(self._clock)
        data = data.model_copy(
            update={"boot": self._clock.boot, "clock": at.quality, "wall_minus_monotonic_ms": at.offset_ms}
        )
        event = Event(
            id=f"{data.run}-{next(self._numbers)}", source=self._source, type=kind, time=instant(at.now_ms), data=data
        )
        body = event.to_json()
        self._voice.event(body)
        try:
            self._shelf.add(ItemKind.EVENT, data.camera, at.now_ms, 0, at.quality, body)
        except SpoolError as error:
            log.error("event not kept: %s", error)
