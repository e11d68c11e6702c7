"""The rigs that break things really break them, and mend them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import av
import pytest

from edge_agent.contract import Reach
from edge_agent.probe import WayProbe
from tests.rig import clips
from tests.rig.city import to_toml
from tests.rig.clock_shim import ClockShim
from tests.rig.keeper import RESTART_S, Keeper
from tests.rig.link import Address, Link
from tests.rig.netns import CENTRE_ADDRESS, Cable
from tests.rig.parts import require_network_namespaces, require_program, require_rtsp_server
from tests.rig.port import Port
from tests.rig.processes import LateError, Program, left_behind, until
from tests.rig.stranger import ANSWERS, Stranger
from tests.system.footage import camera

ECHO = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1000):
            self.request.sendall(data)
with socketserver.ThreadingTCPServer((sys.argv[1], 0), Echo) as server:
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


TELL = """
import sys, time
from edge_agent.clock import SystemClock
clock = SystemClock()
for _ in sys.stdin:
    print(time.time(), time.time() - time.monotonic(), clock.quality(), flush=True)
"""


@contextlib.contextmanager
def echo(folder: Path, host: str = "127.0.0.1", prefix: list[str | Path] | None = None) -> Iterator[Address]:
    """Where a server gives back what it is given."""
    with Program("echo", [*(prefix or []), sys.executable, "-c", ECHO, host], folder / "echo.log") as program:
        program.start()
        yield host, int(program.until(lambda: program.output().strip(), 10, "echo listens"))


def test_link_is_cut_made_half_open_and_restored(tmp_path: Path) -> None:
    """Cut resets and refuses; half-open takes everything and gives nothing; restored it carries again."""
    with echo(tmp_path) as address, Link() as link:
        near = "127.0.0.1", link.lay(address)

        def call() -> socket.socket:
            return socket.create_connection(near, 2)

        with call() as before:
            assert _said_back(before) == b"hello"
            link.cut()
            with pytest.raises(ConnectionResetError):
                before.recv(1)
        with pytest.raises(ConnectionRefusedError):
            call()
        link.restore()
        with call() as before:
            assert _said_back(before) == b"hello"
            link.swallow()
            with call() as during:
                for connection in (before, during):
                    with pytest.raises(TimeoutError):
                        _said_back(connection)
                link.restore()
                for connection in (before, during):
                    with pytest.raises(ConnectionResetError):
                        connection.recv(1)
        with call() as after:
            assert _said_back(after) == b"hello"


def test_link_is_narrow_torn_deaf_and_diverted(tmp_path: Path) -> None:
    """Bytes take their time; a connection ends after some; what arrives is not answered; somebody else answers."""
    with echo(tmp_path) as address, Stranger() as stranger, Link() as link:
        near = "127.0.0.1", link.lay(address)

        def call() -> socket.socket:
            return socket.create_connection(near, 2)

        link.narrow(bytes_per_s=50)
        begun_s = time.monotonic()
        with call() as slow:
            assert _said_back(slow) == b"hello"
        assert time.monotonic() - begun_s >= 0.2, "five bytes each way"
        link.restore()
        link.tear(after_bytes=lambda: 7)
        with call() as torn:
            assert _said_back(torn) == b"hello"
            with pytest.raises(ConnectionResetError):
                _said_back(torn)
        link.restore()
        link.lose_answers()
        with call() as deaf, pytest.raises(ConnectionResetError):
            _said_back(deaf)
        link.restore()
        link.divert(stranger.address)
        answers = [_http(near) for _ in range(2 * len(ANSWERS))]
        assert answers == [(status, body) for status, body in ANSWERS] * 2
        link.restore()
        with call() as after:
            assert _said_back(after) == b"hello"


def _http(near: Address) -> tuple[int, bytes]:
    with contextlib.closing(HTTPConnection(*near, timeout=5)) as connection:
        connection.request("PUT", "/anything", b"body")
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_keeper_starts_again_what_ends(tmp_path: Path) -> None:
    """As a service manager does; what is killed by it, and what it was told to leave, stays away."""
    with Program("kept", ["sh", "-c", "echo up; exec sleep 1000"], tmp_path / "log") as program:
        with Keeper() as keeper:
            keeper.keep(program)
            until(lambda: program.output().count("up") == 1, 5, "it runs")
            ended_s = time.monotonic()
            program.kill()
            until(lambda: program.output().count("up") == 2, 10, "it runs again")
            assert time.monotonic() - ended_s > RESTART_S - 0.2
            keeper.kill(program)
            assert not program.running
            keeper.keep(program)
            until(lambda: program.output().count("up") == 3, 5, "it runs again at once")
            keeper.leave(program)
            program.kill()
        assert not program.running


def test_camera_counts_on_jumps_and_admits(tmp_path: Path) -> None:
    """The first number is as told; a password and its end are heeded; when the clock jumps no picture is held back."""
    require_rtsp_server()
    require_program("ffmpeg")
    with camera(clips.make(clips.H264), tmp_path, options=("--first", "5000")) as eye:
        eye.say("ask somebody else")
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(eye.url, options={"rtsp_transport": "tcp"})
        eye.say("admit")
        with av.open(eye.url, options={"rtsp_transport": "tcp"}) as session:
            pictures = session.demux(video=0)
            before = [next(pictures) for _ in range(20)][-1]
            eye.say("skip 3600")
            for picture in pictures:
                if float(((picture.dts or 0) - (before.dts or 0)) * picture.time_base) > 3590:
                    break
            seen_s = time.time()
    sent = eye.sent()
    assert min(picture.number for picture in sent) >= 5000
    assert seen_s - sent[-1].at_s < 5, "an hour ahead, and here"


def _said_back(connection: socket.socket) -> bytes:
    connection.settimeout(0.5)
    connection.sendall(b"hello")
    return connection.recv(100)


ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1) as connection:
    connection.sendall(b"hello")
    print(connection.recv(100).decode())
"""


@pytest.mark.parametrize(
    ("breaks", "sign"), [(Cable.unplug, "unreachable"), (Cable.swallow, "timed out")], ids=["unplugged", "swallowing"]
)
def test_cable_breaks_and_is_mended(tmp_path: Path, breaks: Callable[[Cable], None], sign: str) -> None:
    """An interface that is down is noticed at once, swallowed packets are not; both are mended; nothing stays."""
    with Cable(require_network_namespaces(), require_program("nft")) as cable:

        def ask() -> str:
            host, port = address
            command = [*cable.at_site, sys.executable, "-c", ASK, host, str(port)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
            return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

        with echo(tmp_path, CENTRE_ADDRESS, cable.at_centre) as address:
            assert ask() == "hello"
            breaks(cable)
            assert sign in ask()
            cable.mend()
            until(lambda: ask() == "hello", 10, "the cable is mended")
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert str(cable.at_site[3]) not in names


def test_a_port_is_taken_down_and_brought_up() -> None:
    """An agent that looks at it sees so, and nothing of it is left."""
    with Port() as port:
        way = WayProbe(("127.0.0.1", 1), port.name)
        until(lambda: way.port() is Reach.UP, 5, "the port has a carrier")
        port.take_down()
        assert way.port() is Reach.DOWN
        port.bring_up()
        until(lambda: way.port() is Reach.UP, 5, "the port has a carrier again")
    assert not Path("/sys/class/net", port.name).exists()


def test_program_that_starts_another_leaves_nobody(tmp_path: Path) -> None:
    """A command that ignores SIGTERM, and its child, are gone when the context ends; early ends are told with words."""
    marker = tmp_path / "marker"
    script = f"trap '' TERM; (exec -a {marker} sleep 1000) & echo up; exec sleep 1000"
    with Program("stubborn", ["bash", "-c", script], tmp_path / "log") as program:
        program.start()
        program.until(lambda: "up" in (tmp_path / "log").read_text(), 5, "it runs")  # and heeds no SIGTERM any more
        assert left_behind(marker)
        with pytest.raises(LateError, match="stubborn still runs"):
            program.stop(seconds=0.2)
        program.kill()
        with pytest.raises(LateError, match=r"stubborn ended with -9 before: never(.|\n)*up"):
            program.until(lambda: False, 5, "never")
    until(lambda: not left_behind(marker), 5, "nobody is left")  # who was killed takes a moment to go


def test_toml_of_tables_in_tables() -> None:
    """Values come before sections; lists of sections are sections."""
    table = {"a": 1, "b": {"c": "x", "d": [1, 2]}, "e": True, "f": [{"g": 1.5}, {"g": 2.5}]}
    assert to_toml(table) == 'a = 1\ne = true\n\n[b]\nc = "x"\nd = [1, 2]\n\n[[f]]\ng = 1.5\n\n[[f]]\ng = 2.5\n'
    assert to_toml({"h": {"i": {"j": 1}}}) == "\n[h]\n\n[h.i]\nj = 1\n"


def test_a_clock_is_moved_under_a_running_process(tmp_path: Path) -> None:
    """Its time of day steps and its word on it changes while it lives; its monotonic clock and we notice nothing."""
    with (
        ClockShim(tmp_path) as shim,
        subprocess.Popen(
            [sys.executable, "-c", TELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | shim.environment,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout

        def told() -> tuple[float, float, str]:
            print(file=process.stdin, flush=True)
            now, offset, quality = process.stdout.readline().split()  # type: ignore[union-attr]
            return float(now) - time.time(), float(offset) - (time.time() - time.monotonic()), quality

        for seconds in (0, -180 * 86400, 86400 * 3650.5, -time.time() + 1, 0):
            shim.shift(seconds)
            assert told()[:2] == pytest.approx((seconds, seconds), abs=2)
        assert told()[2] == "synced"
        shim.synced(False)
        assert told()[2] == "holdover"
        process.stdin.close()
