"""amqtt in a thread of this process, for where no mosquitto is installed. It speaks MQTT 3.1.1 only."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final, cast

from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from central.enrolment import broker_hash_fits
from central.errors import BrokerDown
from edge_agent.contract import parse_topic

_GRACE_S: Final = 2.0


@dataclass
class _Rules:
    """What amqtt hands to the plugins below."""

    password_file: str
    prefix: str
    centre: str
    reader: str


def _may_write(rules: _Rules, user: str | None, topic: str) -> bool:
    if user == rules.centre:
        return topic.startswith(f"{rules.prefix}/")
    try:
        return user is not None and parse_topic(rules.prefix, topic).site == user
    except ValueError:
        return False


def _may_read(rules: _Rules, user: str | None, topic: str) -> bool:
    below = rules.prefix if user in (rules.centre, rules.reader) else f"{rules.prefix}/{user}"
    return user is not None and topic.startswith(f"{below}/")


class Credentials(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Lets in whom the password file knows, and refuses a will that its owner may not publish."""

    Config = _Rules

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules = cast("_Rules", self.config)

    async def authenticate(self, *, session: Session) -> bool:
        """Whether the session's user has that password and may publish its will: amqtt checks no will itself."""
        user, password = session.username, session.password
        if not user or not password:
            return False
        known = dict(line.split(":", 1) for line in Path(self._rules.password_file).read_text().splitlines())
        if user not in known or not broker_hash_fits(password, known[user]):
            return False
        return not session.will_flag or _may_write(self._rules, user, session.will_topic or "")


class Access(BaseTopicPlugin):  # type: ignore[misc]
    """Who may write and read which topic: the same rules as Mosquitto's access file."""

    Config = _Rules

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules = cast("_Rules", self.config)

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Whether the session may do this."""
        user = session.username if session else None
        allowed = _may_write if action is Action.PUBLISH else _may_read
        return allowed(self._rules, user, topic or "")


class TidyBroker(Broker):  # type: ignore[misc]
    """amqtt's broker, which by itself leaves connections open that it refused or could not read."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """The connection is served, then closed."""
        try:
            with suppress(OSError):  # the client was gone before it was refused
                await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.transport.abort()


class Amqtt:
    """A running amqtt broker."""

    def __init__(self, host: str, port: int, password_file: Path, prefix: str, centre: str, reader: str) -> None:
        rules = {"password_file": str(password_file), "prefix": prefix, "centre": centre, "reader": reader}
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {f"{__name__}.Credentials": rules, f"{__name__}.Access": rules},
        }
        self._ready = Event()
        self._trouble: AMQTTError | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it reports each bad client, some with a traceback
        logging.getLogger("transitions").setLevel(logging.WARNING)
        self._thread = Thread(target=self._run, name="amqtt", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._trouble is not None:
            raise BrokerDown(f"amqtt does not start on {host}:{port}: {self._trouble}") from self._trouble

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            broker = TidyBroker(self._config)
            await broker.start()
        except AMQTTError as error:
            self._trouble = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        # From Python 3.12 on this waits for every client to leave, even for one whose CONNECT it cannot read.
        with suppress(TimeoutError):
            await asyncio.wait_for(broker.shutdown(), _GRACE_S)

    def stop(self) -> None:
        """Close the door and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
