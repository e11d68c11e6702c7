"""The now lane: an MQTT connection that tells the latest state and never holds up whoever has news; and the wish lane:
what the centre would like comes the same way.

All of paho runs in the one thread that calls `run_once`; other threads leave their messages in a dictionary (state:
the latest wins) or a short queue (events; the spool has them, too). Each connection is a new client, so nothing stale
is ever repeated: after a break the retained groups are told again as they are then, because the broker may have
forgotten them.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import ssl
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paho.mqtt import MQTTException
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import ValidationError

from edge_agent.contract import EVENT, PRESENCE, WISH, Presence, PresenceState, Reach, Wish, instant
from edge_agent.core.backoff import delay_s, is_told
from edge_agent.core.rivals import Rivals
from edge_agent.errors import LinkError, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.client import MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_agent.clock import Clock
    from edge_agent.settings import BrokerSettings

log = logging.getLogger(__name__)

_EVENTS: Final = 200
_HEARD: Final = 20
_TURN_S: Final = 3.0
"""News come at once; so often it looks whether it is time for a word to keep the connection alive."""
_HANDSHAKE_S: Final = 3.0
_FAREWELL_S: Final = 2.0
_GARBAGE: Final = (OSError, ValueError, LookupError, struct.error, MQTTException)
"""What paho raises at a broker that is gone, or that is none."""
VERSIONS: Final = (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311)
"""Tried in this order; the one that worked is kept for the life of the agent."""
_AHEAD_MS: Final = 60_000
"""Clocks that differ by less are both right enough."""
_BAD_VERSION: Final = 0x84
_RIVAL: Final = "another box connects as this site; switch it off, or enrol one of them anew"
_TAKEN_OVER: Final = 0x8E
_BAD_CREDENTIALS: Final = frozenset({0x86, 0x87, 0x8A})


@dataclass(frozen=True, slots=True)
class Door:
    """The broker, and who we are there."""

    settings: BrokerSettings
    site: str
    token: str

    @property
    def where(self) -> str:
        """The broker's address, for people."""
        return f"broker {self.settings.host}:{self.settings.port}"


class _NotThisVersion(Unreachable):
    """The broker does not speak the version of MQTT that it was asked in."""


class _Ledger:
    """What the broker said. An object of its own: paho's client and the session that has it make no circle, so that
    its sockets are closed as soon as the session is dropped.
    """

    def __init__(self) -> None:
        self.answer: ReasonCode | None = None
        self.unacknowledged = self.denied = 0
        self.is_taken_over = False
        self.heard: deque[tuple[str, bytes]] = deque(maxlen=_HEARD)

    def on_connect(self, _client: object, _data: object, _flags: object, answer: ReasonCode, _more: object) -> None:
        self.answer = answer

    def on_disconnect(self, _client: object, _data: object, _flags: object, why: ReasonCode, _more: object) -> None:
        self.is_taken_over = why.value == _TAKEN_OVER

    def on_publish(self, _client: object, _data: object, _mid: object, answer: ReasonCode, _more: object) -> None:
        self.unacknowledged -= 1
        self.denied += answer.is_failure

    def on_message(self, _client: object, _data: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))


class Session:
    """One connection to a broker, from its acceptance to its end; for one thread at a time."""

    def __init__(
        self, door: Door, client_id: str, version: MQTTProtocolVersion, will: tuple[str, bytes] | None
    ) -> None:
        self.ledger = _Ledger()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False)
        self._client.username_pw_set(door.site, door.token)
        self._client.on_connect = self.ledger.on_connect
        self._client.on_disconnect = self.ledger.on_disconnect
        self._client.on_publish = self.ledger.on_publish
        self._client.on_message = self.ledger.on_message
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        broker = door.settings
        try:
            if broker.tls:
                self._client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file))
            self._client.connect(broker.host, broker.port, keepalive=broker.keepalive_s)
        except _GARBAGE as error:
            raise Unreachable(f"{door.where}: {error}", "check host, port and tls in [broker]") from error
        self._shake_hands(door.where)

    def _shake_hands(self, where: str) -> None:
        until = time.monotonic() + _HANDSHAKE_S
        while self.ledger.answer is None and self.turn(0.1):
            if time.monotonic() > until:
                # amqtt chokes on the will of MQTT 5 and says nothing at all.
                raise _NotThisVersion(f"{where}: does not answer", "check that an MQTT broker listens on this port")
        answer = self.ledger.answer
        if answer is None:
            raise _NotThisVersion(f"{where}: hangs up on us", "check that an MQTT broker listens on this port")
        if answer.value in _BAD_CREDENTIALS:
            raise Refused(f"{where}: refuses us: {answer}", "check `site` and the token, or enrol the site anew")
        if answer.value == _BAD_VERSION:
            raise _NotThisVersion(f"{where}: {answer}", "use a broker that speaks MQTT 5 or 3.1.1")
        if answer.is_failure:
            raise Unreachable(f"{where}: {answer}", "see the broker's log")

    def publish(self, topic: str, body: bytes, *, retain: bool) -> None:
        """Hand over one message, QoS 1."""
        self.ledger.unacknowledged += 1
        self._client.publish(topic, body, qos=1, retain=retain)

    def listen(self, topic: str) -> None:
        """What is retained on that topic, and what is said there from now on, comes into the ledger's `heard`."""
        self._client.subscribe(topic, qos=1)

    def turn(self, patience_s: float, wake: socket.socket | None = None) -> bool:
        """Move bytes once some can be moved, `wake` can be read, or `patience_s` passed; false when it has ended."""
        sock = self._client.socket()
        if sock is None:
            return False
        try:
            select.select([sock, wake] if wake else [sock], [sock] if self._client.want_write() else [], [], patience_s)
            return self._client.loop(0) == MQTT_ERR_SUCCESS
        except _GARBAGE:
            return False

    def close(self) -> None:
        """Take leave once all is acknowledged or patience ends, so that the will stays unsaid."""
        until = time.monotonic() + _FAREWELL_S
        while self.ledger.unacknowledged and time.monotonic() < until and self.turn(0.1):
            pass
        self._client.disconnect()
        self.turn(0)


def connect(
    door: Door,
    client_id: str,
    will: tuple[str, bytes] | None = None,
    versions: Sequence[MQTTProtocolVersion] = VERSIONS,
) -> tuple[Session, MQTTProtocolVersion]:
    """A session in the first of the versions that the broker speaks; and which that is.

    LinkError: Refused where the credentials are to blame, else Unreachable.
    """
    *others, last = versions
    for version in others:
        with suppress(_NotThisVersion):
            return Session(door, client_id, version, will), version
    return Session(door, client_id, last, will), last


class Bus:
    """The agent's word at the broker: presence with its will, the retained groups, and events.

    Called in the bus's own thread, which they must not hold up: `on_wish` with each wish of the centre that is news,
    `on_rival` with what is wrong when it turns out that another box connects as this site.

    Two boxes of one name take the connection from each other. Some brokers give that as the reason when they hang up
    (MQTT 5). With all, whoever returns finds the other's word where it left its own.
    """

    def __init__(
        self, door: Door, run: str, clock: Clock, on_wish: Callable[[Wish], None], on_rival: Callable[[str], None]
    ) -> None:
        self._door, self._run, self._clock, self._on_wish, self._on_rival = door, run, clock, on_wish, on_rival
        self._rivals, self._since_ms = Rivals(), 0
        self._is_met = True  # whose word is there at first was before us
        self._wish: Wish | None = None
        self._bad_wishes = 0
        self._base = f"{door.settings.prefix}/{door.site}/"
        self._states: dict[str, bytes] = {}
        self._fresh: dict[str, bytes] = {}
        self._events: deque[bytes] = deque(maxlen=_EVENTS)
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._greetings: deque[str] = deque(maxlen=1)
        self._again = ""
        self._session: Session | None = None
        self._failures = 0
        self._told = ""
        self._versions: Sequence[MQTTProtocolVersion] = VERSIONS

    @property
    def reach(self) -> Reach:
        """Whether the broker has us."""
        if self._session is not None:
            return Reach.UP
        return Reach.DOWN if self._failures else Reach.UNKNOWN

    def state(self, group: str, body: bytes) -> None:
        """`body` is what is retained for that group, soon and after each reconnection; from any thread, at once."""
        self._states[group] = body
        self._fresh[group] = body
        self.stir()

    def event(self, body: bytes) -> None:
        """The event is told soon, or lost here if the broker stays away; from any thread, at once."""
        self._events.append(body)
        self.stir()

    def greet(self, words: str, again: str = "") -> None:
        """Our presence is told with these words soon, once, and with `again` at each later reconnection; likewise."""
        self._again = again
        self._greetings.append(words)
        self.stir()

    def stir(self) -> None:
        """Whatever it waits for, it has its next turn at once; from any thread."""
        with suppress(BlockingIOError):  # then enough is waiting to wake it
            self._waker.send(b".")

    def run_once(self) -> float:
        """One turn of the connection, or one attempt to have one; seconds until the next."""
        if self._session is None:
            return self._connect()
        self._hand_over(self._session)
        self._judge(self._rivals.while_held(self._clock.monotonic_ms() - self._since_ms))
        if self._session.turn(_TURN_S, self._wake):
            self._mention_denials(self._session)
            while self._session.ledger.heard:
                topic, body = self._session.ledger.heard.popleft()
                self._take_wish(body) if topic.endswith(WISH.group) else self._take_presence(body)
            return 0
        self._is_met = self._session.ledger.is_taken_over
        self._session, self._failures = None, 1
        if self._is_met:
            self._judge(self._rivals.meet())
        if not self._rivals.are_sure:
            log.warning("%s: connection lost", self._door.where)
        return self._rivals.wait_s(random.random())  # noqa: S311 - spreads load, guards nothing

    def _connect(self) -> float:
        # The same client id in every life: the broker then ends a half-open session at once, and says its will before
        # we say that we are there.
        will = self._base + PRESENCE.group, self._presence(PresenceState.OFFLINE, "connection lost")
        try:
            self._session, version = connect(self._door, f"simpang-{self._door.site}", will, self._versions)
        except LinkError as error:
            self._failures += 1
            if str(error) != self._told or (is_told(self._failures) and not isinstance(error, Refused)):
                log.warning("%s (attempt %d)", error, self._failures)
                self._told = str(error)
            first_s, most_s = (30, 300) if isinstance(error, Refused) else (1, 60)
            return delay_s(self._failures, random.random(), first_s=first_s, most_s=most_s)  # noqa: S311
        log.info("%s: connected, %s, after %d failures", self._door.where, version.name, self._failures)
        self._failures, self._told, self._versions = 0, "", (version,)
        self._since_ms = self._clock.monotonic_ms()
        self._session.listen(self._base + WISH.group)
        self._session.listen(self._base + PRESENCE.group)
        self._be_there(self._session)
        self._fresh = dict(self._states)
        return 0

    def _be_there(self, session: Session) -> None:
        words = self._greetings.popleft() if self._greetings else self._again
        word = self._presence(PresenceState.ONLINE, _RIVAL if self._rivals.are_sure else words)
        session.publish(self._base + PRESENCE.group, word, retain=True)

    def _hand_over(self, session: Session) -> None:
        with suppress(BlockingIOError):
            while self._wake.recv(1024):
                pass
        if self._greetings:
            self._be_there(session)
        while self._fresh:
            group, body = self._fresh.popitem()
            session.publish(self._base + group, body, retain=True)
        while self._events:
            session.publish(self._base + EVENT.group, self._events.popleft(), retain=False)

    def _mention_denials(self, session: Session) -> None:
        if session.ledger.denied and self._told != "denied":
            self._told = "denied"
            log.warning("%s: denies us topics; let the site write below %s in its ACL", self._door.where, self._base)

    def _take_wish(self, body: bytes) -> None:
        try:
            wish = Wish.model_validate_json(body)
        except ValidationError as error:
            self._bad_wishes += 1
            if is_told(self._bad_wishes):
                first = error.errors(include_input=False, include_url=False)[0]["msg"]
                log.warning("a wish of the centre cannot be read (%d so far): %s", self._bad_wishes, first)
            return
        known = self._wish
        # One from a moment that has not come yet was a wrong clock's, theirs or ours; it must not be the last word.
        latest = instant(self._clock.now_ms() + _AHEAD_MS)
        if known is None or (wish != known and (wish.at >= known.at or known.at > latest)):
            self._wish = wish
            self._on_wish(wish)

    def _take_presence(self, body: bytes) -> None:
        with suppress(ValidationError):
            if Presence.model_validate_json(body).run != self._run and not self._is_met:
                self._is_met = True
                self._judge(self._rivals.meet())

    def _judge(self, rivals: Rivals) -> None:
        before, self._rivals = self._rivals, rivals
        if rivals.are_sure and rivals != before and is_told(rivals.met - 1):
            log.error("%s: %s (seen %d times)", self._door.where, _RIVAL, rivals.met)
        elif before.are_sure and not rivals.are_sure:
            log.info("%s: no other box connects as this site any more", self._door.where)
        if before.are_sure is rivals.are_sure:
            return
        if rivals.are_sure:
            self._on_rival(_RIVAL)
        if self._session:
            self._be_there(self._session)

    def _presence(self, state: PresenceState, reason: str) -> bytes:
        return Presence(state=state, run=self._run, reason=reason, at=instant(self._clock.now_ms())).to_json()

    def leave(self, state: PresenceState, reason: str) -> None:
        """The last word of this run is retained, if there is a connection; after the last `run_once`."""
        if self._session is not None:
            self._hand_over(self._session)
            self._session.publish(self._base + PRESENCE.group, self._presence(state, reason), retain=True)
            self._session.close()

    def close(self) -> None:
        """The connection is gone; without `leave` the broker says the will."""
        self._session = None
        self._wake.close()
        self._waker.close()
