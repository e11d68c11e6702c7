"""How full the battery is, and how long it lasts."""

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

_WINDOW_MS: Final = 15 * 60_000
_STEP_MS: Final = 2000
_FALL_KNOWN: Final = 2
"""The rate is known when the charge fell by so many times the error of a reading."""


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


@dataclass(frozen=True, slots=True)
class Runtime:
    """Seconds until the charge has fallen to the given mark, and between which bounds; `high_s` None is no bound."""

    s: float
    low_s: float
    high_s: float | None


@dataclass(frozen=True, slots=True)
class Discharge:
    """The charge as it fell during the last quarter of an hour on battery: (monotonic ms, percent)."""

    points: tuple[tuple[int, float], ...] = ()

    def see(self, charge_percent: float, now_ms: int) -> Discharge:
        """With the charge at `now_ms`; a charge that rises begins anew."""
        points = self.points
        if points and charge_percent > points[-1][1] + 5:
            points = ()
        if points and now_ms - points[-1][0] < _STEP_MS:
            return self
        recent = tuple(point for point in points if now_ms - point[0] <= _WINDOW_MS)
        return Discharge((*recent, (now_ms, charge_percent)))

    def runtime(self, until_percent: float, error_percent: float) -> Runtime | None:
        """How long the charge lasts at the observed rate, if readings err by `error_percent`; None while not known."""
        if len(self.points) < 2:
            return None
        (t0, first), (t1, last) = self.points[0], self.points[-1]
        fall, took_s = first - last, (t1 - t0) / 1000
        left = max(0.0, last - until_percent)
        if fall < _FALL_KNOWN * error_percent:
            return None
        slow = fall - error_percent
        return Runtime(
            s=left * took_s / fall,
            low_s=max(0.0, left - error_percent) * took_s / (fall + error_percent),
            high_s=(left + error_percent) * took_s / slow if slow > 0 else None,
        )
