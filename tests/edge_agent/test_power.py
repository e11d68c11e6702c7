"""Mains and battery: what the core makes of readings, the sources behind them, and the job that watches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import Battery, EventData, EventType, Power, Supply
from edge_agent.core import battery, chemistry, energy, supply
from edge_agent.core.settle import Settled
from edge_agent.core.supply import NOTHING, PowerReading
from edge_agent.errors import PowerError
from edge_agent.jobs.guard import Guard
from edge_agent.power import PatientSource, open_power
from edge_agent.power.gpio import GpioSource
from edge_agent.settings import PowerSettings
from tests.fakes import FakeClock

ON_BATTERY = PowerReading(mains=False, voltage_v=12.0, charge_percent=60)
ON_MAINS = PowerReading(mains=True, voltage_v=13.6, charge_percent=100)

anything = st.floats(allow_nan=True, allow_infinity=True) | st.none()
readings = st.builds(PowerReading, st.booleans() | st.none(), anything, anything, anything)


# --- core ---


@given(readings)
def test_what_is_left_of_a_reading_is_possible(reading: PowerReading) -> None:
    clean, detail = supply.sane(reading)
    for value in (clean.voltage_v, clean.current_a, clean.charge_percent):
        assert value is None or math.isfinite(value)
    assert clean.mains is reading.mains
    assert (clean == reading) is (detail == "")


@given(st.lists(st.tuples(readings, st.integers(0, 5000)), max_size=60))
def test_the_supply_changes_only_after_it_held_still(steps: list[tuple[PowerReading, int]]) -> None:
    view, now_ms = Settled(Supply.UNKNOWN, 0), 0
    for reading, passed_ms in steps:
        now_ms += passed_ms
        before, view = view, supply.judge(view, supply.sane(reading)[0], 20, now_ms)
        if view.value is not before.value:
            assert before.doubt is view.value
            assert now_ms - before.doubt_ms >= 500
            assert view.since_ms == before.doubt_ms


def test_a_bouncing_relay_is_one_change() -> None:
    view, seen = Settled(Supply.MAINS, 0), []
    for now_ms in range(0, 3000, 100):
        bounces = now_ms < 1000 and now_ms % 300 == 0
        view = supply.judge(view, ON_MAINS if bounces else ON_BATTERY, 20, now_ms)
        seen.append(view.value)
    assert seen == sorted(seen, key=[Supply.MAINS, Supply.BATTERY].index)
    assert view.since_ms == 1000


def test_low_begins_and_ends_at_different_marks() -> None:
    view = Settled(Supply.BATTERY, 0)
    for now_ms, charge in enumerate((19.9, 20.1, 19.8, 20.5, 22.9), start=1):
        for late in (0, 600):
            view = supply.judge(view, replace(ON_BATTERY, charge_percent=charge), 20, now_ms * 1000 + late)
        assert view.value is Supply.LOW
    for late in (0, 600):
        view = supply.judge(view, replace(ON_BATTERY, charge_percent=23.1), 20, 9000 + late)
    assert view.value is Supply.BATTERY


def test_one_failed_reading_is_not_news() -> None:
    view = Settled(Supply.MAINS, 0)
    for now_ms, reading in ((1000, NOTHING), (1500, ON_MAINS), (2000, NOTHING), (6900, NOTHING)):
        view = supply.judge(view, reading, 20, now_ms)
    assert view.value is Supply.MAINS
    assert supply.judge(view, NOTHING, 20, 7000).value is Supply.UNKNOWN


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


@given(st.lists(readings, max_size=30))
def test_nothing_but_readings_in_a_row_on_battery_at_the_mark_asks_for_a_stop(steps: list[PowerReading]) -> None:
    rule, asked = energy.StopRule(10, 11.0), 0
    for reading in steps:
        clean, _ = supply.sane(reading)
        asked = energy.count(asked, Supply.BATTERY, clean, rule)
        low_charge = clean.charge_percent is not None and clean.charge_percent <= 10
        low_volts = clean.voltage_v is not None and clean.voltage_v <= 11
        assert (asked > 0) is (clean.mains is False and (low_charge or low_volts))
    assert not energy.must_stop(asked) or len(steps) >= 4


def test_what_was_stopped_for_power_does_not_start_for_a_moment() -> None:
    rule = energy.StopRule(10, 0)
    assert not energy.may_start(replace(ON_BATTERY, charge_percent=12), rule)
    assert energy.may_start(replace(ON_BATTERY, charge_percent=16), rule)
    assert energy.may_start(replace(ON_MAINS, charge_percent=0), rule)
    assert energy.may_start(NOTHING, rule)


# --- sources ---


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    Device.pin_factory = MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = None


@pytest.mark.parametrize("pull", ["none", "up", "down"])
@pytest.mark.parametrize("active_high", [True, False])
def test_the_mains_line_means_what_the_settings_say(pins: MockFactory, pull: str, active_high: bool) -> None:
    source = GpioSource(
        PowerSettings.model_validate({"source": "gpio", "mains_lost_pin": 6, "pull": pull, "active_high": active_high})
    )
    for high in (True, False, True):
        (pins.pin(6).drive_high if high else pins.pin(6).drive_low)()
        assert source.read() == PowerReading(mains=high is not active_high)
    source.close()


def test_the_converter_gives_the_volts_of_the_battery(pins: MockFactory) -> None:
    """gpiozero's mock of the converter knows only zero, so the reading is put in its place."""
    settings = PowerSettings(source="gpio", mains_lost_pin=6, pull="up", mcp3008_channel=0, volts_per_unit=18)
    source = GpioSource(settings)
    assert source.read().voltage_v == pytest.approx(0, abs=0.02)
    assert source._battery is not None
    source._battery.close()
    source._battery = SimpleNamespace(value=0.68, close=lambda: None)
    assert source.read().voltage_v == 12.24
    source.close()


def test_a_pin_that_is_taken_says_so(pins: MockFactory) -> None:
    settings = PowerSettings(source="gpio", mains_lost_pin=6)
    first = GpioSource(settings)
    with pytest.raises(PowerError, match=r"\[power\]"):
        GpioSource(settings)
    first.close()


def test_a_source_that_comes_late_is_taken_then(pins: MockFactory) -> None:
    settings, clock = PowerSettings(source="gpio", mains_lost_pin=6), FakeClock()
    squatter = GpioSource(settings)
    source = PatientSource(settings, clock)
    for _ in range(3):
        with pytest.raises(PowerError):
            source.read()
    squatter.close()
    with pytest.raises(PowerError):
        source.read()
    clock.advance(31)
    assert source.read().mains is True
    source.close()


def test_the_simulated_battery_drains_charges_and_survives_a_restart(tmp_path: Path) -> None:
    state, clock = tmp_path / "mains.json", FakeClock()
    settings = PowerSettings(source="simulated", state_file=state, capacity_s=100, recharge_s=50)
    source = open_power(settings, clock)
    assert source.read().charge_percent == 100
    state.write_text('{"mains": false}')
    clock.advance(40)
    assert source.read() == PowerReading(False, 12.12, None, 60.0)
    source.close()
    source = open_power(settings, clock)
    state.write_text('{"mains": true}')
    clock.advance(10)
    assert source.read() == PowerReading(True, 13.6, None, 80.0)
    clock.advance(1000)
    assert source.read().charge_percent == 100


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '"mains"', "{}"])
def test_a_garbled_state_file_says_what_to_write(tmp_path: Path, text: str) -> None:
    state = tmp_path / "mains.json"
    state.write_text(text)
    source = open_power(PowerSettings(source="simulated", state_file=state), FakeClock())
    with pytest.raises(PowerError, match=r'\{"mains": true\}'):
        source.read()


# --- the job ---


class Watched:
    """A guard with a source that plays what it is given."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.reading: PowerReading | PowerError = ON_MAINS
        self.shown: list[Power] = []
        self.events: list[EventData] = []
        self.stops: list[str] = []
        self.taught: list[Battery] = []
        self.kept: object = None
        self.found: object = None
        table = {"source": "gpio", "mains_lost_pin": 6, **settings}
        self.guard = Guard(
            self,
            PowerSettings.model_validate(table),
            self.shown.append,
            self._announce,
            self.stops.append,
            "000001aaaa",
            self.clock,
            self,
            self.taught.append,
        )

    def read(self) -> PowerReading:
        if isinstance(self.reading, PowerError):
            raise self.reading
        return self.reading

    def note(self, value: object) -> None:
        self.kept = json.loads(json.dumps(value))

    def take(self) -> object:
        found, self.found = self.found, None
        return found

    def _announce(self, kind: EventType, data: EventData) -> None:
        assert kind is EventType.SUPPLY_CHANGED
        self.events.append(data)

    def see(self, reading: PowerReading | PowerError, seconds: float) -> Power:
        """That is what the source says for so long."""
        self.reading = reading
        for _ in range(int(seconds * 2)):
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
    power = watched.see(PowerError("the wire is loose"), 30)
    assert (power.supply, power.charge_percent, power.voltage_v) == (Supply.UNKNOWN, None, None)
    assert "loose" in power.detail
    power = watched.see(PowerReading(mains=False, voltage_v=math.nan, charge_percent=-3), 30)
    assert (power.supply, power.charge_percent, power.voltage_v) == (Supply.BATTERY, None, None)
    assert "impossible" in power.detail
    assert not watched.stops


def test_the_minutes_left_are_known_once_the_charge_has_fallen_and_not_on_mains() -> None:
    watched = Watched(source="simulated", state_file="unused")
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
