"""The now lane's reader: hostile payloads through real brokers, and a database that is slow or gone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from central.broker import Broker, open_broker
from central.errors import StoreDown
from central.settings import BrokerAddress, BrokerSettings
from central.store import EventRow, StateRow, Store
from central.subscriber import Subscriber, supersedes
from central.telemetry import SampleRow
from edge_agent.contract import (
    MAX_MESSAGE_BYTES,
    CameraState,
    ClockQuality,
    Event,
    EventData,
    EventType,
    Host,
    Presence,
    PresenceState,
    instant,
)
from tests.central.test_broker import ALOHA, Guest
from tests.rig.link import free_port
from tests.rig.parts import require_program
from tests.rig.processes import until

NOW = 1_795_000_000_000
RUN_1, RUN_2, RUN_3 = "000001aaaa", "000002aaaa", "000003aaaa"
P = "simpang/v1/aloha"


def presence(state: PresenceState = PresenceState.ONLINE, run: str = RUN_1, at_ms: int = NOW) -> Presence:
    return Presence(state=state, run=run, at=instant(at_ms))


def host(load: float = 0.5, at_ms: int = NOW) -> bytes:
    return Host(load_1m=load, clock=ClockQuality.SYNCED, at=instant(at_ms)).to_json()


def event(number: int, at_ms: int = NOW) -> bytes:
    return Event(
        id=f"{RUN_1}/{number}", source="/a", type=EventType.LINK_CHANGED, time=instant(at_ms), data=EventData(run=RUN_1)
    ).to_json()


def nowhere() -> BrokerAddress:
    return BrokerAddress("127.0.0.1", free_port(), None, None)


class Listening:
    """A subscriber that is given messages without a broker."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changed: list[set[str]] = []
        self.subscriber = Subscriber(
            store, nowhere(), "simpang/v1", lambda: {"aloha": 1}, self.changed.append, now_ms=lambda: NOW
        )

    def take(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        self.subscriber.take(topic, payload, retained=retained)

    def states(self) -> dict[str, str]:
        assert self.subscriber._flush()
        return {row.topic: row.body for row in self.store.states()}


@pytest.fixture
def listening(sqlite_store: Store) -> Listening:
    return Listening(sqlite_store)


HOSTILE = [
    (f"{P}/host", b"\xff\x00 not JSON", "not JSON"),
    (f"{P}/host", b'{"load_1m": NaN}', "not as agreed"),
    (f"{P}/host", b"[]", "not as agreed"),
    (f"{P}/host", b'{"clock": "synced", "at": "0001-01-01T00:00:00+14:00"}', "not as agreed"),
    (f"{P}/host", b"{}", "not as agreed"),
    (f"{P}/host", b"[" * 50_000, "not JSON"),
    (f"{P}/host", host() + b" " * MAX_MESSAGE_BYTES, "too large"),
    (f"{P}/host", host(at_ms=NOW + 301_000), "from the future"),
    (f"{P}/event", event(1, at_ms=NOW + 301_000), "from the future"),
    (f"{P}/event", event(1).replace(RUN_1.encode() + b"/1", b""), "not as agreed"),
    ("simpang/v1/stranger/host", host(), "unknown site"),
    ("simpang/v1/city/host", host(), "not a topic of ours"),
    (f"{P}/gossip", host(), "not a topic of ours"),
    (f"{P}/camera/NORTH", host(), "not a topic of ours"),
    (
        f"{P}/camera/north",
        CameraState(camera="south", recording=True, since=instant(NOW), at=instant(NOW)).to_json(),
        "speaks of another camera",
    ),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), HOSTILE)
def test_a_hostile_payload_is_counted_and_changes_nothing(
    listening: Listening, topic: str, payload: bytes, reason: str
) -> None:
    listening.take(topic, payload)
    assert listening.subscriber.rejected == {reason: 1}
    assert listening.states() == {}
    assert listening.store.events(None, 10) == []


def test_each_kind_of_trouble_is_said_once_a_minute(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(100):
        listening.take(f"{P}/host", b"nonsense")
        listening.take("simpang/v1/stranger/host", host())
    assert listening.subscriber.rejected == {"not JSON": 100, "unknown site": 100}
    assert len(caplog.records) == 2


def test_a_site_cannot_fill_the_memory_with_cameras(listening: Listening) -> None:
    for number in range(200):
        camera = CameraState(camera=f"c{number}", recording=True, since=instant(NOW), at=instant(NOW))
        listening.take(f"{P}/camera/c{number}", camera.to_json())
    assert listening.subscriber.rejected["too many cameras"] > 100
    listening.take(f"{P}/camera/c0", camera.model_copy(update={"camera": "c0", "fps": 9.0}).to_json())
    assert "9.0" in next(row.body for row in _rows(listening) if row.camera == "c0")


def _rows(listening: Listening) -> list[StateRow]:
    listening.states()
    return listening.store.states()


def test_the_newest_state_is_stored_once_however_many_came(listening: Listening) -> None:
    for number in range(100):
        listening.take(f"{P}/host", host(number))
    assert '"load_1m":99.0' in listening.states()["host"]
    assert listening.changed == [{"aloha"}]


def test_what_is_told_again_because_we_connected_again_is_no_news(listening: Listening) -> None:
    listening.take(f"{P}/host", host())
    listening.states()
    listening.take(f"{P}/host", host(), retained=True)
    listening.take(f"{P}/host", b"", retained=True)
    listening.states()
    assert listening.changed == [{"aloha"}]
    after_restart = Listening(listening.store)
    after_restart.take(f"{P}/host", host(), retained=True)
    after_restart.states()
    assert after_restart.changed == []


def test_a_broker_that_lost_its_memory_does_not_take_a_state_back(listening: Listening) -> None:
    """Neither at once nor after we were started anew; what the site itself says now is taken, whatever its clock."""
    listening.take(f"{P}/host", host(2))
    listening.take(f"{P}/host", host(1, at_ms=NOW - 60_000), retained=True)
    assert '"load_1m":2.0' in listening.states()["host"]
    after_restart = Listening(listening.store)
    after_restart.take(f"{P}/host", host(1, at_ms=NOW - 60_000), retained=True)
    assert '"load_1m":2.0' in after_restart.states()["host"]
    after_restart.take(f"{P}/host", host(1, at_ms=NOW - 5_400_000))
    assert '"load_1m":1.0' in after_restart.states()["host"]


def test_every_live_message_is_in_the_history_unless_its_clock_is_wrong(listening: Listening) -> None:
    listening.take(f"{P}/host", host(9, at_ms=NOW - 86_400_000))
    for number in range(3):
        listening.take(f"{P}/host", host(number, at_ms=NOW - 5000 + number))
    listening.take(f"{P}/presence", presence().to_json())
    listening.states()
    found = listening.store.points("aloha", "host", "", 0, NOW, 10**13)
    assert [point.values["load_1m"] for point in found] == [0, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "wins"),
    [
        (None, presence(PresenceState.OFFLINE), True),
        (presence(), presence(PresenceState.OFFLINE), True),
        (presence(run=RUN_2), presence(PresenceState.OFFLINE, run=RUN_1), False),
        (presence(PresenceState.ASLEEP), presence(PresenceState.OFFLINE), False),
        (presence(PresenceState.STOPPING), presence(PresenceState.OFFLINE), False),
        (presence(PresenceState.ASLEEP), presence(PresenceState.OFFLINE, run=RUN_2), True),
        (presence(PresenceState.ASLEEP), presence(run=RUN_2), True),
        (presence(PresenceState.OFFLINE), presence(), True),
    ],
)
def test_a_late_will_is_not_believed(old: Presence | None, new: Presence, wins: bool) -> None:
    assert supersedes(new, old) is wins


def test_the_late_will_of_an_old_run_does_not_take_a_site_down(listening: Listening) -> None:
    listening.take(f"{P}/presence", presence(run=RUN_2).to_json())
    listening.take(f"{P}/presence", presence(PresenceState.OFFLINE, run=RUN_1).to_json())
    assert '"online"' in listening.states()["presence"]


def _doubles(store: Store) -> list[Event]:
    """What the centre itself has found out, oldest first."""
    told = [Event.model_validate_json(row.body) for _, row in store.events("aloha", 100)]
    return [event for event in reversed(told) if event.type is EventType.SITE_DOUBLED]


def test_two_boxes_with_one_identity_are_told_once(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """A run that is back after another one: an event for each pair of runs, and a line in the log."""
    for run in (RUN_1, RUN_2, RUN_1, RUN_2, RUN_1, RUN_3, RUN_1):
        listening.take(f"{P}/presence", presence(run=run).to_json())
        listening.take(f"{P}/presence", presence(PresenceState.OFFLINE, run=run).to_json())
    listening.states()
    found = _doubles(listening.store)
    assert [{event.data.run, event.data.previous_run} for event in found] == [{RUN_1, RUN_2}, {RUN_1, RUN_3}]
    assert "two boxes use the token of this site" in found[0].data.detail
    assert f"site aloha: {found[0].data.detail}" in caplog.messages


def test_one_box_is_not_taken_for_two(listening: Listening) -> None:
    """Not one that starts anew, nor connects anew, nor one of which the broker remembers the life before."""
    for run, retained in ((RUN_1, True), (RUN_1, False), (RUN_2, False), (RUN_1, True), (RUN_2, False), (RUN_3, False)):
        listening.take(f"{P}/presence", presence(run=run).to_json(), retained=retained)
    listening.states()
    assert _doubles(listening.store) == []


class Sick:
    """A store that can be told to fail."""

    def __init__(self) -> None:
        self.is_down = True
        self.states_seen: list[StateRow] = []
        self.events_seen: list[EventRow] = []

    def states(self) -> list[StateRow]:
        return []

    def put_states(self, rows: Sequence[StateRow], with_samples: Sequence[SampleRow]) -> None:
        if self.is_down:
            raise StoreDown("the database does not answer")
        self.states_seen.extend(rows)

    def add_events(self, rows: Sequence[EventRow]) -> None:
        self.events_seen.extend(rows)


def test_a_database_that_is_gone_costs_neither_the_newest_state_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    store = Sick()
    subscriber = Subscriber(store, nowhere(), "simpang/v1", lambda: {"aloha": 1}, lambda _: None, now_ms=lambda: NOW)
    for number in range(12_000):
        subscriber.take(f"{P}/event", event(number), retained=False)
        subscriber.take(f"{P}/host", host(number), retained=False)
        if number % 1000 == 0:
            assert not subscriber._flush()
    assert len(subscriber._events) == 10_000
    assert len(subscriber._states) == 1
    assert len(caplog.records) == 1
    store.is_down = False
    assert subscriber._flush()
    assert [row.body for row in store.states_seen] == [host(11_999).decode()]
    assert len(store.events_seen) == 10_000


# --- against brokers ---


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "mosquitto":
        require_program("mosquitto")
    opened = open_broker(BrokerSettings(mode=request.param, listen="127.0.0.1:0"), tmp_path / "broker", [ALOHA])
    yield opened
    opened.stop()


@pytest.fixture
def reading(broker: Broker, sqlite_store: Store) -> Iterator[Any]:
    """A subscriber that runs at that broker, with the real clock."""
    subscriber = Subscriber(sqlite_store, broker.address, "simpang/v1", lambda: {"aloha": 1}, lambda _: None)
    subscriber.start()
    assert subscriber.connected.wait(15)
    yield subscriber
    assert subscriber.alive
    subscriber.stop()


def test_a_site_that_lies_through_a_broker_harms_nobody(broker: Broker, reading: Any, sqlite_store: Store) -> None:
    with Guest(broker, "aloha", "aloha-token") as site:
        for payload in (b"\xff\xfe", b"[" * 10_000, b"x" * (MAX_MESSAGE_BYTES + 100), host(at_ms=2 * NOW)):
            site.say(f"{P}/host", payload, retain=True)
        site.say("simpang/v1/batu/host", host())
        site.say("simpang/v1/stranger/host", host())
        site.say(f"{P}/event", event(1))
        site.say(f"{P}/host", host(at_ms=NOW - 1))
        until(lambda: sqlite_store.states("aloha") and sqlite_store.events("aloha", 1), 10, "state and event")
    assert set(reading.rejected) == {"not JSON", "too large", "from the future"}
    assert sqlite_store.states("batu") == []


def test_presence_follows_a_site_that_vanishes(broker: Broker, reading: Any, sqlite_store: Store) -> None:
    will = (f"{P}/presence", presence(PresenceState.OFFLINE).to_json())
    site = Guest(broker, "aloha", "aloha-token", will)
    site.say(f"{P}/presence", presence().to_json(), retain=True)
    until(lambda: "online" in str(sqlite_store.states("aloha")), 10, "online")
    site.vanish()
    until(lambda: "offline" in str(sqlite_store.states("aloha")), 10, "offline")


def test_two_boxes_at_a_broker_are_noticed(broker: Broker, reading: Any, sqlite_store: Store) -> None:
    """Each takes the connection over from the other, as a copied card does."""
    for run in (RUN_1, RUN_2, RUN_1):
        will = (f"{P}/presence", presence(PresenceState.OFFLINE, run=run).to_json())
        with Guest(broker, "aloha", "aloha-token", will) as site:
            site.say(f"{P}/presence", presence(run=run).to_json(), retain=True)
    until(lambda: _doubles(sqlite_store), 10, "the event")


def test_a_subscriber_waits_for_its_broker(
    sqlite_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    require_program("mosquitto")
    first = open_broker(BrokerSettings(mode="mosquitto", listen="127.0.0.1:0"), tmp_path / "b", [ALOHA])
    subscriber = Subscriber(sqlite_store, first.address, "simpang/v1", lambda: {"aloha": 1}, lambda _: None)
    first.stop()
    subscriber.start()
    until(lambda: caplog.records, 10, "a word on the missing broker")
    assert subscriber.alive
    listen = f"127.0.0.1:{first.address.port}"
    second: Any = open_broker(BrokerSettings(mode="mosquitto", listen=listen), tmp_path / "b", [ALOHA])
    subscriber._address = second.address
    assert subscriber.connected.wait(15)
    subscriber.stop()
    second.stop()


def test_an_old_broker_is_found_out(tmp_path: Path, sqlite_store: Store) -> None:
    """An external broker that speaks MQTT 3.1.1 only: the first try with MQTT 5 is in vain."""
    broker = open_broker(BrokerSettings(mode="amqtt", listen="127.0.0.1:0"), tmp_path / "b", [ALOHA])
    address = BrokerAddress(
        *(broker.address.host, broker.address.port, broker.address.username, broker.address.password)
    )
    subscriber = Subscriber(sqlite_store, address, "simpang/v1", lambda: {"aloha": 1}, lambda _: None)
    subscriber.start()
    assert subscriber.connected.wait(20)
    subscriber.stop()
    broker.stop()
