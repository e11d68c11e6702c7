"""The ladder: what a site gives up as its battery runs down, mildest first; the last step is the ordered stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edge_agent.contract import Step, Supply
from edge_agent.core.settle import Settled

if TYPE_CHECKING:
    from edge_agent.core.battery import Runtime
    from edge_agent.core.supply import PowerReading
    from edge_agent.core.turns import Turns

_READINGS: Final = 4
"""So many readings in a row must ask for a step: a dip under load is not the end."""
_SETTLE_MS: Final = 60_000
"""When a load begins or changes, the voltage of a battery moves by itself, and a charge that is told from it."""
_SAME_LOAD: Final = 1.05
_RISE_PERCENT: Final = 5
_VERDICT_MS: Final = 60_000
"""A verdict is changed by an estimate that stays, not by one that wavers."""
_SPARE: Final = 1.05
"""A target is planned for with so much more than it takes, and is in reach again only then."""


_NO_VERDICT: Final[Settled[bool | None]] = Settled(None, 0)


@dataclass(frozen=True, slots=True)
class Rung:
    """A step, and at or below which minutes left, charge or voltage it is taken; 0 minutes and 0 volts never ask."""

    step: Step
    minutes_left: float = 0
    percent: float = 0
    voltage_v: float = 0

    def reached(self, reading: PowerReading, left_s: float | None, margin_percent: float = 0) -> bool:
        """Whether a sane reading, or the time left, lies at or below a mark; what is not known asks for nothing.

        The ordered stop goes by what is measured as long as anything is that has a mark. Where nothing is, the source's
        own word that the battery is nearly empty has to do, or that the time it was to last is over.
        """
        charge, volts = reading.charge_percent, reading.voltage_v
        if self.step is Step.STOP:
            if charge is None and (volts is None or not self.voltage_v):
                return reading.low is True or (left_s is not None and left_s <= 0)
        elif left_s is not None and left_s <= self.minutes_left * 60:
            return True
        return (charge is not None and charge <= self.percent + margin_percent) or (
            volts is not None and volts <= self.voltage_v
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a site takes from its battery, in watts: what always runs, one camera, and what doing more costs."""

    base_w: float
    camera_w: float
    backfill_w: float = 0
    pictures_w: float = 0
    shipping_w: float = 0

    def saved_w(self, step: Step, cameras: int, turns: Turns) -> float:
        """What a step saves where so many cameras can be switched off; the public stream costs the site nothing."""
        match step:
            case Step.NO_BACKFILL:
                return self.backfill_w
            case Step.NO_PICTURE_CHECKS:
                return self.pictures_w
            case Step.CAMERAS_IN_TURNS:
                return self.camera_w * (cameras - turns.powered_at_once(cameras))
            case Step.RECORD_ONLY:
                return self.shipping_w
            case _:
                return 0


def loads_w(load: Load, rungs: tuple[Rung, ...], cameras: int, switched: int, turns: Turns) -> tuple[float, ...]:
    """What a site with so many cameras takes on mains and with each rung but the stop, of which `switched` in turns."""
    full_w = load.base_w + cameras * load.camera_w + load.backfill_w + load.pictures_w + load.shipping_w
    loads = [full_w]
    for rung in rungs[:-1]:
        loads.append(loads[-1] - load.saved_w(rung.step, switched, turns))
    return tuple(loads)


@dataclass(frozen=True, slots=True)
class Plan:
    """The rungs, mildest first and the ordered stop last, and how they are climbed.

    `loads_w` are the site's watts with none, one, … all but the last taken. `survive_s` takes the place of the marks
    of all but the stop: so long after mains was lost the site shall still run; 0 for no such target. `full_s` is how
    long a full battery lasts at full load, at least, for as long as no discharge has told better; 0 while not known.
    """

    rungs: tuple[Rung, ...]
    loads_w: tuple[float, ...]
    hold_s: float
    survive_s: float = 0
    full_s: float = 0

    @property
    def stop(self) -> Rung:
        """The ordered stop."""
        return self.rungs[-1]

    def step(self, taken: int) -> Step:
        """The latest step where so many rungs are taken."""
        return self.rungs[taken - 1].step if taken else Step.FULL

    def measures(self, taken: int) -> frozenset[Step]:
        """All steps that are in force then."""
        return frozenset(rung.step for rung in self.rungs[:taken])


@dataclass(frozen=True, slots=True)
class Ladder:
    """How many rungs are taken, and what leads to the next. Monotonic milliseconds.

    `empty_ms` is when the battery is to be empty by the latest estimate, `empty_early_ms` by its lower bound.
    """

    taken: int = 0
    wanted: tuple[int, ...] = ()
    """How many rungs the latest readings in a row asked for, each."""
    lost_ms: int | None = None
    since_ms: int | None = None
    """Since when the battery gives what it gives now."""
    mains_ms: int | None = None
    """Since when mains is back, or when the last rung was undone."""
    charge_percent: float | None = None
    """The charge that the latest estimate was made with."""
    empty_ms: float | None = None
    empty_early_ms: float | None = None
    verdict: Settled[bool | None] = _NO_VERDICT

    @property
    def reaches_target(self) -> bool | None:
        """Whether the target can be reached, with all rungs if need be; None without one, and while not known."""
        return self.verdict.value

    def see(
        self,
        plan: Plan,
        supply: Supply,
        reading: PowerReading,
        left: Runtime | None,
        now_ms: int,
        *,
        is_new: bool = True,
    ) -> Ladder:
        """The ladder after a sane reading at `now_ms`, with the estimate made of it; `is_new` if it was measured anew.

        While it is in doubt what feeds the site nothing is taken and nothing undone.
        """
        if supply is Supply.MAINS and reading.mains:
            return self._climb(plan, reading, now_ms)
        if supply in {Supply.BATTERY, Supply.LOW} and reading.mains is False:
            return self._descend(plan, reading, left, now_ms, is_new=is_new)
        return replace(self, wanted=(), mains_ms=None)

    @property
    def asked(self) -> int:
        """How many rungs the latest readings all ask for; none on mains."""
        return min(self.wanted) if len(self.wanted) == _READINGS else 0

    def left_s(self, now_ms: int) -> float | None:
        """How long the battery lasts by the latest estimate."""
        return None if self.empty_ms is None else max(0.0, (self.empty_ms - now_ms) / 1000)

    def _climb(self, plan: Plan, reading: PowerReading, now_ms: int) -> Ladder:
        """Mains is there: one rung after the other is undone, each after it held for a while."""
        taken, mains_ms = self.taken, now_ms if self.mains_ms is None else self.mains_ms
        if taken and now_ms - mains_ms >= plan.hold_s * 1000:
            taken, mains_ms = taken - 1, now_ms
        charge = self.charge_percent if reading.charge_percent is None else reading.charge_percent
        return Ladder(taken=taken, mains_ms=mains_ms, charge_percent=charge)

    def _descend(self, plan: Plan, reading: PowerReading, left: Runtime | None, now_ms: int, *, is_new: bool) -> Ladder:
        since_ms = now_ms if self.since_ms is None else self.since_ms
        lost_ms = now_ms if self.lost_ms is None else self.lost_ms
        settled = left if now_ms - since_ms >= _SETTLE_MS else None
        known = self._estimated(plan, reading, settled, now_ms)
        known = replace(known, mains_ms=None, lost_ms=lost_ms, since_ms=since_ms)
        wanted, reaches = known._wanted(plan, reading, now_ms)
        row = self.wanted
        row = (*row, wanted)[-_READINGS:] if is_new or not row else (*row[:-1], min(row[-1], wanted))
        hold_ms = 0 if None in {reaches, self.reaches_target} else _VERDICT_MS
        known = replace(known, verdict=self.verdict.see(reaches, now_ms, hold_ms), wanted=row)
        return known if known.asked <= known.taken else known._taking(plan, known.asked, now_ms)

    def _estimated(self, plan: Plan, reading: PowerReading, left: Runtime | None, now_ms: int) -> Ladder:
        """An estimate counts from when the charge last moved, so that it runs down though a gauge stands still.

        One that was made with a charge far below the present one was made with a wrong charge.
        """
        charge, known = reading.charge_percent, self.charge_percent
        if left is not None and left.s is not None:
            if self.empty_ms is not None and charge in {None, known}:
                return self
            return self._foretold(charge, left.s, left.low_s, now_ms)
        if charge is not None and known is not None and charge > known + _RISE_PERCENT:
            return self._foretold(charge, None, None, now_ms)
        if self.empty_ms is None and plan.full_s:
            charge = next((value for value in (charge, known) if value is not None), 100.0)
            load = plan.loads_w[0] / plan.loads_w[min(self.taken, len(plan.loads_w) - 1)]
            left_s = plan.full_s * load * max(0.0, charge - plan.stop.percent) / 100
            return self._foretold(charge, left_s, left_s, now_ms)
        return self

    def _foretold(self, charge: float | None, s: float | None, low_s: float | None, now_ms: int) -> Ladder:
        return replace(
            self,
            charge_percent=charge,
            empty_ms=None if s is None else now_ms + s * 1000,
            empty_early_ms=None if low_s is None else now_ms + low_s * 1000,
        )

    def _wanted(self, plan: Plan, reading: PowerReading, now_ms: int) -> tuple[int, bool | None]:
        """How many rungs should be taken by now, and whether the target can be reached."""
        left_s = early_s = None
        if self.empty_ms is not None and self.empty_early_ms is not None:
            left_s, early_s = (self.empty_ms - now_ms) / 1000, (self.empty_early_ms - now_ms) / 1000
        if plan.stop.reached(reading, left_s):
            return len(plan.rungs), self.reaches_target
        if plan.survive_s and left_s is not None and self.lost_ms is not None:
            return self._for_target(plan, left_s, plan.survive_s - (now_ms - self.lost_ms) / 1000)
        marks = (number for number, rung in enumerate(plan.rungs[:-1], 1) if rung.reached(reading, early_s))
        return max(marks, default=0), None

    def _for_target(self, plan: Plan, left_s: float, rest_s: float) -> tuple[int, bool]:
        """The mildest rung at which what is left lasts for the rest of the time; the last before the stop if none."""
        loads = plan.loads_w
        last = len(loads) - 1
        energy_ws = max(0.0, left_s) * loads[min(self.taken, last)]
        rest_s = max(0.0, rest_s)
        enough = (rung for rung in range(self.taken, last) if energy_ws >= loads[rung] * rest_s * _SPARE)
        needed_ws = loads[last] * rest_s * (_SPARE if self.reaches_target is False else 1)
        return next(enough, last), energy_ws >= needed_ws

    def _taking(self, plan: Plan, wanted: int, now_ms: int) -> Ladder:
        """With that many rungs taken; what is left lasts the longer the less is taken from it."""
        last = len(plan.loads_w) - 1
        longer = plan.loads_w[min(self.taken, last)] / plan.loads_w[min(wanted, last)]

        def stretched(empty_ms: float | None) -> float | None:
            return None if empty_ms is None else now_ms + (empty_ms - now_ms) * longer

        return replace(
            self,
            taken=wanted,
            since_ms=now_ms if longer > _SAME_LOAD else self.since_ms,
            empty_ms=stretched(self.empty_ms),
            empty_early_ms=stretched(self.empty_early_ms),
        )
