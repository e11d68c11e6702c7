"""The ladder: when a step is taken and undone, what a target asks for, and a thousand days of bad mains."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import Step, Supply
from edge_agent.core.battery import Gauge, Runtime
from edge_agent.core.energy import Ladder, Load, Plan, Rung, loads_w
from edge_agent.core.fusion import Fusion, Heard
from edge_agent.core.settle import Settled
from edge_agent.core.supply import NOTHING, PowerReading, View
from edge_agent.core.turns import Turns
from edge_agent.core.waking import Waking
from edge_agent.settings import PowerSettings

ON_BATTERY = PowerReading(mains=False, voltage_v=12.0, charge_percent=95)
ON_MAINS = PowerReading(mains=True, voltage_v=13.6, charge_percent=95)
PLAN = Plan(
    rungs=(
        Rung(Step.NO_BACKFILL, minutes_left=60, percent=70),
        Rung(Step.CAMERAS_IN_TURNS, minutes_left=30, percent=40),
        Rung(Step.STOP, percent=10, voltage_v=11),
    ),
    loads_w=(40.0, 38.0, 16.0),
    hold_s=60,
)
TARGET = replace(PLAN, survive_s=4 * 3600)

anything = st.floats(allow_nan=False, min_value=0, max_value=100) | st.none()
readings = st.builds(PowerReading, st.booleans() | st.none(), anything, st.none(), anything)


def minutes(minutes: float) -> Runtime:
    return Runtime(minutes * 60, minutes * 60, minutes * 60)


class Climb:
    """A ladder that is shown the same reading for a while, twice a second; mains was lost a minute ago."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.plan, self.ladder, self.now_ms = plan, Ladder(lost_ms=0, since_ms=-60_000), 0

    def see(
        self, reading: PowerReading, seconds: float, left: Runtime | None = None, supply: Supply | None = None
    ) -> Step:
        feeds = supply or (Supply.MAINS if reading.mains else Supply.BATTERY)
        for _ in range(int(seconds * 2)):
            self.now_ms += 500
            self.ladder = self.ladder.see(self.plan, feeds, reading, left, self.now_ms)
        return self.plan.step(self.ladder.taken)


def at(percent: float) -> PowerReading:
    return replace(ON_BATTERY, charge_percent=percent)


def test_each_step_is_taken_at_its_mark_with_all_that_stand_before_it() -> None:
    climb = Climb()
    assert climb.see(at(71), 60) is Step.FULL
    assert climb.see(at(70), 5) is Step.NO_BACKFILL
    assert climb.see(at(39), 5) is Step.CAMERAS_IN_TURNS
    assert climb.plan.measures(climb.ladder.taken) == {Step.NO_BACKFILL, Step.CAMERAS_IN_TURNS}
    assert climb.see(at(9), 5) is Step.STOP


def test_a_dip_takes_nothing() -> None:
    climb = Climb()
    for _ in range(100):
        assert climb.see(at(5), 1.5) is Step.FULL
        assert climb.see(at(80), 0.5) is Step.FULL


def test_what_was_measured_once_counts_once() -> None:
    ladder = Ladder()
    for now_ms in range(0, 60_000, 500):
        ladder = ladder.see(PLAN, Supply.BATTERY, at(5), None, now_ms, is_new=now_ms == 0)
    assert ladder.taken == 0


def test_minutes_left_count_by_their_lower_bound_and_the_charge_while_they_are_not_known() -> None:
    climb = Climb()
    assert climb.see(at(95), 5, Runtime(7200, 61 * 60, None)) is Step.FULL
    climb = Climb()
    assert climb.see(at(95), 5, Runtime(7200, 60 * 60, None)) is Step.NO_BACKFILL
    assert Climb().see(at(65), 5) is Step.NO_BACKFILL


def test_an_estimate_of_the_first_minute_and_one_without_a_figure_do_not_count() -> None:
    ladder = Ladder()
    for now_ms in range(0, 59_000, 500):
        ladder = ladder.see(PLAN, Supply.BATTERY, at(95), minutes(1), now_ms)
    assert ladder.taken == 0
    for now_ms in range(59_000, 63_000, 500):
        ladder = ladder.see(PLAN, Supply.BATTERY, at(95), minutes(1), now_ms)
    assert PLAN.step(ladder.taken) is Step.CAMERAS_IN_TURNS


def test_an_estimate_runs_down_while_the_gauge_stands_still() -> None:
    climb = Climb()
    assert climb.see(at(95), 5, minutes(70)) is Step.FULL
    assert climb.see(at(95), 11 * 60, minutes(70)) is Step.NO_BACKFILL


def test_an_estimate_that_a_wrong_charge_made_is_forgotten_with_it() -> None:
    climb = Climb()
    climb.see(at(95), 5, minutes(100))
    climb.see(at(20), 0.5, minutes(0))
    assert climb.see(at(94), 60) is Step.FULL


def test_a_step_is_undone_once_mains_held_and_the_next_as_long_after_that() -> None:
    climb = Climb()
    climb.see(at(35), 5)
    assert climb.see(ON_MAINS, 59) is Step.CAMERAS_IN_TURNS
    assert climb.see(at(35), 5) is Step.CAMERAS_IN_TURNS
    assert climb.see(ON_MAINS, 59) is Step.CAMERAS_IN_TURNS
    assert climb.see(ON_MAINS, 2) is Step.NO_BACKFILL
    assert climb.see(ON_MAINS, 58) is Step.NO_BACKFILL
    assert climb.see(ON_MAINS, 3) is Step.FULL


def test_nothing_is_taken_or_undone_while_nobody_knows_what_feeds_the_site() -> None:
    climb = Climb()
    climb.see(at(65), 5)
    assert climb.see(NOTHING, 3600, supply=Supply.UNKNOWN) is Step.NO_BACKFILL
    assert climb.see(at(5), 3600, supply=Supply.MAINS) is Step.NO_BACKFILL
    assert climb.see(replace(ON_MAINS, charge_percent=5), 3600, supply=Supply.BATTERY) is Step.NO_BACKFILL


def test_a_battery_of_which_nothing_is_known_lasts_as_long_as_a_full_one_at_least() -> None:
    bare = PowerReading(mains=False)
    assert Climb().see(bare, 24 * 3600) is Step.FULL
    climb = Climb(replace(PLAN, full_s=4000, loads_w=(40.0, 40.0, 40.0)))
    assert climb.see(bare, 3590) is Step.CAMERAS_IN_TURNS
    assert climb.see(bare, 20) is Step.STOP


def test_when_a_gauge_dies_the_last_estimate_runs_down() -> None:
    climb = Climb(replace(PLAN, loads_w=(40.0, 40.0, 40.0)))
    climb.see(at(50), 5, minutes(5))
    bare = PowerReading(mains=False)
    assert climb.see(bare, 290) is Step.CAMERAS_IN_TURNS
    assert climb.see(bare, 20) is Step.STOP


def test_the_time_of_a_full_battery_counts_until_a_discharge_tells_better() -> None:
    climb = Climb(replace(TARGET, full_s=5400))
    assert climb.see(at(100), 5) is Step.CAMERAS_IN_TURNS
    assert climb.ladder.left_s(climb.now_ms) == pytest.approx(0.9 * 5400 * 40 / 16, rel=0.01)
    climb.see(at(99), 61, minutes(300))
    assert climb.ladder.left_s(climb.now_ms) == pytest.approx(300 * 60, rel=0.01)


def test_the_stop_goes_by_what_is_measured_and_else_by_the_word_of_the_source() -> None:
    stop = PLAN.stop
    assert stop.reached(at(10), None)
    assert stop.reached(replace(at(90), voltage_v=10.9), None)
    assert not stop.reached(at(11), -600)
    assert stop.reached(PowerReading(mains=False, low=True), None)
    assert not stop.reached(PowerReading(mains=False, low=True, charge_percent=35), None)
    assert not stop.reached(PowerReading(mains=False), None)
    assert not stop.reached(PowerReading(mains=False, voltage_v=12), -600)
    assert replace(stop, voltage_v=0).reached(PowerReading(mains=False, voltage_v=12), -600)


@given(st.lists(st.tuples(readings, st.sampled_from(Supply)), max_size=40))
def test_nothing_but_readings_in_a_row_on_battery_at_a_mark_asks_for_a_step(
    steps: list[tuple[PowerReading, Supply]],
) -> None:
    ladder = Ladder()
    row = 0
    for number, (reading, feeds) in enumerate(steps):
        before, ladder = ladder, ladder.see(PLAN, feeds, reading, None, number * 500)
        on_battery = feeds in {Supply.BATTERY, Supply.LOW} and reading.mains is False
        row = row + 1 if on_battery and any(rung.reached(reading, None) for rung in PLAN.rungs) else 0
        assert ladder.taken == before.taken or row >= 4
        assert ladder.taken >= before.taken


# --- a target ---


def test_a_target_takes_the_mildest_step_with_which_the_battery_lasts() -> None:
    assert Climb(TARGET).see(at(95), 5, minutes(260)) is Step.FULL
    climb = Climb(replace(TARGET, loads_w=(40.0, 30.0, 16.0)))
    assert climb.see(at(95), 5, minutes(200)) is Step.NO_BACKFILL
    assert climb.ladder.reaches_target is True
    climb = Climb(TARGET)
    assert climb.see(at(95), 5, minutes(110)) is Step.CAMERAS_IN_TURNS
    assert climb.ladder.reaches_target is True


def test_with_less_taken_from_it_the_battery_lasts_longer() -> None:
    climb = Climb(TARGET)
    climb.see(at(95), 2, minutes(110))
    assert climb.ladder.left_s(climb.now_ms) == pytest.approx(110 * 60 * 40 / 16, rel=0.01)


def test_a_target_that_cannot_be_reached_is_said_to_be_so() -> None:
    climb = Climb(TARGET)
    assert climb.see(at(95), 5, minutes(80)) is Step.CAMERAS_IN_TURNS
    assert climb.ladder.reaches_target is False
    assert Climb().ladder.reaches_target is None


def test_an_estimate_that_wavers_changes_no_verdict() -> None:
    climb = Climb(TARGET)
    climb.see(at(95), 5, minutes(80))
    for percent in range(94, 64, -1):
        climb.see(at(percent), 30, minutes(300 if percent % 2 else 150))
        assert climb.ladder.reaches_target is False
    climb.see(at(64), 130, minutes(300))
    assert climb.ladder.reaches_target is True


def test_a_target_takes_the_place_of_the_marks_but_not_of_the_stop() -> None:
    climb = Climb(replace(TARGET, survive_s=600))
    assert climb.see(at(30), 5, minutes(25)) is Step.FULL
    assert climb.see(at(10), 5, minutes(1)) is Step.STOP


def test_until_the_minutes_are_known_the_charge_counts() -> None:
    assert Climb(TARGET).see(at(65), 5) is Step.NO_BACKFILL


def test_a_target_is_planned_anew_as_the_minutes_change() -> None:
    climb = Climb(replace(TARGET, survive_s=2 * 3600))
    assert climb.see(at(95), 3600, minutes(200)) is Step.FULL
    assert climb.see(at(60), 5, minutes(50)) is Step.CAMERAS_IN_TURNS


def test_the_loads_are_what_each_step_leaves() -> None:
    turns = Turns(60, 45, 5)
    load = Load(base_w=8, camera_w=8, backfill_w=0.5, pictures_w=0.1, shipping_w=0.4)
    rungs = PowerSettings().plan(4).rungs
    loads = loads_w(load, rungs, 4, 4, turns)
    assert loads[0] == pytest.approx(41)
    assert loads[-1] == pytest.approx(8 + 8 * 50 / 60)
    assert list(loads) == sorted(loads, reverse=True)
    assert loads_w(load, rungs, 4, 0, turns)[-1] == pytest.approx(40)


# --- turns ---


@given(st.integers(1, 9), st.floats(1, 600), st.floats(0, 90), st.floats(1, 60))
def test_every_camera_has_its_turn_and_the_share_of_power_is_foretold(
    cameras: int, every_s: float, boot_s: float, look_s: float
) -> None:
    turns = Turns(every_s, boot_s, look_s)
    steps = 2000
    share = [
        sum(turns.into_s(number, cameras, step * cameras * every_s / steps) is not None for step in range(steps))
        / steps
        for number in range(cameras)
    ]
    assert sum(share) == pytest.approx(turns.powered_at_once(cameras), abs=0.01 * cameras)
    assert share == pytest.approx([share[0]] * cameras, abs=0.01)


# --- a thousand days of bad mains ---


@dataclass
class Battery:
    """What truly is: `percent` of a battery that lasts `lasts_s`, and mains."""

    lasts_s: float
    percent: float
    mains: bool = True

    def pass_by(self, seconds: float, load: float) -> None:
        change = 100 * seconds / (2 * self.lasts_s) if self.mains else -100 * load * seconds / self.lasts_s
        self.percent = min(100.0, max(0.0, self.percent + change))


class Site:
    """A site with the real chain from what sources say to the ladder, and a mains line beside its gauge.

    It lives, sleeps after an ordered stop, and starts anew as the agent does.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.settings = PowerSettings.model_validate({"ladder": {"full_s": 3000}})
        self.plan = replace(
            self.settings.plan(4),
            loads_w=(40.0, 40.0, 39.0, 39.0, 39.0, 16.0, 16.0),
            survive_s=chance.choice((0, 7200)),
        )
        self.battery = Battery(chance.uniform(3600, 4 * 3600), chance.uniform(20, 100))
        self.gauge = Heard("i2c")
        self.frozen_until_ms = 0.0
        self.now_ms = 10_000_000
        self.starts = self.stops = self.rash = 0
        self.lives = False
        self.waiting: Waking | None = None
        self.start()

    def start(self) -> None:
        self.fusion, self.ladder, self.rate = Fusion(), Ladder(), Gauge()
        self.view = View(Settled(Supply.UNKNOWN, self.now_ms))
        self.lives = True
        self.starts += 1
        self.frozen_until_ms = 0.0

    def hear(self) -> tuple[Heard, ...]:
        """The mains line is the truth, now and then it cannot be read; the gauge errs, drops out and freezes."""
        chance, battery = self.chance, self.battery
        line = Heard("gpio", PowerReading(mains=None if chance.random() < 0.01 else battery.mains), self.now_ms)
        if self.now_ms >= self.frozen_until_ms:
            percent: float | None = min(100.0, max(0.0, round(battery.percent + chance.uniform(-0.3, 0.3), 1)))
            luck = chance.random()
            if luck < 0.0005:
                self.frozen_until_ms = self.now_ms + chance.uniform(60, 7200) * 1000
            elif luck < 0.01:
                percent = chance.choice((None, 0.0, 100.0, -7.0, 255.0, float("nan")))
            self.gauge = Heard("i2c", PowerReading(charge_percent=percent), self.now_ms)
        return line, replace(self.gauge, at_ms=self.now_ms)

    def go(self, seconds: float) -> None:
        """So much time passes: in small steps while something happens, in larger ones while not."""
        began_ms = self.now_ms
        while (left_s := seconds - (self.now_ms - began_ms) / 1000) > 0:
            calm_s = 10.0 if self.battery.percent < 25 and not self.battery.mains else 60.0
            hopes = not self.lives and self.battery.mains and self.battery.percent < 20
            step_s = min(left_s, 0.5 if hopes or self.now_ms - began_ms < 5000 else calm_s)
            load = self.plan.loads_w[min(self.ladder.taken, 6)] / 40 if self.lives else 0.0
            self.battery.pass_by(step_s, load)
            self.now_ms += max(1, round(step_s * 1000))
            self.look()

    def look(self) -> None:
        heard = self.hear()
        if not self.lives:
            self.fusion = self.fusion.see(heard, self.now_ms)
            reading = self.fusion.reading
            if self.waiting is None:
                self.waiting = Waking(self.plan.stop, True, reading, self.now_ms, self.now_ms, self.now_ms)
            self.waiting = self.waiting.see(reading, self.now_ms)
            if not self.waiting.is_light:
                self.rash += not self.battery.mains and self.battery.percent <= 10
                self.start()
            return
        earlier, self.fusion = self.fusion, self.fusion.see(heard, self.now_ms)
        reading = self.fusion.reading
        self.view = self.view.see(reading, 20, self.now_ms)
        if reading.mains is not False:
            self.rate = Gauge()
        elif reading.charge_percent is not None:
            self.rate = self.rate.see(reading.charge_percent, self.now_ms)
        measured_ms = self.fusion.measured_ms
        before, self.ladder = (
            self.ladder,
            self.ladder.see(
                self.plan,
                self.view.value,
                reading,
                self.rate.runtime(10, 1),
                self.now_ms,
                is_new=measured_ms is None or measured_ms != earlier.measured_ms,
            ),
        )
        if self.ladder.taken < before.taken:
            assert self.battery.mains, "a step was undone on battery"
        if self.ladder.taken != before.taken:
            self.rate = Gauge()
        assert self.battery.percent > 0, "dark without an ordered stop"
        if self.plan.step(self.ladder.taken) is Step.STOP:
            assert not self.battery.mains, "an ordered stop on good mains"
            self.lives = False
            self.stops += 1
            self.fusion, self.waiting = Fusion(), None
            self.frozen_until_ms = 0.0  # what is opened anew is well again


def a_day(seed: int) -> Site:
    chance = random.Random(seed)
    site = Site(chance)
    returns = 0
    for _ in range(chance.randrange(3, 16)):
        mains = chance.random() < 0.4
        returns += mains and not site.battery.mains
        site.battery.mains = mains
        site.go(10 ** chance.uniform(-1, 4.1))
    assert site.starts <= 1 + site.stops
    assert site.stops <= returns + 2
    return site


@pytest.mark.parametrize("hundred", range(10))
def test_on_any_mains_no_stop_is_wrong_or_missed_and_nothing_starts_over_and_over(hundred: int) -> None:
    """A hundred sequences of flaps of a tenth of a second to cuts of hours, with a gauge that errs and freezes."""
    sites = [a_day(seed) for seed in range(hundred * 100, hundred * 100 + 100)]
    assert sum(site.stops for site in sites) > 10
    assert sum(site.rash for site in sites) <= 1, "a gauge whose very first word is wrong may deceive, once"
    assert any(site.starts > 1 for site in sites)
