"""Keep an eye on mains and battery, and stop in good order before the battery does it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from edge_agent.contract import EventData, EventType, Power, SourceState, Supply, instant
from edge_agent.core import energy
from edge_agent.core.battery import Discharge, charge_percent
from edge_agent.core.fusion import Fusion
from edge_agent.core.report import News
from edge_agent.core.settle import Settled
from edge_agent.core.supply import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.fusion import Heard
    from edge_agent.core.supply import PowerReading
    from edge_agent.settings import PowerSettings

_EVERY_S = 0.5
_AT_EASE_S = 1.0
"""On mains that nobody doubts."""
_SHOW_MS = 2000
"""What has not changed is shown again after so long."""
_GAUGE_ERROR_PERCENT = 1
_VOLTAGE_ERROR_PERCENT = 5


class Panel(Protocol):
    """Where all sources of the site are read."""

    def heard(self) -> tuple[Heard, ...]:
        """What each source said last; at once."""
        ...


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
        show: Callable[[Power], None],
        announce: Callable[[EventType, EventData], None],
        stop: Callable[[str], None],
        run: str,
        clock: Clock,
    ) -> None:
        self._panel, self._settings = panel, settings
        self._show, self._announce, self._stop, self._run, self._clock = show, announce, stop, run, clock
        self._rule = energy.StopRule(settings.stop_percent, settings.stop_voltage_v)
        self._fusion = Fusion()
        self._view = View(Settled(Supply.UNKNOWN, clock.monotonic_ms()))
        self._discharge = Discharge()
        self._news = News(_SHOW_MS)
        self._asked = 0

    def run_once(self) -> float:
        """One reading, and what follows from it: the word on the supply, minutes left, the stop."""
        monotonic_ms = self._clock.monotonic_ms()
        earlier, self._fusion = self._fusion, self._fusion.see(self._panel.heard(), monotonic_ms)
        self._tell_sources(earlier)
        reading = estimated(self._fusion.reading, self._settings)
        before, self._view = self._view, self._view.see(reading, self._settings.low_percent, monotonic_ms)
        flaps = "mains comes and goes" if self._view.flaps else ""
        detail = "; ".join(filter(None, (flaps, self._fusion.detail)))
        if self._view.value is not before.value:
            self._announce(
                EventType.SUPPLY_CHANGED,
                EventData(run=self._run, before=before.value, after=self._view.value, detail=detail),
            )
        self._watch_discharge(reading, monotonic_ms)
        if self._news.has((reading, detail, self._fusion.states, self._view.settled), monotonic_ms):
            self._show(self._state(reading, detail, monotonic_ms))
        asked = energy.count(self._asked, self._view.value, reading, self._rule)
        # What was measured once counts once, however often it is looked at.
        self._asked = min(asked, self._asked) if self._fusion.measured_ms == earlier.measured_ms else asked
        if energy.must_stop(self._asked):
            self._stop(f"battery at {_told(reading)}")
        at_ease = self._view.value is Supply.MAINS and self._view.settled.doubt is None
        return _AT_EASE_S if at_ease else _EVERY_S

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

    def _watch_discharge(self, reading: PowerReading, monotonic_ms: int) -> None:
        if reading.mains is not False:
            self._discharge = Discharge()
        elif reading.charge_percent is not None:
            self._discharge = self._discharge.see(reading.charge_percent, monotonic_ms)

    def _state(self, reading: PowerReading, detail: str, monotonic_ms: int) -> Power:
        gauge = self._fusion.reading.charge_percent is not None
        left = self._discharge.runtime(
            self._settings.stop_percent, _GAUGE_ERROR_PERCENT if gauge else _VOLTAGE_ERROR_PERCENT
        )
        runtime_s, low_s, high_s = (left.s, left.low_s, left.high_s) if left else (None, None, None)
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
