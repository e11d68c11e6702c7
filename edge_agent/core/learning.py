"""What discharges teach of a pack: its energy, its resistance, the way its voltage ends, and how it ages.

A lesson is one discharge in few numbers. All of them together make a Model: the voltage over the part of the energy
taken, the resistance that the load steps show, and the energy by temperature, load and age. Each figure begins as what
the chemistry says and moves as far as the lessons carry it (least squares with priors).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edge_agent.contract import MOST_LESSONS
from edge_agent.core.chemistry import HABITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_agent.core.discharge import Pack, Trace

NODES: Final = np.concatenate([np.arange(0, 0.8, 0.05), np.linspace(0.8, 1, 9)])
"""Parts of the energy at which voltages are kept; closer where it ends."""
FURTHEST: Final = 1.1
"""So far beyond its usual end a pack may go under a light load."""
_TAIL: Final = 4
"""So many nodes tell the slope of the end."""
_YEAR_MS: Final = 365.25 * 86_400_000
_USUAL_C: Final = 20.0
_RESISTANCE_PER_C: Final = 0.015
"""So much the resistance falls with each degree."""
_DECADE_ERROR, _LOAD, _LOAD_ERROR = 0.03, -0.08, 0.06
"""Of what ten degrees do; what a load e times as large does to the energy beside the resistance, and its error."""
_LESSON_ERROR: Final = 0.02
"""How far two discharges alike differ; without a current, where the load differs unseen:"""
_UNMETERED_ERROR: Final = 0.1
_CELSIUS_ERROR: Final = 0.6
"""Tens of degrees by which the temperature may be off where nobody measures it."""
_AGEING_ERROR: Final = 0.6
"""Part of the usual ageing by which a pack may differ from it."""
_NOISE: Final = 0.0025
_BEND: Final = 1.7
"""Errors and bend of the voltages as parts of the nominal voltage."""
_MOST, _FURTHEST_C, _LATEST_MS = 1e6, 100, 4_000_000_000_000
"""No number of a lesson is larger, no temperature further from zero, no moment later."""
_NEW_PACK: Final = 0.2
"""A pack that suddenly has so much more, as a logarithm, is another one; without a current it may be the load."""
_NEW_PACK_UNMETERED: Final = 0.7
_END_OF_LIFE: Final = 0.8
"""The part of its energy below which a pack is to be replaced; IEEE 1188 and the like."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One discharge that went to the end of the pack, or so near to it that the end could be told."""

    at_ms: int
    """Unix time of its end; 0 when no clock could be trusted. With `size` it tells lessons apart."""
    metered: bool
    size: float
    """What the whole pack gave: Wh, or hours where there is no current."""
    error: float
    """By how much of itself that may be off."""
    load: float
    """Mean power; 1 where there is no current."""
    end_v: float
    end_a: float
    """Voltage and current when it ended."""
    temperature_c: float | None
    volts: tuple[float, ...]
    amperes: tuple[float, ...]
    """At the first of the nodes; not at all of them where it stopped before."""


_LESSON: Final = TypeAdapter(Lesson)


@dataclass(frozen=True, slots=True)
class Model:
    """The pack as it is to be expected today."""

    curve: np.ndarray
    """Volts without the drop at the resistance, at the nodes."""
    resistance: float
    """Ohm at 20 °C."""
    end_v: float
    metered: bool
    sizes: np.ndarray
    """Logarithms of the energy that the lessons showed, as of today."""
    facts: np.ndarray
    variances: np.ndarray
    load: float
    """The site's usual power; 0 while it is not known."""
    cold: float
    volts: float
    """Nominal, of the pack."""
    known: bool
    """Whether the end was seen, or comes from what the chemistry says."""

    def size(self, watts: float, temperature_c: float | None) -> tuple[float, float]:
        """Logarithm of the energy at that load and temperature, and its standard deviation."""
        now = _facts(watts / self.load if self.load else 1.0, temperature_c)
        error = 0.0 if temperature_c is not None else (self.cold * _CELSIUS_ERROR) ** 2
        before = np.array([self.sizes.mean(), self.cold, _LOAD if self.metered else 0.0])
        spread = np.diag([4.0, _DECADE_ERROR**2, _LOAD_ERROR**2])
        gain = spread @ self.facts.T @ np.linalg.inv(self.facts @ spread @ self.facts.T + np.diag(self.variances))
        after = before + gain @ (self.sizes - self.facts @ before)
        left = spread - gain @ self.facts @ spread
        own = 0.0 if not self.known else (_LESSON_ERROR if self.metered else _UNMETERED_ERROR) ** 2
        return float(now @ after), math.sqrt(float(now @ left @ now) + own + error)


def warmed(temperature_c: float | None) -> float:
    """The resistance at that temperature as a part of the one at 20 °C."""
    return 1.0 if temperature_c is None else math.exp(_RESISTANCE_PER_C * (_USUAL_C - temperature_c))


def model(pack: Pack, lessons: Sequence[Lesson], trace: Trace, now_ms: int) -> Model:
    """What to expect of the pack in this discharge; `now_ms` is Unix time, 0 when no clock can be trusted."""
    lessons = [lesson for lesson in lessons if lesson.metered == trace.metered]
    if not lessons:
        habits = HABITS[pack.chemistry]
        nominal_v = habits.nominal_v * pack.cells
        size, error = _unlearnt(pack, trace)
        ohm = habits.drop * nominal_v**2 / (math.exp(size) * habits.label_part) if trace.metered else 0.0
        return Model(
            curve=_usual_curve(pack),
            resistance=ohm,
            end_v=pack.end_v,
            metered=trace.metered,
            sizes=np.array([size]),
            facts=np.array([[1.0, 0.0, 0.0]]),
            variances=np.array([error**2]),
            load=0.0,
            cold=habits.cold,
            volts=nominal_v,
            known=False,
        )
    return learnt(pack, lessons, now_ms)


def learnt(pack: Pack, lessons: Sequence[Lesson], now_ms: int) -> Model:
    """What to expect of the pack after these lessons, at least one, all with a current or all without."""
    habits = HABITS[pack.chemistry]
    nominal_v = habits.nominal_v * pack.cells
    metered = lessons[0].metered
    load = float(np.mean([lesson.load for lesson in lessons]))
    end_v = float(np.mean([lesson.end_v for lesson in lessons]))
    usual_a = load / end_v if metered else 0.0
    mean_size = float(np.mean([lesson.size for lesson in lessons]))
    ohm = habits.drop * nominal_v**2 / mean_size if metered else 0.0
    sizes = np.array([lesson.size for lesson in lessons])
    curve = shape = _usual_curve(pack)
    for _ in range(3):
        curve, ohm = _fit(lessons, sizes, shape, ohm, nominal_v)
        sizes = np.array([_at_usual_end(lesson, curve, ohm, end_v, usual_a) for lesson in lessons])
    # What a lesson showed has aged since; where the dates are not known, nothing is made up.
    rate = -math.log(_END_OF_LIFE) / habits.life_years
    ages = np.array([max(0, now_ms - lesson.at_ms) / _YEAR_MS if now_ms and lesson.at_ms else 0 for lesson in lessons])
    own = _LESSON_ERROR if metered else _UNMETERED_ERROR
    blind = np.array([lesson.temperature_c is None for lesson in lessons]) * (habits.cold * _CELSIUS_ERROR) ** 2
    errors = np.array([lesson.error for lesson in lessons])
    return Model(
        curve=curve,
        resistance=ohm,
        end_v=end_v,
        metered=metered,
        sizes=np.log(sizes) - rate * ages,
        facts=np.array([_facts(lesson.load / load, lesson.temperature_c) for lesson in lessons]),
        variances=own**2 + errors**2 + blind + (_AGEING_ERROR * rate * ages) ** 2,
        load=load,
        cold=habits.cold,
        volts=nominal_v,
        known=True,
    )


def merged(one: Iterable[Lesson], other: Iterable[Lesson]) -> tuple[Lesson, ...]:
    """All lessons of both, the newest and the first: the first is what the pack was like when new.

    Those of a pack that was replaced are forgotten, whichever copy still has them.
    """
    kept: list[Lesson] = []
    for _, each in sorted({(lesson.at_ms, lesson.size): lesson for lesson in (*one, *other)}.items()):
        more = _NEW_PACK if each.metered else _NEW_PACK_UNMETERED
        alike = [math.log(each.size / before.size) > more for before in kept if before.metered == each.metered]
        kept = [each] if alike and all(alike) else [*kept, each]
    return tuple(kept if len(kept) <= MOST_LESSONS else [kept[0], *kept[1 - MOST_LESSONS :]])


def lesson(trace: Trace, size: float, error: float, end_v: float, at_ms: int) -> Lesson:
    """What a discharge teaches whose pack gives `size` in all, up to a part `error` of it, and ends at `end_v`."""
    reach = int(np.searchsorted(NODES, trace.total / size, side="right"))
    volts = np.interp(NODES[:reach] * size, trace.used, trace.volts)
    amperes = np.interp(NODES[:reach] * size, trace.used, trace.amperes)
    return Lesson(
        at_ms,
        trace.metered,
        round(size, 4),
        round(error, 4),
        round(trace.mean_w, 4),
        round(end_v, 3),
        round(float(trace.amperes[-1]), 3),
        trace.temperature_c,
        tuple(np.round(volts, 3).tolist()),
        tuple(np.round(amperes, 3).tolist()),
    )


def replace_before_ms(pack: Pack, lessons: Sequence[Lesson]) -> int | None:
    """When the pack will have lost a fifth of its energy, as Unix time; None while no dated lesson tells.

    The trend begins as what is usual for the chemistry; lessons a year apart move it, those of one week hardly.
    """
    dated = [each for each in lessons if each.at_ms and each.metered == lessons[-1].metered]
    if not dated:
        return None
    usual = -math.log(_END_OF_LIFE) / HABITS[pack.chemistry].life_years
    first_ms = dated[0].at_ms
    years = np.array([(each.at_ms - first_ms) / _YEAR_MS for each in dated])
    cold = HABITS[pack.chemistry].cold
    sizes = np.array(
        [math.log(each.size) - cold * _decades(each.temperature_c) - _LOAD * math.log(each.load) for each in dated]
    )
    precision = 1 / np.array([0.03**2 + each.error**2 for each in dated])
    # sizes = level - rate * years, the rate being about the usual one
    normal = np.array(
        [
            [precision.sum(), -(precision * years).sum()],
            [-(precision * years).sum(), (precision * years**2).sum() + 1 / (_AGEING_ERROR * usual) ** 2],
        ]
    )
    right = np.array([(precision * sizes).sum(), -(precision * years * sizes).sum() + 1 / (_AGEING_ERROR**2 * usual)])
    rate = float(np.linalg.solve(normal, right)[1])
    return first_ms + round(-math.log(_END_OF_LIFE) / max(rate, usual / 3) * _YEAR_MS)


def told(lesson: Lesson) -> dict[str, object]:
    """The lesson as JSON has it."""
    return asdict(lesson)


def heard(value: Mapping[str, object]) -> Lesson | None:
    """The lesson that `told` gave, also from a stranger's hand; None when it is none."""
    try:
        found = _LESSON.validate_python({field.name: value[field.name] for field in fields(Lesson)})
    except (KeyError, ValidationError):
        return None
    real = (found.size, found.load, found.error, found.end_v, found.end_a, *found.volts, *found.amperes)
    fit = 2 <= len(found.volts) == len(found.amperes) <= len(NODES) and all(0 <= part <= _MOST for part in real)
    positive = (
        0 <= found.at_ms <= _LATEST_MS
        and min(found.size, found.load, found.end_v, *found.volts) > 0
        and found.error < 1
    )
    usual = found.temperature_c is None or abs(found.temperature_c) <= _FURTHEST_C
    return found if fit and positive and usual else None


def _usual_curve(pack: Pack) -> np.ndarray:
    """Volts at the nodes as the chemistry says."""
    curve: np.ndarray = np.interp(NODES, *np.array(HABITS[pack.chemistry].shape).T) * pack.cells
    return curve


def _unlearnt(pack: Pack, trace: Trace) -> tuple[float, float]:
    """The logarithm of the energy by the label alone, or by what a site usually has; and its error."""
    habits = HABITS[pack.chemistry]
    mean_w = float(trace.watts.mean())
    if trace.metered and pack.nominal_ah:
        return math.log(pack.nominal_ah * habits.nominal_v * pack.cells * habits.label_part), 0.25
    return math.log(1.5 * mean_w), 0.8


def _facts(load: float, temperature_c: float | None) -> np.ndarray:
    return np.array([1.0, _decades(temperature_c), math.log(load)])


def _decades(temperature_c: float | None) -> float:
    return 0.0 if temperature_c is None else (temperature_c - _USUAL_C) / 10


def _fit(
    lessons: Sequence[Lesson], sizes: np.ndarray, shape: np.ndarray, ohm: float, nominal_v: float
) -> tuple[np.ndarray, float]:
    """The curve and the resistance that explain all voltages best."""
    count = len(NODES)
    noise = (_NOISE * nominal_v) ** 2
    normal, right = np.zeros((count + 1, count + 1)), np.zeros(count + 1)
    for each, size in zip(lessons, sizes, strict=True):
        rows = np.zeros((len(each.volts), count + 1))
        rows[:, :count] = _hat(np.minimum(NODES[: len(each.volts)] * each.size / size, FURTHEST))
        rows[:, count] = -np.array(each.amperes) * warmed(each.temperature_c)
        normal += rows.T @ rows / noise
        right += rows.T @ np.array(each.volts) / noise
    # Where no lesson reaches, the curve goes on as bent as the usual shape.
    bends = np.zeros((count - 2, count + 1))
    steps = np.diff(NODES)
    for row, (before, after) in enumerate(pairwise(steps)):
        bends[row, row : row + 3] = 1 / before, -1 / before - 1 / after, 1 / after
    normal += bends.T @ bends / (_BEND * nominal_v) ** 2
    right += bends.T @ (bends[:, :count] @ shape) / (_BEND * nominal_v) ** 2
    if ohm:
        normal[count, count] += 4 / ohm**2
        right[count] += 4 / ohm
    else:
        normal[count, count] += 1
    found = np.linalg.solve(normal, right)
    return found[:count], max(float(found[count]), 0.0)


def _hat(parts: np.ndarray) -> np.ndarray:
    """The weights of the nodes in values between them, and beyond the last."""
    at = np.clip(np.searchsorted(NODES, parts) - 1, 0, len(NODES) - 2)
    share = (parts - NODES[at]) / (NODES[at + 1] - NODES[at])
    weights = np.zeros((len(parts), len(NODES)))
    rows = np.arange(len(parts))
    weights[rows, at] = 1 - share
    weights[rows, at + 1] = share
    return weights


def slope(curve: np.ndarray) -> float:
    """Volts by part of the energy at the end; falling."""
    return min(float(curve[-1] - curve[-1 - _TAIL]) / float(NODES[-1] - NODES[-1 - _TAIL]), -1e-3 * float(curve[0]))


def _at_usual_end(each: Lesson, curve: np.ndarray, ohm: float, end_v: float, usual_a: float) -> float:
    """What that discharge would have given had it ended under the usual load: a heavy one ends it sooner."""
    higher_v = (each.end_a * warmed(each.temperature_c) - usual_a) * ohm + each.end_v - end_v
    return each.size * (1 - float(np.clip(higher_v / slope(curve), -0.06, 0.06)))
