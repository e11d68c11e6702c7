"""What feeds the site: from readings that bounce and lie to one word that can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Final

from edge_agent.contract import Supply
from edge_agent.core.settle import Settled


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What a power source says now; None is what it does not know. A current is negative while the battery gives it.

    `low` is the source's own word that the battery is nearly empty, as LB of NUT is; `testing`, that it discharges the
    battery for a test, so that it knows nothing of mains by that.
    """

    mains: bool | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    charge_percent: float | None = None
    temperature_c: float | None = None
    low: bool | None = None
    testing: bool | None = None

    @property
    def drains(self) -> bool:
        """Whether the battery feeds the site, for want of mains or for a test."""
        return self.mains is False or self.testing is True


NOTHING: Final = PowerReading()

_BOUNDS: Final = {
    "voltage_v": (0.0, 1000.0),
    "current_a": (-1000.0, 1000.0),
    "charge_percent": (0.0, 100.0),
    "temperature_c": (-60.0, 150.0),
}
_HOLD_MS: Final = 500
"""Relays bounce for milliseconds; a change must be known within 2 s."""
_HOLD_UNKNOWN_MS: Final = 5000
"""One failed reading is not news."""
_LOW_CLEARS_PERCENT: Final = 3
"""So much above the mark `low` ends, so that it does not flicker."""
_FLAPS: Final = 4
_FLAP_MS: Final = 120_000
"""Mains that came or went so often in so long flaps."""
_HOLD_FLAPPING_MS: Final = 30_000
"""Then it is believed to be back once it stayed so long; that it is gone is believed as soon as ever."""


def sane(reading: PowerReading) -> tuple[PowerReading, str]:
    """The reading without its impossible values, and which they were."""
    bad = []
    for field in fields(reading):
        value = getattr(reading, field.name)
        if field.name in _BOUNDS and value is not None:
            low, high = _BOUNDS[field.name]
            if not (math.isfinite(value) and low <= value <= high):
                bad.append(field.name)
    if not bad:
        return reading, ""
    return replace(reading, **dict.fromkeys(bad)), f"impossible values, left out: {', '.join(bad)}"


@dataclass(frozen=True, slots=True)
class View:
    """What is believed of the supply, and when mains lately came or went. Monotonic milliseconds."""

    settled: Settled[Supply]
    crossings_ms: tuple[int, ...] = ()

    @property
    def value(self) -> Supply:
        """What feeds the site."""
        return self.settled.value

    @property
    def since_ms(self) -> int:
        """Since when."""
        return self.settled.since_ms

    @property
    def at_ease(self) -> bool:
        """Whether it is mains, and nothing speaks against that."""
        return self.value is Supply.MAINS and self.settled.doubt is None

    @property
    def flaps(self) -> bool:
        """Whether mains comes and goes."""
        return len(self.crossings_ms) >= _FLAPS

    def see(self, reading: PowerReading, low_percent: float, now_ms: int) -> View:
        """What to believe after a sane reading at `now_ms`."""
        crossings_ms = tuple(at_ms for at_ms in self.crossings_ms if now_ms - at_ms < _FLAP_MS)
        supply = _seen(reading, low_percent + (_LOW_CLEARS_PERCENT if self.value is Supply.LOW else 0))
        if supply is Supply.UNKNOWN:
            hold_ms = _HOLD_UNKNOWN_MS
        elif supply is Supply.MAINS and len(crossings_ms) >= _FLAPS:
            hold_ms = _HOLD_FLAPPING_MS
        else:
            hold_ms = _HOLD_MS
        settled = self.settled.see(supply, now_ms, hold_ms)
        if (settled.value is Supply.MAINS) is not (self.value is Supply.MAINS):
            crossings_ms = (*crossings_ms, now_ms)
        return View(settled, crossings_ms)


def _seen(reading: PowerReading, low_percent: float) -> Supply:
    if reading.mains is None:
        return Supply.UNKNOWN
    if reading.mains:
        return Supply.MAINS
    charge = reading.charge_percent
    return Supply.LOW if reading.low or (charge is not None and charge < low_percent) else Supply.BATTERY
