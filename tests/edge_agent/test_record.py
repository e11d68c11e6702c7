"""What befalls a recorder: cameras that stall, leap and hang up, disks that fill. Each hole has its cause."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.camera.lines import Lines
from edge_agent.contract import EventType, ItemKind, ItemName, LossCause
from edge_agent.core.eviction import WhenFull
from tests.rig import clips
from tests.rig.clips import Clip
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.processes import until
from tests.rig.recorder import Recorder, recording, segments
from tests.system.footage import archived_pictures, camera


@pytest.fixture(autouse=True)
def _parts() -> None:
    require_rtsp_server()
    require_program("ffmpeg")


def told(recorder: Recorder, kind: EventType) -> bool:
    return any(event is kind for event, _ in list(recorder.events))


def test_sound_that_comes_first_after_a_silence_is_no_camera_without_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the line is too late to hang up: the session goes on, and no picture of it is lost."""
    monkeypatch.setattr(Lines, "watch", lambda _: None)
    clip, spool = clips.make(Clip(audio="aac")), tmp_path / "spool"
    with camera(clip, tmp_path) as real, recording(spool, url=real.url, segment_s=1, stall_s=1) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        real.say("stall")
        time.sleep(3)  # the length of the silence, not a hope
        real.say("hum")
        time.sleep(0.3)  # likewise
        before = len(segments(spool))
        real.say("run")
        until(lambda: len(segments(spool)) > before + 1, 30, "footage again")
        sent = [picture.digest for picture in real.sent()]
    assert recorder.kinds() == []
    stored = archived_pictures((path for *_, path in segments(spool)), "h264")
    first, last = (sent.index(digest) for digest in (next(iter(stored)), list(stored)[-1]))
    assert [digest for digest in sent[first : last + 1] if stored[digest] != 1] == []


def test_a_camera_whose_sound_goes_on_without_pictures_is_lost(tmp_path: Path) -> None:
    with (
        camera(clips.make(Clip(audio="aac")), tmp_path) as real,
        recording(tmp_path / "spool", url=real.url, segment_s=1, stall_s=1) as recorder,
    ):
        until(lambda: segments(tmp_path / "spool"), 20, "a segment")
        real.say("hum")
        until(lambda: told(recorder, EventType.CAMERA_LOST), 15, "the loss is noticed")
        before = len(segments(tmp_path / "spool"))
        real.say("run")
        until(lambda: len(segments(tmp_path / "spool")) > before, 30, "footage again")
    assert "sends sound, but no pictures" in recorder.events[0][1].detail


def test_a_camera_that_stalls_with_its_session_open_is_noticed(tmp_path: Path) -> None:
    """Within 15 s, by what comes and not by the connection; the hole has its cause, and nothing else is lost."""
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=1) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        real.say("stall")
        stalled_s = time.monotonic()
        until(lambda: told(recorder, EventType.CAMERA_LOST), 15, "the stall is noticed")
        assert time.monotonic() - stalled_s > 3
        lost_status = recorder.statuses[-1]
        before = len(segments(spool))
        real.say("run")
        until(lambda: len(segments(spool)) > before, 30, "footage again")
        sent = Counter(picture.digest for picture in real.sent())
    assert recorder.kinds() == ["camera.lost", "camera.back"]
    assert (lost_status.recording, lost_status.cause) == (False, LossCause.CAMERA)
    assert recorder.statuses[-1].recording
    lost = recorder.events[0][1]
    (last, *_), (name, facts, _) = segments(spool)[before - 1 : before + 1]
    assert facts.session > 1
    assert facts.gap_cause is LossCause.CAMERA
    assert "does not answer" in facts.gap_detail
    assert facts.gap_before_ms > 7000
    assert abs(facts.gap_before_ms - (name.start_ms - last.end_ms)) < 1000
    assert lost.from_at is not None
    assert abs(lost.from_at.timestamp() * 1000 - last.end_ms) < 100
    assert recorder.beats > 2
    stored = archived_pictures((path for *_, path in segments(spool)), "h264")
    assert max(stored.values()) == 1
    assert not stored - sent


def test_a_pause_shorter_than_that_is_a_hole_in_the_facts(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=1) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        real.say("stall")
        time.sleep(3)  # the length of the pause, not a hope
        real.say("run")
        until(lambda: any(facts.holes for _, facts, _ in segments(spool)), 20, "a segment with a hole")
    assert recorder.kinds() == []
    holes = [hole for _, facts, _ in segments(spool) for hole in facts.holes]
    assert len(holes) == 1
    assert 2500 < holes[0].duration_ms < 4500
    assert {facts.session for _, facts, _ in segments(spool)} == {1}
    assert all(after.start_ms == name.end_ms for (name, *_), (after, *_) in pairwise(segments(spool)))


def test_a_camera_whose_time_stamps_begin_anew_loses_nothing(tmp_path: Path) -> None:
    """They have 32 bits, which last for 13 hours."""
    spool = tmp_path / "spool"
    wraps = camera(clips.make(clips.H264), tmp_path, options=["--wraps-in", "3"])
    with wraps as real, recording(spool, url=real.url, segment_s=1) as recorder:
        until(lambda: len(segments(spool)) >= 6, 40, "segments from before and after")
    assert recorder.kinds() == []
    assert {facts.session for _, facts, _ in segments(spool)} == {1}
    assert not [hole for _, facts, _ in segments(spool) for hole in facts.holes]
    assert all(after.start_ms == name.end_ms for (name, *_), (after, *_) in pairwise(segments(spool)))


def test_a_camera_that_hangs_up_is_called_again(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=1) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        real.say("close")
        until(lambda: segments(spool)[-1][1].session == 2, 30, "the second session")
        sent = Counter(picture.digest for picture in real.sent())
    assert recorder.kinds() == ["camera.lost", "camera.back"]
    assert not archived_pictures((path for *_, path in segments(spool)), "h264") - sent


def test_an_ordered_stop_costs_nothing_that_had_come(tmp_path: Path) -> None:
    """Not even what was left in the socket for a while."""
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=2) as recorder:
        until(lambda: len(segments(spool)) == 4, 30, "rests have grown to a second")
        time.sleep(0.55)  # well into the first rest of the next one
        recorder.stop.set()
        stopped_s = time.time()
        until(lambda: len(segments(spool)) == 5, 10, "the last segment")
        sent = [picture for picture in real.sent() if picture.at_s < stopped_s - 0.3]
    stored = archived_pictures((path for *_, path in segments(spool)), "h264")
    assert [picture.number for picture in sent if picture.digest not in stored] == []


def test_an_outage_is_told_once_and_a_camera_that_is_back_is_found_within_seconds(tmp_path: Path) -> None:
    with recording(tmp_path / "spool", url="rtsp://127.0.0.1:9/none") as recorder:
        until(lambda: len(recorder.delays_s) > 6, 30, "seven tries")
    assert recorder.kinds() == ["camera.lost"]
    assert recorder.events[0][1].from_at is not None
    for number, delay_s in enumerate(recorder.delays_s[:7]):
        assert min(3, 2**number) / 2 <= delay_s <= min(3, 2**number)


def test_wrong_credentials_are_not_hammered(tmp_path: Path) -> None:
    with camera(clips.make(clips.H264), tmp_path) as real:
        real.say("ask viewer secret")
        with recording(tmp_path / "spool", url=real.url, username="viewer", password="wrong") as recorder:
            until(lambda: recorder.delays_s, 20, "a try")
    assert recorder.delays_s[0] >= 30
    assert "wrong" not in repr(recorder.events)


def test_one_that_hangs_up_and_then_refuses_is_asked_once_a_minute_and_the_operator_is_told(tmp_path: Path) -> None:
    """However often it failed before in another way."""
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=1) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        real.say("ask viewer secret")
        real.say("close")
        until(lambda: len(recorder.delays_s) > 1, 20, "it hung up, and it refused")
        hung_up_s, refused_s = recorder.delays_s[:2]
    assert hung_up_s <= 1
    assert 30 <= refused_s <= 60
    assert recorder.kinds() == ["camera.lost"]
    assert "set this camera's username and password" in recorder.statuses[-1].detail


def test_a_full_spool_drops_the_oldest_and_explains_it(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path) as real,
        recording(spool, url=real.url, segment_s=1, quota_bytes=150_000) as recorder,
    ):
        until(lambda: told(recorder, EventType.SPOOL_EVICTED), 30, "something had to go")
        until(lambda: segments(spool) and segments(spool)[0][0].sequence > 2, 30, "the oldest went")
    kept = segments(spool)
    assert [name.sequence for name, *_ in kept] == sorted(name.sequence for name, *_ in kept)
    evicted = [data for kind, data in recorder.events if kind is EventType.SPOOL_EVICTED]
    assert all(data.camera == "north" and data.from_at and data.cause is LossCause.EVICTED for data in evicted)


def test_or_stops_recording_if_the_operator_wants_it_so(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path) as real,
        recording(spool, url=real.url, segment_s=1, quota_bytes=150_000, when_full=WhenFull.STOP_RECORDING) as recorder,
    ):
        until(lambda: told(recorder, EventType.CAMERA_LOST), 30, "recording stops")
        assert recorder.statuses[-1].cause is LossCause.DISK
        first = segments(spool)[0][0]
        for name, *_ in segments(spool):
            recorder.spool.mark_sent(name)
        until(lambda: told(recorder, EventType.CAMERA_BACK), 30, "it goes on when the link has made room")
        until(lambda: segments(spool), 20, "a segment")
    assert first.sequence == 0
    assert segments(spool)[0][1].gap_cause is LossCause.DISK


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_a_disk_that_fails_for_a_while_costs_that_while(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was whole before is kept, the hole has its cause, and there is no traceback."""
    spool = tmp_path / "spool"

    def broken(*_: object) -> int:
        raise OSError(28 if call == "write" else 5, "it is full" if call == "write" else "it is broken")

    with camera(clips.make(clips.H264), tmp_path) as real, recording(spool, url=real.url, segment_s=2) as recorder:
        until(lambda: segments(spool), 20, "a segment")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, broken)
            until(lambda: told(recorder, EventType.CAMERA_LOST), 20, "the trouble is noticed")
        before = len(segments(spool))
        until(lambda: len(segments(spool)) > before + 1, 20, "footage again")
        sent = Counter(picture.digest for picture in real.sent())
    assert recorder.kinds() == ["camera.lost", "camera.back"]
    assert recorder.events[0][1].cause is LossCause.DISK
    assert not any(record.exc_info for record in caplog.records)
    gaps = [facts for _, facts, _ in segments(spool)[1:] if facts.gap_before_ms]
    assert [facts.gap_cause for facts in gaps] == [LossCause.DISK]
    stored = archived_pictures((path for *_, path in segments(spool)), "h264")
    assert max(stored.values()) == 1
    assert not stored - sent
    assert not list((spool / "writing").iterdir())


def test_snapshots_are_taken_now_and_then(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with (
        camera(clips.make(clips.H264), tmp_path) as real,
        recording(spool, url=real.url, segment_s=1, snapshot_s=1) as recorder,
    ):

        def snapshots() -> list[ItemName]:
            names = [ItemName.parse(path.name) for path in (spool / "ready").iterdir()]
            return [name for name in names if name.kind is ItemKind.SNAPSHOT]

        until(lambda: len(snapshots()) >= 3, 20, "three snapshots")
        assert {name.camera for name in snapshots()} == {"north"}
        assert recorder.statuses[-1].picture == "ok"
        real.say("freeze")
        until(lambda: told(recorder, EventType.PICTURE_CHANGED), 20, "the frozen picture is noticed")
    data = next(data for kind, data in recorder.events if kind is EventType.PICTURE_CHANGED)
    assert (data.before, data.after, data.camera) == ("ok", "frozen", "north")
