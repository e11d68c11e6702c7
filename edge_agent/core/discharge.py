"""One discharge as it was seen: readings that may be noisy or garbage become few points, however long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_agent.core.chemistry import HABITS, Chemistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.core.supply import PowerReading

_POINT_S: Final = 30
_MOST: Final = 128
"""Points; when there are more, two that lie side by side become one. The newest stay as fine as they are:"""
_FINE: Final = 32
_GLANCE_S: Final = 5
"""What was seen for less is no point yet."""
_GAP_S: Final = 600
"""So long without a reading, and it is not known what happened meanwhile."""
_METERED: Final = 0.9
"""The part of the points that must have a current."""
_LEAST_V: Final = 0.6
"""Of the usual end: below that no pack feeds anything."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The battery as the settings have it."""

    chemistry: Chemistry
    cells: int
    nominal_ah: float | None = None
    stop_v: float = 0
    """Where the agent ends a discharge itself; 0 where it does not by the voltage."""

    @property
    def end_v(self) -> float:
        """Where a discharge ends, unless the pack has taught better."""
        return self.stop_v or HABITS[self.chemistry].end_v * self.cells

    def plausible(self, volts: float) -> bool:
        """Whether a pack on battery can have that voltage."""
        habits = HABITS[self.chemistry]
        return _LEAST_V * habits.end_v < volts / self.cells < habits.highest_v


@dataclass(frozen=True, slots=True)
class Point:
    """What was seen over a while."""

    seconds: float
    volts: float
    amperes: float | None
    temperature_c: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A discharge in numbers, one of each for every point. Without a current all amperes are 0 and the power is 1."""

    hours: np.ndarray
    """At the middle of the point."""
    used: np.ndarray
    """Until then; Wh, or hours without a current."""
    volts: np.ndarray
    amperes: np.ndarray
    watts: np.ndarray
    metered: bool
    taken: float
    """Of the total, what was missing when it began."""
    total: float
    """Used until the end of the last."""
    total_hours: float
    temperature_c: float | None

    @property
    def mean_w(self) -> float:
        """The mean power."""
        return (self.total - self.taken) / self.total_hours


class Discharge:
    """A discharge of the pack from its first reading on; times are monotonic.

    `taken` is what was missing when it began, in Wh, or in hours without a current. One that is taken up again has
    `points` from before `since_ms`.
    """

    def __init__(self, pack: Pack, taken: float = 0, points: Sequence[Point] = (), since_ms: int | None = None) -> None:
        self._pack = pack
        self.taken = taken
        self.points = list(points)
        self._open: list[tuple[float, float | None, float | None]] = []
        self._began_ms = since_ms
        self._last_ms = since_ms or 0

    def see(self, reading: PowerReading, now_ms: int) -> bool:
        """Take in what a source says; whether there is a new point. What no pack can say is left out."""
        if self._began_ms is None or now_ms - self._last_ms > _GAP_S * 1000:
            self._began_ms, self._open = now_ms, []
        self._last_ms = now_ms
        volts = reading.voltage_v
        if volts is not None and self._pack.plausible(volts):
            current = None if reading.current_a is None else abs(reading.current_a)
            self._open.append((volts, current, reading.temperature_c))
        if now_ms - self._began_ms < _POINT_S * 1000 or not self._open:
            return False
        self.points.append(self._glance())
        self._began_ms, self._open = now_ms, []
        if len(self.points) > _MOST:
            old = self.points[:-_FINE]
            at = min(range(len(old) - 1), key=lambda at: old[at].seconds + old[at + 1].seconds)
            self.points[at : at + 2] = [_both(old[at], old[at + 1])]
        return True

    def _glance(self) -> Point:
        """What was seen since the last point."""
        assert self._began_ms is not None  # noqa: S101 - there are readings
        return Point(
            (self._last_ms - self._began_ms) / 1000,
            median(volts for volts, _, _ in self._open),
            _middle([current for _, current, _ in self._open]),
            _middle([temperature for _, _, temperature in self._open]),
        )

    def trace(self) -> Trace | None:
        """The discharge so far; None while there is nothing to go by."""
        points = self.points
        if len(points) < 2:
            return None
        if self._open and (glance := self._glance()).seconds >= _GLANCE_S:
            points = [*points, glance]
        metered = sum(point.amperes is not None for point in points) >= _METERED * len(points)
        hours = np.array([point.seconds for point in points]) / 3600
        volts = np.array([point.volts for point in points])
        amperes = np.zeros(len(volts))
        watts = np.ones(len(volts))
        if metered and (usual := float(np.mean([point.amperes for point in points if point.amperes is not None]))):
            amperes = np.array([usual if point.amperes is None else point.amperes for point in points])
            watts = volts * amperes
        else:
            metered = False
        used, passed = self.taken + np.cumsum(watts * hours), np.cumsum(hours)
        return Trace(
            passed - hours / 2,
            used - watts * hours / 2,
            volts,
            amperes,
            watts,
            metered,
            self.taken,
            float(used[-1]),
            float(passed[-1]),
            _middle([point.temperature_c for point in points]),
        )


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _both(one: Point, other: Point) -> Point:
    seconds = one.seconds + other.seconds

    def mean(first: float | None, second: float | None) -> float | None:
        if first is None or second is None:
            return second if first is None else first
        return (first * one.seconds + second * other.seconds) / seconds

    return Point(
        seconds,
        (one.volts * one.seconds + other.volts * other.seconds) / seconds,
        mean(one.amperes, other.amperes),
        mean(one.temperature_c, other.temperature_c),
    )
