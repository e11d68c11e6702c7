"""Labels, sessions and gaps, on a clock and with a camera whose times a test writes."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from av.stream import Stream

from edge_agent.camera.source import Source
from edge_agent.contract import EventType, LossCause, SegmentFacts
from edge_agent.core.cutting import STALE_MS
from edge_agent.core.status import CameraStatus, Feed
from edge_agent.jobs.record import Record
from edge_agent.settings import CameraSettings
from edge_agent.spool import Spool
from tests.fakes import FakeClock
from tests.rig.recorder import segments
from tests.rig.segments import encode

STEP_MS = 100
"""The film has ten pictures a second and a key frame each second."""


class Stage:
    """A recorder, a fake clock, and a camera that plays by a script: pairs of (time that passes, camera's time), ms."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.events: list[EventType] = []
        self.shown: list[CameraStatus] = []
        self.script: Sequence[tuple[int, int]] = ()
        self.spool = Spool(directory, quota_bytes=1 << 30, reserve_bytes=0, clock=self.clock)
        self.record = Record(
            CameraSettings(id="north", source="scene", segment_s=2, snapshot_s=0),
            self._connect,
            self.spool,
            None,  # type: ignore[arg-type]
            self.clock,
            threading.Event(),
            announce=lambda kind, _: self.events.append(kind),
            show=self.shown.append,
            make_room=lambda: None,
            beat=lambda: None,
            began=LossCause.POWER,
        )

    def _connect(self, _feed: Feed) -> Source:
        film = av.open(io.BytesIO(encode(max(1000, len(self.script) * STEP_MS))), "r")
        tick_ms = float((film.streams.video[0].time_base or 0) * 1000)

        def play(streams: list[Stream]) -> Iterator[Packet[Any]]:
            for (passed_ms, camera_ms), packet in zip(self.script, film.demux(*streams), strict=False):
                self.clock.advance(passed_ms / 1000)
                packet.dts = packet.pts = round(camera_ms / tick_ms)
                yield packet

        return Source(film, "the film", self.clock, sound=False, demux=play)

    def play(self, script: Sequence[tuple[int, int]]) -> list[tuple[int, int, SegmentFacts]]:
        """Start, duration and facts of what is recorded of the script."""
        self.script = script
        self.record.run_once()
        return [(name.start_ms, name.duration_ms, facts) for name, facts, _ in segments(self.directory)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.spool.close()


def steady(count: int, start_ms: int = 0) -> list[tuple[int, int]]:
    return [(STEP_MS, start_ms + number * STEP_MS) for number in range(count)]


def test_segments_tile_and_the_first_one_ends_the_hole_since_the_start(stage: Stage) -> None:
    start_ms = stage.clock.now_ms()
    stage.clock.advance(5)
    recorded = stage.play(steady(60))
    assert [(duration_ms, facts.packets) for _, duration_ms, facts in recorded] == [(2000, 20)] * 3
    assert recorded[0][0] == start_ms + 5000 + STEP_MS
    assert [after - before for (before, *_), (after, *_) in pairwise(recorded)] == [2000, 2000]
    first = recorded[0][2]
    assert (first.gap_before_ms, first.gap_cause, first.media_start_ms) == (5000 + STEP_MS, LossCause.POWER, 0)
    assert [facts.gap_before_ms for *_, facts in recorded[1:]] == [0, 0]
    assert [facts.media_start_ms for *_, facts in recorded] == [0, 2000, 4000]


@pytest.mark.parametrize("leap_ms", [3_600_000, 3000, -3_600_000, -600])
def test_a_clock_that_leaps_begins_a_new_session_at_the_next_key_frame(stage: Stage, leap_ms: int) -> None:
    script = [*steady(25, 10_000_000), *steady(40, 10_002_500 + leap_ms)]
    recorded = stage.play(script)
    assert [facts.session for *_, facts in recorded] == [1, 1, 2, 2]
    before, after = recorded[1], recorded[2]
    assert before[1] == 500
    assert after[2].gap_cause is LossCause.CAMERA
    assert "clock jumped" in after[2].gap_detail
    assert after[2].gap_before_ms == 500, "the pictures up to the next key frame"
    assert after[0] - (before[0] + before[1]) == 500, "labels keep to the wall clock"
    assert after[2].media_start_ms == 0
    told = [EventType.CAMERA_LOST, EventType.CAMERA_BACK]
    assert stage.events == [*told, EventType.CAMERA_LOST], "the footage that explains the hole may be lost"


def test_a_small_step_back_is_nudged_and_counted(stage: Stage) -> None:
    script = steady(60)
    script[25] = (STEP_MS, 2250)
    script[26] = (STEP_MS, 2150)
    recorded = stage.play(script)
    assert [facts.nudged for *_, facts in recorded] == [0, 2, 0]
    assert [facts.packets for *_, facts in recorded] == [20, 20, 20]
    assert {facts.session for *_, facts in recorded} == {1}


def test_a_pause_is_a_hole(stage: Stage) -> None:
    script = [*steady(25), (3100, 5500), *steady(34, 5600)]
    recorded = stage.play(script)
    holes = [(hole.offset_ms, hole.duration_ms) for *_, facts in recorded for hole in facts.holes]
    assert holes == [(400, 3100)]
    assert {facts.session for *_, facts in recorded} == {1}


def test_setting_the_clock_moves_labels_and_nothing_else(stage: Stage) -> None:
    script = steady(60)
    original = stage.clock.advance
    passed = []

    def advance(seconds: float) -> None:
        original(seconds)
        passed.append(seconds)
        if len(passed) == 30:
            stage.clock.step(7200)

    stage.clock.advance = advance  # type: ignore[method-assign]
    recorded = stage.play(script)
    assert recorded[2][0] - recorded[1][0] == 2000 + 7_200_000
    assert [facts.media_start_ms for *_, facts in recorded] == [0, 2000, 4000]
    assert [facts.monotonic_ms - recorded[0][2].monotonic_ms for *_, facts in recorded] == [0, 2000, 4000]


def test_setting_the_clock_moves_the_begin_of_an_outage(stage: Stage) -> None:
    """It is told by the clock that is right now, so that an outage does not seem to last for months."""
    ((start_ms, duration_ms, _),) = stage.play(steady(20))
    assert stage.shown[-1].since_ms == start_ms + duration_ms
    stage.clock.step(7200)
    stage.play([])
    assert stage.shown[-1].since_ms == start_ms + duration_ms + 7_200_000
    assert stage.events == [EventType.CAMERA_LOST]


def test_a_camera_whose_clock_stood_still_has_a_hole_too(stage: Stage) -> None:
    """Its pictures pretend to follow each other, but more time went by."""
    stood_ms = STALE_MS + 2000
    script = [*steady(20), (stood_ms + STEP_MS, 2000), *steady(39, 2100)]
    recorded = stage.play(script)
    assert [facts.session for *_, facts in recorded] == [1, 1, 2]
    after = recorded[2]
    assert after[2].gap_before_ms == stood_ms
    assert after[2].gap_cause is LossCause.CAMERA
    assert after[0] + after[1] == stage.clock.now_ms() + STEP_MS
