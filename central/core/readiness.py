"""When a site goes dark, and whether it would survive the next hours: from what it told last, by the centre's clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_agent.contract import Battery, Power, PresenceState, Supply

HOURS: Final = (1, 2, 4)
"""What a site is measured against."""
_CHARGED_S: Final = 8 * 3600
"""After so long on mains a battery that nobody gauges is full."""


class Why(StrEnum):
    """What an outlook rests on."""

    BATTERY = "battery"
    BATTERY_UNKNOWN = "battery-unknown"
    OVERDUE = "overdue"
    ASLEEP = "asleep"
    MAINS = "mains"
    MAINS_CHARGING = "mains-charging"
    MAINS_UNKNOWN = "mains-unknown"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


_WORDS: Final = {
    Why.BATTERY: "on battery, which lasts {lasts}",
    Why.BATTERY_UNKNOWN: "on battery, and its end is not known: {lasts}",
    Why.OVERDUE: "on battery when last heard, which must be empty by now",
    Why.ASLEEP: "stopped in good order",
    Why.MAINS: "on mains; its battery would last {lasts}",
    Why.MAINS_CHARGING: "on mains too short a time for a full battery, which would last {lasts}",
    Why.MAINS_UNKNOWN: "on mains; how long its battery would last is not known before a long discharge",
    Why.UNREACHABLE: "out of reach, and was not on battery when last heard",
    Why.UNKNOWN: "has not told what feeds it",
}


@dataclass(frozen=True, slots=True)
class Lasts:
    """Seconds; None is not known, as `high_s` is where there is no bound."""

    s: float | None = None
    low_s: float | None = None
    high_s: float | None = None

    def after(self, passed_s: float) -> Lasts:
        """What is left of it then."""
        return Lasts(*(None if part is None else max(0.0, part - passed_s) for part in self._parts))

    def times(self, part: float) -> Lasts:
        """That part of it."""
        return Lasts(*(None if value is None else value * part for value in self._parts))

    def reaches(self, wanted_s: float) -> bool | None:
        """Yes if even the shortest does, no if it likely does not, None while neither is sure."""
        likely_s = self.high_s if self.s is None else self.s
        if likely_s is not None and likely_s < wanted_s:
            return False
        return True if self.low_s is not None and self.low_s >= wanted_s else None

    @property
    def _parts(self) -> tuple[float | None, float | None, float | None]:
        return self.s, self.low_s, self.high_s

    def __str__(self) -> str:
        bounds = [_span(part) for part in (self.low_s, self.high_s) if part is not None]
        band = " to ".join(bounds) if len(bounds) == 2 else ""
        if self.s is None:
            return band or "nobody can say how long"
        return f"{_span(self.s)} ({band})" if band else _span(self.s)


@dataclass(frozen=True, slots=True)
class Outlook:
    """How long a site lasts from now on: on battery as it runs down, on mains if that were lost now."""

    why: Why
    told: Lasts = Lasts()
    passed_s: float | None = None
    """How long ago a site on battery told that; None where nothing runs down."""

    @property
    def lasts(self) -> Lasts:
        """From now on."""
        return self.told.after(self.passed_s or 0)

    def survives(self, hours: float) -> bool | None:
        """Whether it is still there after that time without mains; None while that cannot be said."""
        reaches = self.lasts.reaches(hours * 3600)
        return None if reaches and self.why is Why.MAINS_CHARGING else reaches

    @property
    def reason(self) -> str:
        """Why, in words."""
        return _WORDS[self.why].format(lasts=self.lasts)


_DARK: Final = Lasts(0, 0, 0)


def outlook(
    presence: PresenceState | None, power: Power | None, told_ms: int, battery: Battery | None, now_ms: int
) -> Outlook:
    """What is to be expected of a site whose power was as it is told in `power` at `told_ms` of the centre's clock.

    What the site told of its battery runs down by the centre's clock, also once there is no contact any more.
    """
    if presence is PresenceState.ASLEEP:
        return Outlook(Why.ASLEEP, _DARK)
    if power is None or presence is None:
        return Outlook(Why.UNKNOWN)
    passed_s = max(0.0, (now_ms - told_ms) / 1000)
    if power.supply in {Supply.BATTERY, Supply.LOW}:
        return _on_battery(power, passed_s)
    if presence is not PresenceState.ONLINE:
        return Outlook(Why.UNREACHABLE)
    if power.supply is not Supply.MAINS:
        return Outlook(Why.UNKNOWN)
    if battery is None or battery.full_runtime_s is None:
        return Outlook(Why.MAINS_UNKNOWN)
    full = Lasts(battery.full_runtime_s, battery.full_runtime_low_s, battery.full_runtime_high_s)
    if power.charge_percent is not None:
        return Outlook(Why.MAINS, full.times(_usable(power.charge_percent, battery.stop_percent)))
    on_mains_s = passed_s + (power.at - power.since).total_seconds()
    return Outlook(Why.MAINS if on_mains_s >= _CHARGED_S else Why.MAINS_CHARGING, full)


def _on_battery(power: Power, passed_s: float) -> Outlook:
    told = Lasts(power.runtime_s, power.runtime_low_s, power.runtime_high_s)
    last_s = told.s if told.high_s is None else told.high_s
    if last_s is not None and passed_s > last_s:
        return Outlook(Why.OVERDUE, told, passed_s)
    return Outlook(Why.BATTERY_UNKNOWN if told.s is None else Why.BATTERY, told, passed_s)


def _usable(charge_percent: float, stop_percent: float) -> float:
    """Which part of what a full battery gives until the agent stops is there."""
    return max(0.0, charge_percent - stop_percent) / (100 - stop_percent) if stop_percent < 100 else 0.0


def _span(seconds: float) -> str:
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
