"""Keep an eye on mains and battery, and stop in good order before the battery does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from edge_agent.contract import Battery, ClockQuality, EventData, EventType, Power, SourceState, Step, Supply, instant
from edge_agent.core.battery import Gauge, Runtime
from edge_agent.core.battery_test import NO_TESTS, Verdict
from edge_agent.core.chemistry import charge_percent
from edge_agent.core.discharge import Pack
from edge_agent.core.energy import Ladder
from edge_agent.core.fusion import Fusion
from edge_agent.core.report import News
from edge_agent.core.settle import Settled
from edge_agent.core.site_battery import SiteBattery
from edge_agent.core.supply import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.battery_test import Outcome, PastTests, Timetable
    from edge_agent.core.energy import Plan
    from edge_agent.core.fusion import Heard
    from edge_agent.core.learning import Lesson
    from edge_agent.core.supply import PowerReading
    from edge_agent.settings import PowerSettings

_EVERY_S = 0.5
_AT_EASE_S = 1.0
"""On mains that nobody doubts."""
_SHOW_MS = 2000
"""What has not changed is shown again after so long."""
_GAUGE_ERROR_PERCENT = 1
_END_UNKNOWN = "the end of this battery is not yet known"


class Panel(Protocol):
    """Where all sources of the site are read."""

    def heard(self) -> tuple[Heard, ...]:
        """What each source said last; at once."""
        ...


class Memory(Protocol):
    """Where what is known of the battery outlasts this life."""

    def note(self, value: object) -> None:
        """It is kept, soon."""
        ...

    def take(self) -> object:
        """What earlier lives knew, once; None else."""
        ...


class Tester(Protocol):
    """Who can begin the UPS's test of its battery."""

    @property
    def free(self) -> bool:
        """Whether one may be asked for."""
        ...

    def ask(self) -> None:
        """One is to begin, soon."""
        ...

    def take(self) -> Outcome | None:
        """How it ended, once."""
        ...


def pack(settings: PowerSettings) -> Pack:
    """The battery that the settings name."""
    return Pack(settings.chemistry, settings.cells, settings.nominal_ah, settings.stop_voltage_v)


def possible(reading: PowerReading, settings: PowerSettings) -> tuple[PowerReading, str]:
    """The reading without a voltage that the pack cannot have while it feeds the site, and what was wrong with it."""
    volts = reading.voltage_v
    if volts is None or not reading.drains or pack(settings).plausible(volts):
        return reading, ""
    told = f"{volts:g} V is no voltage of {settings.cells} cells of {settings.chemistry}"
    return replace(reading, voltage_v=None), f"{told}: check cells and chemistry in [power], and the wire"


def estimated(reading: PowerReading, settings: PowerSettings) -> PowerReading:
    """With a charge that no source gives derived from the voltage while on battery; a charger hides it."""
    if reading.charge_percent is None and reading.voltage_v is not None and reading.mains is False:
        return replace(reading, charge_percent=charge_percent(reading.voltage_v, settings.chemistry, settings.cells))
    return reading


class Guard:
    """Looks at the panel twice a second, on mains once, and when a source says that mains came or went."""

    def __init__(
        self,
        panel: Panel,
        settings: PowerSettings,
        plan: Plan,
        show: Callable[[Power], None],
        announce: Callable[[EventType, EventData], None],
        shed: Callable[[frozenset[Step]], None],
        stop: Callable[[str], None],
        run: str,
        clock: Clock,
        memory: Memory,
        show_battery: Callable[[Battery], None],
        tests: tuple[Tester, Timetable, PastTests] | None = None,
    ) -> None:
        self._panel, self._settings, self._plan = panel, settings, plan
        self._show, self._announce, self._shed, self._stop = show, announce, shed, stop
        self._run, self._clock = run, clock
        self._memory, self._show_battery = memory, show_battery
        self._fusion = Fusion()
        self._view = View(Settled(Supply.UNKNOWN, clock.monotonic_ms()))
        self._tests = tests
        self._born_ms = clock.monotonic_ms()
        self._tested_ms = 0
        self._battery = SiteBattery(pack(settings), clock.boot, tests[2] if tests else NO_TESTS)
        self._told: tuple[tuple[Lesson, ...], int] = (), 0
        self._heard: tuple[str, ...] = ()
        self._gauge = Gauge()
        self._ladder = Ladder()
        self._news = News(_SHOW_MS)

    def run_once(self) -> float:
        """One reading, and what follows from it: the word on the supply, minutes left, the stop."""
        monotonic_ms = self._clock.monotonic_ms()
        earlier, self._fusion = self._fusion, self._fusion.see(self._panel.heard(), monotonic_ms)
        self._tell_sources(earlier)
        measured, oddity = possible(self._fusion.reading, self._settings)
        known = self._watch_discharge(measured, monotonic_ms)
        reading = estimated(known, self._settings)
        before, self._view = self._view, self._view.see(reading, self._settings.low_percent, monotonic_ms)
        flaps = "mains comes and goes" if self._view.flaps else ""
        detail = "; ".join(filter(None, (flaps, self._fusion.detail, oddity)))
        if self._view.value is not before.value:
            self._announce(
                EventType.SUPPLY_CHANGED,
                EventData(run=self._run, before=before.value, after=self._view.value, detail=detail),
            )
        self._test_battery(measured, monotonic_ms)
        left, word = self._runtime(measured)
        # What was measured once counts once, however often it is looked at.
        measured_ms = self._fusion.measured_ms
        is_new = measured_ms is None or measured_ms != earlier.measured_ms
        # What a voltage under load seems to say is shown until there is an estimate, and gives up nothing.
        self._climb(known, left, monotonic_ms, is_new=is_new)
        seen = (reading, detail, self._fusion.states, self._view.settled, self._ladder.taken)
        if self._news.has(seen, monotonic_ms):
            self._show(self._state(reading, left, detail or word, monotonic_ms))
        return _AT_EASE_S if self._view.at_ease else _EVERY_S

    def _climb(self, reading: PowerReading, left: Runtime | None, monotonic_ms: int, *, is_new: bool) -> None:
        """Steps are taken or undone, each is an event; at the last the agent stops."""
        plan, before = self._plan, self._ladder
        self._ladder = ladder = before.see(plan, self._view.value, reading, left, monotonic_ms, is_new=is_new)
        told = _told(reading)
        # Said as long as it holds: who starts light does not heed it at first.
        if plan.step(ladder.asked) is Step.STOP:
            self._stop(f"battery at {told}" if told else "the battery is said to be empty")
        if ladder.taken == before.taken:
            return
        left_s = ladder.left_s(monotonic_ms)
        lasts = "" if left_s is None else f"about {left_s / 60:.0f} min left"
        fails = (
            f"{plan.survive_s / 3600:.1f} h without mains cannot be reached" if ladder.reaches_target is False else ""
        )
        detail = ", ".join(filter(None, (told, lasts, fails)))
        way = 1 if ladder.taken > before.taken else -1
        for one, next_one in pairwise(range(before.taken, ladder.taken + way, way)):
            self._announce(
                EventType.ENERGY_CHANGED,
                EventData(run=self._run, before=plan.step(one), after=plan.step(next_one), detail=detail),
            )
        if ladder.since_ms != before.since_ms:
            self._gauge = Gauge()  # what it lost under another load foretells nothing
        self._shed(plan.measures(ladder.taken))
        if plan.step(ladder.taken) is Step.STOP:
            self._battery.end()
            self._remember()

    def _tell_sources(self, earlier: Fusion) -> None:
        for source, track in self._fusion.tracks.items():
            known = earlier.tracks.get(source)
            before = known.state.value if known else SourceState.OK
            if track.state.value is not before:
                self._announce(
                    EventType.SOURCE_CHANGED,
                    EventData(
                        run=self._run, source=source, before=before, after=track.state.value, detail=track.reason
                    ),
                )

    def hear(self, lessons: tuple[str, ...]) -> None:
        """What the centre holds of the battery counts from the next reading on; from any thread."""
        self._heard = lessons

    def _watch_discharge(self, reading: PowerReading, monotonic_ms: int) -> PowerReading:
        """The discharge is watched; the reading with the charge that follows from it, where the source gave none."""
        heard, self._heard = self._heard, ()
        self._battery.hear(heard)
        self._battery.recall(self._memory.take())
        synced = self._clock.quality() is not ClockQuality.UNSYNCED
        self._battery.see(reading, monotonic_ms, self._clock.now_ms() if synced else 0)
        self._remember()
        if reading.mains is not False:
            self._gauge = Gauge()
        elif reading.charge_percent is not None:
            self._gauge = self._gauge.see(reading.charge_percent, monotonic_ms)
        elif now := self._battery.estimate(self._settings.stop_percent):
            return replace(reading, charge_percent=now.charge_percent)
        return reading

    def _test_battery(self, reading: PowerReading, monotonic_ms: int) -> None:
        """A test that is due is asked for, one that ended is told and learnt from."""
        if self._tests is None:
            return
        (tester, timetable, _), battery = self._tests, self._battery
        if outcome := tester.take():
            if outcome.verdict is Verdict.REFUSED:
                battery.tests = battery.tests.begun(self._tested_ms)
            battery.tests = battery.tests.ended(outcome)
            self._announce(
                EventType.BATTERY_TESTED,
                EventData(run=self._run, source="nut", after=outcome.verdict, detail=outcome.detail),
            )
        steady = self._view.at_ease and not self._view.crossings_ms
        if not tester.free or not steady or self._clock.quality() is ClockQuality.UNSYNCED:
            return
        now_ms, lived_ms = self._clock.now_ms(), monotonic_ms - self._born_ms
        now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
        if timetable.is_due(battery.tests, reading, now, lived_ms=lived_ms, charged=battery.charged):
            self._tested_ms = battery.tests.began_ms
            battery.tests = battery.tests.begun(now_ms)
            self._remember()  # first, should the battery not survive it
            tester.ask()

    def _remember(self) -> None:
        note = self._battery.note()
        if note is not None:
            self._memory.note(note)
        known = self._battery.lessons, self._battery.tests.failed_ms
        if known != self._told:
            self._told = known
            before_ms = self._battery.replace_before_ms
            full = self._battery.from_full(self._settings.stop_percent)
            self._show_battery(
                Battery(
                    known=self._battery.known,
                    replace_before=None if before_ms is None else instant(before_ms),
                    full_runtime_s=_rounded(full.s) if full else None,
                    full_runtime_low_s=_rounded(full.low_s) if full else None,
                    full_runtime_high_s=_rounded(full.high_s) if full else None,
                    stop_percent=self._settings.stop_percent,
                    lessons=self._battery.written(),
                    at=instant(self._clock.now_ms()),
                )
            )

    def _runtime(self, measured: PowerReading) -> tuple[Runtime | None, str]:
        """How long it lasts, and what there is to say of that. A gauge is better than a voltage without a current."""
        if measured.mains is not False:
            return None, ""
        now = self._battery.estimate(self._settings.stop_percent)
        if measured.charge_percent is not None and not (now and now.known and now.metered):
            return self._gauge.runtime(self._settings.stop_percent, _GAUGE_ERROR_PERCENT), ""
        if now is None:
            return None, ""
        if now.known:
            return now.runtime, ""
        # The bounds hold; a figure between them would be a guess.
        return replace(now.runtime, s=None), _END_UNKNOWN

    def _state(self, reading: PowerReading, left: Runtime | None, detail: str, monotonic_ms: int) -> Power:
        # Until the charge has told how it falls under the present load, what it told before runs down.
        reckoned_s = self._ladder.left_s(monotonic_ms)
        runtime_s, low_s, high_s = (left.s, left.low_s, left.high_s) if left else (reckoned_s, None, None)
        now_ms = self._clock.now_ms()
        return Power(
            supply=self._view.value,
            charge_percent=_rounded(reading.charge_percent),
            voltage_v=reading.voltage_v,
            current_a=reading.current_a,
            runtime_s=_rounded(runtime_s),
            runtime_low_s=_rounded(low_s),
            runtime_high_s=_rounded(high_s),
            temperature_c=_rounded(reading.temperature_c),
            source="+".join(self._fusion.tracks) or "none",
            sources=self._fusion.states,
            step=self._plan.step(self._ladder.taken),
            reaches_target=self._ladder.reaches_target,
            detail=detail,
            since=instant(now_ms - (monotonic_ms - self._view.since_ms)),
            at=instant(now_ms),
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _told(reading: PowerReading) -> str:
    charge = "" if reading.charge_percent is None else f"{reading.charge_percent:.0f} %"
    volts = "" if reading.voltage_v is None else f"{reading.voltage_v:.1f} V"
    return ", ".join(filter(None, (charge, volts)))
