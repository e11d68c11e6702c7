"""Hanging up on cameras that went silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent.camera import open_source
from edge_agent.camera.lines import Line, Lines
from edge_agent.camera.rtsp import Rest
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from edge_agent.settings import CameraSettings
from tests.fakes import FakeClock
from tests.rig import clips
from tests.rig.parts import require_rtsp_server
from tests.rig.processes import until
from tests.system.footage import camera

STALL_S = 8


class Byte(bytes):
    """A packet of one byte."""

    size = 1


class Wire:
    """A connection and the line on it; `pause_s` is how long the far end lets us wait for each byte."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.settimeout(10)
        self.clock = FakeClock()
        self.line = Line(self.near.fileno(), STALL_S, self.clock)
        self.pause_s = 0.0

    def listen(self) -> Iterator[Any]:
        """What the recorder gets."""
        return self.line.listen(self._packets())

    def _packets(self) -> Iterator[Any]:
        while True:
            self.clock.advance(self.pause_s)
            self.line.watch()
            if not (got := self.near.recv(1)):
                return
            yield Byte(got)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    with wire.near, wire.far:
        yield wire
        wire.line.close()


def test_nobody_rests_while_pictures_wait(wire: Wire) -> None:
    """What has gathered is fetched first, however slow disk and processor are; then rests become longer.

    They are shorter by what has come already.
    """
    rest = Rest(wire.clock, threading.Event(), wire.line.behind)
    pictures = wire.listen()

    def fetch(count: int) -> None:
        for _ in range(count):
            next(pictures)

    for comes, fetched, rests in (
        (100, 100, 1),
        (100, 0, 0),
        (0, 50, 0),
        (0, 50, 1),
        (100, 90, 1),
        (0, 10, 1),
        (100, 90, 1),
    ):
        wire.far.sendall(bytes(comes))
        fetch(fetched)
        before = len(wire.clock.waited_s)
        rest.take(0.3)
        assert len(wire.clock.waited_s) - before == rests, (comes, fetched)
    assert wire.clock.waited_s == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.3 * 0.8])


def test_whoever_sends_in_time_is_listened_to(wire: Wire) -> None:
    wire.far.sendall(b"abc")
    wire.far.shutdown(socket.SHUT_WR)
    wire.pause_s = STALL_S
    assert list(wire.listen()) == [b"a", b"b", b"c"]


def test_whoever_is_silent_for_longer_is_hung_up_on(wire: Wire) -> None:
    wire.pause_s = STALL_S + 0.1
    with pytest.raises(TimeoutError):
        next(wire.listen())
    assert wire.far.recv(1) == b""


def test_the_time_that_we_take_ourselves_is_no_silence(wire: Wire) -> None:
    """A disk may take a minute for what was recorded; the camera is not to blame."""
    wire.far.sendall(b"ab")
    packets = wire.listen()
    assert next(packets) == b"a"
    wire.clock.advance(60)
    wire.line.watch()
    assert next(packets) == b"b"


def test_a_line_that_was_given_back_is_not_hung_up_on(wire: Wire) -> None:
    wire.pause_s = STALL_S + 0.1
    wire.line.close()
    wire.far.sendall(b"a")
    next(wire.listen())
    wire.far.sendall(b"b")
    assert wire.near.recv(1) == b"b"


def test_sessions_that_are_opened_at_once_with_one_recorder_have_each_their_own_line(tmp_path: Path) -> None:
    """Hung up on one by one, the others go on."""
    require_rtsp_server()
    clock, stop, count = SystemClock(), threading.Event(), 3
    lines = Lines(clock)
    with camera(clips.make(clips.H264), tmp_path) as real, ThreadPoolExecutor(count) as pool:
        settings = CameraSettings(id="north", source="rtsp", url=real.url, stall_s=1)
        descriptors = psutil.Process().num_fds()
        sources = list(pool.map(lambda _: open_source(settings, clock, stop, lines), range(count)))
        streams = [source.packets() for source in sources]
        for stream in streams:
            next(stream)
        real.say("stall")
        endings = [pool.submit(_drain, stream) for stream in streams]

        def all_ended() -> bool:
            lines.watch()
            return all(ending.done() for ending in endings)

        until(all_ended, 15, "all are hung up on")
        assert ["does not answer" in ending.result() for ending in endings] == [True] * count
        for source in sources:
            source.close()
        assert psutil.Process().num_fds() == descriptors


def _drain(stream: Iterator[object]) -> str:
    with pytest.raises(CameraError) as caught:
        for _ in stream:
            pass
    return caught.value.message
