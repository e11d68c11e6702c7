"""Tell the state of the site: retained groups on the bus, and the same messages in batches for the history."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from edge_agent.clock import same_clock, stamp
from edge_agent.contract import EventData, EventType, ItemKind, Sample, Telemetry
from edge_agent.core.report import PACES, is_due
from edge_agent.errors import SpoolError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.contract import ClockQuality, Host, ItemName, Message

log = logging.getLogger(__name__)

_TURN_S = 1.0
_HOST_S = 10.0


class Facts(Protocol):
    """What the other jobs know."""

    @property
    def changed(self) -> threading.Event:
        """Set at news."""
        ...

    def post(self, group: str, fact: Message) -> None:
        """`fact` is the latest of its group."""
        ...

    def facts(self) -> dict[str, Message]:
        """The latest of each group."""
        ...


class Shelf(Protocol):
    """Where batches are kept."""

    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName:
        """The item is durable; SpoolError when it is not."""
        ...


class Report:
    """Publishes what is due, at once at news; looks after the host itself, since nobody else does."""

    def __init__(
        self,
        board: Facts,
        publish: Callable[[str, bytes], None],
        host: Callable[[], Host],
        shelf: Shelf,
        announce: Callable[[EventType, EventData], None],
        run: str,
        telemetry_s: float,
        clock: Clock,
    ) -> None:
        self._board, self._publish, self._host, self._shelf = board, publish, host, shelf
        self._announce, self._run, self._telemetry_s, self._clock = announce, run, telemetry_s, clock
        self._told: dict[str, tuple[Message, int]] = {}
        self._samples: list[Sample] = []
        self._begun = stamp(clock)
        self._host_due_ms = 0
        self._quality: ClockQuality | None = None

    def run_once(self) -> float:
        """What is due is published, and a full batch is kept; waits itself, for news."""
        self._clock.wait(self._board.changed, _TURN_S)
        self._board.changed.clear()
        now_ms = self._clock.monotonic_ms()
        if not same_clock(self._begun, stamp(self._clock)):
            self.flush()
        if now_ms >= self._host_due_ms:
            self._host_due_ms = now_ms + round(_HOST_S * 1000)
            self._look_at_host()
        for group, fact in self._board.facts().items():
            sent, sent_ms = self._told.get(group, (None, 0))
            if is_due(PACES[group.partition("/")[0]], sent, sent_ms, fact, now_ms):
                self._told[group] = fact, now_ms
                self._publish(group, fact.to_json())
                self._samples.append(Sample(group=group, body=fact.model_dump(mode="json")))
        if now_ms - self._begun.monotonic_ms >= self._telemetry_s * 1000:
            self.flush()
        return 0

    def _look_at_host(self) -> None:
        host = self._host()
        self._board.post("host", host)
        if self._quality not in {None, host.clock}:
            self._announce(EventType.CLOCK_CHANGED, EventData(run=self._run, before=self._quality, after=host.clock))
        self._quality = host.clock

    def flush(self) -> None:
        """What was told since the last batch is an item of the history; on a full disk it is lost."""
        samples, self._samples = self._samples, []
        begun, self._begun = self._begun, stamp(self._clock)
        duration_ms = self._begun.monotonic_ms - begun.monotonic_ms
        if not samples:
            return
        body = Telemetry(samples=tuple(samples), wall_minus_monotonic_ms=begun.offset_ms).to_json()
        try:
            self._shelf.add(ItemKind.TELEMETRY, None, begun.now_ms, duration_ms, begun.quality, body)
        except SpoolError as error:
            log.error("telemetry of %d s not kept: %s", duration_ms // 1000, error)
