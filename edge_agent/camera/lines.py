"""The connections with network cameras, and hanging up on those that went silent.

libav can be told how long to wait, but asks Python then before any few bytes that it reads, a thousand times a second.
So libav waits as long as it likes, and another thread hangs up.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import sys
import termios
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from av.error import FFmpegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from av.container import InputContainer
    from av.packet import Packet

    from edge_agent.clock import Clock

Address = tuple[str, int]
"""Host and port."""
_INTERNET: Final = frozenset({socket.AF_INET, socket.AF_INET6})


class Line:
    """Our own handle on a connection that libav reads from."""

    def __init__(self, descriptor: int, stall_s: float, clock: Clock) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._stall_ms, self._clock = stall_s * 1000, clock
        self._waits_since_ms: int | None = None
        self._stalled = False
        self._fetched_bytes = 0, 0

    def listen(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The packets as they come; TimeoutError once the camera was hung up on."""
        self._waits_since_ms = self._clock.monotonic_ms()
        try:
            for packet in packets:
                self._waits_since_ms = None  # from here on it is us who take the time
                self._fetched_bytes = self._fetched_bytes[0], self._fetched_bytes[1] + packet.size
                yield packet
                self._waits_since_ms = self._clock.monotonic_ms()
        except FFmpegError:
            if not self._stalled:
                raise
        finally:
            self._waits_since_ms = None
        if self._stalled:
            raise TimeoutError

    def behind(self) -> float:
        """How much has come that was not fetched yet, as a part of what was since the time before last."""
        fetched_bytes = sum(self._fetched_bytes)
        self._fetched_bytes = self._fetched_bytes[1], 0
        waiting_bytes = int.from_bytes(fcntl.ioctl(self._socket, termios.FIONREAD, bytes(4)), sys.byteorder)
        return waiting_bytes / fetched_bytes if fetched_bytes else 1.0

    def watch(self) -> None:
        """Hang up if nothing has come for too long."""
        since_ms = self._waits_since_ms
        if since_ms is not None and self._clock.monotonic_ms() - since_ms > self._stall_ms:
            self._stalled = True
            with suppress(OSError):  # the session may have ended this moment
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The handle is given back."""
        self._socket.close()


class Lines:
    """The lines of all sessions. `watch` is to be called every few seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turns: defaultdict[Address, Lock] = defaultdict(Lock)
        self._open: set[Line] = set()

    def dial(
        self, address: Address, connect: Callable[[], InputContainer], stall_s: float
    ) -> tuple[InputContainer, Line | None]:
        """The session that `connect` opens with `address`, and its line; None when it cannot be told which it is.

        One at a time with each address, since the line is known by being new.
        """
        with self._turns[address]:
            before = _connections()
            container = connect()
            new = _connections() - before
        peers = _numeric(address)
        found = [descriptor for descriptor, _, peer in new if peer in peers]
        if len(found) != 1:
            return container, None
        line = Line(found[0], stall_s, self._clock)
        self._open.add(line)
        return container, line

    def hang_up(self, line: Line) -> None:
        """The line is watched no more."""
        self._open.discard(line)
        line.close()

    def watch(self) -> None:
        """Whoever has been silent for too long is hung up on."""
        for line in list(self._open):
            line.watch()


def _connections() -> set[tuple[int, Any, Address]]:
    """File descriptor and both ends, the far one last, of each TCP connection of this process."""
    found = set()
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # closed meanwhile, or connected to nobody
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as end:
                    if end.family in _INTERNET and end.type is socket.SOCK_STREAM:
                        found.add((descriptor, end.getsockname(), end.getpeername()[:2]))
    return found


def _numeric(address: Address) -> set[Address]:
    try:
        infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {(str(end[0]), int(end[1])) for *_, end in infos}
