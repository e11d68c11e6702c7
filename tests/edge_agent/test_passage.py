"""The last gasp, the first breath, and a return that does not start only to stop again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import CameraState, ClockQuality, EventData, LossCause, Power, Step, Supply, instant
from edge_agent.core.energy import Ladder, Plan, Rung
from edge_agent.core.passage import first_breath, greeting, last_gasp, slept_s
from edge_agent.core.settle import Settled
from edge_agent.core.status import Backlog, End, PreviousRun
from edge_agent.core.supply import NOTHING, PowerReading, View
from edge_agent.core.waking import Waking

T = 1_800_000_000_000
RUN = "000002bbbb"
SYNCED, UNSYNCED, HOLDOVER = ClockQuality.SYNCED, ClockQuality.UNSYNCED, ClockQuality.HOLDOVER
RULE = Rung(Step.STOP, percent=10)
PLAN = Plan((RULE,), (10.0, 10.0), hold_s=120)


def previous(end: End | None, *, same_boot: bool = False, cause: LossCause = LossCause.POWER) -> PreviousRun:
    return PreviousRun("000001aaaa", cause, in_order=True, same_boot=same_boot, end=end)


# --- what is said ---


def test_the_gasp_has_what_the_site_knew_last_and_nulls_for_the_rest() -> None:
    at = instant(T)
    power = Power(
        supply=Supply.LOW,
        charge_percent=9,
        runtime_s=60,
        runtime_low_s=30,
        runtime_high_s=None,
        source="nut",
        since=at,
        at=at,
    )
    cameras = [
        CameraState(camera=camera, recording=True, recorded_until=until, since=at, at=at)
        for camera, until in (("north", instant(T - 900)), ("south", instant(T - 300)), ("west", None))
    ]
    gasp = last_gasp(RUN, LossCause.POWER, "battery at 9 %", power, cameras, 41, Backlog(3, 5000, 8000))
    assert gasp.model_dump(exclude_defaults=True) == {
        "run": RUN,
        "cause": LossCause.POWER,
        "detail": "battery at 9 %",
        "charge_percent": 9,
        "runtime_s": 60,
        "runtime_low_s": 30,
        "newest_sequence": 41,
        "recorded_until": instant(T - 300),
        "backlog_items": 3,
        "backlog_bytes": 5000,
        "backlog_s": 8,
    }
    bare = last_gasp(RUN, LossCause.STOPPED, "SIGTERM", None, [], None, None)
    assert bare.model_dump(exclude_defaults=True) == {"run": RUN, "cause": LossCause.STOPPED, "detail": "SIGTERM"}


@pytest.mark.parametrize(
    ("end", "now", "same_boot", "seconds"),
    [
        (End(T, SYNCED, 5000), End(T + 60_000, SYNCED, 9000), False, 60),
        (End(T, HOLDOVER, 5000), End(T + 60_000, SYNCED, 9000), False, 60),
        (End(T, SYNCED, 5000), End(T + 60_000, UNSYNCED, 9000), False, None),
        (End(T, UNSYNCED, 5000), End(T + 60_000, SYNCED, 9000), False, None),
        (End(T, SYNCED, 5000), End(T - 1, SYNCED, 9000), False, None),
        (End(T, UNSYNCED, 5000), End(T - 60_000, SYNCED, 9000), True, 4),
        (End(T, SYNCED), End(T + 60_000, SYNCED, 9000), True, 60),
        (None, End(T, SYNCED, 9000), True, None),
    ],
)
def test_how_long_it_slept_is_said_only_by_a_clock_that_spans_it(
    end: End | None, now: End, same_boot: bool, seconds: float | None
) -> None:
    """The monotonic clock within a boot; else the time of day, if both ends had it right and it did not step back."""
    assert slept_s(previous(end, same_boot=same_boot), now) == seconds


def test_what_waits_is_what_is_counted_else_what_was_noted_else_not_known() -> None:
    now, noted = End(T + 60_000, SYNCED, 9000), Backlog(5000, 1, 2000)
    ended = previous(End(T, SYNCED, 5000, noted))
    assert first_breath(RUN, ended, Backlog(7, 70, 0), now, "").backlog_items == 7
    breath = first_breath(RUN, ended, None, now, "")
    assert (breath.backlog_items, breath.backlog_bytes, breath.backlog_s) == (5000, 1, 2)
    assert first_breath(RUN, previous(None), None, now, "").backlog_items is None
    first = first_breath(RUN, None, Backlog(0, 0, 0), now, "")
    assert (first.cause, first.slept_s, first.backlog_items) == (None, None, 0)


@pytest.mark.parametrize(
    ("breath", "words"),
    [
        (
            EventData(run=RUN, cause=LossCause.POWER, slept_s=7384, backlog_items=124),
            "back after 2 h 3 min without power; 124 items wait",
        ),
        (EventData(run=RUN, cause=LossCause.POWER, backlog_items=1), "back, was without power; 1 item waits"),
        (
            EventData(run=RUN, cause=LossCause.STOPPED, slept_s=4.2, backlog_items=0),
            "back after 4 s stopped; nothing waits",
        ),
        (
            EventData(run=RUN, cause=LossCause.POWER, slept_s=86_400 * 2 + 3600),
            "back after 2 d 1 h without power; what waits is being counted",
        ),
        (EventData(run=RUN, backlog_items=0), "here for the first time"),
        (
            EventData(
                run=RUN, cause=LossCause.POWER, slept_s=3600, backlog_items=0, detail="battery at 9 %: no cameras"
            ),
            "back after 1 h without power; nothing waits; battery at 9 %: no cameras",
        ),
    ],
)
def test_the_breath_in_words(breath: EventData, words: str) -> None:
    assert greeting(breath) == words


# --- a light start ---


def reading(mains: bool | None, charge: float | None = None, volts: float | None = None) -> PowerReading:
    return PowerReading(mains, volts, None, charge)


def wakes(was_empty: bool, *steps: tuple[int, PowerReading], rule: Rung = RULE) -> Waking:
    """After these readings, each at its second."""
    (first_s, first), *rest = steps
    waking = Waking(rule, was_empty, first, first_s * 1000, first_s * 1000)
    for at_s, seen in rest:
        waking = waking.see(seen, at_s * 1000)
    return waking


@pytest.mark.parametrize("mains", [True, False, None])
def test_too_little_for_one_more_stop_waits_on_battery_and_on_mains_and_enough_does_not(mains: bool | None) -> None:
    assert wakes(False, (0, reading(mains, 15))).is_light
    assert not wakes(False, (0, reading(mains, 15.1))).is_light
    assert not wakes(False, (0, reading(mains, 9)), (300, reading(mains, 16))).is_light


def test_charge_that_is_there_for_a_moment_is_not_believed_after_a_light_start() -> None:
    low, high = reading(False, 9), reading(False, 90)
    assert wakes(False, (0, low), (2, high), (9, high)).is_light
    assert not wakes(False, (0, low), (2, high), (10, high)).is_light
    assert wakes(False, (0, low), (2, high), (9, low), (12, high)).is_light


@pytest.mark.parametrize("mains", [True, False, None])
def test_not_knowing_the_charge_is_no_reason_to_wait(mains: bool | None) -> None:
    assert not wakes(False, (0, reading(mains))).is_light
    assert not wakes(False, (0, NOTHING)).is_light


def test_a_gauge_that_lies_does_not_keep_a_site_dark_for_ever() -> None:
    """Ten minutes of mains without a break are enough; with a break they count anew."""
    low, lost = reading(True, 3), reading(False, 3)
    assert wakes(False, (0, low), (599, low)).is_light
    assert not wakes(False, (0, low), (600, low)).is_light
    assert wakes(False, (0, low), (598, lost), (599, low), (1198, low)).is_light
    assert not wakes(False, (0, low), (598, lost), (599, low), (1199, low)).is_light
    assert wakes(False, (0, lost), (100_000, lost)).is_light


def test_a_battery_that_was_empty_and_that_nothing_measures_waits_for_steady_mains() -> None:
    charging, flat = reading(True, None, 13.6), reading(False, None)
    assert not wakes(False, (0, charging)).is_light
    assert wakes(True, (0, charging), (119, charging)).is_light
    assert not wakes(True, (0, charging), (120, charging)).is_light
    assert wakes(True, (0, charging), (119, flat), (120, charging), (239, charging)).is_light
    assert wakes(True, (0, flat), (100_000, flat)).is_light
    assert not wakes(True, (0, reading(True, 60))).is_light, "now it is measured"


def test_it_stops_again_only_once_mains_is_away_for_good() -> None:
    low, lost = reading(True, 9), reading(False, 9)
    assert not wakes(False, (0, lost), (59, lost)).must_stop
    assert wakes(False, (0, lost), (60, lost)).must_stop
    assert not wakes(False, (0, lost), (59, low), (60, lost), (119, lost)).must_stop
    assert not wakes(False, (0, reading(False, 12)), (60, reading(False, 12))).must_stop, "it is not at the mark"


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(0, 900),
            st.builds(
                PowerReading,
                st.booleans() | st.none(),
                st.none() | st.floats(0, 20),
                st.none(),
                st.none() | st.floats(0, 100),
            ),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_mains_that_stays_always_ends_the_wait(was_empty: bool, steps: list[tuple[int, PowerReading]]) -> None:
    """Whatever was before, and whatever the gauge says."""
    at_s, seen = 0, []
    for passed_s, each in steps:
        at_s += passed_s
        seen.append((at_s, each))
    last = replace(seen[-1][1], mains=True)
    waking = wakes(was_empty, *seen, (at_s + 1, last), (at_s + 601, last))
    assert not waking.is_light
    assert not waking.must_stop
    assert waking.why == ""


# --- mains that comes and goes ---


@dataclass
class Site:
    """A board that boots when mains comes back, under the real rules; its clock is the loop's."""

    charge: float
    gauge: bool = True
    drain_per_s: float = 0.02
    gain_per_s: float = 0.01
    boots: int = 1
    starts: int = 0
    stops: int = 0
    died: int = 0
    state: str = "booting"
    since_s: int = 0
    was_empty: bool = True
    _mains: bool = True
    _waking: Waking | None = None
    _view: View = field(default_factory=lambda: View(Settled(Supply.UNKNOWN, 0)))
    _ladder: Ladder = field(default_factory=Ladder)

    def second(self, now_s: int, mains: bool) -> None:
        """One second passes; the agent looks at its battery."""
        if mains:
            self.charge = min(100.0, self.charge + self.gain_per_s)
        elif self.state != "off":
            self.charge = max(0.0, self.charge - self.drain_per_s)
            if self.charge == 0:
                self._go("off", now_s)
                self.died += 1
                self.was_empty = False
        if self.state == "off" and mains and not self._mains:
            self._go("booting", now_s)
            self.boots += 1
        self._mains = mains
        volts = 13.6 if mains else 12.0
        seen = PowerReading(mains, volts, None, self.charge if self.gauge or not mains else None)
        if self.state == "booting" and now_s - self.since_s >= 30:
            self._waking = Waking(RULE, self.was_empty, seen, now_s * 1000, now_s * 1000)
            self._view, self._ladder = View(Settled(Supply.UNKNOWN, now_s * 1000)), Ladder()
            self._go("light", now_s)
        if self.state == "light":
            assert self._waking is not None
            self._waking = self._waking.see(seen, now_s * 1000)
            if self._waking.must_stop:
                self._stop(now_s)
            elif not self._waking.is_light:
                self._go("full", now_s)
                self.starts += 1
        elif self.state == "full":
            self._view = self._view.see(seen, 20, now_s * 1000)
            self._ladder = self._ladder.see(PLAN, self._view.value, seen, None, now_s * 1000)
            if self._ladder.asked:
                self._stop(now_s)

    def _stop(self, now_s: int) -> None:
        self._go("off", now_s)
        self.stops += 1
        self.was_empty = True

    def _go(self, state: str, now_s: int) -> None:
        self.state, self.since_s = state, now_s


@pytest.mark.parametrize("gauge", [True, False])
@pytest.mark.parametrize("on_s", [5, 20, 45, 90])
@pytest.mark.parametrize("off_s", [5, 20, 55])
def test_mains_that_flaps_after_a_deep_discharge_is_sat_out(on_s: int, off_s: int, gauge: bool) -> None:
    """The board came up on an empty battery. As long as mains comes back within a minute it stays up, light: it is
    not switched off only to boot again, and it records only what there is charge for.
    """
    site = Site(charge=10, gauge=gauge, gain_per_s=0.02 * off_s / on_s)  # what it loses comes back
    for now_s in range(2 * 3600):
        site.second(now_s, now_s % (on_s + off_s) < on_s)
    assert (site.boots, site.stops, site.died) == (1, 0, 0)
    assert site.starts == 0 or site.charge > 10


@pytest.mark.parametrize("gauge", [True, False])
def test_each_boot_of_a_long_bad_day_has_a_return_of_mains_and_a_minute_without_it(gauge: bool) -> None:
    """Three minutes of mains an hour: the agent cannot keep the board from booting, but starts nothing in vain."""
    site = Site(charge=11, gauge=gauge, gain_per_s=0.005)
    for now_s in range(24 * 3600):
        site.second(now_s, now_s % 3600 < 180)
    assert site.boots <= 24
    assert site.stops <= site.boots
    assert site.starts <= (24 if not gauge else 0)
    assert site.died <= 1


def test_after_mains_came_to_stay_it_records_within_ten_minutes_of_it() -> None:
    for gauge, gain_per_s in ((True, 0.02), (True, 0.0), (False, 0.02)):
        site = Site(charge=8, gauge=gauge, gain_per_s=gain_per_s)
        for now_s in range(650):
            site.second(now_s, mains=True)
        assert site.state == "full"
        assert (site.boots, site.starts, site.stops) == (1, 1, 0)
