"""What feeds the site: from readings that bounce and lie to one word that can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from edge_agent.contract import Supply

if TYPE_CHECKING:
    from edge_agent.core.settle import Settled


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What a power source says now; None is what it does not know."""

    mains: bool | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    charge_percent: float | None = None
    temperature_c: float | None = None


NOTHING: Final = PowerReading()

_BOUNDS: Final = {
    "voltage_v": (0.0, 1000.0),
    "current_a": (-1000.0, 1000.0),
    "charge_percent": (0.0, 100.0),
    "temperature_c": (-50.0, 100.0),
}
_HOLD_MS: Final = 500
"""Relays bounce for milliseconds; a change must be known within 2 s."""
_HOLD_UNKNOWN_MS: Final = 5000
"""One failed reading is not news."""
_LOW_CLEARS_PERCENT: Final = 3
"""So much above the mark `low` ends, so that it does not flicker."""


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
    return replace(reading, **dict.fromkeys(bad)), f"the source gives impossible values: {', '.join(bad)}"


def judge(before: Settled[Supply], reading: PowerReading, low_percent: float, now_ms: int) -> Settled[Supply]:
    """What to believe of the supply after a sane reading at `now_ms` (monotonic)."""
    supply = _seen(reading, low_percent + (_LOW_CLEARS_PERCENT if before.value is Supply.LOW else 0))
    return before.see(supply, now_ms, _HOLD_UNKNOWN_MS if supply is Supply.UNKNOWN else _HOLD_MS)


def _seen(reading: PowerReading, low_percent: float) -> Supply:
    if reading.mains is None:
        return Supply.UNKNOWN
    if reading.mains:
        return Supply.MAINS
    charge = reading.charge_percent
    return Supply.LOW if charge is not None and charge < low_percent else Supply.BATTERY
