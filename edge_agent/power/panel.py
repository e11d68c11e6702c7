"""All sources of a site, each in a thread of its own, so that none waits for another."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edge_agent.core.backoff import delay_s
from edge_agent.core.fusion import Heard
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.clock import Clock
    from edge_agent.power import PowerSource

_AGAIN_S: Final = 10.0
"""A source that is not there is tried so often, once it has been away for a while."""
_CLOSE_S: Final = 1.0


def _nobody() -> None:
    """Nobody waits for news."""


class Meter:
    """One source: opened once it can be, read over and over, opened anew when reading fails."""

    def __init__(self, name: str, open_source: Callable[[], PowerSource], clock: Clock) -> None:
        self.heard = Heard(name)
        self.trouble: PowerError | None = None
        self.answered = threading.Event()
        self.on_news: Callable[[], None] = _nobody
        self._open, self._clock = open_source, clock
        self._source: PowerSource | None = None
        self._failures = 0

    def run_once(self) -> float:
        """What the source says is in `heard`; seconds until it is to be asked again."""
        at_ms = self._clock.monotonic_ms()
        try:
            if self._source is None:
                self._source = self._open()
            reading = self._source.read()
        except PowerError as error:
            self.close()
            self._failures += 1
            self.trouble = error
            self.heard = replace(self.heard, trouble=str(error))
            wait_s = delay_s(self._failures, 0, most_s=2 * _AGAIN_S)
        else:
            self._failures = 0
            self.trouble = None
            news = reading.mains is not self.heard.reading.mains
            self.heard = Heard(self.heard.source, reading, at_ms)
            if news:
                self.on_news()
            wait_s = self._source.every_s
        self.answered.set()
        return wait_s

    def close(self) -> None:
        """The source is given back."""
        if self._source is not None:
            self._source.close()
            self._source = None


class Panel:
    """The meters of a site, reading as long as the panel is open.

    They are no members of the crew: a source that hangs is reported as one that gives nothing, and is no reason to
    restart the agent.
    """

    def __init__(self, openers: Mapping[str, Callable[[], PowerSource]], clock: Clock) -> None:
        self._clock = clock
        self._stop = threading.Event()
        self.meters = [Meter(name, open_source, clock) for name, open_source in openers.items()]
        self._threads = [
            # Daemons, so that a source that hangs cannot keep a stopped agent alive.
            threading.Thread(target=self._work, args=(meter,), name=f"power {meter.heard.source}", daemon=True)
            for meter in self.meters
        ]
        for thread in self._threads:
            thread.start()

    def heard(self) -> tuple[Heard, ...]:
        """What each source said last."""
        return tuple(meter.heard for meter in self.meters)

    def call(self, somebody: Callable[[], None]) -> None:
        """Who is to be called, by any thread, as soon as a source says that mains came or went."""
        for meter in self.meters:
            meter.on_news = somebody

    def hear_all(self, patience_s: float) -> tuple[Heard, ...]:
        """The same, once each had its say, or when patience is at its end."""
        until_ms = self._clock.monotonic_ms() + patience_s * 1000
        for meter in self.meters:
            self._clock.wait(meter.answered, max(0.0, (until_ms - self._clock.monotonic_ms()) / 1000))
        return self.heard()

    def close(self) -> None:
        """The sources are given back; one that hangs is left behind."""
        self._stop.set()
        until_ms = self._clock.monotonic_ms() + _CLOSE_S * 1000
        for thread in self._threads:
            thread.join(max(0.0, (until_ms - self._clock.monotonic_ms()) / 1000))

    def _work(self, meter: Meter) -> None:
        try:
            while not self._clock.wait(self._stop, meter.run_once()):
                pass
        finally:
            meter.close()
