"""Mains and battery: what the core makes of readings, and the job that watches."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import Battery, EventData, EventType, Power, Step, Supply
from edge_agent.core import battery, chemistry, supply
from edge_agent.core.fusion import Heard
from edge_agent.core.settle import Settled
from edge_agent.core.supply import NOTHING, PowerReading, View
from edge_agent.jobs.guard import Guard
from edge_agent.place import Kept
from edge_agent.settings import PowerSettings
from tests.fakes import FakeClock

ON_BATTERY = PowerReading(mains=False, voltage_v=12.0, charge_percent=60)
ON_MAINS = PowerReading(mains=True, voltage_v=13.6, charge_percent=100)

anything = st.floats(allow_nan=True, allow_infinity=True) | st.none()
readings = st.builds(
    PowerReading, st.booleans() | st.none(), anything, anything, anything, anything, st.booleans() | st.none()
)


# --- core ---


@given(readings)
def test_what_is_left_of_a_reading_is_possible(reading: PowerReading) -> None:
    clean, detail = supply.sane(reading)
    for value in (clean.voltage_v, clean.current_a, clean.charge_percent, clean.temperature_c):
        assert value is None or math.isfinite(value)
    assert clean.mains is reading.mains
    assert (clean == reading) is (detail == "")


def believed(word: Supply) -> View:
    """A view that begins with that word."""
    return View(Settled(word, 0))


@given(st.lists(st.tuples(readings, st.integers(0, 5000)), max_size=60))
def test_the_supply_changes_only_after_it_held_still(steps: list[tuple[PowerReading, int]]) -> None:
    view, now_ms = believed(Supply.UNKNOWN), 0
    for reading, passed_ms in steps:
        now_ms += passed_ms
        before, view = view, view.see(supply.sane(reading)[0], 20, now_ms)
        if view.value is not before.value:
            assert before.settled.doubt is view.value
            assert now_ms - before.settled.doubt_ms >= 500
            assert view.since_ms == before.settled.doubt_ms
        assert len(view.crossings_ms) <= 300


def test_a_bouncing_relay_is_one_change() -> None:
    view, seen = believed(Supply.MAINS), []
    for now_ms in range(0, 3000, 100):
        bounces = now_ms < 1000 and now_ms % 300 == 0
        view = view.see(ON_MAINS if bounces else ON_BATTERY, 20, now_ms)
        seen.append(view.value)
    assert seen == sorted(seen, key=[Supply.MAINS, Supply.BATTERY].index)
    assert view.since_ms == 1000


def test_low_begins_and_ends_at_different_marks() -> None:
    view = believed(Supply.BATTERY)
    for now_ms, charge in enumerate((19.9, 20.1, 19.8, 20.5, 22.9), start=1):
        for late in (0, 600):
            view = view.see(replace(ON_BATTERY, charge_percent=charge), 20, now_ms * 1000 + late)
        assert view.value is Supply.LOW
    for late in (0, 600):
        view = view.see(replace(ON_BATTERY, charge_percent=23.1), 20, 9000 + late)
    assert view.value is Supply.BATTERY


def test_low_is_also_what_the_source_calls_low() -> None:
    view = believed(Supply.BATTERY)
    for now_ms in (0, 600):
        view = view.see(replace(ON_BATTERY, low=True), 20, now_ms)
    assert view.value is Supply.LOW
    assert believed(Supply.MAINS).see(replace(ON_MAINS, low=True), 20, 600).value is Supply.MAINS


def test_one_failed_reading_is_not_news() -> None:
    view = believed(Supply.MAINS)
    for now_ms, reading in ((1000, NOTHING), (1500, ON_MAINS), (2000, NOTHING), (6900, NOTHING)):
        view = view.see(reading, 20, now_ms)
    assert view.value is Supply.MAINS
    assert view.see(NOTHING, 20, 7000).value is Supply.UNKNOWN


def test_mains_that_flaps_is_believed_to_be_back_once_it_stays() -> None:
    """An hour of a tree in the line, three seconds on and three off, is a handful of changes, and ends in mains."""
    view, changes = believed(Supply.MAINS), 0
    for now_ms in range(0, 3_600_000, 500):
        before, view = view, view.see(ON_MAINS if now_ms // 3000 % 2 else ON_BATTERY, 20, now_ms)
        changes += view.value is not before.value
    assert changes < 125
    assert view.value is Supply.BATTERY
    for now_ms in range(3_600_000, 3_632_000, 500):
        view = view.see(ON_MAINS, 20, now_ms)
    assert view.value is Supply.MAINS
    assert view.flaps is False


@given(st.sampled_from(["lead-acid", "lifepo4", "li-ion"]), st.floats(0, 100), st.floats(0, 100), st.integers(1, 16))
def test_more_volts_are_never_less_charge(kind: chemistry.Chemistry, one: float, other: float, cells: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= chemistry.charge_percent(low, kind, cells) <= chemistry.charge_percent(high, kind, cells) <= 100


def test_a_rested_lead_acid_battery_is_half_full_at_twelve_and_a_quarter_volts() -> None:
    assert chemistry.charge_percent(12.24, "lead-acid", 6) == pytest.approx(50)
    assert chemistry.charge_percent(13.2, "lifepo4", 4) > 90
    assert chemistry.charge_percent(10.0, "lead-acid", 6) == 0


@given(st.floats(0.002, 2), st.floats(30, 100), st.floats(0, 20), st.integers(60, 600))
def test_a_steady_discharge_ends_when_foretold(rate: float, charge: float, mark: float, seconds: int) -> None:
    discharge, last = battery.Gauge(), charge
    for second in range(0, seconds, 2):
        last = charge - rate * second
        discharge = discharge.see(last, second * 1000)
    left = discharge.runtime(mark, 1)
    if left is None:
        assert charge - last < 2
        return
    truth_s = max(0.0, (last - mark) / rate)
    assert left.s == pytest.approx(truth_s, rel=0.01, abs=0.01)
    assert left.low_s <= truth_s + 0.01
    assert left.high_s is None or truth_s - 0.01 <= left.high_s


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10_000_000)), max_size=50))
def test_no_jump_of_the_charge_gives_a_senseless_runtime(steps: list[tuple[float, int]]) -> None:
    discharge, now_ms = battery.Gauge(), 0
    for charge, passed_ms in steps:
        now_ms += passed_ms
        discharge = discharge.see(charge, now_ms)
        if left := discharge.runtime(10, 1):
            assert left.s is not None
            assert 0 <= left.low_s <= left.s
            assert left.high_s is None or left.high_s >= left.s
        assert len(discharge.points) <= 452


# --- the job ---


class Watched:
    """A guard with one source that says what it is told; a text is why it cannot be read."""

    def __init__(self, source: str = "gpio", **settings: object) -> None:
        self.clock = FakeClock()
        self.shown: list[Power] = []
        self.events: list[EventData] = []
        self.sources: list[EventData] = []
        self.stops: list[str] = []
        self.taught: list[Battery] = []
        self.kept: object = None
        self.found: object = None
        self._heard = Heard(source)
        table = PowerSettings.model_validate(settings)
        self.steps: list[EventData] = []
        self.shed: list[frozenset[Step]] = []
        self.guard = Guard(
            self,
            table,
            table.plan(1),
            self.shown.append,
            self._announce,
            self.shed.append,
            self.stops.append,
            "000001aaaa",
            self.clock,
            self,
            self.taught.append,
        )

    def heard(self) -> tuple[Heard, ...]:
        return (self._heard,)

    def note(self, value: object) -> None:
        self.kept = json.loads(json.dumps(value))

    def take(self) -> object:
        found, self.found = self.found, None
        return found

    def _announce(self, kind: EventType, data: EventData) -> None:
        lists = {EventType.SOURCE_CHANGED: self.sources, EventType.ENERGY_CHANGED: self.steps}
        lists.get(kind, self.events).append(data)

    def see(self, said: PowerReading | str, seconds: float, every_s: float = 0.5) -> Power:
        """That is what the source says for so long, measured anew every so often."""
        for tick in range(int(seconds * 2)):
            if isinstance(said, str):
                self._heard = replace(self._heard, trouble=said)
            elif tick % (every_s * 2) == 0:
                self._heard = Heard(self._heard.source, said, self.clock.monotonic_ms())
            self.clock.advance(self.guard.run_once())
        return self.shown[-1]


def test_a_power_cut_is_told_within_two_seconds_and_once() -> None:
    watched = Watched()
    watched.see(ON_MAINS, 5)
    assert watched.see(ON_BATTERY, 1.5).supply is Supply.BATTERY
    watched.see(ON_BATTERY, 5)
    assert [(event.before, event.after) for event in watched.events] == [("unknown", "mains"), ("mains", "battery")]


def test_a_charge_comes_from_the_voltage_only_while_on_battery() -> None:
    watched = Watched()
    assert watched.see(PowerReading(mains=True, voltage_v=13.6), 2).charge_percent is None
    assert watched.see(PowerReading(mains=False, voltage_v=12.24), 2).charge_percent == pytest.approx(50)


def test_a_source_that_fails_is_unknown_with_the_reason_and_never_stops_the_agent() -> None:
    watched = Watched()
    watched.see(ON_BATTERY, 2)
    power = watched.see("the wire is loose", 30)
    assert (power.supply, power.charge_percent, power.voltage_v) == (Supply.UNKNOWN, None, None)
    assert "loose" in power.detail
    assert power.sources == ("gpio dead",)
    assert [(event.source, event.before, event.after, event.detail) for event in watched.sources] == [
        ("gpio", "ok", "dead", "the wire is loose")
    ]
    power = watched.see(PowerReading(mains=False, voltage_v=math.nan, charge_percent=-3), 30)
    assert (power.supply, power.charge_percent, power.voltage_v) == (Supply.BATTERY, None, None)
    assert "impossible" in power.detail
    assert not watched.stops


def test_the_minutes_left_are_known_once_the_charge_has_fallen_and_not_on_mains() -> None:
    watched = Watched("simulated")
    for percent in range(90, 60, -1):
        power = watched.see(PowerReading(False, 12.5, None, float(percent)), 10)
    assert power.runtime_s == pytest.approx(51 * 10, rel=0.1)
    assert (power.runtime_low_s or 0) < (power.runtime_s or 0) < (power.runtime_high_s or 0)
    assert watched.see(ON_MAINS, 2).runtime_s is None


def test_an_empty_battery_stops_the_agent_but_a_dip_does_not() -> None:
    watched = Watched()
    watched.see(ON_BATTERY, 5)
    watched.see(replace(ON_BATTERY, charge_percent=9), 1.5)
    watched.see(replace(ON_BATTERY, charge_percent=30), 1)
    assert not watched.stops
    watched.see(replace(ON_BATTERY, charge_percent=9), 2)
    assert watched.stops == ["battery at 9 %, 12.0 V"]


def test_what_was_measured_once_counts_once() -> None:
    """A garbled value that stays in sight for two seconds is one value."""
    watched = Watched("nut")
    watched.see(replace(ON_BATTERY, charge_percent=25), 5)
    watched.see(replace(ON_BATTERY, charge_percent=0), 2, every_s=2)
    watched.see(replace(ON_BATTERY, charge_percent=25), 5)
    assert not watched.stops
    watched.see(replace(ON_BATTERY, charge_percent=9), 6, every_s=2)
    assert not watched.stops
    watched.see(replace(ON_BATTERY, charge_percent=9), 2, every_s=2)
    assert watched.stops


def test_a_ups_that_says_nothing_but_low_ends_in_the_stop() -> None:
    watched = Watched("nut")
    watched.see(PowerReading(mains=False, low=False), 60)
    assert not watched.stops
    assert watched.see(PowerReading(mains=False, low=True), 5).supply is Supply.LOW
    assert watched.stops


def test_each_step_of_the_ladder_is_an_event_and_stands_in_the_state() -> None:
    watched = Watched()
    watched.see(ON_MAINS, 5)
    power = watched.see(replace(ON_BATTERY, charge_percent=75), 5)
    assert power.step is Step.NO_PUBLIC_STREAM
    watched.see(replace(ON_BATTERY, charge_percent=55), 5)
    assert [(event.before, event.after) for event in watched.steps] == [
        ("full", "no-public-stream"),
        ("no-public-stream", "no-backfill"),
        ("no-backfill", "sub-stream"),
    ]
    assert watched.steps[-1].detail.startswith("55 %, 12.0 V")
    assert watched.shed[-1] == {Step.NO_PUBLIC_STREAM, Step.NO_BACKFILL, Step.SUB_STREAM}
    watched.see(ON_MAINS, 250)
    assert [event.after for event in watched.steps[3:]] == ["no-backfill", "no-public-stream", "full"]
    assert watched.shed[-1] == frozenset()
    assert watched.shown[-1].step is Step.FULL


def test_a_target_that_cannot_be_reached_is_said_in_state_and_event() -> None:
    watched = Watched(ladder={"survive_s": 86_400, "full_s": 3600})
    power = watched.see(ON_BATTERY, 5)
    assert power.reaches_target is False
    assert "24.0 h without mains cannot be reached" in watched.steps[-1].detail


def test_a_flapping_mains_is_named() -> None:
    watched = Watched()
    for _ in range(4):
        watched.see(ON_BATTERY, 3)
        power = watched.see(ON_MAINS, 3)
    assert power.supply is Supply.BATTERY
    assert power.detail == "mains comes and goes"
    assert watched.see(ON_MAINS, 150).detail == ""


def test_a_site_without_a_source_says_none() -> None:
    shown: list[Power] = []
    clock = FakeClock()

    class Bare:
        def heard(self) -> tuple[Heard, ...]:
            return ()

    settings, nothing = PowerSettings(), lambda *_: None
    guard = Guard(
        *(Bare(), settings, settings.plan(1), shown.append, nothing, nothing, nothing, "000001aaaa", clock),
        *(Kept("battery.json"), nothing),
    )
    guard.run_once()
    assert (shown[0].source, shown[0].sources, shown[0].supply) == ("none", (), Supply.UNKNOWN)


def test_an_empty_battery_on_mains_stops_nothing() -> None:
    watched = Watched()
    watched.see(replace(ON_MAINS, charge_percent=0, voltage_v=10.0), 30)
    assert not watched.stops


def test_a_pack_whose_end_is_not_known_gives_bounds_and_says_so() -> None:
    watched = Watched()
    for tenth in range(30):
        power = watched.see(PowerReading(False, 12.5 - 0.02 * tenth, 5.0), 60)
    assert power.runtime_s is None
    assert power.runtime_low_s is not None
    assert power.runtime_high_s is not None
    assert power.runtime_low_s < power.runtime_high_s
    assert "not yet known" in power.detail
    assert 0 < (power.charge_percent or 0) < 100


def test_what_a_discharge_taught_is_told_kept_and_taken_from_both_copies() -> None:
    watched = Watched(stop_percent=0)
    watched.see(ON_MAINS, 5)
    for step in range(120):
        watched.see(PowerReading(False, 12.6 - 0.0175 * step, 5.0), 30)
    assert not watched.taught
    watched.see(ON_MAINS, 5)
    (told,) = watched.taught
    assert told.known
    assert len(told.lessons) == 1
    assert told.replace_before
    assert told.full_runtime_s == pytest.approx(3600, rel=0.1)
    assert told.full_runtime_low_s == pytest.approx(told.full_runtime_s or 0, rel=0.5)
    assert told.stop_percent == 0
    restarted, new_card = Watched(), Watched()
    restarted.found = watched.kept
    restarted.see(ON_MAINS, 1)
    assert restarted.taught[-1].lessons == told.lessons
    new_card.guard.hear(told.lessons)
    new_card.see(ON_MAINS, 1)
    assert new_card.taught[-1].lessons == told.lessons


def test_a_voltage_that_the_pack_cannot_have_stops_nothing_and_is_told() -> None:
    watched = Watched(stop_voltage_v=11.0)
    watched.see(ON_MAINS, 5)
    for volts in (0.0, 3.3, 48.0):
        power = watched.see(PowerReading(False, volts), 30)
        assert power.voltage_v is None
        assert "6 cells of lead-acid" in power.detail
    assert not watched.stops


def test_a_voltage_that_sags_when_mains_is_lost_is_no_empty_battery() -> None:
    watched = Watched(nominal_ah=18)
    watched.see(ON_MAINS, 5)
    power = watched.see(PowerReading(False, 11.9, 9.0), 50)
    assert (power.charge_percent or 0) < 5, "by a curve of packs at rest"
    power = watched.see(PowerReading(False, 11.9, 9.0), 60)
    assert (power.charge_percent or 0) > 10
    assert not watched.stops
