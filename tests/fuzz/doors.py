"""A centre and an agent within this process, each with what must hold after any request or message."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

from starlette.types import ASGIApp, Message

from central.archive import Archive
from central.enrolment import Roll
from central.ingest import Ingest
from central.settings import BrokerAddress, S3Settings
from central.store import Store
from central.subscriber import Subscriber
from central.web import pages
from central.web.api import Console, create_app
from central.web.models import Event as ShownEvent
from central.web.models import Events, Sites
from central.web.stream import Changes
from edge_agent.bus import Bus, Door
from edge_agent.contract import DEFAULT_PREFIX, ITEM_PATH, ItemName, Problem, Receipt, Wish
from edge_agent.core.pace import Limits
from edge_agent.core.shipping import Want
from edge_agent.gates import FreshGate, LateGate
from edge_agent.settings import BrokerSettings
from edge_agent.spool import Spool
from tests.central.world import T, World
from tests.fakes import FakeClock

IN_FLIGHT_BYTES: Final = 1 << 20
_ANSWERS: Final = {200, 201, 400, 401, 404, 405, 409, 413, 503}
"""Of the agent door; 503 only where an upload is larger than all the memory there is for them."""


@dataclass(frozen=True)
class Asked:
    """A request as an ASGI server hands it on; `gone` when the caller hangs up instead of ending it."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    chunks: tuple[bytes, ...] = ()
    gone: bool = False


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


class Centre:
    """A store and an archive with one site and some footage, and the doors in front of them."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        # In a thread of its own: the browser tests leave a loop behind in the one that runs the tests.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fuzz", daemon=True)
        self._thread.start()
        self.store = Store.open(f"sqlite:///{self._folder / 'central.sqlite'}")
        self.world = World(self.store, self._folder)
        self.world.segment(0)
        self.world.segment(4)
        self._roll = Roll(self.store)
        self._roll.refresh()
        self._archive = Archive.open(str(self._folder / "door"), S3Settings(), 0)
        self._ingest = Ingest(self.store, self._archive, self._roll.site_of_token, IN_FLIGHT_BYTES)
        self._agent_door = self._ingest.app()
        console = Console(self.store, self.world.archive, Changes(), ZoneInfo("Asia/Jakarta"))
        console.stopping.set()  # the stream ends after what it says first
        self._console = create_app(console)
        pages.mount(self._console)
        self.described: dict[str, Any] = self._console.openapi()["paths"]
        nowhere = BrokerAddress("localhost", 1, None, None)
        self._subscriber = Subscriber(
            self.store, nowhere, DEFAULT_PREFIX, lambda: self._roll.sites, lambda _: None, now_ms=lambda: T
        )

    def close(self) -> None:
        """Nothing of it is left."""
        self._ingest.close()
        self._do(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.store.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, deed: Awaitable[None]) -> None:
        async def done() -> None:
            await deed

        asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def agent_asks(self, asked: Asked) -> None:
        """Every request gets one answer that an agent can act on, and a receipt is the truth."""
        answered = self._ask(self._agent_door, asked)
        assert self._ingest._budget_bytes == IN_FLIGHT_BYTES
        if answered is None:
            assert asked.gone
            return
        assert answered.status in _ANSWERS, answered
        if answered.headers.get("content-type") == "application/problem+json":
            problem = Problem.model_validate_json(answered.body)
            assert problem.status == answered.status
            assert "\n" not in problem.title + problem.detail
        if answered.status in {200, 201} and asked.path.startswith(ITEM_PATH):
            self._assert_stored(asked, answered)

    def _assert_stored(self, asked: Asked, answered: Answered) -> None:
        name = ItemName.parse(asked.path.removeprefix(ITEM_PATH))
        receipt = Receipt.model_validate_json(answered.body)
        assert receipt.covers("aloha", name)
        assert hashlib.sha256(b"".join(asked.chunks)).hexdigest() == name.sha256
        row = self.store.item("aloha", name.run, name.sequence)
        assert row is not None
        assert self._archive.read(row.object, row.offset, row.length) == b"".join(asked.chunks)

    def reader_asks(self, asked: Asked) -> None:
        """Every request to the console gets an answer that is no failure of the centre's."""
        answered = self._ask(self._console, asked)
        assert answered is not None
        built = asked.path.startswith("/api/")
        assert answered.status < 500 or (answered.status == 503 and not built), answered
        if answered.status >= 400 and built:
            assert answered.headers["content-type"] == "application/problem+json", answered
            assert Problem.model_validate_json(answered.body).status == answered.status

    def told(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message is kept or refused, and what is kept can be shown."""
        self._subscriber.take(topic, payload, retained=retained)
        assert self._subscriber._flush()
        Sites.of(self.store.sites(), self.store.states(), time.time_ns() // 1_000_000).model_dump_json()
        newest = self.store.events(None, 3)
        Events(events=tuple(ShownEvent.of(number, row) for number, row in newest)).model_dump_json()

    def _ask(self, app: ASGIApp, asked: Asked) -> Answered | None:
        parts: list[Message] = []
        coming: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in asked.chunks]
        coming.append({"type": "http.disconnect"} if asked.gone else {"type": "http.request", "body": b""})

        async def receive() -> Message:
            if not coming:
                await self._loop.create_future()  # the caller waits for the answer
            return coming.pop(0)

        async def send(message: Message) -> None:
            parts.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": asked.path,
            "raw_path": asked.path.encode(errors="surrogateescape"),
            "query_string": asked.query,
            "root_path": "",
            "headers": list(asked.headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._do(app(scope, receive, send))
        return _answered(parts)


class Agent:
    """What an agent has that listens to wishes: its end of the broker, the gate of its backlog, a spool."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        self._clock = FakeClock(T)
        self._spool = Spool(self._folder / "spool", quota_bytes=1 << 30, reserve_bytes=0, clock=self._clock)
        self._gate = LateGate(FreshGate(self._clock), Limits(), self._clock)
        door = Door(BrokerSettings(host="localhost"), "aloha", "")
        self._bus = Bus(door, self._spool.run, self._clock, self._heed, lambda _detail: None)

    def close(self) -> None:
        """Nothing of it is left."""
        self._bus.close()
        self._spool.close()
        shutil.rmtree(self._folder)

    def hears(self, payload: bytes) -> None:
        """A wish is followed, or ignored when it is none; the one after it is heard, too."""
        self._bus._take_wish(payload)
        self._gate.allowance()
        self._spool.stats()
        self._spool.next_unsent()

    def _heed(self, wish: Wish) -> None:
        self._gate.grant(wish)
        self._spool.want(tuple(map(Want.of, wish.wanted)))
        self._spool.lock(map(Want.of, wish.locked))


def _answered(parts: Sequence[Message]) -> Answered | None:
    if not parts:
        return None
    start, *rest = parts
    assert start["type"] == "http.response.start", parts
    assert all(part["type"] == "http.response.body" for part in rest), parts
    assert not rest[-1].get("more_body"), parts
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answered(start["status"], headers, b"".join(part["body"] for part in rest))
