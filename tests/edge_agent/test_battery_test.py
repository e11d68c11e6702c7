"""The UPS's own test of its battery: when it is due, that it is no cut, that a cut in the midst of it is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from edge_agent.contract import Battery, ClockQuality, EventData, EventType, Power, Supply
from edge_agent.core.battery_test import NO_TESTS, Outcome, PastTests, Progress, Timetable, Verdict, judged
from edge_agent.core.fusion import Fusion, Heard
from edge_agent.core.pace import parse_window
from edge_agent.core.supply import PowerReading
from edge_agent.jobs.guard import Guard
from edge_agent.power.nut import NutSource
from edge_agent.power.self_test import SelfTest
from edge_agent.settings import NutSettings, PowerSettings
from tests.fakes import FakeClock
from tests.rig.nut import TESTER, UPS, USER, ScriptedDriver, Upsd
from tests.rig.processes import until

NOW = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FULL = PowerReading(mains=True, charge_percent=100)
TESTING = PowerReading(mains=None, charge_percent=92, voltage_v=12.4, testing=True)
QUICK = "test.battery.start.quick"
MONTHLY = Timetable(30)


# --- when one is due ---


def is_due(
    tests: PastTests = NO_TESTS, reading: PowerReading = FULL, timetable: Timetable = MONTHLY, **more: Any
) -> bool:
    return timetable.is_due(tests, reading, NOW, **{"lived_ms": HOUR_MS, "charged": False, **more})


def test_a_full_site_on_mains_that_remembers_no_test_is_due_after_an_hour() -> None:
    assert is_due()
    assert not is_due(lived_ms=HOUR_MS - 1)
    assert not is_due(timetable=Timetable(0))


def test_the_next_is_due_when_the_days_have_passed() -> None:
    assert not is_due(PastTests(began_ms=NOW_MS - 30 * DAY_MS + 1))
    assert is_due(PastTests(began_ms=NOW_MS - 30 * DAY_MS))
    assert is_due(PastTests(began_ms=NOW_MS + DAY_MS)), "a date in the future says nothing"


@pytest.mark.parametrize(
    "reading",
    [
        replace(FULL, mains=False),
        replace(FULL, mains=None),
        replace(FULL, charge_percent=94.9),
        replace(FULL, low=True),
        replace(FULL, testing=True),
        replace(FULL, charge_percent=None),
    ],
)
def test_none_is_due_without_mains_and_a_full_battery(reading: PowerReading) -> None:
    assert not is_due(reading=reading)


def test_where_nobody_tells_the_charge_long_mains_stands_for_it() -> None:
    assert is_due(reading=PowerReading(mains=True), charged=True)


def test_none_is_due_within_a_day_of_a_cut() -> None:
    tests = NO_TESTS.see(mains=True, unix_ms=NOW_MS - 2 * DAY_MS).see(mains=False, unix_ms=NOW_MS - DAY_MS + 1)
    assert not is_due(tests)
    assert is_due(replace(tests, cut_ms=NOW_MS - DAY_MS))


def test_a_cut_without_a_clock_counts_from_when_there_is_one() -> None:
    dark = NO_TESTS.see(mains=False, unix_ms=0).see(mains=True, unix_ms=0)
    assert not is_due(dark)
    assert dark.see(mains=True, unix_ms=NOW_MS) == PastTests(cut_ms=NOW_MS)


def test_the_hours_are_kept() -> None:
    assert is_due(timetable=Timetable(30, parse_window("11:00-13:00")))
    assert not is_due(timetable=Timetable(30, parse_window("22:00-06:00")))


@pytest.mark.parametrize(
    "value", [None, 7, [], {"began_ms": "x"}, {"began_ms": True}, {"cut_ms": -1, "failed_ms": 9e99}]
)
def test_a_garbled_memory_is_no_memory(value: object) -> None:
    assert NO_TESTS.recall(value) == NO_TESTS


def test_a_memory_is_read_as_it_was_told() -> None:
    tests = PastTests(1, 2, 3, undated_cut=True)
    assert NO_TESTS.recall(tests.told()) == tests


# --- what passes for one ---


def play(*steps: tuple[float, str, dict[str, str]]) -> Progress:
    """What is made of a test begun at 0, of status and more variables at so many seconds."""
    progress = Progress(0, 230.0)
    for seconds, status, more in steps:
        progress = progress.see({"ups.status": status, **more}, round(seconds * 1000))
    return progress


MAINS: dict[str, str] = {"input.voltage": "229.8"}
RUNS = {"ups.test.result": "In progress"}


@pytest.mark.parametrize(
    ("steps", "testing"),
    [
        (((2, "OB DISCHRG", {}),), True),
        (((2, "OL DISCHRG", {}),), True),
        (((2, "OL", {}),), False),
        (((59, "OB", MAINS),), True),
        (((60, "OB", MAINS),), False),
        (((60, "OB", RUNS),), True),
        (((60, "OB TEST", {}),), True),
        (((3600, "OB", RUNS),), False),
        (((2, "OB", {"input.voltage": "0.0"}),), False),
        (((2, "OB", {"battery.charge": "49"}),), False),
        (((2, "OB LB", RUNS),), False),
        (((2, "OB", {}), (3, "OL", {}), (4, "OB", {})), False),
        (((2, "OB LB", {}), (3, "OB", {})), False),
    ],
)
def test_a_discharge_is_the_test_only_while_nothing_speaks_against_it(steps: Any, *, testing: bool) -> None:
    assert play(*steps).testing is testing


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (((119, "OL", {"ups.test.result": "Done and passed"}),), None),
        (((120, "OL", {"ups.test.result": "Done and passed"}),), Outcome(Verdict.PASSED, "Done and passed")),
        (
            ((5, "OB", RUNS), (20, "OL", {"ups.test.result": "Done and error"})),
            Outcome(Verdict.FAILED, "Done and error"),
        ),
        (((120, "OL", {}),), Outcome(Verdict.UNKNOWN, "the UPS tells no result")),
        (((3600, "OL", RUNS),), Outcome(Verdict.UNKNOWN, "In progress")),
    ],
)
def test_the_result_is_what_the_ups_says_once_it_can_be_of_this_test(steps: Any, outcome: Outcome | None) -> None:
    assert play(*steps).outcome == outcome


def test_results_are_read_in_the_words_of_several_drivers() -> None:
    said = ("Done and passed", "Ok", "done pass", "Done and warning", "Failed", "Aborted", "No test initiated")
    assert "".join(judged(text).verdict[0] for text in said) == "pppffuu"


def test_a_mains_line_that_says_gone_is_believed_in_the_midst_of_a_test() -> None:
    gone = Heard("gpio", PowerReading(mains=False), 0)
    assert Fusion().see([Heard("nut", TESTING, 0)], 0).reading.mains is True
    assert Fusion().see([Heard("nut", TESTING, 0), gone], 0).reading.mains is False


# --- the guard ---


class Site:
    """A guard with a UPS whose tests are played by hand."""

    def __init__(self, remembered: object = None) -> None:
        self.clock = FakeClock()
        self.events: list[tuple[EventType, EventData]] = []
        self.shown: list[Power] = []
        self.taught: list[Battery] = []
        self.stops: list[str] = []
        self.kept: object = remembered
        self._found: object = remembered
        self._heard = Heard("nut")
        self.test = SelfTest(QUICK, self.clock)
        settings = PowerSettings()
        self.guard = Guard(
            self,
            settings,
            settings.plan(1),
            self.shown.append,
            lambda kind, data: self.events.append((kind, data)),
            lambda _: None,
            self.stops.append,
            "000001aaaa",
            self.clock,
            self,
            self.taught.append,
            (self.test, MONTHLY, NO_TESTS),
        )

    def heard(self) -> tuple[Heard, ...]:
        return (self._heard,)

    def note(self, value: object) -> None:
        self.kept = value

    def take(self) -> object:
        found, self._found = self._found, None
        return found

    def see(self, said: PowerReading, seconds: float) -> Supply:
        """That is what the source says for so long."""
        for _ in range(int(seconds)):
            self._heard = Heard("nut", said, self.clock.monotonic_ms())
            self.guard.run_once()
            self.clock.advance(1)
        return self.shown[-1].supply

    def told(self, kind: EventType) -> list[str | None]:
        return [data.after for event, data in self.events if event is kind]


def asked(site: Site) -> bool:
    """Whether a test is wanted now."""
    return site.test.wanted


def ends(site: Site, status: str, result: str) -> None:
    """The UPS ends the test that was asked for."""
    site.test.begin({"ups.status": "OL"})
    site.test.see({"ups.status": "OL DISCHRG", "ups.test.result": "In progress"})
    site.test.see({"ups.status": status, "ups.test.result": result})


def test_a_test_is_asked_for_once_and_is_no_cut() -> None:
    site = Site()
    site.see(FULL, 3599)
    assert not asked(site)
    site.see(FULL, 3)
    assert asked(site)
    site.test.begin({"ups.status": "OL"})
    assert site.see(TESTING, 300) is Supply.MAINS
    assert site.told(EventType.SUPPLY_CHANGED) == ["mains"]
    assert not site.told(EventType.ENERGY_CHANGED)
    assert not site.stops
    ends(site, "OL", "Done and passed")
    site.see(FULL, DAY_MS / 1000 / 4)
    assert site.told(EventType.BATTERY_TESTED) == ["passed"]
    assert not site.test.wanted


def test_a_cut_in_the_midst_of_a_test_is_told_and_steps_are_taken() -> None:
    site = Site()
    site.see(FULL, 3602)
    site.test.begin({"ups.status": "OL"})
    assert site.see(TESTING, 20) is Supply.MAINS
    assert site.see(replace(TESTING, mains=False, testing=None), 2) is Supply.BATTERY
    site.see(replace(TESTING, mains=False, testing=None, charge_percent=75), 6)
    assert site.told(EventType.ENERGY_CHANGED) == ["no-public-stream"]


def test_a_test_of_some_minutes_leaves_a_pack_that_is_not_full() -> None:
    """So a cut soon after it is no lesson of a full pack."""
    site = Site()
    site.see(FULL, 3602)
    for tenth in range(124, 118, -1):
        site.see(replace(TESTING, charge_percent=None, voltage_v=tenth / 10, current_a=-4.0), 60)
    site.see(FULL, 5)
    assert isinstance(site.kept, dict)
    assert site.kept["taken"] > 3
    assert site.kept["lessons"] == []
    assert site.kept["tests"]["cut_ms"] == 0


def test_the_next_life_knows_when_the_last_test_was() -> None:
    site = Site()
    site.see(FULL, 3602)
    next_life = Site(site.kept)
    next_life.see(FULL, 2 * 3600)
    assert not next_life.test.wanted


def test_a_cut_puts_the_test_off_for_a_day() -> None:
    site = Site()
    site.see(FULL, 3000)
    site.see(replace(FULL, mains=False), 5)
    site.see(FULL, 2 * 3600)
    assert not asked(site)
    site.see(FULL, 22 * 3600)
    assert asked(site)


def test_without_a_clock_no_test_is_begun() -> None:
    site = Site()
    site.clock.trust(ClockQuality.UNSYNCED)
    site.see(FULL, 4000)
    assert not site.test.wanted


def test_a_failed_test_is_the_day_to_replace_the_battery_before_until_one_passes() -> None:
    site = Site()
    site.see(FULL, 3602)
    ends(site, "OL", "Done and error")
    site.see(FULL, 5)
    assert site.told(EventType.BATTERY_TESTED) == ["failed"]
    assert [battery.known for battery in site.taught] == [False]
    assert site.taught[0].replace_before is not None
    assert abs(site.taught[0].replace_before - site.taught[0].at) < timedelta(minutes=1)
    next_life = Site(site.kept)
    next_life.see(FULL, 5)
    assert next_life.taught[0].replace_before == site.taught[0].replace_before
    next_life.clock.advance(31 * DAY_MS / 1000)
    next_life.see(FULL, 10)
    assert asked(next_life)
    ends(next_life, "OL", "Done and passed")
    next_life.see(FULL, 5)
    assert next_life.taught[-1].replace_before is None


def test_a_test_that_was_refused_is_told_once_and_does_not_count() -> None:
    site = Site()
    site.see(FULL, 3602)
    assert asked(site)
    site.test.refuse("it offers none")
    site.see(FULL, 3600)
    assert site.told(EventType.BATTERY_TESTED) == ["refused"]
    assert not asked(site)
    next_life = Site(site.kept)
    next_life.see(FULL, 3602)
    assert asked(next_life)


def test_what_was_asked_for_does_not_begin_in_a_cut_nor_late() -> None:
    clock = FakeClock()
    test = SelfTest(QUICK, clock)
    assert not test.begin({"ups.status": "OL"})
    test.ask()
    assert not test.begin({"ups.status": "OB DISCHRG"})
    assert not test.see({"ups.status": "OB DISCHRG"})
    assert test.take() == Outcome(Verdict.REFUSED, "mains or the UPS was lost as it was to begin")
    assert test.free
    test.ask()
    clock.advance(11)
    assert not test.begin({"ups.status": "OL"})


# --- a real upsd ---


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[tuple[Upsd, ScriptedDriver]]:
    driver = ScriptedDriver((QUICK,), ups__status="OL", battery__charge="100", input__voltage="230.0")
    with Upsd(tmp_path, driver=driver) as made:
        yield made, driver


def opened(upsd: Upsd, test: SelfTest, user: str = TESTER) -> NutSource:
    settings = NutSettings(port=upsd.port, ups=UPS, username=user, password=SecretStr(USER[1]))
    source = NutSource(settings, test)
    until(lambda: source.read().mains, 10, "the UPS is on mains")
    return source


def test_a_real_upsd_begins_the_test_and_its_discharge_is_no_cut(ups: tuple[Upsd, ScriptedDriver]) -> None:
    upsd, driver = ups
    test = SelfTest(QUICK, FakeClock())
    source = opened(upsd, test)
    test.ask()
    assert source.read().mains is True
    until(lambda: driver.ran == [QUICK], 5, "the driver is asked")
    driver.tell(ups__status="OB DISCHRG", ups__test__result="In progress")
    until(lambda: source.read().testing, 5, "the test shows")
    reading = source.read()
    assert (reading.mains, reading.drains) == (None, True)
    driver.tell(input__voltage="0.0")
    until(lambda: source.read().mains is False, 5, "a cut in the midst of the test is seen")
    driver.tell(ups__status="OL", input__voltage="230.0", ups__test__result="Done and passed")
    until(lambda: source.read().mains, 5, "mains is back")
    assert test.take() == Outcome(Verdict.PASSED, "Done and passed")
    assert test.take() is None
    assert driver.ran == [QUICK]
    source.close()


@pytest.mark.parametrize(
    ("command", "user", "reason"),
    [
        ("test.battery.start.deep", TESTER, f"does not offer test.battery.start.deep; .* offers, {QUICK}"),
        (QUICK, USER[0], "ACCESS-DENIED; .*instcmds = ALL"),
    ],
)
def test_what_upsd_refuses_is_told_once_and_never_tried_again(
    ups: tuple[Upsd, ScriptedDriver], command: str, user: str, reason: str
) -> None:
    upsd, driver = ups
    test = SelfTest(command, FakeClock())
    source = opened(upsd, test, user)
    test.ask()
    assert source.read().mains is True
    outcome = test.take()
    assert outcome is not None
    assert outcome.verdict is Verdict.REFUSED
    assert re.search(reason, outcome.detail)
    assert not test.free
    assert source.read().mains is True
    assert not driver.ran
    source.close()


def test_tests_without_a_user_are_refused_at_the_desk() -> None:
    with pytest.raises(ValueError, match="test_every_days needs a username"):
        NutSettings(test_every_days=30)


def test_a_ups_of_dummy_ups_offers_no_test(tmp_path: Path) -> None:
    upsd = Upsd(tmp_path)
    upsd.tell({"ups.status": "OL"})
    with upsd:
        test = SelfTest(QUICK, FakeClock())
        source = opened(upsd, test)
        test.ask()
        source.read()
        assert "cabinet offers no test of its battery" in str(test.take())
        source.close()
