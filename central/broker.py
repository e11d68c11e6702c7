"""Our own MQTT broker: Debian's mosquitto as a child, or amqtt in a thread, behind one password and one access file.

User is the site, password its token. A site writes its own topics of the contract, and nothing else; it reads only
below its own name. `CENTRE` may do everything below the prefix; `READER` may read everything, for people with an MQTT
client, and has its password in a file that only the operator can read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from central import small_file
from central.broker_amqtt import Amqtt
from central.enrolment import broker_hash
from central.errors import BrokerDown, SettingsError
from central.settings import BrokerAddress, BrokerSettings, split_address
from central.store import SiteRow
from edge_agent.contract import MAX_MESSAGE_BYTES, TOPICS

_log = logging.getLogger(__name__)

CENTRE: Final = "Centre"
"""The centre's user. With its capital it can be no site, and what a site may write below its name is no site's."""
READER: Final = "Reader"
"""A user who may read everything."""
_HEADER_BYTES: Final = 4096
"""More than the topic and the properties of a message take."""
_START_S: Final = 10.0
_STOP_S: Final = 5.0


class Broker(Protocol):
    """A broker that the centre can use."""

    address: BrokerAddress
    kind: str

    def admit(self, sites: Iterable[SiteRow]) -> None:
        """Exactly these sites may come in, from now on; HomeDown."""

    def check(self) -> None:
        """Make sure that it runs: a dead child is started again; BrokerDown."""

    def stop(self) -> None:
        """End it."""


def open_broker(settings: BrokerSettings, directory: Path, sites: Iterable[SiteRow]) -> Broker:
    """The broker that the settings ask for, running; BrokerDown, HomeDown, SettingsError."""
    if settings.mode == "external":
        return _External(settings)
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if settings.mode == "mosquitto" and program is None:
        raise SettingsError(
            "broker.mode is mosquitto, which is not installed", "apt-get install mosquitto, or choose amqtt"
        )
    if program is not None and settings.mode != "amqtt":
        return _Mosquitto(program, settings, directory, sites)
    return _InProcess(settings, directory, sites)


class _External:
    """A broker that somebody else runs, and admits the sites to."""

    def __init__(self, settings: BrokerSettings) -> None:
        password = settings.password.get_secret_value() if settings.password else None
        self.address = BrokerAddress(settings.host, settings.port, settings.username, password)
        self.kind = "external"

    def admit(self, sites: Iterable[SiteRow]) -> None: ...

    def check(self) -> None: ...

    def stop(self) -> None: ...


class _Passwords:
    """The password file, in Mosquitto's format."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "passwords"
        self.centre = secrets.token_urlsafe(32)
        reader_file = directory / f"{READER}.password"
        if not (reader_file.exists() and reader_file.read_text().strip()):
            small_file.write(reader_file, secrets.token_urlsafe(12) + "\n")
        self._fixed = [
            f"{CENTRE}:{broker_hash(self.centre)}",
            f"{READER}:{broker_hash(reader_file.read_text().strip())}",
        ]

    def write(self, sites: Iterable[SiteRow]) -> None:
        small_file.write(
            self.path, "\n".join([*self._fixed, *(f"{row.site}:{row.broker_hash}" for row in sites)]) + "\n"
        )


def _access(prefix: str) -> Iterator[str]:
    """Mosquitto's access file. The patterns hold for every site, so that it never changes."""
    yield f"user {CENTRE}"
    yield f"topic readwrite {prefix}/#"
    yield f"user {READER}"
    yield f"topic read {prefix}/#"
    yield f"pattern read {prefix}/%u/#"
    for topic in TOPICS:
        yield f"pattern write {topic.path(prefix, '%u', '+')}"


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; BrokerDown when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BrokerDown(
                f"the broker cannot listen on {host}:{port}: {error.strerror}",
                "change broker.listen, or stop the other",
            ) from error
        return int(probe.getsockname()[1])


def _near(host: str) -> str:
    """Where we reach a socket that listens on that host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


class _Mosquitto:
    """A child process that ends with us."""

    def __init__(self, program: str, settings: BrokerSettings, directory: Path, sites: Iterable[SiteRow]) -> None:
        host, port = split_address(settings.listen)
        port = _free_port(host, port)
        directory = directory.absolute()
        self._passwords = _Passwords(directory)
        self._passwords.write(sites)
        access, config = directory / "access", directory / "mosquitto.conf"
        small_file.write(access, "\n".join(_access(settings.prefix)) + "\n")
        small_file.write(
            config,
            "\n".join(
                [
                    f"listener {port} {host}",
                    "allow_anonymous false",
                    f"password_file {self._passwords.path}",
                    f"acl_file {access}",
                    f"user {pwd.getpwuid(os.geteuid()).pw_name}",
                    "persistence false",  # state is retained again by whoever owns it; history goes over HTTP
                    f"max_packet_size {MAX_MESSAGE_BYTES + _HEADER_BYTES}",
                    # 0 would mean unlimited, with which a denied message makes Mosquitto 2.0 drop the client.
                    "max_queued_messages 1000",
                    "log_dest stderr",
                    "log_type error",
                    "log_type warning",
                ]
            )
            + "\n",
        )
        # Ends with us even when we are killed, so that the next life finds its port free.
        leash = shutil.which("setpriv")
        self._command = [*([leash, "--pdeathsig", "TERM"] if leash else []), program, "-c", str(config)]
        self.address = BrokerAddress(_near(host), port, CENTRE, self._passwords.centre)
        self.kind = "mosquitto"
        self._child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and child.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.address.host, self.address.port), 1):
                return child
            time.sleep(0.02)
        child.kill()
        child.wait()
        raise BrokerDown(
            f"mosquitto does not start on port {self.address.port}: exit code {child.returncode}",
            "its own words are above",
        )

    def admit(self, sites: Iterable[SiteRow]) -> None:
        self._passwords.write(sites)
        self._child.send_signal(signal.SIGHUP)

    def check(self) -> None:
        if self._child.poll() is not None:
            _log.error("mosquitto ended with exit code %s; starting it again", self._child.returncode)
            self._child = self._start()

    def stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class _InProcess:
    """amqtt, which reads the password file anew for each connection."""

    def __init__(self, settings: BrokerSettings, directory: Path, sites: Iterable[SiteRow]) -> None:
        host, port = split_address(settings.listen)
        port = _free_port(host, port)
        self._passwords = _Passwords(directory)
        self._passwords.write(sites)
        self.address = BrokerAddress(_near(host), port, CENTRE, self._passwords.centre, speaks_mqtt5=False)
        self.kind = "amqtt"
        self._amqtt = Amqtt(host, port, self._passwords.path, settings.prefix, CENTRE, READER)

    def admit(self, sites: Iterable[SiteRow]) -> None:
        self._passwords.write(sites)

    def check(self) -> None: ...

    def stop(self) -> None:
        self._amqtt.stop()
