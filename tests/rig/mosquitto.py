"""Debian's mosquitto as a child, with passwords and an access list; and somebody who listens to it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.rig.link import free_port
from tests.rig.parts import require_program
from tests.rig.processes import Program, until

LISTENER = ("listener", "hears-all-of-it")
"""User and password of whoever may read everything."""


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key: made anew each time, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rig")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


class Mosquitto:
    """A broker on a free port of the loopback. Each user has what is below `simpang/v1/<user>/`, and nothing else."""

    def __init__(self, folder: Path, users: Mapping[str, str], *, tls: bool = False) -> None:
        program = require_program("mosquitto")
        self.port = free_port()
        passwords, access, config = folder / "passwords", folder / "access", folder / "mosquitto.conf"
        passwords.touch(mode=0o600)
        for user, password in {**users, LISTENER[0]: LISTENER[1]}.items():
            subprocess.run(["mosquitto_passwd", "-b", passwords, user, password], check=True)
        access.write_text(f"user {LISTENER[0]}\ntopic readwrite #\npattern readwrite simpang/v1/%u/#\n")
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\nuser root\n"
            f"password_file {passwords}\nacl_file {access}\nmax_queued_messages 10000\n"
        )
        if tls:
            certificate, key = self_signed(folder)
            with config.open("a") as more:
                more.write(f"certfile {certificate}\nkeyfile {key}\n")
        self.program = Program("mosquitto", [program, "-c", config], folder / "mosquitto.log")

    def start(self) -> Self:
        """It accepts connections."""
        starts = self.program.output().count("running")
        self.program.start()
        self.program.until(lambda: self.program.output().count("running") > starts, 5, "mosquitto runs")
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()


class Listener:
    """Hears every topic of a broker; keeps the latest payload of each, and all that was said. May speak, too."""

    def __init__(
        self, port: int, user: tuple[str, str] = LISTENER, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
    ) -> None:
        self.latest: dict[str, bytes] = {}
        self.said: list[tuple[str, bytes]] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "listener", protocol=version)
        self._client.username_pw_set(*user)
        self._client.on_connect = lambda client, *_: client.subscribe("simpang/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(5), "no subscription"

    def _hear(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        self.latest[message.topic] = bytes(message.payload)
        self.said.append((message.topic, bytes(message.payload)))

    def say(self, topic: str, body: bytes) -> None:
        """It is retained there."""
        self._client.publish(topic, body, qos=1, retain=True).wait_for_publish(5)

    def until(self, topic: str, *words: str, seconds: float = 5) -> bytes:
        """The latest payload of the topic, once it holds each of the words."""

        def heard() -> bytes | None:
            payload = self.latest.get(topic, b"")
            return payload if payload and all(word.encode() in payload for word in words) else None

        found = until(heard, seconds, f"{topic} with {words}, but {self.latest.get(topic)!r}")
        assert found is not None
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its last sockets when it is dropped, and no circle may keep it from that.
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None
