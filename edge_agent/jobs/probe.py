"""Keep looking at the link, and say which part of it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_agent.contract import EventData, EventType, Link, LinkPart, Reach, instant
from edge_agent.core.link import judge, unknown
from edge_agent.core.report import News

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock

_PORT_S = 1.0
_DOUBT_S = 0.5
"""A change that a look has shown is believed, or not, at the next."""
_SHOW_MS = 5000
"""What has not changed is shown again after so long, with what the way takes by then."""


class Way(Protocol):
    """The parts of the way to the centre, as far as one can look at them from here."""

    @property
    def interface(self) -> str:
        """Name of the network port; empty when there is none."""
        ...

    def port(self) -> Reach:
        """Whether it has a carrier; answers at once."""
        ...

    def uplink(self) -> Reach:
        """Whether the gateway answers; takes half a second when it does not."""
        ...

    def centre_ms(self) -> float | None:
        """How long the centre's door took to open; None when it did not. A name lookup may take half a minute."""
        ...


class Look:
    """Tries the centre's door, and the gateway when it stays shut. Its own thread: these looks may take long.

    `on_open` is called when the door opens after it was shut.
    """

    def __init__(self, way: Way, every_s: float, on_open: Callable[[], None]) -> None:
        self._way, self._every_s, self._on_open = way, every_s, on_open
        self.seen: tuple[Reach, Reach, float | None] = (Reach.UNKNOWN, Reach.UNKNOWN, None)
        """Gateway, centre, milliseconds to the centre."""

    def run_once(self) -> float:
        """One look; whoever reaches the centre has passed the gateway."""
        rtt_ms = self._way.centre_ms()
        if rtt_ms is not None and self.seen[1] is Reach.DOWN:
            self._on_open()
        self.seen = (Reach.UP, Reach.UP, rtt_ms) if rtt_ms is not None else (self._way.uplink(), Reach.DOWN, None)
        return self._every_s


class Probe:
    """Judges what was seen, once a second, and sooner while it is in doubt; the port is looked at each time."""

    def __init__(
        self,
        way: Way,
        look: Look,
        broker: Callable[[], Reach],
        show: Callable[[Link], None],
        announce: Callable[[EventType, EventData], None],
        run: str,
        clock: Clock,
    ) -> None:
        self._way, self._look, self._broker = way, look, broker
        self._show, self._announce, self._run, self._clock = show, announce, run, clock
        self._view = unknown(clock.monotonic_ms())
        self._news = News(_SHOW_MS)

    def run_once(self) -> float:
        """One look at the port, and the word on the whole."""
        uplink, centre, rtt_ms = self._look.seen
        looks = {
            LinkPart.PORT: self._way.port(),
            LinkPart.UPLINK: uplink,
            LinkPart.CENTRE: centre,
            LinkPart.BROKER: self._broker(),
        }
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        before, self._view = self._view, judge(self._view, looks, monotonic_ms)
        if self._view.broken is not before.broken:
            self._announce(
                EventType.LINK_CHANGED, EventData(run=self._run, before=before.broken, after=self._view.broken)
            )
        if self._news.has((self._view.parts, self._way.interface), monotonic_ms):
            self._show(self._state(rtt_ms, now_ms, monotonic_ms))
        return _PORT_S if all(held.doubt is None for held in self._view.parts.values()) else _DOUBT_S

    def _state(self, rtt_ms: float | None, now_ms: int, monotonic_ms: int) -> Link:
        believed = {part.value: held.value for part, held in self._view.parts.items()}
        return Link(
            broken=self._view.broken,
            port=believed["port"],
            uplink=believed["uplink"],
            centre=believed["centre"],
            broker=believed["broker"],
            interface=self._way.interface,
            rtt_ms=rtt_ms,
            since=instant(now_ms - (monotonic_ms - self._view.since_ms)),
            at=instant(now_ms),
        )
