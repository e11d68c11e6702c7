"""Keep an eye on mains and battery, and stop in good order before the battery does it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from edge_agent.contract import Battery, ClockQuality, EventData, EventType, Power, Supply, instant
from edge_agent.core import energy, supply
from edge_agent.core.battery import Gauge, Runtime
from edge_agent.core.chemistry import charge_percent
from edge_agent.core.discharge import Pack
from edge_agent.core.report import News
from edge_agent.core.settle import Settled
from edge_agent.core.site_battery import SiteBattery
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.learning import Lesson
    from edge_agent.core.supply import PowerReading
    from edge_agent.settings import PowerSettings

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_SHOW_MS = 2000
"""What has not changed is shown again after so long."""
_GAUGE_ERROR_PERCENT = 1
_END_UNKNOWN = "the end of this battery is not yet known"


class Source(Protocol):
    """Whatever knows of mains and battery."""

    def read(self) -> PowerReading:
        """What it says now; PowerError when it cannot be read."""
        ...


class Memory(Protocol):
    """Where what is known of the battery outlasts this life."""

    def note(self, value: object) -> None:
        """It is kept, soon."""
        ...

    def take(self) -> object:
        """What earlier lives knew, once; None else."""
        ...


def pack(settings: PowerSettings) -> Pack:
    """The battery that the settings name."""
    return Pack(settings.chemistry, settings.cells, settings.nominal_ah, settings.stop_voltage_v)


def look(source: Source, settings: PowerSettings) -> tuple[PowerReading, str]:
    """A reading that can be used, and what was wrong with it: a failing source knows nothing, nonsense is left out.

    A charge that the source does not give is derived from the voltage while on battery; a charger hides it.
    """
    reading, detail = _read(source, settings)
    return _with_charge(reading, settings), detail


def _read(source: Source, settings: PowerSettings) -> tuple[PowerReading, str]:
    try:
        reading, detail = supply.sane(source.read())
    except PowerError as error:
        return supply.NOTHING, str(error)
    if reading.voltage_v is not None and reading.mains is False and not pack(settings).plausible(reading.voltage_v):
        told = f"{reading.voltage_v:g} V is no voltage of {settings.cells} cells of {settings.chemistry}"
        detail = f"{told}: check cells and chemistry in [power], and the wire"
        reading = replace(reading, voltage_v=None)
    return reading, detail


def _with_charge(reading: PowerReading, settings: PowerSettings) -> PowerReading:
    if reading.charge_percent is None and reading.voltage_v is not None and reading.mains is False:
        charge = charge_percent(reading.voltage_v, settings.chemistry, settings.cells)
        return replace(reading, charge_percent=charge)
    return reading


class Guard:
    """Reads the source twice a second."""

    def __init__(
        self,
        source: Source,
        settings: PowerSettings,
        show: Callable[[Power], None],
        announce: Callable[[EventType, EventData], None],
        stop: Callable[[str], None],
        run: str,
        clock: Clock,
        memory: Memory,
        show_battery: Callable[[Battery], None],
    ) -> None:
        self._memory, self._show_battery = memory, show_battery
        self._battery = SiteBattery(pack(settings), clock.boot)
        self._told: tuple[Lesson, ...] = ()
        self._heard: tuple[str, ...] = ()
        self._source, self._settings = source, settings
        self._show, self._announce, self._stop, self._run, self._clock = show, announce, stop, run, clock
        self._rule = energy.StopRule(settings.stop_percent, settings.stop_voltage_v)
        self._supply = Settled(Supply.UNKNOWN, clock.monotonic_ms())
        self._gauge = Gauge()
        self._news = News(_SHOW_MS)
        self._asked = 0
        self._detail = ""

    def run_once(self) -> float:
        """One reading, and what follows from it: the word on the supply, minutes left, the stop."""
        measured, detail = _read(self._source, self._settings)
        if detail and detail != self._detail:
            log.warning("power: %s", detail)
        self._detail = detail
        monotonic_ms = self._clock.monotonic_ms()
        known = self._watch_discharge(measured, monotonic_ms)
        reading = _with_charge(known, self._settings)
        before = self._supply
        self._supply = supply.judge(before, reading, self._settings.low_percent, monotonic_ms)
        if self._supply.value is not before.value:
            self._announce(
                EventType.SUPPLY_CHANGED,
                EventData(run=self._run, before=before.value, after=self._supply.value, detail=detail),
            )
        if self._news.has((reading, detail, self._supply), monotonic_ms):
            left, word = self._runtime(measured)
            self._show(self._state(reading, left, detail or word, monotonic_ms))
        # What a voltage under load seems to say is shown until there is an estimate, and stops nothing.
        self._asked = energy.count(self._asked, self._supply.value, known, self._rule)
        if energy.must_stop(self._asked):
            self._battery.end()
            self._remember()
            self._stop(f"battery at {_told(reading)}")
        return _EVERY_S

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

    def _remember(self) -> None:
        note = self._battery.note()
        if note is not None:
            self._memory.note(note)
        if self._battery.lessons != self._told:
            self._told = self._battery.lessons
            before_ms = self._battery.replace_before_ms
            self._show_battery(
                Battery(
                    known=self._battery.known,
                    replace_before=None if before_ms is None else instant(before_ms),
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
        runtime_s, low_s, high_s = (left.s, left.low_s, left.high_s) if left else (None, None, None)
        now_ms = self._clock.now_ms()
        return Power(
            supply=self._supply.value,
            charge_percent=_rounded(reading.charge_percent),
            voltage_v=reading.voltage_v,
            current_a=reading.current_a,
            runtime_s=_rounded(runtime_s),
            runtime_low_s=_rounded(low_s),
            runtime_high_s=_rounded(high_s),
            source=self._settings.source,
            detail=detail,
            since=instant(now_ms - (monotonic_ms - self._supply.since_ms)),
            at=instant(now_ms),
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _told(reading: PowerReading) -> str:
    charge = "" if reading.charge_percent is None else f"{reading.charge_percent:.0f} %"
    volts = "" if reading.voltage_v is None else f"{reading.voltage_v:.1f} V"
    return ", ".join(filter(None, (charge, volts)))
