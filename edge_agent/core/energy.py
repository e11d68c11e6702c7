"""What the agent does as the battery runs down. One step so far: the ordered stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.contract import Supply

if TYPE_CHECKING:
    from edge_agent.core.supply import PowerReading

_READINGS: Final = 4
"""So many readings in a row must ask for the stop: a dip under load is not the end."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """On battery, at or below which charge or voltage the agent stops; a voltage of 0 never asks."""

    percent: float
    voltage_v: float

    def reached(self, reading: PowerReading, margin_percent: float = 0) -> bool:
        """Whether a sane reading lies at or below the mark; what is not known asks for nothing.

        Where neither is known, the source's own word that the battery is nearly empty has to do.
        """
        charge, volts = reading.charge_percent, reading.voltage_v
        if charge is None and volts is None:
            return reading.low is True
        return (charge is not None and charge <= self.percent + margin_percent) or (
            volts is not None and volts <= self.voltage_v
        )


def count(before: int, supply: Supply, reading: PowerReading, rule: StopRule) -> int:
    """How many readings in a row have asked for a stop, with this one."""
    asks = supply in {Supply.BATTERY, Supply.LOW} and reading.mains is False and rule.reached(reading)
    return before + 1 if asks else 0


def must_stop(readings: int) -> bool:
    """Whether so many readings in a row are enough."""
    return readings >= _READINGS
