"""Keep an eye on mains and battery, and stop in good order before the battery does it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from edge_agent.contract import EventData, EventType, Power, Supply, instant
from edge_agent.core import energy, supply
from edge_agent.core.battery import Discharge, charge_percent
from edge_agent.core.report import News
from edge_agent.core.settle import Settled
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.supply import PowerReading
    from edge_agent.settings import PowerSettings

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_AT_EASE_S = 1.0
"""On mains that nobody doubts; a change must be known within 2 s."""
_SHOW_MS = 2000
"""What has not changed is shown again after so long."""
_GAUGE_ERROR_PERCENT = 1
_VOLTAGE_ERROR_PERCENT = 5


class Source(Protocol):
    """Whatever knows of mains and battery."""

    def read(self) -> PowerReading:
        """What it says now; PowerError when it cannot be read."""
        ...


def look(source: Source, settings: PowerSettings) -> tuple[PowerReading, str]:
    """A reading that can be used, and what was wrong with it: a failing source knows nothing, nonsense is left out.

    A charge that the source does not give is derived from the voltage while on battery; a charger hides it.
    """
    try:
        reading, detail = supply.sane(source.read())
    except PowerError as error:
        return supply.NOTHING, str(error)
    if reading.charge_percent is None and reading.voltage_v is not None and reading.mains is False:
        charge = charge_percent(reading.voltage_v, settings.chemistry, settings.cells)
        reading = replace(reading, charge_percent=charge)
    return reading, detail


class Guard:
    """Reads the source twice a second, on mains once."""

    def __init__(
        self,
        source: Source,
        settings: PowerSettings,
        show: Callable[[Power], None],
        announce: Callable[[EventType, EventData], None],
        stop: Callable[[str], None],
        run: str,
        clock: Clock,
    ) -> None:
        self._source, self._settings = source, settings
        self._show, self._announce, self._stop, self._run, self._clock = show, announce, stop, run, clock
        self._rule = energy.StopRule(settings.stop_percent, settings.stop_voltage_v)
        self._supply = Settled(Supply.UNKNOWN, clock.monotonic_ms())
        self._discharge = Discharge()
        self._news = News(_SHOW_MS)
        self._asked = 0
        self._detail = ""

    def run_once(self) -> float:
        """One reading, and what follows from it: the word on the supply, minutes left, the stop."""
        reading, detail = look(self._source, self._settings)
        if detail and detail != self._detail:
            log.warning("power: %s", detail)
        self._detail = detail
        monotonic_ms = self._clock.monotonic_ms()
        before = self._supply
        self._supply = supply.judge(before, reading, self._settings.low_percent, monotonic_ms)
        if self._supply.value is not before.value:
            self._announce(
                EventType.SUPPLY_CHANGED,
                EventData(run=self._run, before=before.value, after=self._supply.value, detail=detail),
            )
        self._watch_discharge(reading, monotonic_ms)
        if self._news.has((reading, detail, self._supply), monotonic_ms):
            self._show(self._state(reading, detail, monotonic_ms))
        self._asked = energy.count(self._asked, self._supply.value, reading, self._rule)
        if energy.must_stop(self._asked):
            self._stop(f"battery at {_told(reading)}")
        at_ease = self._supply.value is Supply.MAINS and self._supply.doubt is None
        return _AT_EASE_S if at_ease else _EVERY_S

    def _watch_discharge(self, reading: PowerReading, monotonic_ms: int) -> None:
        if reading.mains is not False:
            self._discharge = Discharge()
        elif reading.charge_percent is not None:
            self._discharge = self._discharge.see(reading.charge_percent, monotonic_ms)

    def _state(self, reading: PowerReading, detail: str, monotonic_ms: int) -> Power:
        gauge = self._settings.source != "gpio"
        left = self._discharge.runtime(
            self._settings.stop_percent, _GAUGE_ERROR_PERCENT if gauge else _VOLTAGE_ERROR_PERCENT
        )
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
