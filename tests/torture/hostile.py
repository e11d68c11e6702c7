"""A neighbour who means no good: forgeries and nonsense at both doors of the centre, in the name of others, too."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.contract import DEFAULT_PREFIX, HELLO_PATH, ITEM_PATH, ClockQuality, ItemKind, ItemName

if TYPE_CHECKING:
    from tests.torture.crossing import Crossing

INTRUDER: Final = "penyusup"
"""The site that the neighbour was enrolled as."""
_TIMEOUT_S: Final = 3.0


def attack(at: Crossing) -> None:
    """It has tried; an answer that says yes to any of it is noted. A door that does not open is none."""
    for method, path, token, body, announced in _requests(at):
        with contextlib.suppress(OSError, HTTPException):
            status = _ask(at, method, path, token, body, announced)
            if 200 <= status < 300:
                at.wrong.append(f"the centre answers {status} to {method} {path[:80]} of somebody hostile")
    with contextlib.suppress(OSError), socket.create_connection(at.city.agent_door, _TIMEOUT_S) as door:
        door.sendall(at.dice.randbytes(3000))
    with contextlib.suppress(OSError), socket.create_connection(at.city.broker, _TIMEOUT_S) as door:
        door.sendall(at.dice.randbytes(3000))
    with contextlib.suppress(OSError, ValueError):
        _publish(at)


def _requests(at: Crossing) -> Iterator[tuple[str, str, str, bytes, int]]:
    """Method, path, token, body, and the length that is announced of it."""
    dice = at.dice
    nonsense = dice.randbytes(dice.randrange(1, 2000))
    digest = hashlib.sha256(nonsense).hexdigest()
    name = ItemName(
        "000001evil", dice.randrange(10**6), ItemKind.SEGMENT, "utara", 0, 1000, ClockQuality.SYNCED, digest
    )
    path = f"{ITEM_PATH}{name}"
    yield "PUT", path, at.intruder, nonsense, len(nonsense)  # the hash is right, but it is no segment
    yield "PUT", path, "not-a-token", nonsense, len(nonsense)
    yield "PUT", path, "", nonsense, len(nonsense)
    yield "PUT", path, at.intruder, nonsense[::-1] + b"x", len(nonsense) + 1
    yield "PUT", path, at.intruder, nonsense, len(nonsense) + 500  # and then it hangs up
    yield "PUT", path, at.intruder, b"", 10**12
    yield "PUT", f"{ITEM_PATH}../../../../etc/passwd", at.intruder, b"x", 1
    yield "PUT", f"{ITEM_PATH}{'%00' * 40}", at.intruder, b"x", 1
    yield "GET", HELLO_PATH, "not-a-token", b"", 0
    yield "DELETE", path, at.intruder, b"", 0


def _ask(at: Crossing, method: str, path: str, token: str, body: bytes, announced: int) -> int:
    connection = HTTPConnection(*at.city.agent_door, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.putrequest(method, path)
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Length", str(announced))
        connection.endheaders(body)
        if announced > len(body) and announced < 10**6:
            return 0
        return connection.getresponse().status


def _publish(at: Crossing) -> None:
    """Nonsense in its own topics, and forged words in the name of the victim and of the centre."""
    client = Client(CallbackAPIVersion.VERSION2, f"evil-{at.dice.randrange(10**9)}")
    client.username_pw_set(INTRUDER, at.intruder)
    client.connect(*at.city.broker, keepalive=10)
    client.loop_start()
    try:
        forged = b'{"state": "offline", "run": "999999zzzz", "at": "2040-01-01T00:00:00Z"}'
        bodies = [forged, b"", b"\xff\xfe", b"[" * 5000, b'{"at": NaN}', at.dice.randbytes(500)]
        last = None
        for site in (INTRUDER, at.site.id, "city"):
            for group in ("presence", "spool", "camera/utara", "event", "link", "no-such-topic"):
                last = client.publish(f"{DEFAULT_PREFIX}/{site}/{group}", at.dice.choice(bodies), qos=1, retain=True)
        if last is not None:
            with contextlib.suppress(RuntimeError, ValueError):
                last.wait_for_publish(_TIMEOUT_S)
    finally:
        client.disconnect()
        client.loop_stop()
