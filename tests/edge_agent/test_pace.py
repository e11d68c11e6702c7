"""How fast the backlog may go, and that it gives way: the core's values, and the gates in a thread and a fake clock."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import ClockQuality, ItemKind, ItemName, PaceLimit, Wish, instant
from edge_agent.core.drain import Drain, Flow
from edge_agent.core.pace import (
    DEEP_MS,
    SHALLOW_MS,
    Allowance,
    Grant,
    Limits,
    Meter,
    Window,
    allowance,
    granted,
    in_flight_bytes,
    parse_window,
    slice_bytes,
)
from edge_agent.core.status import SpoolStats
from edge_agent.errors import Rejected, Unreachable
from edge_agent.gates import FreshGate, LateGate
from tests.fakes import FakeClock

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NIGHT = Window(time(22), time(6))
NOW_MS = 1_800_000_000_000
SEGMENT = ItemName("000001aaaa", 1, ItemKind.SEGMENT, "north", NOW_MS, 4000, ClockQuality.SYNCED, "0" * 64)
EVENT = replace(SEGMENT, kind=ItemKind.EVENT)


@pytest.mark.parametrize(
    ("moment", "wait_s"), [("22:00", 0), ("23:59", 0), ("00:00", 0), ("05:59", 0), ("06:00", 57_600), ("21:59", 60)]
)
def test_a_window_may_go_over_midnight(moment: str, wait_s: float) -> None:
    assert NIGHT.opens_in_s(datetime.fromisoformat(f"2026-11-24T{moment}Z")) == wait_s


@pytest.mark.parametrize(("moment", "wait_s"), [("09:30", 0), ("10:00", 82_800), ("08:00", 3600), ("23:00", 36_000)])
def test_a_window_may_lie_within_a_day(moment: str, wait_s: float) -> None:
    assert Window(time(9), time(10)).opens_in_s(datetime.fromisoformat(f"2026-11-24T{moment}Z")) == wait_s


def test_a_window_is_two_times_of_day() -> None:
    assert parse_window("22:00-06:00") == NIGHT
    assert parse_window("") is None
    for text in ("22:00", "22-6", "22:00-24:00", "22:00-06:00Z", "at night", "22:00-06:00-07:00", "-"):
        with pytest.raises(ValueError, match=r"22:00-06:00|hour|isoformat|Invalid"):
            parse_window(text)


def test_the_smallest_limit_holds_and_is_named() -> None:
    cap, small, large = Limits(1000), Grant(500, 10_000), Grant(2000, 10_000)
    assert allowance(Limits(), None, NOON, 0) == Allowance(None, PaceLimit.NONE)
    assert allowance(cap, None, NOON, 0) == Allowance(1000, PaceLimit.CAP)
    assert allowance(cap, small, NOON, 0) == Allowance(500, PaceLimit.GRANT)
    assert allowance(cap, large, NOON, 0) == Allowance(1000, PaceLimit.CAP)
    assert allowance(Limits(), large, NOON, 0) == Allowance(2000, PaceLimit.GRANT)
    assert allowance(Limits(1000, NIGHT), small, NOON, 0) == Allowance(0, PaceLimit.WINDOW, 36_000)


def test_after_a_grant_has_expired_the_site_goes_by_its_own_settings() -> None:
    assert allowance(Limits(1000), Grant(500, 10_000), NOON, 10_000) == Allowance(1000, PaceLimit.CAP)
    assert allowance(Limits(), Grant(0, 10_000), NOON, 4000) == Allowance(0, PaceLimit.GRANT, 6)


def test_who_does_not_know_the_hour_lets_the_backlog_go() -> None:
    assert allowance(Limits(0, NIGHT), None, None, 0) == Allowance(None, PaceLimit.NONE)


def wish(until_s: float, pace: float | None = 500) -> Wish:
    at = instant(NOW_MS)
    return Wish(pace_bytes_per_s=pace, pace_until=at + timedelta(seconds=until_s), at=at)


def test_a_grant_never_outlives_what_the_centre_said() -> None:
    """Told late, as a retained message is, it is over; with a clock that is wrong, it lasts as long as it was meant."""
    synced, lost = ClockQuality.SYNCED, ClockQuality.UNSYNCED
    assert granted(wish(60), NOW_MS, synced, 5000) == Grant(500, 65_000)
    assert granted(wish(60), NOW_MS + 50_000, synced, 5000) == Grant(500, 15_000)
    assert granted(wish(60), NOW_MS + 60_000, synced, 5000) is None
    assert granted(wish(60), NOW_MS - 3_600_000, synced, 5000) == Grant(500, 65_000)
    assert granted(wish(60), 0, lost, 5000) == Grant(500, 65_000)
    assert granted(wish(60), NOW_MS + 3_600_000, lost, 5000) == Grant(500, 65_000)
    assert granted(wish(0), NOW_MS, synced, 5000) is None
    assert granted(wish(60, None), NOW_MS, synced, 5000) is None


@given(st.lists(st.tuples(st.integers(1, 50_000), st.integers(0, 3000)), min_size=1, max_size=60))
def test_what_passes_the_meter_is_never_more_than_the_pace_and_some_arrears(asked: list[tuple[int, int]]) -> None:
    """And arrears are made up for by and by, never in a burst."""
    meter, now_ms, rate, gone, went = Meter(), 10_000.0, 100_000, 0, [(10_000.0, 0)]
    for size_bytes, idle_ms in asked:
        now_ms += idle_ms
        now_ms += meter.take(size_bytes, rate, now_ms)
        assert gone <= (now_ms - 10_000 + 1001) * rate / 1000
        for then_ms, before in went[-10:]:
            assert gone - before <= ((now_ms - then_ms) + 26) * 1.25 * rate / 1000 + 50_000
        gone += size_bytes
        went.append((now_ms, gone))


def test_who_always_has_something_to_send_has_the_whole_pace() -> None:
    meter, now_ms, gone = Meter(), 0.0, 0
    while now_ms < 10_000:
        now_ms += meter.take(5000, 100_000, now_ms) + 3  # each time it wakes up late
        gone += 5000
    assert 990_000 <= gone <= 1_010_000


@given(st.floats(0, 1e9), st.floats(0.01, 500), st.sampled_from([SHALLOW_MS, DEEP_MS]))
def test_what_is_in_flight_fills_the_link_and_hardly_more(rate: float, rtt_ms: float, queue_ms: float) -> None:
    """Sender and link settle: with so much in flight the link is full; with less it is found to carry more."""
    in_flight = in_flight_bytes(rate, rtt_ms, queue_ms)
    assert in_flight >= min(rate * rtt_ms / 1000, 4 * 1024**2)
    assert in_flight <= max(8 * 1024, rate * (rtt_ms + queue_ms) / 1000 + 1)
    assert 8 * 1024 <= slice_bytes(rate, queue_ms) <= 1024 * 1024


def stats(backlog: int, taken: int, sent: int) -> SpoolStats:
    return SpoolStats(backlog // 1000, 0, backlog, None, 0, 0, 0, 0, taken, sent)


def test_the_end_of_the_backlog_is_told_from_what_goes_and_what_comes() -> None:
    """A break before it spoils nothing, and it does not jump."""
    drain, backlog, told = Drain(), 0, []
    taken = sent = 0
    for second in range(0, 300, 2):
        taken += 2 * 100_000
        sent += 2 * 500_000 if second >= 120 else 0
        backlog = 60_000_000 + taken - sent
        told.append((drain.see(stats(backlog, taken, sent), second * 1000), backlog))
    before, drains = told[:60], told[63:]
    assert {flow.drain_eta_s for flow, _ in before} == {None}
    assert before[-1][0].sent_bytes_per_s == 0
    assert before[-1][0].taken_bytes_per_s == 100_000
    for flow, left in drains:
        assert flow.drain_eta_s == pytest.approx(left / 400_000, rel=0.02)


def test_an_empty_backlog_is_gone_and_one_that_grows_or_stands_has_no_end() -> None:
    drain = Drain()
    assert drain.see(stats(0, 0, 0), 0) == Flow(0, 0, 0)
    flows = [drain.see(stats(10_000 + 500 * n, 1000 * n, 500 * n), n * 1000) for n in range(1, 20)]
    assert flows[-1] == Flow(1000, 500, None)
    assert [drain.see(stats(30_000, 19_000, 9500), 19_000 + n * 1000) for n in (1, 14)][-1].sent_bytes_per_s > 0
    assert drain.see(stats(30_000, 19_000, 9500), 35_000).sent_bytes_per_s == 0


# --- the gates ---


class Gates:
    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.clock = FakeClock(NOW_MS)
        self.fresh = FreshGate(self.clock)
        self.late = LateGate(self.fresh, limits, self.clock)


def test_the_backlog_stops_between_two_slices_while_something_fresh_is_on_its_way() -> None:
    gates = Gates()
    with gates.late.passage(SEGMENT, lambda: None) as admit:
        assert admit(1000) == 1000
        assert not gates.clock.waited_s
        with gates.fresh.passage(SEGMENT, lambda: None) as fresh:
            assert fresh(5000) == 5000
            assert admit(1000) == 1000
            assert gates.clock.waited_s == [10.0], "lest the connection looks dead"
        admit(1000)
        assert len(gates.clock.waited_s) == 1


def test_the_backlog_goes_on_the_moment_that_the_fresh_item_is_through() -> None:
    gates = Gates()
    waiting = threading.Thread(target=gates.fresh.free.wait, args=(10,))
    with gates.fresh.passage(SEGMENT, lambda: None):
        assert not gates.fresh.free.is_set()
        waiting.start()
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.mark.parametrize("cap", [5000, 40_000, 1_000_000])
def test_a_capped_backlog_takes_exactly_its_pace_however_many_lanes_it_has(cap: int) -> None:
    gates = Gates(Limits(cap_bytes_per_s=cap))
    begun_ms, gone = gates.clock.monotonic_ms(), 0
    with gates.late.passage(SEGMENT, lambda: None) as one, gates.late.passage(SEGMENT, lambda: None) as two:
        while gates.clock.monotonic_ms() < begun_ms + 100_000:
            gone += one(256 * 1024) + two(256 * 1024)
    assert gone == pytest.approx(100 * cap, rel=0.05)


def test_what_is_on_its_way_when_the_window_closes_still_arrives() -> None:
    gates = Gates(Limits(window=Window(time(0), time(0, 1))))
    gates.clock.step(-(gates.clock.now_ms() / 1000) % 86_400 + 12 * 3600 + 1800)
    assert gates.late.opens_in_s() > 0
    with gates.late.passage(SEGMENT, lambda: None) as admit:
        assert admit(256 * 1024) > 0
    assert all(waited <= 10 for waited in gates.clock.waited_s)


def test_a_grant_holds_until_it_expires() -> None:
    gates = Gates()
    gates.late.grant(wish(60))
    assert gates.late.allowance() == Allowance(500, PaceLimit.GRANT)
    gates.late.grant(wish(60, 0))
    assert gates.late.opens_in_s() == 60
    gates.clock.advance(60)
    assert gates.late.opens_in_s() == 0
    assert gates.late.allowance().limit is PaceLimit.NONE


def test_the_backlog_queues_shortly_while_live_footage_shares_the_way() -> None:
    gates = Gates()
    with gates.fresh.passage(EVENT, lambda: None):
        pass
    assert gates.late.queue_ms() == DEEP_MS
    with gates.fresh.passage(SEGMENT, lambda: None):
        pass
    assert gates.late.queue_ms() == SHALLOW_MS
    gates.clock.advance(15)
    assert gates.late.queue_ms() == DEEP_MS


def test_what_the_centre_rejects_is_no_trouble_of_the_link() -> None:
    gates = Gates()
    with pytest.raises(Rejected), gates.fresh.passage(SEGMENT, lambda: None):
        raise Rejected("no")
    assert gates.late.opens_in_s() == 0
    with pytest.raises(Unreachable), gates.fresh.passage(SEGMENT, lambda: None):
        raise Unreachable("nobody")
    assert gates.late.opens_in_s() == 1
    with gates.fresh.passage(SEGMENT, lambda: None):
        pass
    assert gates.late.opens_in_s() == 0
