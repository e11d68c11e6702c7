"""From what several sources say to one reading, and which of them can be believed."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import SourceState
from edge_agent.core.fusion import Fusion, Heard
from edge_agent.core.supply import NOTHING, PowerReading

MINUTE_MS = 60_000
UPS = PowerReading(mains=True, voltage_v=13.6, charge_percent=97, temperature_c=30, low=False)


class Bench:
    """Sources that say what they are told, twice a second."""

    def __init__(self, **said: PowerReading) -> None:
        self.said: dict[str, PowerReading | str] = dict(said)
        self.heard = {source: Heard(source) for source in said}
        self.now_ms = 1_000_000
        self.fusion = Fusion()

    def go_on(self, seconds: float, **said: PowerReading | str) -> PowerReading:
        """For so long they say that; a text is why one cannot be read, an empty one that it hangs."""
        self.said |= said
        for _ in range(int(seconds * 2)):
            self.now_ms += 500
            for source, what in self.said.items():
                if isinstance(what, PowerReading):
                    self.heard[source] = Heard(source, what, self.now_ms)
                else:
                    self.heard[source] = replace(self.heard[source], trouble=what)
            self.fusion = self.fusion.see(self.heard.values(), self.now_ms)
        return self.fusion.reading

    def state(self, source: str) -> SourceState:
        return self.fusion.tracks[source].state.value


def test_the_line_is_the_truth_about_mains_and_the_gauge_about_charge() -> None:
    bench = Bench(
        gpio=PowerReading(mains=False, voltage_v=12.0),
        nut=UPS,
        sysfs=PowerReading(mains=True, charge_percent=10, current_a=-2),
        i2c=PowerReading(voltage_v=12.4, charge_percent=60),
    )
    assert bench.go_on(1) == PowerReading(False, 12.4, -2, 60, 30, low=False)
    assert bench.fusion.states == ("gpio ok", "nut ok", "sysfs ok", "i2c ok")
    assert bench.fusion.detail == ""


@pytest.mark.parametrize(
    ("gone", "mains", "charge"),
    [
        ((), False, 60),
        (("gpio",), True, 60),
        (("gpio", "nut"), False, 60),
        (("i2c",), False, 97),
        (("i2c", "nut"), False, 10),
        (("gpio", "nut", "sysfs"), None, 60),
        (("gpio", "nut", "sysfs", "i2c"), None, None),
    ],
)
def test_the_next_in_rank_stands_in_for_who_is_gone(
    gone: tuple[str, ...], mains: bool | None, charge: float | None
) -> None:
    bench = Bench(
        gpio=PowerReading(mains=False),
        nut=UPS,
        sysfs=PowerReading(mains=False, charge_percent=10),
        i2c=PowerReading(charge_percent=60),
    )
    bench.go_on(10)
    reading = bench.go_on(10, **dict.fromkeys(gone, "the wire is loose"))
    assert (reading.mains, reading.charge_percent) == (mains, charge)
    assert [source for source in bench.said if bench.state(source) is SourceState.DEAD] == [
        source for source in bench.said if source in gone
    ]


@pytest.mark.parametrize("trouble", ["the wire is loose", ""])
def test_a_source_that_fails_or_hangs_is_dead_and_its_values_are_gone(trouble: str) -> None:
    bench = Bench(nut=UPS)
    assert bench.go_on(10) == UPS
    assert bench.go_on(4, nut=trouble) == UPS
    assert bench.state("nut") is SourceState.OK
    assert bench.go_on(2) == NOTHING
    assert bench.state("nut") is SourceState.DEAD
    assert bench.fusion.detail == f"nut: {trouble or 'it gives nothing'}"
    assert bench.go_on(5, nut=UPS) == UPS
    assert bench.state("nut") is SourceState.DEAD
    bench.go_on(6)
    assert bench.state("nut") is SourceState.OK
    assert bench.fusion.detail == ""


def test_what_was_never_there_is_dead_at_once_and_what_hangs_from_the_start_soon() -> None:
    assert Bench(nut=NOTHING).go_on(0) == NOTHING
    bench = Bench(nut=NOTHING, i2c=NOTHING)
    bench.go_on(0.5, nut="nobody there", i2c="")
    assert (bench.state("nut"), bench.state("i2c")) == (SourceState.DEAD, SourceState.OK)
    bench.go_on(6)
    assert bench.state("i2c") is SourceState.DEAD


# --- frozen ---

DRAINED = PowerReading(mains=False, voltage_v=12.5, charge_percent=80)


def test_on_battery_what_does_not_move_is_frozen_until_it_does() -> None:
    bench = Bench(gpio=PowerReading(mains=False), i2c=PowerReading(voltage_v=12.5, charge_percent=80))
    bench.go_on(4 * 60)
    assert bench.state("i2c") is SourceState.OK
    assert bench.go_on(2 * 60) == PowerReading(mains=False)
    assert bench.state("i2c") is SourceState.FROZEN
    assert "nothing of it moved for 5 minutes" in bench.fusion.detail
    assert bench.go_on(1, i2c=PowerReading(voltage_v=12.4, charge_percent=80)).voltage_v == 12.4
    bench.go_on(10)
    assert bench.state("i2c") is SourceState.OK


def test_on_mains_and_where_nobody_knows_of_it_standing_still_is_natural() -> None:
    bench = Bench(nut=UPS, i2c=PowerReading(voltage_v=13.6, charge_percent=100))
    bench.go_on(60 * 60)
    assert bench.fusion.states == ("nut ok", "i2c ok")
    alone = Bench(i2c=PowerReading(voltage_v=13.6, charge_percent=100))
    alone.go_on(60 * 60)
    assert alone.fusion.states == ("i2c ok",)
    assert alone.fusion.detail == "no source says whether mains is there"


def test_whole_percents_may_stand_for_long() -> None:
    bench = Bench(nut=replace(DRAINED, voltage_v=None))
    for charge in range(80, 70, -1):
        bench.go_on(14 * 60, nut=PowerReading(mains=False, charge_percent=charge))
        assert bench.fusion.states == ("nut ok",)


def test_a_ups_that_froze_on_battery_is_not_believed_in_anything() -> None:
    bench = Bench(nut=DRAINED)
    bench.go_on(19 * 60)
    assert bench.go_on(2 * 60) == NOTHING
    assert bench.go_on(60 * 60) == NOTHING
    assert bench.state("nut") is SourceState.FROZEN
    assert bench.go_on(1, nut=UPS) == UPS


def test_a_converter_that_froze_takes_the_line_beside_it_not_along() -> None:
    bench = Bench(gpio=PowerReading(mains=False, voltage_v=12.5))
    assert bench.go_on(21 * 60) == PowerReading(mains=False)
    assert bench.go_on(1, gpio=PowerReading(mains=True, voltage_v=12.5)).mains is True
    bare = Bench(gpio=PowerReading(mains=False))
    bare.go_on(60 * 60)
    assert bare.fusion.states == ("gpio ok",)


def test_who_was_away_does_not_come_back_frozen() -> None:
    bench = Bench(gpio=PowerReading(mains=False), i2c=PowerReading(charge_percent=80))
    bench.go_on(60)
    bench.go_on(3600, i2c="gone")
    bench.go_on(30, i2c=PowerReading(charge_percent=80))
    assert bench.state("i2c") is SourceState.OK


# --- doubtful ---


def test_a_charge_that_rises_on_battery_is_doubted_until_mains_is_back() -> None:
    bench = Bench(nut=replace(DRAINED, charge_percent=60))
    bench.go_on(12)
    assert bench.go_on(5, nut=replace(DRAINED, charge_percent=64)).charge_percent == 64
    reading = bench.go_on(5, nut=replace(DRAINED, charge_percent=66))
    assert (reading.mains, reading.charge_percent, reading.voltage_v) == (False, None, 12.5)
    assert bench.state("nut") is SourceState.DOUBTFUL
    assert bench.fusion.detail == "nut: charge rises on battery, from 60 %"
    assert bench.go_on(5, nut=replace(UPS, charge_percent=66)).charge_percent == 66
    bench.go_on(6)
    assert bench.state("nut") is SourceState.OK


def test_another_gauge_stands_in_for_a_charge_that_is_doubted() -> None:
    bench = Bench(i2c=PowerReading(charge_percent=60), nut=DRAINED)
    bench.go_on(12)
    assert bench.go_on(5, i2c=PowerReading(charge_percent=90)).charge_percent == 80


def test_a_charge_that_falls_at_one_blow_is_believed_only_once_it_stays() -> None:
    """Some UPS say 0 % for a moment; an old battery that breaks down says it for good."""
    bench = Bench(nut=replace(UPS, charge_percent=90))
    bench.go_on(5)
    bench.go_on(5, nut=replace(DRAINED, charge_percent=88))
    assert bench.go_on(50, nut=replace(DRAINED, charge_percent=0)).charge_percent is None
    assert bench.state("nut") is SourceState.DOUBTFUL
    assert bench.go_on(5, nut=replace(DRAINED, charge_percent=87)).charge_percent == 87
    assert bench.go_on(50, nut=replace(DRAINED, charge_percent=3)).charge_percent is None
    assert bench.go_on(12).charge_percent == 3


@pytest.mark.parametrize("garbage", [0.0, 20.0])
@pytest.mark.parametrize("first", [True, False])
def test_one_wrong_charge_does_not_make_the_right_ones_doubtful(garbage: float, first: bool) -> None:
    """Else the stop for an empty battery would not come."""
    bench = Bench(nut=replace(DRAINED, charge_percent=25))
    if not first:
        bench.go_on(60)
    bench.go_on(5, nut=replace(DRAINED, charge_percent=garbage))
    for charge in (25, 24, 20, 9):
        assert bench.go_on(20, nut=replace(DRAINED, charge_percent=charge)).charge_percent == charge


def test_a_fast_discharge_is_no_blow() -> None:
    bench = Bench(nut=DRAINED)
    for charge in range(80, 0, -5):
        assert bench.go_on(1, nut=PowerReading(mains=False, charge_percent=charge)).charge_percent == charge


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 101.0])
def test_impossible_values_are_told_and_the_rest_is_used(bad: float) -> None:
    bench = Bench(nut=replace(UPS, charge_percent=bad))
    reading = bench.go_on(5)
    assert (reading.mains, reading.charge_percent, reading.voltage_v) == (True, None, 13.6)
    assert bench.fusion.states == ("nut doubtful",)
    assert bench.fusion.detail == "nut: impossible values, left out: charge_percent"


# --- whatever they say ---

anything = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100) | st.none()
readings = st.builds(
    PowerReading, st.booleans() | st.none(), anything, anything, anything, anything, st.booleans() | st.none()
)
sources = st.sampled_from(["gpio", "nut", "sysfs", "i2c", "simulated"])
heard = st.builds(Heard, sources, readings, st.integers(0, 100_000) | st.none(), st.sampled_from(["", "loose"]))


@given(st.lists(st.tuples(st.lists(heard, max_size=5), st.integers(0, 10 * MINUTE_MS)), max_size=30))
def test_no_value_is_made_up_impossible_or_stale(steps: list[tuple[list[Heard], int]]) -> None:
    fusion, now_ms = Fusion(), 0
    for said, passed_ms in steps:
        now_ms += passed_ms
        fusion = fusion.see(said, now_ms)
        fresh = [one for one in said if one.at_ms is not None and now_ms - one.at_ms <= 5000]
        for name, value in asdict(fusion.reading).items():
            assert value is None or math.isfinite(value)
            assert value is None or value in [getattr(one.reading, name) for one in fresh]
        assert len(fusion.states) == len({one.source for one in said})
