"""What is known of a battery before it is known: by its chemistry alone, each figure with what it may be off by.

Data sheets say how voltage falls under load, what cold takes away, and how long a pack lives; they are of new packs in
a laboratory. What a pack teaches by its own discharges soon outweighs them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Literal

Chemistry = Literal["lead-acid", "lifepo4", "li-ion"]

_CURVES: Final[dict[Chemistry, tuple[tuple[float, float], ...]]] = {
    # Volts of one cell at rest, charge in percent.
    # A 12 V battery at 26 °C, divided by its six cells: Battery University, BU-903.
    "lead-acid": ((1.982, 0), (2.010, 25), (2.040, 50), (2.075, 75), (2.108, 100)),
    # Data sheet of the cell Drypower IFR18650 E1600, rounded; as Zephyr's default for this chemistry has it.
    "lifepo4": (
        *((2.01, 0), (3.07, 10), (3.16, 20), (3.19, 30), (3.21, 40), (3.22, 50), (3.23, 60), (3.25, 70)),
        *((3.256, 80), (3.262, 90), (3.35, 100)),
    ),
    # Data sheet of the cell Panasonic NCR18650BF, rounded; as Zephyr's default for this chemistry has it.
    "li-ion": (
        *((2.50, 0), (3.15, 10), (3.37, 20), (3.45, 30), (3.53, 40), (3.60, 50), (3.68, 60), (3.76, 70)),
        *((3.84, 80), (3.94, 90), (4.03, 100)),
    ),
}


@dataclass(frozen=True, slots=True)
class Habits:
    """How packs of a chemistry behave that feed a site for an hour or three. Volts are of one cell."""

    shape: tuple[tuple[float, float], ...]
    """Part of the energy taken, and volts without the drop at the inner resistance."""
    shape_error_v: float
    highest_v: float
    """Nothing on battery is above it."""
    end_v: float
    """Where protection or the UPS usually ends the discharge."""
    nominal_v: float
    label_part: float
    """Of the energy on the label of a pack of middle age, so much is there at such a load."""
    drop: float
    """What a load that empties the label in one hour takes from the voltage, as a part of it."""
    cold: float
    """What ten degrees more add to the energy, as a logarithm, beside what the resistance does."""
    life_years: float
    """Until a pack on standby in a cabinet has lost a fifth."""


HABITS: Final[dict[Chemistry, Habits]] = {
    # Discharge curves at 0.4 to 0.6 C in the data sheets of valve-regulated 12 V packs (Yuasa NP, Panasonic LC).
    "lead-acid": Habits(
        ((0, 2.14), (0.25, 2.06), (0.5, 1.99), (0.75, 1.91), (0.9, 1.85), (1, 1.79)),
        *(0.05, 2.6, 1.75, 2.0, 0.7, 0.06, 0.05, 4),
    ),
    # Curves at 0.5 to 1 C in the data sheets of cells of 26650 and prismatic make (A123 ANR26650, EVE LF).
    "lifepo4": Habits(
        ((0, 3.35), (0.05, 3.28), (0.5, 3.24), (0.75, 3.17), (0.9, 3.05), (0.95, 2.9), (1, 2.55)),
        *(0.05, 3.7, 2.5, 3.2, 0.8, 0.04, 0.04, 8),
    ),
    # Curves at 0.5 C in the data sheets of 18650 and 21700 cells (Panasonic NCR18650BF, LG M50).
    "li-ion": Habits(
        ((0, 4.12), (0.25, 3.88), (0.5, 3.68), (0.75, 3.51), (0.9, 3.36), (0.95, 3.25), (1, 3.06)),
        *(0.06, 4.3, 3.0, 3.6, 0.8, 0.05, 0.04, 6),
    ),
}


def charge_percent(voltage_v: float, chemistry: Chemistry, cells: int) -> float:
    """Charge of a battery that is being discharged slowly, from its voltage; worth some ten percent, not more."""
    curve = _CURVES[chemistry]
    volts = voltage_v / cells
    above = bisect_left(curve, (volts, 0))
    if above == 0:
        return 0
    if above == len(curve):
        return 100
    (v0, c0), (v1, c1) = curve[above - 1], curve[above]
    return c0 + (c1 - c0) * (volts - v0) / (v1 - v0)
