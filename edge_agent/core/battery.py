"""How full the battery is, and how long it lasts: by what it taught, or else by what is known of its chemistry.

The unknown is the energy of the whole pack in this discharge. Before the first reading it is expected as the model
has it; each voltage then speaks for some energies and against others, because the part that has been taken decides the
voltage. That is reckoned on a grid (Bayes' rule), with voltages that may be off as a whole, off for a while, and off by
the resistance. The time is that energy at the load to be expected: as now for some minutes, then as usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_agent.core.chemistry import HABITS
from edge_agent.core.learning import FURTHEST, NODES, Lesson, Model, learnt, lesson, model, slope, warmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.core.discharge import Pack, Trace

_GRID: Final = 161
_REACH: Final = 4
"""Standard deviations that the grid spans to each side."""
_MOST_POINTS: Final = 60
_WINDOW_MS: Final = 15 * 60_000
_STEP_MS: Final = 2000
_FALL_KNOWN: Final = 2
"""The rate is known when the charge fell by so many times the error of a reading."""
_STAYS_H: Final = 12 / 60
"""A load stays as it is for so long, on average."""
_USUAL_H: Final = 0.5
"""What is usual at a site weighs as much as so many hours of this discharge."""
_LOAD_ERROR: Final = 0.08
_TAIL_PROBABILITY: Final = 0.05
_TAIL_DEVIATIONS: Final = 1.645
"""So many standard deviations leave that out to each side."""
_TEACHES: Final = 0.15
"""A discharge whose size is known up to this part of it is a lesson, if it went so deep and began so full:"""
_DEEP: Final = 0.7
_FULL: Final = 0.05
_OWN_WORD: Final = 1.5
"""What was estimated and not seen counts as so much less certain, as the estimate rests on other lessons."""
_AT_END: Final = 1.02
"""Within this much of its last voltage a pack has come to its end."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Standard deviations of voltages, as parts of the nominal voltage."""

    offset: float
    wander: float
    noise: float
    resistance: float
    """As a part of the resistance."""


_LEARNT: Final = Doubts(0.008, 0.012, 0.0025, 0.15)
_UNMETERED: Final = Doubts(0.01, 0.015, 0.01, 0)
_WANDERS: Final = 0.3
"""The part of the energy over which a voltage stays off."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Seconds until the charge has fallen to the given mark, and between which bounds.

    `s` is None where only the bounds are known; `high_s` None is no bound.
    """

    s: float | None
    low_s: float
    high_s: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of the battery now."""

    charge_percent: float
    runtime: Runtime
    size: float
    """Of the whole pack, as it is discharged now: Wh, or hours without a current."""
    size_error: float
    known: bool
    """Whether this pack has shown its end; else only the bounds mean something."""
    metered: bool
    """Whether it rests on a current."""


def estimate(
    pack: Pack,
    lessons: Sequence[Lesson],
    trace: Trace,
    until_percent: float = 0,
    now_ms: int = 0,
    foretold_w: float | None = None,
) -> Estimate:
    """How full the pack is, and how long until `until_percent`, after what the trace shows.

    `now_ms` is Unix time, 0 when no clock can be trusted; `foretold_w` is the mean load of the rest where it is known.
    """
    seen = model(pack, lessons, trace, now_ms)
    mean_w = trace.mean_w
    middle, error = seen.size(mean_w, trace.temperature_c)
    logs = np.maximum(middle + np.linspace(-_REACH, _REACH, _GRID) * error, np.log(trace.total / FURTHEST))
    sizes = np.exp(logs)
    chances, deviation, ohm = _weigh(pack, seen, trace, logs, middle, error)
    mean_w = _to_come(mean_w, seen.load or mean_w, trace.total_hours)
    now_w = float(trace.watts[-1])
    rest_h = max(float(chances @ sizes) - trace.total, 0.0) / mean_w
    last_w = mean_w + (now_w - mean_w) * float(np.exp(-rest_h / _STAYS_H)) if foretold_w is None else foretold_w
    ends = _part_at(seen, seen.end_v + last_w / seen.end_v * ohm - deviation)
    if not seen.metered:
        ends = _part_at(seen, seen.end_v - deviation)
    whole = np.maximum(sizes * ends, trace.total)
    left = np.maximum(whole * (1 - until_percent / 100) - trace.total, 0)
    hours = _hours(left, now_w, mean_w) if foretold_w is None else left / foretold_w
    low, mid, high = _quantiles(hours, chances)
    doubt = 2 * _LOAD_ERROR * mid
    charge = float(chances @ (1 - trace.total / whole)) * 100
    mean_size = float(chances @ whole)
    spread = float(np.sqrt(chances @ (whole - mean_size) ** 2)) / mean_size
    return Estimate(
        min(100.0, max(0.0, charge)),
        Runtime(
            mid * 3600,
            max(0.0, mid - float(np.hypot(mid - low, doubt))) * 3600,
            (mid + float(np.hypot(high - mid, doubt))) * 3600,
        ),
        mean_size,
        spread,
        seen.known,
        seen.metered,
    )


def from_full(pack: Pack, lessons: Sequence[Lesson], until_percent: float = 0, now_ms: int = 0) -> Runtime | None:
    """How long the full pack feeds the site's usual load until `until_percent`; None while there is no lesson."""
    if not lessons:
        return None
    alike = [each for each in lessons if each.metered == lessons[-1].metered]
    seen = learnt(pack, alike, now_ms)
    middle, error = seen.size(seen.load, alike[-1].temperature_c)
    mid_s = float(np.exp(middle)) / seen.load * (1 - until_percent / 100) * 3600
    reach = float(np.hypot(_TAIL_DEVIATIONS * error, 2 * _LOAD_ERROR))
    return Runtime(mid_s, mid_s * max(0.0, 1 - reach), mid_s * (1 + reach))


def teaches(pack: Pack, lessons: Sequence[Lesson], trace: Trace, at_ms: int, *, dark: bool) -> Lesson | None:
    """What a discharge that is over teaches; None when it was too short to show where the pack ends.

    `dark` says that the site went dark without a word: that was the end, if the voltage was anywhere near it.
    """
    if trace.taken > _FULL * trace.total:
        return None
    alike = [each for each in lessons if each.metered == trace.metered]
    end_v = float(np.mean([each.end_v for each in alike])) if alike else pack.end_v
    last_v = float(trace.volts[-1])
    if last_v <= end_v * _AT_END or (dark and last_v <= end_v * _AT_END**3):
        return lesson(trace, trace.total, 0.0, last_v, at_ms)
    now = estimate(pack, lessons, trace)
    if now.size_error > _TEACHES or trace.total < _DEEP * now.size:
        return None
    return lesson(trace, now.size, now.size_error * _OWN_WORD, end_v, at_ms)


def _weigh(
    pack: Pack, seen: Model, trace: Trace, logs: np.ndarray, middle: float, error: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each energy how likely it is, by how much voltages will be off at the end, and the resistance then."""
    doubts = _doubts(pack, seen)
    warm = seen.resistance * warmed(trace.temperature_c)
    pick = np.unique(np.linspace(0, len(trace.volts) - 1, min(len(trace.volts), _MOST_POINTS)).round().astype(int))
    used, volts, amperes = trace.used[pick], trace.volts[pick], trace.amperes[pick]
    parts = used / np.exp(logs)[:, None]
    off = volts + warm * amperes - _volts_at(seen, parts)
    at = used / np.exp(middle)
    offset, wander, noise = ((part * seen.volts) ** 2 for part in (doubts.offset, doubts.wander, doubts.noise))
    steps = (doubts.resistance * warm) ** 2
    spread = offset + wander * np.exp(-abs(at[:, None] - at) / _WANDERS) + steps * np.outer(amperes, amperes)
    pull = off @ np.linalg.inv(spread + noise * np.eye(len(at)))
    fits = -0.5 * (((logs - middle) / error) ** 2 + np.einsum("ij,ij->i", off, pull))
    chances = np.exp(fits - fits.max())
    deviation = pull @ (offset + wander * np.exp(-abs(1 - at) / _WANDERS))
    return chances / chances.sum(), deviation, np.maximum(warm - pull @ amperes * steps, 0)


def _doubts(pack: Pack, seen: Model) -> Doubts:
    if not seen.known:
        habits = HABITS[pack.chemistry]
        part = habits.shape_error_v / habits.nominal_v
        return Doubts(part, part, 0.005 if seen.metered else 0.01, 0.7 if seen.metered else 0)
    return _LEARNT if seen.metered else _UNMETERED


def _volts_at(seen: Model, parts: np.ndarray) -> np.ndarray:
    beyond = np.maximum(parts - 1, 0) * slope(seen.curve)
    volts: np.ndarray = np.interp(parts, NODES, seen.curve) + beyond
    return volts


def _part_at(seen: Model, volts: np.ndarray) -> np.ndarray:
    """Which part of the energy is gone at those volts."""
    falling = np.minimum.accumulate(seen.curve)
    parts: np.ndarray = np.interp(-volts, -falling, NODES)
    beyond = 1 + (volts - falling[-1]) / slope(falling)
    return np.where(volts < falling[-1], np.minimum(beyond, FURTHEST), parts)


def _hours(left: np.ndarray, now_w: float, mean_w: float) -> np.ndarray:
    """How long that much lasts at a load that is `now_w` and becomes `mean_w`; by Newton's method."""
    hours = left / mean_w
    for _ in range(8):
        fades = np.exp(-hours / _STAYS_H)
        used = mean_w * hours + (now_w - mean_w) * _STAYS_H * (1 - fades)
        hours = np.maximum(hours - (used - left) / np.maximum(mean_w + (now_w - mean_w) * fades, 0.1 * mean_w), 0)
    return hours


def foreseen_hours(left: np.ndarray, now_w: float, mean_w: float, usual_w: float, passed_h: float) -> np.ndarray:
    """How long that much lasts where `passed_h` hours took `mean_w`, and the site usually takes `usual_w`."""
    return _hours(left, now_w, _to_come(mean_w, usual_w, passed_h))


def _to_come(mean_w: float, usual_w: float, passed_h: float) -> float:
    return (mean_w * passed_h + usual_w * _USUAL_H) / (passed_h + _USUAL_H)


def _quantiles(hours: np.ndarray, chances: np.ndarray) -> tuple[float, float, float]:
    order = np.argsort(hours, kind="stable")
    below = np.cumsum(chances[order]) - chances[order] / 2
    low, mid, high = np.interp([_TAIL_PROBABILITY, 0.5, 1 - _TAIL_PROBABILITY], below, hours[order])
    return float(low), float(mid), float(high)


@dataclass(frozen=True, slots=True)
class Gauge:
    """The charge that a source gave as it fell during the last quarter of an hour: (monotonic ms, percent)."""

    points: tuple[tuple[int, float], ...] = ()

    def see(self, charge_percent: float, now_ms: int) -> Gauge:
        """With the charge at `now_ms`; a charge that rises begins anew."""
        points = self.points
        if points and charge_percent > points[-1][1] + 5:
            points = ()
        if points and now_ms - points[-1][0] < _STEP_MS:
            return self
        recent = tuple(point for point in points if now_ms - point[0] <= _WINDOW_MS)
        return Gauge((*recent, (now_ms, charge_percent)))

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
