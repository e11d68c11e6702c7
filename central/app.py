"""The centre's front door: opens store, archive and broker, starts the doors, and ends them in good order.

The main thread waits for the word to stop; meanwhile it looks once a second whether sites were enrolled and whether
all that it started is alive, and lets a little of the oldest history go.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any, Final
from zoneinfo import ZoneInfo

import uvicorn
from starlette.types import ASGIApp

from central.archive import Archive
from central.broker import READER, Broker, open_broker
from central.enrolment import Roll
from central.errors import BrokerDown, SettingsError, StoreDown
from central.ingest import Ingest
from central.settings import Settings, split_address
from central.store import Store
from central.subscriber import Subscriber
from central.web import pages
from central.web.api import Console, create_app
from central.web.stream import Changes
from central.wishes import Wishes

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_DAY_MS: Final = 86_400_000
_GRACE_S: Final = 3
_KEEP_ALIVE_S: Final = 120


def open_store(settings: Settings) -> Store:
    """The store that the settings name; SettingsError, StoreDown."""
    if settings.database_url is not None:
        return Store.open(settings.database_url.get_secret_value())
    return Store.open(f"sqlite:///{_home(settings) / 'central.sqlite'}")


def open_archive(settings: Settings) -> Archive:
    """The archive that the settings name; SettingsError."""
    url = settings.archive_url or str(_home(settings) / "archive")
    return Archive.open(url, settings.s3, settings.reserve_bytes)


def reachable(settings: Settings) -> tuple[str, str, int]:
    """How agents reach us: the URL of the agent door, and host and port of the broker."""
    try:
        running = json.loads((settings.directory / _SERVE_FILE).read_text())
    except (OSError, ValueError):
        running = {}
    host, port = split_address(settings.agent_listen)
    if port == 0:
        port = int(running.get("agent_url", ":0").rpartition(":")[2])
    agent_url = settings.public_agent_url or f"http://{_outside(host)}:{port}"
    if settings.broker.mode == "external":
        broker_host, broker_port = settings.broker.host, settings.broker.port
    else:
        broker_host, broker_port = split_address(settings.broker.listen)
        broker_port = broker_port or int(running.get("broker_port", 0))
    if not (port or settings.public_agent_url) or not broker_port:
        raise SettingsError("the ports are picked at start and nothing runs", "start `central serve` first")
    return agent_url, settings.public_broker_host or _outside(broker_host), broker_port


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; SettingsError, StoreDown, BrokerDown when it cannot start."""
    stop = Signal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    home = _home(settings)
    with ExitStack() as cleanup:
        store = open_store(settings)
        cleanup.callback(store.close)
        archive = open_archive(settings)
        archive.sweep()
        roll = Roll(store)
        roll.refresh()
        agent_socket = _listen("agent_listen", settings.agent_listen, cleanup)
        console_socket = _listen("console_listen", settings.console_listen, cleanup)
        broker = open_broker(settings.broker, home / "broker", roll.sites.values())
        cleanup.callback(broker.stop)
        changes = Changes()
        ingest = Ingest(store, archive, roll.site_of_token, settings.in_flight_bytes)
        cleanup.callback(ingest.close)
        subscriber = Subscriber(store, broker.address, settings.broker.prefix, lambda: roll.sites, changes.mark)
        subscriber.start()
        cleanup.callback(subscriber.stop)
        wishes = Wishes(store, settings.pace, lambda: roll.sites, subscriber.tell)
        wishes.start()
        cleanup.callback(wishes.stop)
        console = Console(store, archive, changes, ZoneInfo(settings.timezone))
        console_app = create_app(console)
        pages.mount(console_app)
        doors = [_Door("agent-door", ingest.app(), agent_socket), _Door("console", console_app, console_socket)]
        gc.freeze()  # what is there by now stays, and is not looked through for garbage again and again
        for door in doors:
            door.start()
            cleanup.callback(door.stop)
        cleanup.callback(console.stopping.set)
        serve_file = home / _SERVE_FILE
        _announce(serve_file, doors, broker)
        if settings.broker.mode != "external":
            listen = "to listen along: mosquitto_sub -v -h %s -p %d -t '%s/#' -u %s -P \"$(cat '%s')\""
            password_file = home / "broker" / f"{READER}.password"
            _log.info(listen, broker.address.host, broker.address.port, settings.broker.prefix, READER, password_file)
        cleanup.callback(serve_file.unlink, missing_ok=True)
        trouble = ""
        while not stop.wait(_LOOK_S):
            before, trouble = trouble, _look(roll, broker, changes) or _forget(store, settings.history_days)
            if trouble != before:
                _log.error("%s", trouble or "store and broker are well again")
            if not (ingest.alive and subscriber.alive and wishes.alive and all(door.alive for door in doors)):
                raise RuntimeError("a thread of the centre has ended")
    _log.info("stopped")


_SERVE_FILE: Final = "serve.json"


def _announce(serve_file: Path, doors: list[_Door], broker: Broker) -> None:
    agent_door, console = doors
    draft = serve_file.with_suffix(".new")
    draft.write_text(
        json.dumps(
            {
                "agent_url": agent_door.url,
                "console_url": console.url,
                "broker_host": broker.address.host,
                "broker_port": broker.address.port,
                "pid": os.getpid(),
            }
        )
    )
    draft.replace(serve_file)
    where = f"{broker.address.host}:{broker.address.port}"
    _log.info("ready: agents at %s, page at %s, broker (%s) at %s", agent_door.url, console.url, broker.kind, where)


def _look(roll: Roll, broker: Broker, changes: Changes) -> str:
    """Admit who was enrolled, raise a dead broker; the trouble there is, or nothing."""
    try:
        broker.check()
        known = set(roll.sites)
        if roll.refresh():
            broker.admit(roll.sites.values())
            changes.mark(known ^ set(roll.sites))
    except (StoreDown, BrokerDown) as error:
        return str(error)
    return ""


def _forget(store: Store, days: int) -> str:
    """A little of what is too old for the history is gone; the trouble there is, or nothing."""
    try:
        store.forget_samples(time.time_ns() // 1_000_000 - days * _DAY_MS)
    except StoreDown as error:
        return str(error)
    return ""


class _Door:
    """An HTTP server in a thread of its own."""

    def __init__(self, name: str, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, args=([listener],), name=name, daemon=True)
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


def _home(settings: Settings) -> Path:
    directory = settings.directory.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make the directory {directory}: {error.strerror}", "choose another") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SettingsError(f"the directory {directory} is not writable", "change its owner, or choose another")
    return directory


def _listen(setting: str, address: str, cleanup: ExitStack) -> socket.socket:
    host, port = split_address(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = cleanup.enter_context(socket.create_server((host, port), family=family, backlog=2048))
        # What is accepted inherits it. Else the second part of an answer waits until the caller confirms the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {address}: {error.strerror}", f"stop what listens there, or change {setting}"
        ) from error


def _outside(host: str) -> str:
    """The host that others reach a listener by: for a wildcard, our address on the way out."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        address: Any = probe.getsockname()[0]
        return str(address)
