"""From what several sources say to one reading, and how far each of them can be believed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edge_agent.contract import SourceState
from edge_agent.core.settle import Settled
from edge_agent.core.supply import NOTHING, PowerReading, sane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAINS: Final = ("gpio", "nut", "sysfs", "simulated")
"""Whose word on mains counts, first to last: the line is the truth."""
_BATTERY: Final = ("i2c", "nut", "sysfs", "simulated", "gpio")
"""Likewise on the battery: what sits at it before what is told of it."""
_OWN_LINE: Final = "gpio"
"""Its mains line stands apart from what it measures, and does not freeze with that."""

_OLD_MS: Final = 5000
"""A reading that is older counts as nothing."""
_BACK_MS: Final = 10_000
"""A source is well again once it was for so long, so that a loose wire is not told over and over."""
_STILL_MS: Final = 20 * 60_000
_STILL_GAUGE_MS: Final = 5 * 60_000
"""On battery no measurement stands still for so long. A gauge's last bit moves with every load; what others tell may be
rounded to whole percents, of which a battery that lasts a day loses one in fourteen minutes."""
_RISE_PERCENT: Final = 5
"""No charge rises by more on battery: it is wrong, or mains is."""
_WINDOW_MS: Final = 10_000
"""What it has fallen to is known by the most of so long."""
_FALL_PERCENT: Final = 30
_FALL_MS: Final = 60_000
"""Nor does it fall by more at one blow; that is believed once it stayed there for so long."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one source said last, at which monotonic millisecond, and what keeps it from saying more."""

    source: str
    reading: PowerReading = NOTHING
    at_ms: int | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Fall:
    """A charge on battery: what was believed last and when, the most of the current window, and below which it is."""

    last_percent: float
    last_ms: int
    most_percent: float
    since_ms: int
    mark_percent: float | None = None

    def oddity(self, charge_percent: float, now_ms: int) -> str:
        """Why such a charge cannot be at `now_ms`; empty if it can."""
        if self.mark_percent is not None and charge_percent > self.mark_percent + _RISE_PERCENT:
            return f"charge rises on battery, from {self.mark_percent:.0f} %"
        if charge_percent < self.last_percent - _FALL_PERCENT and now_ms - self.last_ms < _FALL_MS:
            return f"charge falls from {self.last_percent:.0f} % at one blow"
        return ""

    def see(self, charge_percent: float, now_ms: int) -> Fall:
        """With a charge that is believed. The mark follows what lasted, so that a single wrong one does not move it."""
        most = max(charge_percent, self.most_percent)
        if now_ms - self.since_ms < _WINDOW_MS:
            return replace(self, last_percent=charge_percent, last_ms=now_ms, most_percent=most)
        mark = most if self.mark_percent is None else min(most, self.mark_percent)
        return Fall(charge_percent, now_ms, charge_percent, now_ms, mark)


@dataclass(frozen=True, slots=True)
class Track:
    """What was made of one source so far. Monotonic milliseconds."""

    state: Settled[SourceState]
    reason: str
    heard_ms: int
    moved_ms: int
    frozen: bool = False
    said: PowerReading = NOTHING
    usable: PowerReading = NOTHING
    fall: Fall | None = None
    """How its charge fell since mains is gone."""

    def see(self, heard: Heard, now_ms: int, *, mains: bool | None) -> Track:
        """What to make of it at `now_ms`, if that is what there is of mains."""
        heard_ms = self.heard_ms if heard.at_ms is None else heard.at_ms
        if now_ms - heard_ms > _OLD_MS or (heard.at_ms is None and heard.trouble):
            dead = replace(self, heard_ms=heard_ms, moved_ms=now_ms, frozen=False, usable=NOTHING)
            return dead._judged(SourceState.DEAD, heard.trouble or "it gives nothing", now_ms)
        if heard.at_ms is None:
            return replace(self, usable=NOTHING)
        reading, bad = sane(heard.reading)
        moved = reading != self.said or mains is True or (mains is None and not self.frozen)
        moved_ms = now_ms if moved else self.moved_ms
        still_ms = _STILL_GAUGE_MS if heard.source == "i2c" else _STILL_MS
        frozen = now_ms - moved_ms >= still_ms and _measures(reading)
        track = replace(self, heard_ms=heard_ms, moved_ms=moved_ms, frozen=frozen, said=reading, usable=reading)
        if frozen:
            line = reading.mains if heard.source == _OWN_LINE else None
            reason = f"on battery nothing of it moved for {still_ms // 60_000} minutes"
            return replace(track, usable=PowerReading(mains=line))._judged(SourceState.FROZEN, reason, now_ms)
        track, odd = track._weighed(now_ms, mains=mains)
        reason = "; ".join(filter(None, (bad, odd)))
        return track._judged(SourceState.DOUBTFUL if reason else SourceState.OK, reason, now_ms)

    def _weighed(self, now_ms: int, *, mains: bool | None) -> tuple[Track, str]:
        """With the charge left out if it cannot be, and why."""
        charge = self.usable.charge_percent
        if mains is not False:
            return replace(self, fall=None), ""
        if charge is None:
            return self, ""
        if self.fall is None:
            return replace(self, fall=Fall(charge, now_ms, charge, now_ms)), ""
        if odd := self.fall.oddity(charge, now_ms):
            return replace(self, usable=replace(self.usable, charge_percent=None)), odd
        return replace(self, fall=self.fall.see(charge, now_ms)), ""

    def _judged(self, state: SourceState, reason: str, now_ms: int) -> Track:
        settled = self.state.see(state, now_ms, _BACK_MS if state is SourceState.OK else 0)
        # As long as it is not believed to be well, the reason why stays.
        return replace(self, state=settled, reason=reason or ("" if settled.value is SourceState.OK else self.reason))


@dataclass(frozen=True, slots=True)
class Fusion:
    """What all sources together say.

    `measured_ms` is when the charge was measured; without one the voltage, without that the word that it is low.
    """

    tracks: Mapping[str, Track] = field(default_factory=dict)
    reading: PowerReading = NOTHING
    measured_ms: int | None = None

    def see(self, heard: Iterable[Heard], now_ms: int) -> Fusion:
        """With what each source said last, at `now_ms` (monotonic)."""
        said = {one.source: one for one in heard}
        before = {
            source: self.tracks.get(source) or Track(Settled(SourceState.OK, now_ms), "", now_ms, now_ms)
            for source in said
        }
        tracks = {source: before[source].see(said[source], now_ms, mains=self.reading.mains) for source in said}
        mains = _first(tracks, _MAINS, "mains")[1]
        if mains is not None and mains is not self.reading.mains:  # judged by what mains is now, not by what it was
            tracks = {source: before[source].see(said[source], now_ms, mains=mains) for source in said}
        testing = _first(tracks, _BATTERY, "testing")[1]
        if mains is None and testing:  # nobody says that it is gone
            mains = True
        charge_of, charge = _first(tracks, _BATTERY, "charge_percent")
        voltage_of, voltage = _first(tracks, _BATTERY, "voltage_v")
        low_of, low = _first(tracks, _BATTERY, "low")
        measured_of = charge_of or voltage_of or low_of
        return Fusion(
            tracks,
            PowerReading(
                mains=mains,
                voltage_v=voltage,
                current_a=_first(tracks, _BATTERY, "current_a")[1],
                charge_percent=charge,
                temperature_c=_first(tracks, _BATTERY, "temperature_c")[1],
                low=low,
                testing=testing,
            ),
            tracks[measured_of].heard_ms if measured_of else None,
        )

    @property
    def states(self) -> tuple[str, ...]:
        """Each source with its state, such as `nut ok`."""
        return tuple(f"{source} {track.state.value}" for source, track in self.tracks.items())

    @property
    def detail(self) -> str:
        """What is wrong with which source; empty when nothing is."""
        told = "; ".join(f"{source}: {track.reason}" for source, track in self.tracks.items() if track.reason)
        return told or ("no source says whether mains is there" if self.tracks and self.reading.mains is None else "")


def _measures(reading: PowerReading) -> bool:
    return (reading.voltage_v, reading.current_a, reading.charge_percent) != (None, None, None)


def _first(tracks: Mapping[str, Track], order: tuple[str, ...], name: str) -> tuple[str, Any]:
    for source in order:
        if source in tracks and (value := getattr(tracks[source].usable, name)) is not None:
            return source, value
    return "", None
