"""A battery that exists in a file, for demonstrations and tests: whoever plays the grid writes `{"mains": false}`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.settings import SimulatedSettings


class SimulatedSource:
    """Drains while the file says that mains is off, else recharges; its charge lives on in `<state_file>.charge`."""

    every_s = 0.5

    def __init__(self, settings: SimulatedSettings, clock: Clock) -> None:
        self._state = settings.state_file
        self._memory = self._state.with_name(f"{self._state.name}.charge")
        self._drain_per_s = 100 / settings.capacity_s
        self._gain_per_s = 100 / settings.recharge_s
        self._clock = clock
        self._read_ms = clock.monotonic_ms()
        self._charge = self._kept = self._recall()

    def read(self) -> PowerReading:
        """Mains as the file says, and the charge that follows from it."""
        try:
            mains = json.loads(self._state.read_bytes())["mains"]
            if not isinstance(mains, bool):
                raise TypeError("mains is neither true nor false")
        except FileNotFoundError:
            mains = True
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise PowerError(f"{self._state}: {error}", 'write {"mains": true} or {"mains": false} to it') from error
        now_ms = self._clock.monotonic_ms()
        passed_s = (now_ms - self._read_ms) / 1000
        self._read_ms = now_ms
        change = self._gain_per_s if mains else -self._drain_per_s
        self._charge = min(100.0, max(0.0, self._charge + passed_s * change))
        if abs(self._charge - self._kept) >= 1:
            self._keep()
        volts = 13.6 if mains else 11.4 + 1.2 * self._charge / 100
        return PowerReading(mains, round(volts, 2), None, round(self._charge, 1))

    def close(self) -> None:
        """The charge is kept for the next life, if it can be."""
        try:
            self._keep()
        except PowerError:
            return

    def _recall(self) -> float:
        try:
            return min(100.0, max(0.0, float(self._memory.read_text())))
        except (OSError, ValueError):
            return 100.0

    def _keep(self) -> None:
        try:
            self._memory.write_text(f"{self._charge:.2f}\n")
        except OSError as error:
            raise PowerError(f"{self._memory}: {error.strerror}", "make its directory writable") from error
        self._kept = self._charge
