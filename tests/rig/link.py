"""A link that can be broken, without root: TCP proxies between one site and the centre."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

Address = tuple[str, int]


def free_port() -> int:
    """A TCP port of the loopback that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Link:
    """The ways from one site to the centre. They are broken and restored together.

    Cut: what was open is reset, new connections are refused. Half-open: connections are taken and stay, and every byte
    is swallowed in both directions, an end of the stream, too. Restoring resets what was half-open, for its streams
    have holes. Narrow: so many bytes a second in each direction of each connection. Torn: a connection is reset after
    so many more bytes from the site. Deaf: what the site says arrives, and the answer resets the connection. Diverted:
    everything leads to somebody else.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._ways: list[_Way] = []
        self._swallows = False
        self._bytes_per_s = 0.0
        self._tears_after: Callable[[], int] | None = None
        self._loses_answers = False
        self._stranger: Address | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread.start()

    def lay(self, target: Address) -> int:
        """A new way to that address; the port at 127.0.0.1 where it begins."""
        way = _Way(target)
        self._ways.append(way)
        self._do(self._open(way))
        return way.port

    def cut(self) -> None:
        self._do(self._cut())

    def swallow(self) -> None:
        """Half-open."""
        self._do(self._swallow())

    def narrow(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s

    def tear(self, after_bytes: Callable[[], int]) -> None:
        """Torn; each connection asks after how many bytes."""
        self._tears_after = after_bytes

    def lose_answers(self) -> None:
        """Deaf."""
        self._loses_answers = True

    def divert(self, stranger: Address) -> None:
        self._do(self._divert(stranger))

    def restore(self) -> None:
        self._do(self._restore())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for way in self._ways:
            way.seat.close()

    def _do(self, deed: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(deed, self._loop).result(10)

    async def _open(self, way: _Way) -> None:
        way.server = await asyncio.start_server(lambda r, w: self._carry(way, r, w), sock=way.listener())

    async def _cut(self) -> None:
        for way in self._ways:
            if way.server is not None:
                way.server.close()
                way.server = None
        self._swallows = False
        await self._reset()

    async def _swallow(self) -> None:
        self._swallows = True

    async def _divert(self, stranger: Address) -> None:
        self._stranger = stranger
        await self._reset()

    async def _restore(self) -> None:
        self._bytes_per_s, self._tears_after, self._loses_answers = 0.0, None, False
        if self._swallows or self._stranger:
            self._swallows, self._stranger = False, None
            await self._reset()
        for way in self._ways:
            if way.server is None:
                await self._open(way)

    async def _reset(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _carry(self, way: _Way, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        ends = [near]
        try:
            if self._swallows:
                await self._pump(near_reader, near)
            far_reader, far = await asyncio.open_connection(*(self._stranger or way.target))
            ends.append(far)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump(near_reader, far, from_site=True))
                both_ways.create_task(self._pump(far_reader, near))
        except* (OSError, asyncio.CancelledError):
            for end in ends:
                _reset_on_close(end)
        finally:
            for end in ends:
                end.close()
            self._connections.discard(connection)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_site: bool = False
    ) -> None:
        left: int | None = None
        while data := await reader.read(65536):
            if self._swallows:
                continue
            if self._loses_answers and not from_site:
                raise ConnectionResetError
            if self._tears_after and from_site:
                left = (self._tears_after() if left is None else left) - len(data)
                if left < 0:
                    writer.write(data[:left])
                    await writer.drain()
                    raise ConnectionResetError
            if self._bytes_per_s:
                await asyncio.sleep(len(data) / self._bytes_per_s)
            writer.write(data)
            await writer.drain()
        if self._swallows:
            await asyncio.Event().wait()  # the other side never hears of this end; a reset is what ends it
        writer.write_eof()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Way:
    """One port of ours and where it leads. The seat holds the port while nobody listens."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.server: asyncio.Server | None = None
        self.seat = _socket(0)
        self.port: int = self.seat.getsockname()[1]

    def listener(self) -> socket.socket:
        listener = _socket(self.port)
        listener.listen(64)
        return listener


def _socket(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
