"""The history lane: items go to the centre over HTTP, and only its receipt counts."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from edge_agent.contract import (
    HELLO_PATH,
    INVENTORY_PATH,
    ITEM_PATH,
    Differences,
    Hello,
    Problem,
    Receipt,
    content_digest,
)
from edge_agent.core.pace import in_flight_bytes, slice_bytes
from edge_agent.errors import Busy, Refused, Rejected, SpoolError, Superseded, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from http.client import HTTPResponse

    from edge_agent.contract import Inventory, ItemName
    from edge_agent.settings import CentreSettings

_MOST_AT_ONCE: Final = 256 * 1024
_MOST_ANSWER_BYTES: Final = 64 * 1024
_REFUSED: Final = frozenset({401, 403})
_REJECTED: Final = frozenset({400, 413, 422})
_SUPERSEDED: Final = 409
_BUSY: Final = frozenset({429, 503, 507})
_PATIENCE_S: Final = 30.0
_MOST_PATIENCE_S: Final = 600.0
_FIT_S: Final = 0.05
_TCP_INFO: Final = struct.Struct("=148xI8xQ")
"""The kernel's word on a connection: its shortest round trip in µs, its rate of delivery in bytes per second."""


class Uplink:
    """A connection to the agent door of the centre, kept alive between items; for one thread at a time.

    With `queue_ms` it is a modest one: beyond what fills the way it keeps no more in the buffers than goes in so many
    milliseconds, so that other connections of the site find the way free as soon as this one pauses.
    """

    def __init__(self, settings: CentreSettings, site: str, queue_ms: Callable[[], float] | None = None) -> None:
        self._site = site
        self._queue_ms = queue_ms
        self._at_once = _MOST_AT_ONCE
        self._fitted: tuple[socket.socket | None, int, float] = (None, 0, 0)
        self._where = f"centre {settings.url}"
        self._base = quote(urlsplit(settings.url).path, safe="/%")
        self._authorization = f"Bearer {settings.token.get_secret_value()}"
        self._connection = _connection(settings)

    def deliver(self, name: ItemName, file: BinaryIO, admit: Callable[[int], int]) -> Receipt:
        """The centre's receipt for the item whose bytes are `file`; `admit` says how many of so many may go at once.

        LinkError: Rejected when the centre will never take it, Busy when later, Refused when not from us, else
        Unreachable; also for an answer of whoever is not the centre. SpoolError when the file cannot be read.
        """
        size_bytes = file.seek(0, 2)
        file.seek(0)
        headers = {
            "Content-Type": name.kind.media_type,
            "Content-Length": str(size_bytes),
            "Content-Digest": content_digest(name.sha256),
        }

        def send(connection: HTTPConnection) -> None:
            left = size_bytes
            while left:
                if self._queue_ms:
                    self._fit(connection.sock, self._queue_ms())
                data = _read(file, name, admit(min(self._at_once, left)))
                left -= len(data)
                while data:
                    data = data[connection.sock.send(data) :]

        answer = self._ask("PUT", f"{ITEM_PATH}{name}", headers, send)
        try:
            receipt = Receipt.model_validate_json(answer)
        except ValidationError:
            receipt = None
        if receipt is None or not receipt.covers(self._site, name):
            raise self._stranger("gives no receipt for the item")
        return receipt

    def hello(self, run: str | None = None) -> Hello:
        """Who the centre takes us for, and what it knows of runs other than that `run`. LinkError as with `deliver`."""
        try:
            return Hello.model_validate_json(self._ask("GET", f"{HELLO_PATH}?run={run}" if run else HELLO_PATH))
        except ValidationError:
            raise self._stranger("does not answer as a centre does") from None

    def differing(self, inventory: Inventory) -> tuple[int, ...]:
        """Which ranges of the inventory the centre holds otherwise. LinkError as with `deliver`."""
        body = inventory.to_json()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = self._ask("POST", INVENTORY_PATH, headers, lambda connection: connection.send(body))
        try:
            return Differences.model_validate_json(answer).differ
        except ValidationError:
            raise self._stranger("does not answer as a centre does") from None

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()

    def _fit(self, sock: socket.socket, queue_ms: float) -> None:
        """The send buffer, which bounds what is in flight, fits the way as it was a moment ago."""
        whose, size, fitted_s = self._fitted
        now_s = time.monotonic()
        if sock is whose and now_s - fitted_s < _FIT_S:
            return
        way = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        min_rtt_us, bytes_per_s = _TCP_INFO.unpack(way) if len(way) == _TCP_INFO.size else (0, 0)
        self._at_once = slice_bytes(bytes_per_s, queue_ms)
        fit = in_flight_bytes(bytes_per_s, min_rtt_us / 1000 if bytes_per_s else 0, queue_ms)
        if sock is not whose or abs(fit - size) * 4 > size:
            size = fit
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, fit)
        self._fitted = (sock, size, now_s)

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        send: Callable[[HTTPConnection], None] | None = None,
    ) -> bytes:
        connection = self._connection
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()  # the centre has hung up on it, long idle or at its own end
        try:
            connection.putrequest(method, f"{self._base}{path}", skip_accept_encoding=True)
            connection.putheader("Authorization", self._authorization)
            for key, value in (headers or {}).items():
                connection.putheader(key, value)
            connection.endheaders()
            if send:
                send(connection)
            response = connection.getresponse()
            body = response.read(_MOST_ANSWER_BYTES)
        except SpoolError:
            connection.close()
            raise
        except (OSError, HTTPException) as error:
            connection.close()
            what = str(error) or type(error).__name__
            raise Unreachable(f"{self._where}: {what}", "check url in [centre], and the link") from error
        if not response.isclosed():
            connection.close()
            raise self._stranger("answers at great length")
        self._judge(response, body)
        return body

    def _judge(self, response: HTTPResponse, body: bytes) -> None:
        status = response.status
        if status in {200, 201}:
            return
        why = f"{self._where}: {status} {_title(body)}".rstrip()
        if status in _REFUSED:
            raise Refused(why, "check `site` and the token, or enrol the site anew")
        if status == _SUPERSEDED:
            raise Superseded(why)
        if status in _REJECTED:
            raise Rejected(why)
        if status in _BUSY:
            raise Busy(why, retry_after_s=_patience_s(response.getheader("Retry-After", "")))
        raise Unreachable(why, "check that url in [centre] is the agent door of a centre")

    def _stranger(self, what: str) -> Unreachable:
        return Unreachable(
            f"{self._where}: {what}", "check that url in [centre] is the agent door of a centre, not a proxy's page"
        )


def _connection(settings: CentreSettings) -> HTTPConnection:
    host, port = settings.address
    if not settings.url.startswith("https"):
        return HTTPConnection(host, port, timeout=settings.timeout_s)
    trust = ssl.create_default_context(cafile=settings.ca_file)
    return HTTPSConnection(host, port, timeout=settings.timeout_s, context=trust)


def _read(file: BinaryIO, name: ItemName, size_bytes: int) -> memoryview:
    """The next bytes of the item; SpoolError when there are none, or the disk does not give them."""
    try:
        data = file.read(size_bytes)
    except OSError as error:
        raise SpoolError(f"cannot read {name}: {error.strerror}") from error
    if not data:
        raise SpoolError(f"{name} became shorter while it was sent")
    return memoryview(data)


def _title(body: bytes) -> str:
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return ""
    return f"{problem.title}: {problem.detail}"[:200].rstrip(": ").replace("\n", " ")


def _patience_s(header: str) -> float:
    """Seconds of a Retry-After header; its date form and nonsense mean the usual patience."""
    return min(float(header), _MOST_PATIENCE_S) if header.isascii() and header.isdigit() else _PATIENCE_S
