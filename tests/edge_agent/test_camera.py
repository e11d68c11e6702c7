"""Cameras of every kind, and things that are none."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.camera import open_source
from edge_agent.clock import SystemClock
from edge_agent.contract import LossCause
from edge_agent.errors import CameraError, CameraRefused
from edge_agent.settings import CameraSettings
from tests.rig import clips
from tests.rig.clips import Clip
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.processes import until
from tests.rig.recorder import recording, segments
from tests.system.footage import archived_pictures, camera


@pytest.fixture(autouse=True)
def _parts() -> None:
    require_rtsp_server()
    require_program("ffmpeg")
    require_program("ffprobe")


def plays(path: Path) -> None:
    """ffmpeg decodes every picture of the file and has nothing to say about it."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", path, "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def streams(path: Path) -> list[str]:
    """Codec and tag of each stream, by ffprobe."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,codec_tag_string", "-of", "csv=p=0"]
    return subprocess.run([*command, str(path)], capture_output=True, encoding="utf-8", check=True).stdout.split()


KINDS = [
    pytest.param(Clip(audio="aac"), ["h264,avc1", "aac,mp4a"], id="H.264 with AAC"),
    pytest.param(Clip(audio="pcm_alaw"), ["h264,avc1", "aac,mp4a"], id="H.264 with A-law"),
    pytest.param(Clip(codec="hevc", fps="30000/1001", gop=30), ["hevc,hvc1"], id="H.265 at 29.97"),
    pytest.param(Clip(codec="hevc", bframes=2), ["hevc,hvc1"], id="H.265 with B-frames"),
    pytest.param(Clip(bframes=2), ["h264,avc1"], id="H.264 with B-frames"),
    pytest.param(Clip(fps="12.5", gop=13), ["h264,avc1"], id="H.264 at 12.5"),
]


@pytest.mark.parametrize(("clip", "expected"), KINDS)
def test_every_picture_is_stored_once_and_plays(clip: Clip, expected: list[str], tmp_path: Path) -> None:
    """From the first key frame that came to the last, whatever the camera encodes."""
    with camera(clips.make(clip), tmp_path) as real:
        with recording(tmp_path / "spool", url=real.url, segment_s=1) as recorder:
            until(lambda: len(segments(tmp_path / "spool")) >= 4, 20, "four segments")
        sent = [picture.digest for picture in real.sent()]
    assert recorder.kinds() == []
    files = segments(tmp_path / "spool")
    stored = archived_pictures((path for *_, path in files), clip.codec)
    first, last = (sent.index(digest) for digest in (next(iter(stored)), list(stored)[-1]))
    assert stored == Counter(sent[: last + 1][first:]), "not exactly once each"
    assert first == 0, "the first pictures of the session are missing"
    assert len(sent) - last < 2 * clips.eval_rate(clip.fps)
    frame_ms = 1000 / clips.eval_rate(clip.fps)
    for (name, facts, path), (after, facts_after, _) in pairwise(files):
        assert streams(path) == expected
        plays(path)
        assert abs(name.duration_ms - facts.packets * frame_ms) <= 3
        assert after.start_ms == name.end_ms
        assert facts_after.media_start_ms == facts.media_start_ms + name.duration_ms
        assert facts_after.session == facts.session == 1
        assert path.read_bytes()[: facts.init_bytes] == files[0][2].read_bytes()[: facts.init_bytes]
    assert all(not facts.holes and not facts.nudged for _, facts, _ in files)
    assert (
        files[-1][1].camera_time is None
        or abs(files[-1][1].camera_time.timestamp() * 1000 - files[-1][0].start_ms) < 1500
    )


def attempt(url: str, **settings: object) -> CameraError:
    """What a person reads who points the agent there."""
    camera = CameraSettings.model_validate({"id": "north", "url": url, "stall_s": 2, **settings})
    with pytest.raises(CameraError) as caught, open_source(camera, SystemClock(), threading.Event()):
        pass
    assert caught.value.cause is LossCause.CAMERA
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "libav's text holds the password"
    assert caught.value.remedy
    return caught.value


def test_a_camera_with_sound_only_is_refused(tmp_path: Path) -> None:
    with camera(clips.make(clips.AUDIO_ONLY), tmp_path) as real:
        assert "sends no video" in attempt(real.url).message


def test_credentials_open_the_camera_and_wrong_ones_are_told_without_being_shown(tmp_path: Path) -> None:
    with camera(clips.make(clips.H264), tmp_path) as real:
        real.say("ask viewer s3cret/@:x")
        error = attempt(real.url, username="viewer", password="wr0ng-pass")
        assert isinstance(error, CameraRefused)
        assert "refuses the credentials" in str(error)
        assert "wr0ng-pass" not in str(error) + repr(error)
        assert isinstance(attempt(real.url), CameraRefused)
        with recording(tmp_path / "spool", url=real.url, username="viewer", password="s3cret/@:x", segment_s=1):
            until(lambda: segments(tmp_path / "spool"), 20, "a segment")


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "refuses the connection" in attempt(f"rtsp://127.0.0.1:{port}/camera").message
    assert "cannot be reached" in attempt("rtsp://no-such-camera.invalid/camera").message


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """A port that takes connections and answers each with these bytes, or with nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer:
                    connection.recv(4096)
                    connection.sendall(answer)
                    connection.close()

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def test_a_mute_camera_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.camera.rtsp.OPEN_S", 1.0)
    with server(b"") as port:
        assert "does not answer" in attempt(f"rtsp://127.0.0.1:{port}/camera").message  # in a second, not in a minute


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"\x00\xff" * 500])
def test_what_is_no_camera(answer: bytes) -> None:
    with server(answer) as port:
        attempt(f"rtsp://127.0.0.1:{port}/camera")


def test_a_path_that_the_camera_does_not_know(tmp_path: Path) -> None:
    with camera(clips.make(clips.H264), tmp_path) as real:
        assert "no such stream" in attempt(real.url + "-nowhere").message


def test_files_that_are_no_video(tmp_path: Path) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("hello " * 1000)
    assert attempt(str(text), source="file").message.startswith(str(text))
    assert attempt(str(tmp_path / "missing.mp4"), source="file").message.startswith(str(tmp_path / "missing.mp4"))
    old = tmp_path / "old.avi"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5", "-t", "1", "-c:v", "mjpeg", old],
        check=True,
    )
    assert "sends mjpeg" in attempt(str(old), source="file").message


def test_a_file_plays_in_a_loop_on_one_time_line(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10", "-t", "1"]
    subprocess.run([*command, "-c:v", "libx264", "-g", "5", film], check=True)
    with recording(tmp_path / "spool", source="file", url=str(film), segment_s=1) as recorder:
        until(lambda: len(segments(tmp_path / "spool")) >= 3, 15, "three segments")
    assert recorder.kinds() == []
    assert [facts.session for _, facts, _ in segments(tmp_path / "spool")][:3] == [1, 1, 1]
    assert all(facts.packets == 10 for _, facts, _ in segments(tmp_path / "spool")[:3])
