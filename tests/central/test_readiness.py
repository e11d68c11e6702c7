"""The countdown to dark and the readiness of sites: the reckoning, the API and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from central.__main__ import cli
from central.core.readiness import HOURS, Outlook, Why, outlook
from central.store import Store
from central.web import api
from central.web.api import Console, create_app
from central.web.stream import Changes
from edge_agent.contract import (
    Battery,
    ClockQuality,
    Host,
    Power,
    Presence,
    PresenceState,
    Supply,
    instant,
)
from tests.central.world import T, World
from tests.rig.segments import RUN

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def power(supply: Supply, runtime_s: float | None = None, *, since_ms: int = T, at_ms: int = T, **more: Any) -> Power:
    band = {} if runtime_s is None else {"runtime_low_s": runtime_s * 0.8, "runtime_high_s": runtime_s * 1.2}
    told = {"supply": supply, "runtime_s": runtime_s, "source": "gpio", **band, **more}
    return Power(**told, since=instant(since_ms), at=instant(at_ms))


def battery(hours: float, stop_percent: float = 10) -> Battery:
    full_s = hours * 3600
    band = {"full_runtime_low_s": full_s * 0.9, "full_runtime_high_s": full_s * 1.1}
    return Battery(known=True, full_runtime_s=full_s, **band, stop_percent=stop_percent, at=instant(T))


def see(
    told: Power | None,
    pack: Battery | None = None,
    after_ms: int = 0,
    presence: PresenceState | None = PresenceState.ONLINE,
) -> Outlook:
    return outlook(presence, told, T, pack, T + after_ms)


def marks(found: Outlook) -> list[bool | None]:
    return [found.survives(hours) for hours in HOURS]


@pytest.mark.parametrize("presence", [PresenceState.ONLINE, PresenceState.OFFLINE])
def test_a_battery_runs_down_by_our_clock_also_out_of_contact(presence: PresenceState) -> None:
    told = power(Supply.BATTERY, 2 * 3600)
    found = see(told, after_ms=30 * MINUTE_MS, presence=presence)
    assert found.why is Why.BATTERY
    assert found.lasts.s == 1.5 * 3600
    assert marks(found) == [True, False, False]
    assert found.reason == "on battery, which lasts 1 h 30 min (1 h 06 min to 1 h 54 min)"
    late = see(told, after_ms=130 * MINUTE_MS, presence=presence)
    assert (late.why, late.lasts.s) == (Why.BATTERY, 0), "the latest bound is still to come"
    over = see(told, after_ms=145 * MINUTE_MS, presence=presence)
    assert over.why is Why.OVERDUE
    assert marks(over) == [False, False, False]


def test_between_its_bounds_a_site_is_neither_safe_nor_lost() -> None:
    assert marks(see(power(Supply.LOW, 1.1 * 3600))) == [None, False, False]


def test_an_end_that_nobody_knows_is_said_and_only_bounds_judge() -> None:
    unknown = see(power(Supply.BATTERY), after_ms=HOUR_MS, presence=PresenceState.OFFLINE)
    assert unknown.why is Why.BATTERY_UNKNOWN
    assert marks(unknown) == [None, None, None]
    assert unknown.reason == "on battery, and its end is not known: nobody can say how long"
    bounds = see(power(Supply.BATTERY, runtime_low_s=1.5 * 3600, runtime_high_s=3 * 3600))
    assert marks(bounds) == [True, None, False]


def test_a_site_on_mains_is_judged_by_what_its_battery_taught() -> None:
    rested = power(Supply.MAINS, since_ms=T - 9 * HOUR_MS)
    found = see(rested, battery(3))
    assert found.why is Why.MAINS
    assert marks(found) == [True, True, False]
    assert found.reason == "on mains; its battery would last 3 h 00 min (2 h 42 min to 3 h 18 min)"
    assert marks(see(rested)) == [None, None, None]
    assert see(rested, Battery(known=False, at=instant(T))).why is Why.MAINS_UNKNOWN


def test_a_battery_that_may_still_charge_promises_nothing() -> None:
    back = power(Supply.MAINS, since_ms=T - HOUR_MS)
    assert see(back, battery(3)).why is Why.MAINS_CHARGING
    assert marks(see(back, battery(3))) == [None, None, False]
    assert marks(see(power(Supply.MAINS, charge_percent=100), battery(3))) == [True, True, False]
    half = see(power(Supply.MAINS, charge_percent=55), battery(3))
    assert half.lasts.s == pytest.approx(1.5 * 3600)
    assert see(power(Supply.MAINS, charge_percent=5), battery(3)).lasts.s == 0


def test_what_is_not_known_is_neither_good_nor_bad() -> None:
    rested = power(Supply.MAINS, since_ms=T - 9 * HOUR_MS)
    for gone in (PresenceState.OFFLINE, PresenceState.STOPPING):
        assert see(rested, battery(9), presence=gone).why is Why.UNREACHABLE
    assert see(power(Supply.UNKNOWN), battery(9)).why is Why.UNKNOWN
    assert see(None, presence=None).why is Why.UNKNOWN
    assert marks(see(rested, battery(9), presence=PresenceState.OFFLINE)) == [None, None, None]
    assert marks(see(rested, battery(9), presence=PresenceState.ASLEEP)) == [False, False, False]


_seconds = st.none() | st.floats(0, 1e300)


@given(
    supply=st.sampled_from(Supply),
    presence=st.none() | st.sampled_from(PresenceState),
    runtime=st.tuples(_seconds, _seconds, _seconds),
    full=st.tuples(_seconds, _seconds, _seconds),
    charge=st.none() | st.floats(0, 100),
    stop=st.floats(0, 100),
    passed_ms=st.integers(-(10**9), 10**12),
)
def test_whatever_a_site_tells_time_never_makes_it_safer(
    supply: Supply,
    presence: PresenceState | None,
    runtime: tuple[float | None, float | None, float | None],
    full: tuple[float | None, float | None, float | None],
    charge: float | None,
    stop: float,
    passed_ms: int,
) -> None:
    names = ("runtime_s", "runtime_low_s", "runtime_high_s")
    runtimes: dict[str, Any] = dict(zip(names, runtime, strict=True))
    told = power(supply, **runtimes, charge_percent=charge)
    fulls = dict(zip((f"full_{name}" for name in names), full, strict=True))
    pack = Battery(known=True, **fulls, stop_percent=stop, at=instant(T))
    found = outlook(presence, told, T, pack, T + passed_ms)
    assert found.reason
    assert all(part is None or (part >= 0 and math.isfinite(part)) for part in found.lasts._parts)
    one, two, four = marks(found)
    assert not (two and one is False)
    assert not (four and two is False)
    later = outlook(presence, told, T, pack, T + passed_ms + HOUR_MS)
    if supply in {Supply.BATTERY, Supply.LOW}:
        assert not (one is False and later.survives(1))


# --- the API and the command ---


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The centre's clock, for the API and the command."""
    at = [T]
    monkeypatch.setattr(api, "_now_ms", lambda: at[0])
    monkeypatch.setattr("central.__main__._now_ms", lambda: at[0])
    return at


def of_site(world: World) -> Any:
    with TestClient(create_app(Console(world.store, world.archive, Changes(), ZoneInfo("Asia/Jakarta")))) as client:
        (site,) = client.get("/api/v1/sites").json()["sites"]
        return site["readiness"]


def tell(world: World, *, presence: PresenceState = PresenceState.ONLINE, told: Power, received_ms: int = T) -> None:
    world.state("presence", Presence(state=presence, run=RUN, at=instant(T)))
    world.state("power", told, received_ms=received_ms)


def test_the_api_tells_when_a_site_goes_dark_and_that_moment_stays(world: World, now: list[int]) -> None:
    assert of_site(world)["why"] == "unknown"
    tell(world, presence=PresenceState.OFFLINE, told=power(Supply.BATTERY, 3600))
    for minutes in (0, 30, 80):
        now[0] = T + minutes * MINUTE_MS
        shown = of_site(world)
        assert shown["dark_at"] == "2026-11-18T12:06:40.000Z"
        assert shown["dark_earliest_at"] == "2026-11-18T11:54:40.000Z"
        assert shown["dark_latest_at"] == "2026-11-18T12:18:40.000Z"
        assert shown["lasts_s"] == max(0, 60 - minutes) * 60
        assert shown["survives"] == {"1": False if minutes else None, "2": False, "4": False}
    assert shown["why"] == "overdue"
    world.state("power", power(Supply.BATTERY, 1e300))
    assert of_site(world)["dark_at"] is None


def test_the_countdown_begins_when_it_was_told_not_when_it_came(world: World, now: list[int]) -> None:
    """A broker may have kept it while the centre was away; a clock that was never set says nothing."""
    late = T + HOUR_MS
    now[0] = late
    tell(world, told=power(Supply.BATTERY, 7200), received_ms=late)
    assert of_site(world)["lasts_s"] == 3600
    world.state("host", Host(clock=ClockQuality.UNSYNCED, at=instant(T)))
    assert of_site(world)["lasts_s"] == 7200


def test_the_command_ends_with_1_when_a_site_would_not_survive(tmp_path: Path, now: list[int]) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'central.sqlite'}")
    world = World(store, tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["readiness", *arguments, "--directory", str(tmp_path)])
        return done.exit_code, done.stdout

    assert run()[0] == 0, "what is not known is no alarm"
    tell(world, told=power(Supply.MAINS, since_ms=T - 9 * HOUR_MS))
    world.state("battery", battery(3))
    code, text = run()
    assert code == 0
    assert "0 of 1 sites would not survive 2 h without mains" in text
    code, text = run("--hours", "3.5", "--json")
    told = json.loads(text)
    assert (code, told["short"]) == (1, ["aloha"])
    assert told["sites"][0]["survives"] == {"1": True, "2": True, "4": False}
    assert run("--hours", "4")[0] == 1
    store.close()
