"""The spool as the shippers see it: two lanes, a backlog that wakes them, and wishes that are news."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.contract import ItemKind
from edge_agent.core.shipping import FRESH_MS, Order, Want
from edge_agent.spool import Spool
from tests.fakes import FakeClock
from tests.rig.backlog import BEGAN_MS, SEGMENT_MS, lay_down


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=Order)
def spool(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Spool]:
    """Six segments of an earlier life."""
    lay_down(tmp_path / "spool" / "ready", 6, 100)
    opened = Spool(tmp_path / "spool", quota_bytes=1 << 30, reserve_bytes=0, clock=clock, order=request.param)
    yield opened
    opened.close()


def add(spool: Spool, clock: FakeClock) -> int:
    return spool.add(ItemKind.EVENT, None, clock.now_ms(), 0, clock.quality(), b"{}").sequence


def drained(spool: Spool) -> list[int]:
    order = []
    while name := spool.take_late():
        order.append(name.sequence)
        spool.mark_sent(name)
    return order


def test_each_lane_takes_its_own_and_nobody_takes_twice(spool: Spool, clock: FakeClock) -> None:
    sequence = add(spool, clock)
    fresh = spool.take_fresh()
    assert fresh is not None
    assert fresh.sequence == sequence
    assert spool.take_fresh() is None
    first, second = spool.take_late(), spool.take_late()
    assert first is not None
    assert first != second
    spool.release(first)
    assert spool.take_late() == first
    assert spool.waits(first)
    spool.mark_sent(first)
    assert not spool.waits(first)


def test_what_becomes_late_wakes_whoever_ships_the_backlog(spool: Spool, clock: FakeClock) -> None:
    drained(spool)
    add(spool, clock)
    spool.late.clear()
    assert spool.take_late() is None
    taken = spool.take_fresh()
    assert not spool.late.is_set()
    assert taken is not None
    spool.release(taken)
    clock.advance(FRESH_MS / 1000)
    assert spool.take_fresh() is None
    assert spool.late.is_set()
    assert spool.take_late() == taken


def test_news_of_what_is_wanted_wakes_and_overtakes_and_old_news_does_not(spool: Spool) -> None:
    wants = (Want("north", BEGAN_MS + 3 * SEGMENT_MS, BEGAN_MS + 5 * SEGMENT_MS),)
    spool.late.clear()
    spool.want(wants)
    assert spool.late.is_set()
    spool.late.clear()
    spool.want(wants)
    assert not spool.late.is_set()
    rest = [0, 1, 2, 5]
    assert drained(spool) in ([3, 4, *rest], [3, 4, *reversed(rest)])
