"""Sources of power readings behind one Protocol; each is imported only where it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.core.supply import NOTHING, PowerReading
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.settings import PowerSettings

_REOPEN_MS: Final = 30_000


class PowerSource(Protocol):
    """Whatever knows of mains and battery."""

    def read(self) -> PowerReading:
        """What it says now; PowerError when it cannot be read. Takes milliseconds."""
        ...

    def close(self) -> None:
        """Pins and files are given back."""
        ...


class NoSource:
    """A site without a power source: nothing is known."""

    def read(self) -> PowerReading:
        """Nothing."""
        return NOTHING

    def close(self) -> None:
        """Nothing to give back."""


def open_power(settings: PowerSettings, clock: Clock) -> PowerSource:
    """The source that the settings name; PowerError when it is not there."""
    match settings.source:
        case "gpio":
            from edge_agent.power.gpio import GpioSource

            return GpioSource(settings)
        case "simulated":
            from edge_agent.power.simulated import SimulatedSource

            return SimulatedSource(settings, clock)
        case "none":
            return NoSource()


class PatientSource:
    """The source that the settings name, opened once it can be: a site without its battery sensor records anyway."""

    def __init__(self, settings: PowerSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._source: PowerSource | None = None
        self._trouble: PowerError | None = None
        self._tried_ms = 0

    def read(self) -> PowerReading:
        """What the source says now; PowerError while it is not there or cannot be read."""
        now_ms = self._clock.monotonic_ms()
        if self._source is None and (self._trouble is None or now_ms - self._tried_ms >= _REOPEN_MS):
            self._tried_ms = now_ms
            try:
                self._source = open_power(self._settings, self._clock)
            except PowerError as error:
                self._trouble = error
        if self._source is None:
            assert self._trouble is not None  # noqa: S101 - or there would be a source
            raise PowerError(self._trouble.message, self._trouble.remedy)
        return self._source.read()

    def close(self) -> None:
        """The source is given back."""
        if self._source is not None:
            self._source.close()
