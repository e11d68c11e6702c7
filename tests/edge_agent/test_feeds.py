"""Who carries the ladder out: outlets and turns, the gates, the recorder that changes over to another stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from edge_agent.contract import EventType, ItemKind, LossCause, PaceLimit, Step
from edge_agent.core.pace import Limits
from edge_agent.core.status import CameraStatus, Feed
from edge_agent.core.turns import Turns
from edge_agent.errors import CameraError, PowerError
from edge_agent.gates import FreshGate, LateGate
from edge_agent.jobs.feeds import Feeds
from edge_agent.jobs.record import Record
from edge_agent.outlets import open_outlet
from edge_agent.settings import CameraSettings, OutletSettings
from edge_agent.spool import Spool
from tests.fakes import FakeClock
from tests.rig import clips
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.processes import until
from tests.rig.recorder import recording, segments
from tests.system.footage import camera

IN_TURNS = frozenset({Step.SUB_STREAM, Step.CAMERAS_IN_TURNS})
CAMERAS = ("north", "south", "east", "west")


class Socket:
    """An outlet that remembers how it stands, and may be broken."""

    def __init__(self) -> None:
        self.on: bool | None = None
        self.broken = False
        self.closed = False

    def switch(self, *, on: bool) -> None:
        if self.broken:
            raise PowerError("the relay is stuck")
        self.on = on

    def close(self) -> None:
        self.closed = True


class Street:
    """Four cameras with outlets, each of which records some time after it got power, and what the feeds make of it."""

    def __init__(self, boots_s: float = 40, turns: Turns = Turns(60, 50, 5)) -> None:  # noqa: B008 - it is frozen
        self.clock = FakeClock()
        self.sockets = {name: Socket() for name in CAMERAS}
        self.feeds = Feeds(self.sockets, turns, self.clock)
        self.boots_s = boots_s
        self.up_s = dict.fromkeys(CAMERAS, 1000.0)
        self.recorded: list[frozenset[str]] = []

    def go(self, seconds: float) -> None:
        """Second by second: what was recorded in each is kept."""
        for _ in range(int(seconds)):
            self.feeds.run_once()
            self.clock.advance(1)
            recorded = set()
            for name, socket in self.sockets.items():
                self.up_s[name] = self.up_s[name] + 1 if socket.on else 0
                records = self.up_s[name] > self.boots_s and self.feeds.feed(name) is not Feed.OFF
                self.feeds.see(CameraStatus(name, 0, recording=records))
                if records:
                    recorded.add(name)
            self.recorded.append(frozenset(recorded))


def test_all_cameras_have_power_from_the_start_and_after_the_turns() -> None:
    street = Street()
    street.go(5)
    assert all(socket.on for socket in street.sockets.values())
    street.feeds.shed(IN_TURNS)
    street.go(600)
    assert sum(bool(socket.on) for socket in street.sockets.values()) <= 2
    street.feeds.shed(frozenset())
    street.go(2)
    assert all(socket.on for socket in street.sockets.values())
    assert {street.feeds.feed(name) for name in CAMERAS} == {Feed.MAIN}


@pytest.mark.parametrize("boots_s", [30, 49])
def test_in_turns_no_minute_is_without_a_picture_and_every_camera_has_its_share(boots_s: float) -> None:
    street = Street(boots_s)
    street.go(30)
    street.feeds.shed(IN_TURNS)
    street.go(3600)
    dark_s = longest_s = 0
    for seen in street.recorded:
        dark_s = 0 if seen else dark_s + 1
        longest_s = max(longest_s, dark_s)
    assert longest_s < 60
    for name in CAMERAS:
        assert sum(name in seen for seen in street.recorded[240:]) >= 14 * 4


def test_a_turn_ends_once_its_camera_recorded_for_long_enough() -> None:
    quick, slow = Street(20), Street(49)
    for street in (quick, slow):
        street.feeds.shed(IN_TURNS)
        street.go(3600)
    on = {street: sum(bool(seen) for seen in street.recorded[60:]) for street in (quick, slow)}
    assert abs(on[quick] - on[slow]) < 120


def test_a_recorder_hears_of_it_before_the_power_is_cut() -> None:
    street = Street()
    street.go(1)
    street.feeds.shed(IN_TURNS)
    street.feeds.run_once()
    assert [name for name in CAMERAS if street.feeds.feed(name) is Feed.OFF] == ["south", "east", "west"]
    assert all(socket.on for socket in street.sockets.values())
    street.feeds.run_once()
    assert [name for name in CAMERAS if not street.sockets[name].on] == ["south", "east", "west"]


def test_an_outlet_that_does_not_switch_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    street = Street()
    street.sockets["north"].broken = True
    street.go(10)
    assert street.sockets["south"].on
    assert "the relay is stuck" in caplog.text
    street.sockets["north"].broken = False
    street.go(1)
    assert street.sockets["north"].on


def test_at_the_end_all_cameras_have_power_again() -> None:
    street = Street()
    street.feeds.shed(IN_TURNS)
    street.go(60)
    street.feeds.close()
    assert all(socket.on and socket.closed for socket in street.sockets.values())


def test_without_outlets_there_are_no_turns() -> None:
    feeds = Feeds({}, Turns(60, 50, 5), FakeClock())
    feeds.shed(IN_TURNS)
    assert feeds.run_once() > 1
    assert feeds.feed("north") is Feed.SUB


# --- outlets ---


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    Device.pin_factory = MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = None


@pytest.mark.parametrize("active_high", [True, False])
def test_a_relay_is_driven_while_its_camera_is_cut_off(pins: MockFactory, active_high: bool) -> None:
    outlet = open_outlet(OutletSettings(camera="north", pin=17, active_high=active_high))
    outlet.switch(on=True)
    assert pins.pin(17).state is not active_high
    outlet.switch(on=False)
    assert pins.pin(17).state is active_high
    outlet.switch(on=True)
    assert pins.pin(17).state is not active_high
    outlet.close()
    assert pins.pin(17).function == "input"


def test_a_pin_that_is_taken_says_so(pins: MockFactory) -> None:
    first, second = (open_outlet(OutletSettings(camera=name, pin=17)) for name in ("north", "south"))
    first.switch(on=True)
    with pytest.raises(PowerError, match=r"outlet of camera south: pin 17.*power\.ladder\.outlets"):
        second.switch(on=True)
    first.close()
    second.close()


def test_a_command_gets_the_word_and_its_failure_is_told(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "poe-port"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}\ntest "$1" != 9\n')
    script.chmod(0o755)
    outlet = open_outlet(OutletSettings(camera="north", command=(str(script), "3")))
    outlet.switch(on=False)
    outlet.switch(on=True)
    outlet.close()
    assert told.read_text() == "3 off\n3 on\n"
    with pytest.raises(PowerError, match=r"camera north.*exit code 1"):
        open_outlet(OutletSettings(camera="north", command=(str(script), "9"))).switch(on=True)
    with pytest.raises(PowerError, match=r"camera north.*no-such-file"):
        open_outlet(OutletSettings(camera="north", command=("/no-such-file",))).switch(on=True)


# --- what is sent ---


def test_the_backlog_is_held_and_says_why() -> None:
    clock = FakeClock()
    late = LateGate(FreshGate(clock), Limits(), clock)
    assert late.opens_in_s() == 0
    late.hold(held=True)
    assert late.opens_in_s() > 0
    assert late.allowance().limit is PaceLimit.ENERGY
    late.hold(held=False)
    assert late.opens_in_s() == 0


def test_while_only_events_go_fresh_footage_waits(tmp_path: Path) -> None:
    clock = FakeClock()
    spool = Spool(tmp_path / "spool", quota_bytes=1 << 30, reserve_bytes=0, clock=clock)
    footage, event = (
        spool.add(kind, "north", clock.now_ms(), 1, clock.quality(), b"x")
        for kind in (ItemKind.SNAPSHOT, ItemKind.EVENT)
    )
    spool.events_only = True
    assert spool.take_fresh() == event
    assert spool.take_fresh() is None
    spool.events_only = False
    assert spool.take_fresh() == footage
    spool.close()


# --- recorders ---


def test_the_recorder_changes_over_at_a_key_frame_and_names_the_hole(tmp_path: Path) -> None:
    """Main, sub, main; the hole is short, has its cause, and no picture is recorded twice."""
    require_rtsp_server()
    require_program("ffmpeg")
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path, options=["--mounts", "2"]) as real,
        recording(spool, url=f"{real.url}1", sub_url=f"{real.url}2", segment_s=1, snapshot_s=0) as recorder,
    ):
        until(lambda: len(segments(spool)) > 1, 20, "two segments")
        recorder.feed = Feed.SUB
        until(lambda: segments(spool)[-1][1].session == 2, 20, "the smaller stream")
        recorder.feed = Feed.MAIN
        until(lambda: segments(spool)[-1][1].session == 3, 20, "the main stream")
    assert recorder.kinds() == []
    changes = [facts for _, facts, _ in segments(spool) if facts.gap_cause is LossCause.POWER]
    assert len(changes) == 2
    for facts in changes:
        assert "another of its streams" in facts.gap_detail
        assert facts.gap_before_ms < 5000


def test_a_sub_stream_that_fails_is_left_for_the_main_one(tmp_path: Path) -> None:
    require_rtsp_server()
    require_program("ffmpeg")
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path) as real,
        recording(spool, url=real.url, sub_url=f"{real.url}/none", segment_s=1, snapshot_s=0) as recorder,
    ):
        until(lambda: segments(spool), 20, "a segment")
        recorder.feed = Feed.SUB
        until(lambda: segments(spool)[-1][1].session == 2, 30, "the main stream again")


def test_a_camera_whose_power_we_cut_is_no_news_and_its_hole_has_the_cause(tmp_path: Path) -> None:
    require_rtsp_server()
    require_program("ffmpeg")
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path) as real,
        recording(spool, url=real.url, segment_s=1, snapshot_s=0) as recorder,
    ):
        until(lambda: segments(spool), 20, "a segment")
        recorder.feed = Feed.OFF
        until(lambda: not recorder.statuses[-1].recording, 20, "it sleeps")
        status = recorder.statuses[-1]
        before = len(segments(spool))
        time.sleep(2)  # the length of the hole, not a hope
        assert len(segments(spool)) == before
        recorder.feed = Feed.MAIN
        until(lambda: len(segments(spool)) > before, 20, "footage again")
    assert (status.cause, status.detail) == (LossCause.POWER, "has power in turns")
    assert recorder.kinds() == []
    facts = segments(spool)[before][1]
    assert facts.gap_cause is LossCause.POWER
    assert facts.gap_before_ms >= 1000


def test_a_camera_that_does_not_come_back_with_its_power_is_lost_after_a_while(tmp_path: Path) -> None:
    """As long as it may be starting, that is no news."""
    clock, events, feed = FakeClock(), list[EventType](), [Feed.OFF]
    spool = Spool(tmp_path / "spool", quota_bytes=1 << 30, reserve_bytes=0, clock=clock)

    def refuse(_feed: Feed) -> NoReturn:
        raise CameraError("it does not answer")

    record = Record(
        CameraSettings(id="north", url="rtsp://camera/1"),
        refuse,
        spool,
        None,  # type: ignore[arg-type]
        clock,
        threading.Event(),
        announce=lambda kind, _: events.append(kind),
        show=lambda _: None,
        make_room=lambda: None,
        beat=lambda: None,
        began=None,
        feed=lambda: feed[0],
    )
    clock.advance(record.run_once())
    feed[0] = Feed.MAIN
    begun_ms = clock.monotonic_ms()
    while not events:
        clock.advance(record.run_once())
    assert events == [EventType.CAMERA_LOST]
    assert clock.monotonic_ms() - begun_ms > 110_000
    spool.close()
