"""Stand-ins for what a test cannot have: time, hardware, distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.contract import ClockQuality

if TYPE_CHECKING:
    from threading import Event


class FakeClock:
    """A clock that stands still until told to go on, or somebody waits; waiting takes no time."""

    def __init__(self, now_ms: int = 1_800_000_000_000, quality: ClockQuality = ClockQuality.SYNCED) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 1_000_000
        self._quality = quality
        self.boot = "0123abcd"
        self.waited_s: list[float] = []

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def quality(self) -> ClockQuality:
        return self._quality

    def wait(self, stop: Event, seconds: float) -> bool:
        self.waited_s.append(seconds)
        self.advance(seconds)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Time passes on both clocks."""
        self._now_ms += round(seconds * 1000)
        self._monotonic_ms += round(seconds * 1000)

    def step(self, seconds: float) -> None:
        """Somebody sets the time of day; durations do not notice."""
        self._now_ms += round(seconds * 1000)

    def trust(self, quality: ClockQuality) -> None:
        """The time of day becomes that good."""
        self._quality = quality
