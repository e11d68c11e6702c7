"""Who may do what at the broker: the same answers from mosquitto and from amqtt."""

from __future__ import annotations

import gc
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from central.broker import CENTRE, READER, Broker, open_broker
from central.enrolment import broker_hash
from central.errors import BrokerDown, SettingsError
from central.settings import BrokerSettings
from central.store import SiteRow
from edge_agent.contract import MAX_MESSAGE_BYTES
from tests.rig.link import free_port
from tests.rig.parts import LEDGER, require_program
from tests.rig.processes import until


def site_row(site: str, token: str) -> SiteRow:
    return SiteRow(site, "", None, None, token, broker_hash(token), 0)


ALOHA, BATU = site_row("aloha", "aloha-token"), site_row("batu", "batu-token")


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker, with one site."""
    if request.param == "mosquitto":
        require_program("mosquitto")
    else:
        LEDGER.note("MQTT broker", "amqtt")
    opened = open_broker(BrokerSettings(mode=request.param, listen="127.0.0.1:0"), tmp_path / "broker", [ALOHA])
    yield opened
    opened.stop()
    with warnings.catch_warnings():  # amqtt leaves the socket of a client that vanished to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Guest:
    """A client of the broker; `answer` is what it said to the connection."""

    def __init__(
        self, broker: Broker, user: str | None, password: str | None, will: tuple[str, bytes] | None = None
    ) -> None:
        version = MQTTProtocolVersion.MQTTv5 if broker.address.speaks_mqtt5 else MQTTProtocolVersion.MQTTv311
        self.heard: dict[str, bytes] = {}
        self._answered, self._granted = threading.Event(), threading.Event()
        self.answer: Any = None
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=version, reconnect_on_failure=False)
        if user is not None:
            self.client.username_pw_set(user, password)
        if will is not None:
            self.client.will_set(*will, qos=1, retain=True)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._granted.set()
        self.client.on_message = lambda _client, _data, m: self.heard.__setitem__(m.topic, bytes(m.payload))
        self.client.connect(broker.address.host, broker.address.port)
        self.client.loop_start()
        assert self._answered.wait(10)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, answer: Any, _more: Any) -> None:
        self.answer = answer
        self._answered.set()

    @property
    def is_in(self) -> bool:
        return not self.answer.is_failure

    def listen(self, topic: str) -> Self:
        self.client.subscribe(topic, qos=1)
        assert self._granted.wait(10)
        return self

    def say(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain)

    def vanish(self) -> None:
        """Gone without a word, as in a power cut."""
        sock = self.client.socket()
        assert sock is not None
        self.client.loop_stop()
        sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        # paho closes its last sockets when it is dropped, and no circle may keep it from that.
        self.client.on_connect = self.client.on_subscribe = self.client.on_message = None


def centre(broker: Broker) -> Guest:
    return Guest(broker, broker.address.username, broker.address.password)


@pytest.mark.parametrize(
    ("user", "password"),
    [(None, None), ("aloha", "wrong"), ("aloha", None), ("batu", "batu-token"), (CENTRE, "aloha-token"), ("", "")],
)
def test_who_is_not_known_gets_in_nowhere(broker: Broker, user: str | None, password: str | None) -> None:
    with Guest(broker, user, password) as guest:
        assert not guest.is_in


def test_a_site_writes_its_own_topics_and_nothing_else(broker: Broker) -> None:
    with centre(broker).listen("simpang/v1/#") as listener, Guest(broker, "aloha", "aloha-token") as site:
        assert site.is_in
        for topic in (
            "simpang/v1/batu/presence",
            "simpang/v1/city/presence",
            "simpang/v1/city/summary",
            "simpang/v1/aloha/wish",
            "simpang/v1/aloha/camera/north/more",
            "simpang/v1/presence",
        ):
            site.say(topic)
        site.say("simpang/v1/aloha/power")
        site.say("simpang/v1/aloha/camera/north")
        until(lambda: len(listener.heard) >= 2, 5, "what is allowed")
        assert set(listener.heard) == {"simpang/v1/aloha/power", "simpang/v1/aloha/camera/north"}


def test_a_site_reads_only_below_its_own_name(broker: Broker) -> None:
    broker.admit([ALOHA, BATU])
    with (
        Guest(broker, "aloha", "aloha-token").listen("simpang/v1/aloha/#") as site,
        Guest(broker, "aloha", "aloha-token").listen("simpang/v1/#") as curious,
        centre(broker) as speaker,
    ):
        speaker.say("simpang/v1/batu/wish")
        speaker.say("simpang/v1/aloha/wish")
        until(lambda: site.heard, 5, "the wish")
        assert set(site.heard) == {"simpang/v1/aloha/wish"}
        assert "simpang/v1/batu/wish" not in curious.heard


def test_a_will_is_bound_by_the_same_rules(broker: Broker) -> None:
    with centre(broker).listen("simpang/v1/#") as listener:
        honest = Guest(broker, "aloha", "aloha-token", ("simpang/v1/aloha/presence", b'"offline"'))
        liar = Guest(broker, "aloha", "aloha-token", ("simpang/v1/batu/presence", b'"offline"'))
        if liar.is_in:
            liar.vanish()
        honest.vanish()
        until(lambda: listener.heard, 10, "the will")
        assert set(listener.heard) == {"simpang/v1/aloha/presence"}


def test_a_site_is_admitted_and_its_old_token_ends_while_the_broker_runs(broker: Broker) -> None:
    broker.admit([site_row("aloha", "new-token"), BATU])

    def is_in(user: str, token: str) -> bool:
        with Guest(broker, user, token) as guest:
            return guest.is_in

    until(lambda: is_in("batu", "batu-token"), 5, "batu is in")
    assert is_in("aloha", "new-token")
    assert not is_in("aloha", "aloha-token")


def test_the_operator_may_read_everything_and_write_nothing(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "broker" / f"{READER}.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with (
        Guest(broker, READER, file.read_text().strip()).listen("simpang/v1/#") as reader,
        Guest(broker, "aloha", "aloha-token") as site,
    ):
        reader.say("simpang/v1/aloha/power", b"forged")
        reader.say("simpang/v1/city/summary", b"forged")
        reader.say("simpang/v1/city/power", b"forged")
        site.say("simpang/v1/aloha/host")
        until(lambda: reader.heard, 5, "the state")
        assert set(reader.heard) == {"simpang/v1/aloha/host"}


def test_a_retained_state_is_there_for_who_comes_later(broker: Broker) -> None:
    with Guest(broker, "aloha", "aloha-token") as site:
        site.say("simpang/v1/aloha/power", b'"mains"', retain=True)
        with centre(broker).listen("simpang/v1/+/#") as later:
            until(lambda: later.heard.get("simpang/v1/aloha/power") == b'"mains"', 5, "the retained state")


def test_secrets_are_for_their_owner_only(broker: Broker, tmp_path: Path) -> None:
    for file in (tmp_path / "broker").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "aloha-token" not in file.read_text()


def test_mosquitto_drops_a_message_that_no_site_may_send_and_stays(tmp_path: Path) -> None:
    require_program("mosquitto")
    broker = open_broker(BrokerSettings(mode="mosquitto", listen="127.0.0.1:0"), tmp_path, [ALOHA])
    try:
        with centre(broker).listen("simpang/v1/#") as listener:
            with Guest(broker, "aloha", "aloha-token") as site:
                site.say("simpang/v1/aloha/power", bytes(2 * MAX_MESSAGE_BYTES))
            with Guest(broker, "aloha", "aloha-token") as site:
                site.say("simpang/v1/aloha/host")
                until(lambda: listener.heard, 5, "the small one")
            assert set(listener.heard) == {"simpang/v1/aloha/host"}
    finally:
        broker.stop()


def test_a_mosquitto_that_died_is_started_again_on_its_port(tmp_path: Path) -> None:
    require_program("mosquitto")
    broker: Any = open_broker(BrokerSettings(mode="mosquitto", listen="127.0.0.1:0"), tmp_path, [ALOHA])
    try:
        broker._child.kill()
        broker._child.wait()
        broker.check()
        with Guest(broker, "aloha", "aloha-token") as site:
            assert site.is_in
    finally:
        broker.stop()


@pytest.mark.parametrize("mode", ["mosquitto", "amqtt"])
def test_a_port_in_use_is_said(broker: Broker, mode: Any, tmp_path: Path) -> None:
    taken = BrokerSettings(mode=mode, listen=f"127.0.0.1:{broker.address.port}")
    with pytest.raises(BrokerDown, match=r"cannot listen on .* in use"):
        open_broker(taken, tmp_path / "other", [])


def test_an_absent_mosquitto_is_said_or_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SettingsError, match="apt-get install mosquitto"):
        open_broker(BrokerSettings(mode="mosquitto"), tmp_path, [])
    broker = open_broker(BrokerSettings(mode="auto", listen="127.0.0.1:0"), tmp_path, [])
    assert broker.kind == "amqtt"
    broker.stop()


def test_an_external_broker_is_left_alone(tmp_path: Path) -> None:
    broker = open_broker(BrokerSettings(mode="external", host="broker", port=free_port()), tmp_path / "none", [ALOHA])
    broker.admit([])
    broker.check()
    broker.stop()
    assert not (tmp_path / "none").exists()


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    """A file that a power cut had emptied is written anew: nobody reads along without a password."""
    file = tmp_path / f"{READER}.password"
    file.touch()
    opened = open_broker(BrokerSettings(mode="amqtt", listen="127.0.0.1:0"), tmp_path, [])
    try:
        assert len(file.read_text().strip()) >= 16
    finally:
        opened.stop()
