"""The bus against real brokers: mosquitto with passwords and an access list, amqtt for MQTT 3.1.1, and strangers."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import amqtt
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from central.broker_amqtt import TidyBroker
from edge_agent.bus import VERSIONS, Bus, Door, connect
from edge_agent.clock import SystemClock
from edge_agent.contract import PresenceState, Reach, Wish, instant
from edge_agent.errors import Refused, Unreachable
from edge_agent.settings import BrokerSettings
from tests.fakes import FakeClock
from tests.rig.link import Link, free_port
from tests.rig.mosquitto import Listener, Mosquitto
from tests.rig.parts import LEDGER
from tests.rig.processes import until

RUN = "000007abcd"
PRESENCE = "simpang/v1/kota-lama/presence"
POWER = "simpang/v1/kota-lama/power"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, {"kota-lama": "the-token"}) as broker:
        yield broker


def door(port: int, token: str = "the-token", prefix: str = "simpang/v1", keepalive_s: int = 5) -> Door:
    settings = BrokerSettings(host="127.0.0.1", port=port, prefix=prefix, keepalive_s=keepalive_s)
    return Door(settings, "kota-lama", token)


class Running:
    """A bus in a thread of its own, as in the agent."""

    def __init__(self, to: Door, run: str = RUN) -> None:
        self.wishes: list[Wish] = []
        self.bus = Bus(to, run, SystemClock(), self.wishes.append, lambda _detail: None)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        wait_s = 0.0
        while not self.stop.wait(wait_s):
            wait_s = self.bus.run_once()

    def halt(self) -> Bus:
        """The thread has ended; the connection stays as it is."""
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.bus

    def __enter__(self) -> Bus:
        return self.bus

    def __exit__(self, *_: object) -> None:
        self.halt().close()


class Box:
    """A bus that is turned by hand, in a time of its own."""

    def __init__(self, to: Door, run: str, version: MQTTProtocolVersion = VERSIONS[0]) -> None:
        self.clock = FakeClock()
        self.rivals: list[str] = []
        self.bus = Bus(to, run, self.clock, lambda _wish: None, self.rivals.append)
        self.bus._versions = (version,)

    def connect(self) -> None:
        """It has a session, and has said that it is there."""
        assert self.bus.run_once() == 0
        session = self.bus._session
        assert session is not None
        until(lambda: self._turn() or not session.ledger.unacknowledged, 5, "it is heard", every_s=0)

    def lose(self, after_s: float) -> float:
        """The session is gone, after so much of its time; how long it waits then."""
        self.clock.advance(after_s)
        return until(self._turn, 5, "the loss is noticed", every_s=0)

    def hold(self, seconds: float) -> None:
        """So much of its time passes with the session."""
        self.clock.advance(seconds)
        assert self._turn() == 0

    def _turn(self) -> float:
        self.bus.stir()
        return self.bus.run_once()


def test_it_says_who_is_there_what_is_and_what_happens(mosquitto: Mosquitto) -> None:
    with Running(door(mosquitto.port)) as bus:
        bus.state("power", b'{"supply":"mains"}')
        bus.event(b'{"id":"one"}')
        with Listener(mosquitto.port) as listener:
            assert json.loads(listener.until(PRESENCE, "online"))["run"] == RUN
            listener.until(POWER, "mains")
            bus.event(b'{"id":"two"}')
            listener.until("simpang/v1/kota-lama/event", "two")
            assert bus.reach is Reach.UP


def test_the_first_breath_is_the_first_message_and_is_not_said_again(mosquitto: Mosquitto) -> None:
    with Listener(mosquitto.port) as listener, Link() as link:
        box = Box(door(link.lay(("127.0.0.1", mosquitto.port))), RUN)
        box.bus.event(b'{"id":"started"}')
        box.bus.greet("back after 2 h without power", again="it waits for charge")
        box.connect()
        box.hold(0)
        listener.until("simpang/v1/kota-lama/event", "started")
        link.cut()
        box.lose(after_s=0)
        link.restore()
        box.connect()
        listener.until(PRESENCE, '"online"', "it waits for charge")
        box.bus.greet("recording begins")
        box.hold(0)
        listener.until(PRESENCE, "recording begins")
        topics = [topic for topic, _ in listener.said]
        assert topics[:2] == [PRESENCE, "simpang/v1/kota-lama/event"]
        words = [json.loads(body)["reason"] for topic, body in listener.said if b"online" in body]
        assert words == ["back after 2 h without power", "it waits for charge", "recording begins"]
        box.bus.close()


def test_a_late_listener_finds_the_state_but_no_old_event(mosquitto: Mosquitto) -> None:
    with Running(door(mosquitto.port)) as bus, Listener(mosquitto.port) as first:
        bus.state("power", b'{"supply":"mains"}')
        bus.event(b'{"id":"one"}')
        first.until("simpang/v1/kota-lama/event", "one")
        with Listener(mosquitto.port) as late:
            late.until(POWER, "mains")
            late.until(PRESENCE, "online")
            assert not [topic for topic, _ in late.said if topic.endswith("/event")]


def test_a_lost_agent_is_declared_offline_by_its_will(mosquitto: Mosquitto) -> None:
    with (
        Link() as link,
        Listener(mosquitto.port) as listener,
        Running(door(link.lay(("127.0.0.1", mosquitto.port)))),
    ):
        listener.until(PRESENCE, "online")
        link.swallow()
        assert json.loads(listener.until(PRESENCE, "offline", seconds=15))["run"] == RUN
        link.restore()
        listener.until(PRESENCE, "online", seconds=20)


def test_an_ordered_end_has_the_last_word_and_leaves_no_will(mosquitto: Mosquitto) -> None:
    with Listener(mosquitto.port) as listener:
        running = Running(door(mosquitto.port))
        listener.until(PRESENCE, "online")
        running.bus.event(b'{"id":"the last"}')
        bus = running.halt()
        bus.leave(PresenceState.ASLEEP, "battery at 9 %")
        bus.close()
        listener.until(PRESENCE, "asleep", "battery at 9 %")
        listener.until("simpang/v1/kota-lama/event", "the last")
        # mosquitto says the will before it forgets the connection, so by then it would be here.
        mosquitto.program.until(lambda: "disconnected" in mosquitto.program.output(), 5, "the connection has ended")
        assert b"asleep" in listener.latest[PRESENCE]


def test_after_a_break_only_the_latest_state_is_told(mosquitto: Mosquitto) -> None:
    with (
        Link() as link,
        Listener(mosquitto.port) as listener,
        Running(door(link.lay(("127.0.0.1", mosquitto.port)))) as bus,
    ):
        bus.state("power", b'{"n":0}')
        listener.until(POWER, '"n":0')
        link.cut()
        until(lambda: bus.reach is Reach.DOWN, 5, "the bus notices the cut")
        for number in range(1, 1001):
            bus.state("power", f'{{"n":{number}}}'.encode())
        link.restore()
        listener.until(POWER, '"n":1000', seconds=20)
        assert [payload for topic, payload in listener.said if topic == POWER] == [b'{"n":0}', b'{"n":1000}']


def test_a_broker_that_forgot_everything_is_told_again(mosquitto: Mosquitto) -> None:
    with Running(door(mosquitto.port)) as bus:
        bus.state("power", b'{"supply":"mains"}')
        with Listener(mosquitto.port) as listener:
            listener.until(POWER, "mains")
        mosquitto.program.kill()
        until(lambda: bus.reach is Reach.DOWN, 5, "the bus notices")
        mosquitto.start()
        with Listener(mosquitto.port) as listener:
            listener.until(POWER, "mains", seconds=20)
            listener.until(PRESENCE, "online")


def test_refused_credentials_are_said_once_with_a_remedy_and_without_the_token(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    bus = Box(door(mosquitto.port, token="a-wrong-token"), RUN).bus
    waits = [bus.run_once() for _ in range(4)]
    bus.close()
    assert min(waits) >= 15
    (line,) = [record.getMessage() for record in caplog.records]
    assert "enrol" in line
    assert "a-wrong-token" not in caplog.text


def test_topics_that_the_broker_denies_are_said_once(mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """Debian's mosquitto must neither hang up nor be asked again for ever."""
    caplog.set_level(logging.WARNING)
    with Running(door(mosquitto.port, prefix="elsewhere/v1")) as bus:
        until(lambda: "denies" in caplog.text, 5, "the denial is told")
        bus.state("power", b"{}")
        bus.state("link", b"{}")
        until(lambda: mosquitto.program.running, 1, "the broker lives")
        assert bus.reach is Reach.UP
    assert caplog.text.count("denies") == 1


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "port"), (b"\x20\x02\x00", "port"), (b"\xff" * 64, "port"), (b"", "port")],
    ids=["http", "half an answer", "noise", "silence"],
)
def test_a_stranger_at_the_port_is_no_broker(answer: bytes, remedy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            for _ in range(2):
                connection, _address = server.accept()
                connection.recv(1000)
                connection.sendall(answer)
                kept.append(connection)

        kept: list[socket.socket] = []
        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(Unreachable) as caught:
            connect(door(server.getsockname()[1]), "test")
        assert remedy in caught.value.remedy
    for connection in kept:
        connection.close()


def test_a_closed_port_says_where_and_what_to_check() -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}.*\[broker\]"):
        connect(door(port), "test")


def test_a_broker_of_the_old_version_will_do() -> None:
    """amqtt speaks MQTT 3.1.1 only."""
    with (
        Amqtt() as broker,
        Listener(broker.port, version=MQTTProtocolVersion.MQTTv311) as listener,
        Running(door(broker.port)) as bus,
    ):
        bus.state("power", b'{"supply":"mains"}')
        listener.until(PRESENCE, "online")
        listener.until(POWER, "mains")


def test_refused_credentials_are_known_as_such_at_once(mosquitto: Mosquitto) -> None:
    with pytest.raises(Refused):
        connect(door(mosquitto.port, token="a-wrong-token"), "test")


@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_with_tls_only_a_broker_that_we_trust_will_do(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, {"kota-lama": "the-token"}, tls=True) as broker:
        plain = BrokerSettings(host="127.0.0.1", port=broker.port, tls=True)
        with pytest.raises(Unreachable, match="certificate") as caught:
            connect(Door(plain, "kota-lama", "the-token"), "test")
        assert "tls" in caught.value.remedy
        del caught
        gc.collect()  # paho leaves the socket of a failed handshake to it
        trusting = BrokerSettings(host="127.0.0.1", port=broker.port, tls=True, ca_file=tmp_path / "certificate.pem")
        session, version = connect(Door(trusting, "kota-lama", "the-token"), "test")
        assert version is MQTTProtocolVersion.MQTTv5
        session.publish("simpang/v1/kota-lama/power", b"{}", retain=False)
        session.close()
        assert session.ledger.unacknowledged == 0
        assert session.ledger.denied == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_two_boxes_of_one_site_leave_the_broker_to_each_other_for_long_and_say_so(
    mosquitto: Mosquitto, version: MQTTProtocolVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """They return at once for a few times, by which the centre sees two; when one is gone the other is content."""
    here, there = Box(door(mosquitto.port), RUN, version), Box(door(mosquitto.port), "000009wxyz", version)
    waits: list[tuple[float, float]] = []
    here.connect()
    for _ in range(8):
        there.connect()
        here_s = here.lose(60)
        here.connect()
        waits.append((here_s, there.lose(60)))
    assert all(wait_s <= 1 for both in waits[:2] for wait_s in both)
    assert all(15 <= wait_s <= 30 for wait_s in waits[2])
    assert all(30 <= wait_s <= 60 for wait_s in waits[3])
    assert all(150 <= wait_s <= 300 for wait_s in waits[-1])
    assert here.rivals == there.rivals
    assert len(here.rivals) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) <= 8, "a long quarrel is few lines"
    assert all("another box connects as this site" in line and "enrol" in line for line in errors)
    there.bus.close()
    with Listener(mosquitto.port) as listener:
        here.hold(590)
        listener.until(PRESENCE, "online", RUN, "another box connects as this site")
        here.hold(10)
        listener.until(PRESENCE, "online", RUN, '"reason":""')
    mosquitto.program.kill()
    assert here.lose(1) <= 1
    here.bus.close()


def test_one_box_that_comes_and_goes_is_never_taken_for_two(mosquitto: Mosquitto) -> None:
    """Not by the word of the life before it that it finds, nor by its own after a break."""
    with Link() as link:
        for run in ("000007abcd", "000008efgh", "000009ijkl"):
            box = Box(door(link.lay(("127.0.0.1", mosquitto.port))), run)
            for _ in range(3):
                box.connect()
                link.cut()
                assert box.lose(1) <= 1
                link.restore()
            assert box.rivals == []
            box.bus.close()


def test_a_broker_that_gives_another_box_as_the_reason_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take_over() -> None:
            for _ in range(2):
                connection, _address = server.accept()
                connection.recv(1000)
                connection.sendall(b"\x20\x03\0\0\0" + b"\xe0\x02\x8e\0")
                kept.append(connection)

        kept: list[socket.socket] = []
        threading.Thread(target=take_over, daemon=True).start()
        box = Box(door(server.getsockname()[1]), RUN)
        assert box.bus.run_once() == 0
        assert box.lose(1) <= 1
        assert box.bus.run_once() == 0
        assert box.lose(1) >= 15
        box.bus.close()
    for connection in kept:
        connection.close()
    assert len(box.rivals) == 1
    assert "another box connects as this site" in caplog.text


WISH = "simpang/v1/kota-lama/wish"


def wish(at_ms: int, pace: float | None = None) -> bytes:
    return Wish(pace_bytes_per_s=pace, at=instant(at_ms)).to_json()


def test_what_the_centre_would_like_is_heard_at_once_and_after_a_break(mosquitto: Mosquitto) -> None:
    """Also what was said while the agent was away: a wish is retained."""
    now_ms = SystemClock().now_ms()
    with Link() as link, Listener(mosquitto.port) as centre:
        centre.say(WISH, wish(now_ms - 3000, pace=1))
        running = Running(door(link.lay(("127.0.0.1", mosquitto.port))))
        with running:
            until(lambda: running.wishes, 5, "the retained wish")
            centre.say(WISH, wish(now_ms - 2000, pace=2))
            until(lambda: len(running.wishes) == 2, 5, "the next wish")
            link.cut()
            until(lambda: running.bus.reach is Reach.DOWN, 5, "the bus notices the cut")
            centre.say(WISH, wish(now_ms - 1000, pace=3))
            link.restore()
            until(lambda: len(running.wishes) == 3, 20, "the wish of the break")
        assert [wish.pace_bytes_per_s for wish in running.wishes] == [1, 2, 3]


def test_a_wish_that_cannot_be_read_is_said_once_and_changes_nothing(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    now_ms = SystemClock().now_ms()
    running = Running(door(mosquitto.port))
    with running, Listener(mosquitto.port) as centre:
        for body in (b"\xff", b"[]", b"{}", b'{"at":"soon"}', b'{"at":"2026-11-24T06:00:25Z","wanted":[1]}'):
            centre.say(WISH, body)
        centre.say("simpang/v1/batu/wish", wish(now_ms))
        centre.say(WISH, wish(now_ms, pace=7))
        until(lambda: running.wishes, 5, "the one that can be read")
        assert [wish.pace_bytes_per_s for wish in running.wishes] == [7]
    told = [record.getMessage() for record in caplog.records if "wish" in record.getMessage()]
    assert 1 <= len(told) <= 3


def test_a_wish_of_the_past_replaces_none_unless_that_one_is_of_the_future(mosquitto: Mosquitto) -> None:
    """A centre whose clock was ahead can be corrected."""
    now_ms = SystemClock().now_ms()
    running = Running(door(mosquitto.port))
    with running, Listener(mosquitto.port) as centre:
        centre.say(WISH, wish(now_ms - 1000, pace=1))
        centre.say(WISH, wish(now_ms - 2000, pace=2))
        centre.say(WISH, wish(now_ms + 3_600_000, pace=3))
        until(lambda: len(running.wishes) == 2, 5, "the newer wish")
        centre.say(WISH, wish(SystemClock().now_ms(), pace=4))
        until(lambda: len(running.wishes) == 3, 5, "the corrected wish")
        assert [wish.pace_bytes_per_s for wish in running.wishes] == [1, 3, 4]


class Amqtt:
    """amqtt in a thread, on a free port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        LEDGER.note("MQTT broker", f"amqtt {amqtt.__version__}")

    async def _start(self) -> None:
        self._broker = TidyBroker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()

    async def _end(self) -> None:
        # From Python 3.12 on this waits for every client to leave, even for one whose CONNECT it cannot read.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._broker.shutdown(), 2)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def __enter__(self) -> Amqtt:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
