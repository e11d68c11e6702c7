"""Room on the disk: what must go is explained, and the forecast comes before it happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.contract import ClockQuality, EventData, EventType, ItemKind, LossCause, SegmentFacts
from edge_agent.core.status import Room
from edge_agent.errors import SpoolError
from edge_agent.jobs.keep import Keep
from edge_agent.spool import Spool
from tests.fakes import FakeClock

MB = 1_000_000
FACTS = SegmentFacts(
    codec="h264",
    width=64,
    height=48,
    session=1,
    media_start_ms=0,
    monotonic_ms=0,
    packets=0,
    init_bytes=0,
    media_bytes=0,
)


class House:
    """A spool of 100 MB that somebody keeps, on a clock that a test moves."""

    def __init__(self, directory: Path, warn_s: float = 0) -> None:
        self.clock = FakeClock()
        self.spool = Spool(directory, quota_bytes=100 * MB, reserve_bytes=0, clock=self.clock)
        self.events: list[tuple[EventType, EventData]] = []
        self.rooms: list[Room] = []
        self.keep = Keep(
            self.spool,
            self.clock,
            announce=lambda kind, data: self.events.append((kind, data)),
            show=self.rooms.append,
            warn_s=warn_s,
        )

    def live(self, seconds: int, *, intake_bytes: int) -> None:
        """So much footage a second, in items of one second each, and no link."""
        for _ in range(seconds):
            now_ms = self.clock.now_ms()
            self.spool.add(ItemKind.SNAPSHOT, "north", now_ms, 0, ClockQuality.SYNCED, bytes(intake_bytes))
            self.clock.advance(1)
            self.keep.run_once()


def forecast(house: House) -> float | None:
    return house.rooms[-1].full_in_s


def test_the_forecast_tells_when_the_spool_is_full(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.live(20, intake_bytes=MB)
    assert forecast(house) == pytest.approx(80, abs=2)
    while name := house.spool.next_unsent():
        house.spool.mark_sent(name)
    house.keep.run_once()
    assert forecast(house) is None, "the centre keeps pace"
    assert house.rooms[-1].stats.free_bytes == 100 * MB, "what the centre has is room"
    house.spool.close()


def test_a_spool_that_fills_up_is_announced_once_before_it_is_full(tmp_path: Path) -> None:
    house = House(tmp_path, warn_s=60)
    house.live(70, intake_bytes=MB)
    ((kind, data),) = house.events
    assert (kind, data.detail) == (EventType.SPOOL_FILLING, "full in 0.0 h")
    assert data.from_at is not None
    assert data.from_at.timestamp() * 1000 == pytest.approx(house.clock.now_ms() + 30_000, abs=3000)
    while name := house.spool.next_unsent():
        house.spool.mark_sent(name)
    house.live(1, intake_bytes=0)
    assert len(house.events) == 1
    house.spool.close()


def test_losses_are_told_with_their_interval(tmp_path: Path) -> None:
    house = House(tmp_path)
    start_ms = house.clock.now_ms()
    for second in range(0, 12, 4):
        segment = house.spool.begin_segment("north", start_ms + second * 1000, ClockQuality.SYNCED)
        segment.write(bytes(30 * MB))
        segment.commit(4000, FACTS)
    house.live(1, intake_bytes=39 * MB)
    ((kind, data),) = house.events
    assert (kind, data.camera, data.cause, data.items) == (EventType.SPOOL_EVICTED, "north", LossCause.EVICTED, 1)
    assert data.from_at is not None
    assert data.to_at is not None
    assert (data.to_at - data.from_at).total_seconds() == 4
    assert data.from_at.timestamp() * 1000 == start_ms
    house.spool.close()


def test_a_disk_in_trouble_is_said_once_and_the_job_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)

    def broken() -> None:
        raise SpoolError("cannot make room: Input/output error", "check the disk")

    monkeypatch.setattr(house.spool, "make_room", broken)
    assert house.keep.run_once() > 0
    assert house.keep.run_once() > 0
    assert caplog.messages == ["cannot make room: Input/output error; check the disk"]
    house.spool.close()
