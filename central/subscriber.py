"""The now lane's reader: takes the state and the events of all sites from the broker into the store. On the same
connection it says what the sites are told.

One thread talks to the broker, one writes to the database. Between them lies the newest message of each topic, so that
a slow database costs neither the newest state nor memory. Nothing here is the only copy: state is retained at the
broker, events and samples come again as items.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event as Signal
from threading import Lock, Thread
from typing import Final, Protocol

from paho.mqtt import MQTTException
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import ValidationError

from central.core.timeline import FUTURE_MS
from central.core.turns import Turns
from central.errors import StoreDown
from central.settings import BrokerAddress
from central.store import EventRow, StateRow
from central.telemetry import SampleRow, said_at_ms
from edge_agent.contract import (
    MAX_MESSAGE_BYTES,
    WISH,
    CameraState,
    Event,
    EventData,
    EventType,
    Presence,
    PresenceState,
    Wish,
    instant,
    parse_topic,
)

_log = logging.getLogger(__name__)

_TOPICS_PER_SITE: Final = 72
_EVENTS_WAITING: Final = 10_000
_SAMPLES_WAITING: Final = 10_000
_LIVE_MS: Final = 60_000
_FLUSH_S: Final = 0.2
_HANDSHAKE_S: Final = 5.0
_RETRY_S: Final = 2.0
_SAY_AGAIN_S: Final = 60.0
_BROKEN: Final = (OSError, ValueError, LookupError, struct.error, MQTTException)
"""What paho raises at a broker that is gone, or that is none."""
_BAD_VERSION: Final = 0x84

_Key = tuple[str, str, str]


class _Store(Protocol):
    def states(self) -> list[StateRow]: ...
    def put_states(self, rows: Sequence[StateRow], with_samples: Sequence[SampleRow]) -> None: ...
    def add_events(self, rows: Sequence[EventRow]) -> None: ...


class _Reject(Exception):  # noqa: N818 - a judgement, not an error
    """A message that is not taken; its text is the kind of reason."""


def doubled(run: str, other: str, now_ms: int) -> Event:
    """The word that two boxes speak for one site; its id is the same whichever of the runs spoke last."""
    first, second = sorted((run, other))
    return Event(
        id=f"doubled-{first}-{second}",
        source="centre",
        type=EventType.SITE_DOUBLED,
        time=instant(now_ms),
        data=EventData(
            run=second,
            previous_run=first,
            detail=f"runs {first} and {second} take turns: two boxes use the token of this site; enrol one anew",
        ),
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def supersedes(new: Presence, old: Presence | None) -> bool:
    """Whether `new` is the word to keep: not the late will of an old run, nor of a run that had said goodbye."""
    if old is None or new.state is not PresenceState.OFFLINE:
        return True
    said_goodbye = old.state in (PresenceState.ASLEEP, PresenceState.STOPPING)
    return new.run > old.run or (new.run == old.run and not said_goodbye)


class Subscriber:
    """Reads `<prefix>/+/#` until stopped."""

    def __init__(
        self,
        store: _Store,
        address: BrokerAddress,
        prefix: str,
        sites: Callable[[], Mapping[str, object]],
        on_change: Callable[[set[str]], None],
        now_ms: Callable[[], int] = _wall_ms,
    ) -> None:
        self._store, self._address, self._prefix = store, address, prefix
        self._sites, self._on_change, self._now_ms = sites, on_change, now_ms
        self._lock = Lock()
        self._latest: dict[_Key, str] = {(row.site, row.topic, row.camera): row.body for row in store.states()}
        self._topics = Counter(site for site, _, _ in self._latest)
        self._turns = Turns()
        self._states: dict[_Key, StateRow] = {}
        self._events: deque[EventRow] = deque(maxlen=_EVENTS_WAITING)
        self._wishes: dict[str, bytes] = {}
        self._untold: dict[str, bytes] = {}
        self._samples: deque[SampleRow] = deque(maxlen=_SAMPLES_WAITING)
        self.rejected: Counter[str] = Counter()
        self._said_s: dict[str, float] = {}
        self._version = MQTTProtocolVersion.MQTTv5 if address.speaks_mqtt5 else MQTTProtocolVersion.MQTTv311
        self.connected = Signal()
        self._stop = Signal()
        self._threads = [
            Thread(target=self._read, name="subscriber", daemon=True),
            Thread(target=self._write, name="state-writer", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take leave of the broker and write what waits."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._flush()

    @property
    def alive(self) -> bool:
        """Whether both threads run; a dead one is a bug."""
        return all(thread.is_alive() for thread in self._threads)

    def tell(self, site: str, wish: Wish) -> None:
        """The wish is retained for the site, soon and after each reconnection; from any thread, at once."""
        topic, body = WISH.path(self._prefix, site), wish.to_json()
        self._wishes[topic] = body
        self._untold[topic] = body

    # --- the broker's side ---

    def _read(self) -> None:
        while not self._stop.is_set():
            newest = self._version == MQTTProtocolVersion.MQTTv5
            trouble = self._session()
            self.connected.clear()
            if newest and self._version != MQTTProtocolVersion.MQTTv5:
                continue
            if not self._stop.is_set():
                self._say(f"broker {self._address.host}:{self._address.port}: {trouble}; trying again")
                self._stop.wait(_RETRY_S)

    def _session(self) -> str:
        """One connection from beginning to end; why it ended."""
        answers: list[ReasonCode] = []

        def on_connect(client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
            answers.append(reason)
            if not reason.is_failure:
                client.subscribe(f"{self._prefix}/+/#", qos=1)
                self._untold = dict(self._wishes)
                self.connected.set()

        client = Client(CallbackAPIVersion.VERSION2, protocol=self._version, reconnect_on_failure=False)
        client.username_pw_set(self._address.username or "", self._address.password)
        client.on_connect = on_connect
        client.on_message = self._on_message
        try:
            client.connect(self._address.host, self._address.port, keepalive=15)
            deadline_s = time.monotonic() + _HANDSHAKE_S
            while not self._stop.is_set() and (answers or time.monotonic() < deadline_s):
                if client.loop(0.5) != MQTT_ERR_SUCCESS:
                    break
                while self._untold and self.connected.is_set():
                    topic, body = self._untold.popitem()
                    client.publish(topic, body, qos=1, retain=True)
            client.disconnect()
        except _BROKEN as error:
            return str(error) or type(error).__name__
        if self._stop.is_set():
            return "stopped"
        if not answers or answers[0].value == _BAD_VERSION:  # mute, hung up on us, or said so
            other = {MQTTProtocolVersion.MQTTv5: MQTTProtocolVersion.MQTTv311}
            self._version = other.get(self._version, MQTTProtocolVersion.MQTTv5)
            return "does not speak this version of MQTT"
        return f"refuses us: {answers[0]}" if answers[0].is_failure else "connection lost"

    def _on_message(self, _client: object, _data: object, message: MQTTMessage) -> None:
        self.take(message.topic, bytes(message.payload), retained=message.retain)

    def take(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Keep the message for the store, or count why not."""
        if not payload or topic.endswith(f"/{WISH.group}"):
            return  # somebody cleared a retained message; or we hear ourselves
        try:
            self._take(topic, payload, retained=retained)
        except _Reject as reason:
            kind = str(reason)
            self.rejected[kind] += 1
            self._say(f"refused a message: {kind}", f"{topic[:200]!r} ({self.rejected[kind]} so far)")

    def _take(self, topic: str, payload: bytes, *, retained: bool) -> None:
        try:
            address = parse_topic(self._prefix, topic)
        except ValueError as error:
            raise _Reject("not a topic of ours") from error
        if len(payload) > MAX_MESSAGE_BYTES:
            raise _Reject("too large")
        if address.site not in self._sites():
            raise _Reject("unknown site")
        try:
            message = address.topic.model.model_validate_json(payload)
        except ValidationError as error:
            raise _Reject("not JSON" if error.errors()[0]["type"] == "json_invalid" else "not as agreed") from error
        now_ms = self._now_ms()
        if said_at_ms(message) > now_ms + FUTURE_MS:
            raise _Reject("from the future")
        if isinstance(message, CameraState) and message.camera != address.camera:
            raise _Reject("speaks of another camera")
        if isinstance(message, Event):
            try:
                event = EventRow.of(address.site, message, now_ms)
            except ValueError as error:
                raise _Reject("not as agreed") from error
            with self._lock:
                self._events.append(event)
            return
        key = (address.site, address.topic.group, address.camera or "")
        body = message.to_json().decode()
        with self._lock:
            known = self._latest.get(key)
            if retained and body == known:
                return  # told again because we connected again: no news
            if isinstance(message, Presence):
                if not supersedes(message, Presence.model_validate_json(known) if known else None):
                    raise _Reject("late will")
                if message.state is PresenceState.ONLINE and not retained:  # a broker may remember who was before
                    self._look_for_two(address.site, message.run, now_ms)
            elif retained and known and said_at_ms(message) < said_at_ms(type(message).model_validate_json(known)):
                return  # a broker that lost its memory tells what was before
            elif known is None and self._topics[address.site] >= _TOPICS_PER_SITE:
                raise _Reject("too many cameras")
            self._topics[address.site] += known is None
            self._latest[key] = body
            self._states[key] = StateRow(*key, received_ms=now_ms, body=body)
            # What is not of now may be of a wrong clock; its copy in the spool says by which.
            if not isinstance(message, Presence) and abs(said_at_ms(message) - now_ms) <= _LIVE_MS:
                self._samples.append(SampleRow.of(*key, message, now_ms))

    def _look_for_two(self, site: str, run: str, now_ms: int) -> None:
        """If two boxes are one site, that is an event, once; with the lock held."""
        if other := self._turns.take(site, run):
            event = doubled(run, other, now_ms)
            self._events.append(EventRow.of(site, event, now_ms))
            self._say(f"site {site}", event.data.detail)

    def _say(self, kind: str, more: str = "") -> None:
        """Log this kind of trouble, at most once a minute."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(kind, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said_s[kind] = now_s
            _log.warning("%s", f"{kind}: {more}" if more else kind)

    # --- the database's side ---

    def _write(self) -> None:
        while not self._stop.wait(_FLUSH_S):
            if not self._flush():
                self._stop.wait(_RETRY_S)

    def _flush(self) -> bool:
        with self._lock:
            states, self._states = self._states, {}
            events, samples = list(self._events), list(self._samples)
            self._events.clear()
            self._samples.clear()
        try:
            self._store.put_states(list(states.values()), samples)
            self._store.add_events(events)
        except StoreDown as error:
            with self._lock:
                self._states = states | self._states
                self._events.extendleft(reversed(events))
                self._samples.extendleft(reversed(samples))
            self._say(str(error))
            return False
        if states or events:
            self._on_change({row.site for row in states.values()} | {row.site for row in events})
        return True
