"""The battery: what a discharge teaches, what it foretells, and what garbage does to both.

The packs here are arithmetic, so that the truth is known exactly; packs that behave as real ones are in the bench.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import MOST_LESSONS, Battery, instant
from edge_agent.core.battery import Estimate
from edge_agent.core.chemistry import HABITS, Chemistry
from edge_agent.core.discharge import Discharge, Pack
from edge_agent.core.learning import Lesson, heard, merged, replace_before_ms, told
from edge_agent.core.site_battery import SiteBattery
from edge_agent.core.supply import PowerReading

CHEMISTRIES: Final[tuple[Chemistry, ...]] = ("lead-acid", "lifepo4", "li-ion")
CELLS: Final = {"lead-acid": 6, "lifepo4": 4, "li-ion": 3}
NIGHT_MS: Final = 12 * 3_600_000
MONTH_MS: Final = 30 * 86_400_000
BEGIN_MS: Final = 1_800_000_000_000
STEP_S: Final = 10


@dataclass(frozen=True, slots=True)
class Made:
    """A pack with so much energy and resistance, whose voltage falls along a curve of its own."""

    chemistry: Chemistry
    wh: float = 100.0
    ohm: float = 0.05
    watts: float = 60.0

    @property
    def pack(self) -> Pack:
        return Pack(self.chemistry, CELLS[self.chemistry])

    @property
    def gives(self) -> float:
        """What it gives until it cuts out, in Wh."""
        return (
            sum((reading.voltage_v or 0) * (reading.current_a or 0) for reading, _ in self.discharge()) * STEP_S / 3600
        )

    def discharge(self, metered: bool = True, noise_v: float = 0.0) -> Iterator[tuple[PowerReading, float]]:
        """Readings, and the seconds that are left, until it cuts out; the load steps up or down every five minutes."""
        chance, cells = random.Random(7), CELLS[self.chemistry]
        shape = HABITS[self.chemistry].shape
        readings: list[PowerReading] = []
        used = 0.0
        while True:
            part = used / self.wh
            (x0, v0), (x1, v1) = next((pair for pair in pairwise(shape) if part <= pair[1][0]), shape[-2:])
            inner_v = (v0 + (v1 - v0) * (part - x0) / (x1 - x0)) * cells * 0.99
            watts = self.watts * (1.05 if len(readings) // 30 % 2 else 0.95)
            ampere = watts / inner_v
            volts = inner_v - ampere * self.ohm
            if volts <= self.pack.end_v:
                break
            readings.append(
                PowerReading(
                    False, round(volts + chance.gauss(0, noise_v), 2), round(ampere, 2) if metered else None, None, 20.0
                )
            )
            used += watts * STEP_S / 3600
        for at, reading in enumerate(readings):
            yield reading, float((len(readings) - at) * STEP_S)


class Site:
    """A site with that pack, over many months."""

    def __init__(self, made: Made, *, metered: bool = True) -> None:
        self.made, self.metered = made, metered
        self.battery = SiteBattery(made.pack, "boot")
        self.now_ms = 0
        self.unix_ms = BEGIN_MS

    def rest(self) -> None:
        """A month on mains."""
        self.battery.see(PowerReading(True, 13.6), self.now_ms, self.unix_ms)
        self.now_ms += NIGHT_MS
        self.unix_ms += MONTH_MS
        self.battery.see(PowerReading(True, 13.6), self.now_ms, self.unix_ms)

    def run_down(self, noise_v: float = 0.01, part: float = 1.0) -> list[tuple[Estimate | None, float]]:
        """A discharge, to its end or that part of it: what was foretold every two minutes, and the truth."""
        self.rest()
        seen = []
        readings = list(self.made.discharge(self.metered, noise_v))
        for at, (reading, left_s) in enumerate(readings[: round(len(readings) * part)]):
            self.now_ms += STEP_S * 1000
            self.battery.see(reading, self.now_ms, self.unix_ms)
            if at % 12 == 0:
                seen.append((self.battery.estimate(0), left_s))
        return seen


@pytest.mark.parametrize("metered", [True, False], ids=["with a current", "voltage only"])
@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_after_three_discharges_alike_the_fourth_ends_when_foretold(chemistry: Chemistry, metered: bool) -> None:
    site = Site(Made(chemistry), metered=metered)
    for _ in range(3):
        site.run_down()
    site.rest()
    assert len(site.battery.lessons) == 3
    seen = site.run_down()
    for now, left_s in seen[len(seen) // 2 : -2]:
        assert now
        assert now.known
        assert now.runtime.s == pytest.approx(left_s, rel=0.1, abs=120)
        assert now.runtime.low_s <= left_s <= (now.runtime.high_s or math.inf)
    charges = [now.charge_percent for now, _ in seen if now]
    assert charges[0] > 90
    assert charges[-1] < 5


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_before_it_has_shown_its_end_only_the_bounds_are_stated_and_they_hold(chemistry: Chemistry) -> None:
    seen = [(now, left_s) for now, left_s in Site(Made(chemistry)).run_down() if now]
    assert len(seen) > 25
    assert not any(now.known for now, _ in seen)
    held = [now.runtime.low_s <= left_s <= (now.runtime.high_s or math.inf) for now, left_s in seen]
    assert sum(held) >= 0.9 * len(held)


def test_what_was_learnt_outlasts_a_restart_and_comes_back_from_the_centre_on_a_new_card() -> None:
    site = Site(Made("lead-acid"))
    site.run_down()
    site.rest()
    note = json.loads(json.dumps(site.battery.note()))
    restarted, new_card = SiteBattery(site.made.pack, "other"), SiteBattery(site.made.pack, "new")
    restarted.recall(note)
    new_card.hear(site.battery.written())
    assert restarted.lessons == new_card.lessons == site.battery.lessons
    assert restarted.lessons
    Battery(known=True, lessons=site.battery.written(), at=instant(site.unix_ms))


@pytest.mark.parametrize("metered", [True, False], ids=["with a current", "voltage only"])
@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_a_site_on_mains_knows_how_long_its_full_pack_would_last(chemistry: Chemistry, metered: bool) -> None:
    site = Site(Made(chemistry), metered=metered)
    assert site.battery.from_full(0) is None
    for _ in range(2):
        site.run_down()
    site.rest()
    whole, half = site.battery.from_full(0), site.battery.from_full(50)
    _, lasts_s = next(iter(site.made.discharge(metered)))
    assert whole
    assert whole.s == pytest.approx(lasts_s, rel=0.1)
    assert whole.low_s <= lasts_s <= (whole.high_s or 0)
    assert half
    assert half.s == pytest.approx((whole.s or 0) / 2)


@pytest.mark.parametrize("boot", ["after the dark", None])
def test_a_discharge_that_ended_in_the_dark_is_learnt_at_the_next_start(boot: str | None) -> None:
    site = Site(Made("lead-acid"))
    kept = None
    site.rest()
    for reading, _ in site.made.discharge():
        site.now_ms += STEP_S * 1000
        site.battery.see(reading, site.now_ms, site.unix_ms)
        kept = site.battery.note() or kept
    assert not site.battery.lessons
    later = SiteBattery(site.made.pack, boot)
    later.recall(json.loads(json.dumps(kept)))
    (lesson,) = later.lessons
    assert lesson.size == pytest.approx(site.made.gives, rel=0.02)
    assert lesson.at_ms == site.unix_ms


def test_an_agent_that_crashed_goes_on_with_the_discharge() -> None:
    site = Site(Made("lead-acid"))
    site.run_down()
    site.rest()
    readings, kept = list(site.made.discharge()), None
    for at, (reading, _) in enumerate(readings):
        site.now_ms += STEP_S * 1000
        site.battery.see(reading, site.now_ms, site.unix_ms)
        kept = site.battery.note() or kept
        if at == len(readings) // 2:
            site.battery = SiteBattery(site.made.pack, "boot")
            site.battery.recall(json.loads(json.dumps(kept)))
    site.rest()
    assert [lesson.size for lesson in site.battery.lessons] == pytest.approx([site.made.gives] * 2, rel=0.02)


@pytest.mark.parametrize("part", [0.02, 0.3])
def test_a_short_discharge_teaches_nothing(part: float) -> None:
    site = Site(Made("lead-acid"))
    site.run_down(part=part)
    site.rest()
    assert not site.battery.lessons
    assert site.battery.replace_before_ms is None


def test_a_pack_that_had_no_time_to_charge_teaches_nothing_and_is_not_taken_for_full() -> None:
    site = Site(Made("lead-acid"))
    site.run_down()
    site.rest()
    site.run_down(part=0.6)
    site.battery.see(PowerReading(True, 13.6), site.now_ms, site.unix_ms)
    for reading, left_s in list(site.made.discharge())[-150:]:
        site.now_ms += STEP_S * 1000
        site.battery.see(reading, site.now_ms, site.unix_ms)
        if left_s == 600:
            now = site.battery.estimate(0)
            assert now
            assert now.charge_percent < 40
    before = site.battery.lessons
    site.rest()
    assert site.battery.lessons == before


def test_a_fading_pack_is_to_be_replaced_before_a_date_and_the_faster_the_sooner() -> None:
    dates = []
    for fade in (0.999, 0.97):
        site = Site(Made("lead-acid"))
        for month in range(6):
            site.made = replace(site.made, wh=100 * fade**month)
            site.run_down(noise_v=0)
        site.rest()
        dates.append(site.battery.replace_before_ms or 0)
    year_ms = 365 * 86_400_000
    assert BEGIN_MS + 0.5 * year_ms < dates[1] < dates[0] < BEGIN_MS + 15 * year_ms


def test_a_new_pack_is_not_judged_by_the_old_one() -> None:
    site = Site(Made("lead-acid", wh=60))
    for _ in range(3):
        site.run_down()
    site.made = replace(site.made, wh=100)
    site.run_down()
    site.rest()
    (lesson,) = site.battery.lessons
    assert lesson.size == pytest.approx(site.made.gives, rel=0.02)


def test_two_copies_become_one_and_neither_loses_the_first_lesson() -> None:
    one = Lesson(1, True, 90.0, 0.0, 50.0, 10.5, 5.0, None, (12.0, 10.5), (4.0, 5.0))
    lessons = [replace(one, at_ms=at) for at in range(1, 13)]
    both = merged(lessons[:8], lessons[4:])
    assert both == merged(lessons[4:], lessons[:8]) == merged(both, both)
    assert [lesson.at_ms for lesson in both] == [1, *range(6, 13)]
    assert len(both) == MOST_LESSONS
    assert heard(json.loads(json.dumps(told(one)))) == one
    new_pack = replace(one, at_ms=7, size=150.0)
    assert merged(lessons[:6], [new_pack]) == (new_pack,) == merged([new_pack], lessons[:5])
    assert replace_before_ms(Pack("lead-acid", 6), [replace(one, at_ms=0)]) is None


# --- garbage ---


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"at_ms": 10**15},
            {"at_ms": -1},
            {"size": 0},
            {"size": math.inf},
            {"size": "x"},
            {"error": 1.5},
            {"load": -1},
        ),
        *({"volts": [12.0]}, {"amperes": []}, {"volts": [math.nan, 1.0]}, {"temperature_c": -300}, {"metered": None}),
    ],
    ids=str,
)
def test_what_is_no_lesson_is_not_believed(wrong: dict[str, object]) -> None:
    good = told(Lesson(1, True, 90.0, 0.0, 50.0, 10.5, 5.0, None, (12.0, 10.5), (4.0, 5.0)))
    assert heard(good)
    assert heard({**good, **wrong}) is None
    assert heard({key: value for key, value in good.items() if key not in wrong}) is None


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.none() | st.text(max_size=3)
json_values = st.recursive(
    numbers | st.booleans(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner)
)


@given(json_values)
def test_a_garbled_note_is_no_note(value: object) -> None:
    battery = SiteBattery(Pack("lead-acid", 6), "boot")
    battery.recall(value)
    battery.recall({"lessons": [value], "running": value, "taken": value})
    battery.recall({"running": {"taken": value, "at_ms": value, "unix_ms": 0, "points": [[value] * 4, value]}})
    battery.hear([json.dumps(value), "{", ""])
    assert not battery.lessons


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1000) | st.none(),
            st.floats(-1000, 1000) | st.none(),
            st.floats(-50, 100) | st.none(),
            st.integers(0, 3_000_000),
        ),
        max_size=40,
    ),
    st.sampled_from(CHEMISTRIES),
)
def test_no_readings_give_a_senseless_estimate(
    steps: list[tuple[float | None, float | None, float | None, int]], chemistry: Chemistry
) -> None:
    battery, now_ms = SiteBattery(Pack(chemistry, 4), "boot"), 0
    for volts, current, temperature, passed_ms in steps:
        now_ms += passed_ms
        battery.see(PowerReading(False, volts, current, None, temperature), now_ms, 0)
        if now := battery.estimate(10):
            runtime = now.runtime
            assert 0 <= now.charge_percent <= 100
            assert runtime.s is not None
            assert runtime.high_s is not None
            assert 0 <= runtime.low_s <= runtime.s <= runtime.high_s < math.inf


def test_garbage_between_good_readings_changes_hardly_anything() -> None:
    chance, foretold = random.Random(3), []
    for garbage in (False, True):
        site = Site(Made("lead-acid"))
        for _ in range(2):
            site.run_down()
        site.rest()
        for at, (reading, _) in enumerate(site.made.discharge()):
            site.now_ms += STEP_S * 1000
            bad = replace(reading, voltage_v=chance.choice([0.0, 900.0, 11.9]), current_a=chance.choice([0.0, 999.0]))
            site.battery.see(bad if garbage and at % 7 == 3 else reading, site.now_ms, site.unix_ms)
            if at == 300:
                break
        now = site.battery.estimate(0)
        assert now
        assert now.runtime.s
        foretold.append(now.runtime.s)
    assert foretold[1] == pytest.approx(foretold[0], rel=0.1)


def test_the_time_of_day_may_jump_in_mid_discharge() -> None:
    plain, jumped = Site(Made("lead-acid")), Site(Made("lead-acid"))
    for site, jump_ms in ((plain, 0), (jumped, -5 * 365 * 86_400_000)):
        site.run_down()
        site.rest()
        for at, (reading, _) in enumerate(site.made.discharge()):
            site.now_ms += STEP_S * 1000
            site.battery.see(reading, site.now_ms, site.unix_ms + (jump_ms if at > 100 else 0))
            if at == 300:
                break
    one, other = plain.battery.estimate(0), jumped.battery.estimate(0)
    assert one
    assert other
    assert other.runtime.s == pytest.approx(one.runtime.s, rel=0.02)


def test_a_day_long_discharge_stays_small() -> None:
    discharge = Discharge(Pack("lifepo4", 4))
    for second in range(0, 86_400, STEP_S):
        discharge.see(PowerReading(False, 13.0, 1.0), second * 1000)
    assert len(discharge.points) <= 128
    trace = discharge.trace()
    assert trace
    assert trace.total == pytest.approx(13 * 24, rel=0.01)
