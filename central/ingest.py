"""The agent door: takes items, and answers with a receipt only when they are stored durably.

First the object, then the row, then the receipt. An object without a row is never counted; it is written again when
the agent, who has no receipt, sends the item again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from central.errors import ArchiveDown, CentralError, NoRoom, StoreDown
from central.store import EventRow, ItemRow
from central.telemetry import SampleRow, rows_of
from edge_agent.contract import (
    HELLO_PATH,
    INVENTORY_PATH,
    ITEM_PATH,
    MAX_ITEM_BYTES,
    MAX_MESSAGE_BYTES,
    NO_CAMERA,
    Differences,
    Event,
    Hello,
    Inventory,
    ItemKind,
    ItemName,
    Problem,
    Range,
    Receipt,
    RunId,
    Telemetry,
    content_digest,
    instant,
    range_digest,
    read_facts,
)

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
"""Items being made durable at the same time; the disk is the narrow place."""
_COMMIT_AT_MOST: Final = 256
_COMMIT_EVERY_S: Final = 0.01
"""Between the starts of two transactions; each has a price that is the same for one row and for ten."""
_RETRY_AFTER_S: Final = "5"
_COMPARISONS_AT_MOST: Final = 8
"""Inventories that wait for their answer, one after the other, so that comparing never holds up items."""
_RUN: Final = TypeAdapter[str](RunId)

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class _Store(Protocol):
    def item(self, site: str, run: str, sequence: int) -> ItemRow | None: ...
    def add_items(
        self, rows: list[ItemRow], with_events: list[EventRow], with_samples: list[SampleRow]
    ) -> list[tuple[ItemRow, bool]]: ...
    def held(self, site: str, ranges: Iterable[Range]) -> Iterator[list[tuple[int, str]]]: ...
    def newest(self, site: str, but_run: str) -> tuple[str, int] | None: ...


class _Archive(Protocol):
    def put(self, key: str, data: bytes | bytearray) -> None: ...
    def delete(self, key: str) -> None: ...


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(title)
        self.problem = Problem(title=title, status=status, detail=detail)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What a row needs beyond the name: columns of a segment, or the event or the messages in the item."""

    columns: dict[str, Any] = field(default_factory=dict)
    event: Event | None = None
    batch: Telemetry | None = None


def check_body(name: ItemName, data: bytes | bytearray) -> _Checked:
    """The facts within an item's body; ValueError with the reason when the body is not what its name says."""
    match name.kind:
        case ItemKind.SEGMENT:
            facts = read_facts(memoryview(data))
            if name.camera == NO_CAMERA:
                raise ValueError("a segment belongs to a camera")
            times_s = (ms // 1000 for ms in (facts.media_start_ms, facts.gap_before_ms, facts.monotonic_ms))
            if max(facts.session, *times_s) >= 2**31:
                raise ValueError("the facts of the segment are out of range")
            return _Checked(
                {
                    "session": facts.session,
                    "media_start_ms": facts.media_start_ms,
                    "init_bytes": facts.init_bytes,
                    "media_bytes": facts.media_bytes,
                    "gap_before_ms": facts.gap_before_ms,
                    "gap_cause": facts.gap_cause,
                    "gap_detail": facts.gap_detail.replace("\0", ""),
                    "holes": json.dumps([(hole.offset_ms, hole.duration_ms) for hole in facts.holes])
                    if facts.holes
                    else None,
                    "monotonic_ms": facts.monotonic_ms,
                }
            )
        case ItemKind.EVENT:
            if len(data) > MAX_MESSAGE_BYTES:
                raise ValueError(f"an event has at most {MAX_MESSAGE_BYTES} bytes")
            return _Checked(event=Event.model_validate_json(bytes(data)))
        case ItemKind.TELEMETRY:
            return _Checked(batch=Telemetry.model_validate_json(bytes(data)))
        case ItemKind.SNAPSHOT:
            if not (data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")):
                raise ValueError("not a whole JPEG file")
    return _Checked()


@dataclass(frozen=True, slots=True)
class Sheet:
    """An item's row, and the rows of what is in it."""

    row: ItemRow
    events: list[EventRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)


def sheet_of(site: str, name: ItemName, data: bytes | bytearray, key: str, stored_ms: int) -> Sheet:
    """The rows of an item whose object is, or will be, the whole of `key`; ValueError as with `check_body`."""
    checked = check_body(name, data)
    row = ItemRow(
        site=site,
        run=name.run,
        sequence=name.sequence,
        kind=name.kind,
        camera=name.camera,
        start_ms=name.start_ms,
        duration_ms=name.duration_ms,
        clock=name.clock,
        sha256=name.sha256,
        size_bytes=len(data),
        stored_ms=stored_ms,
        object=key,
        offset=0,
        length=len(data),
        **checked.columns,
    )
    events = [EventRow.of(site, checked.event, stored_ms)] if checked.event else []
    samples = list(rows_of(site, name, checked.batch, stored_ms)) if checked.batch else []
    return Sheet(row, events, samples)


def tabulate(sheets: Iterable[Sheet]) -> tuple[list[ItemRow], list[EventRow], list[SampleRow]]:
    """The rows of all of them, table by table."""
    sheets = list(sheets)
    return (
        [sheet.row for sheet in sheets],
        [event for sheet in sheets for event in sheet.events],
        [sample for sheet in sheets for sample in sheet.samples],
    )


_Filing = asyncio.Future[tuple[ItemRow, bool]]


class Clerk:
    """Files rows in the store, as many in one transaction as are waiting: one flush of the disk serves them all."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._queue: SimpleQueue[tuple[Sheet, _Filing] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="clerk", daemon=True)
        self._thread.start()

    def file(self, sheet: Sheet) -> _Filing:
        """Becomes what durably stands under the row's identity and whether it is new, or a StoreDown."""
        filing: _Filing = asyncio.get_running_loop().create_future()
        self._queue.put((sheet, filing))
        return filing

    def close(self) -> None:
        """File what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it works; a dead one is a bug."""
        return self._thread.is_alive()

    def _run(self) -> None:
        ended, next_s = False, 0.0
        while not ended:
            waiting = [self._queue.get()]
            time.sleep(max(0, next_s - time.monotonic()))
            next_s = time.monotonic() + _COMMIT_EVERY_S
            while len(waiting) < _COMMIT_AT_MOST and not self._queue.empty():
                waiting.append(self._queue.get())
            batch = [filing for filing in waiting if filing is not None]
            ended = len(batch) < len(waiting)
            try:
                filed = self._store.add_items(*tabulate(sheet for sheet, _ in batch))
            except StoreDown as error:
                for _, filing in batch:
                    _tell(filing, filing.set_exception, error)
            else:
                for (_, filing), result in zip(batch, filed, strict=True):
                    _tell(filing, filing.set_result, result)


def _tell(filing: _Filing, tell: Callable[[_In], None], answer: _In) -> None:
    with suppress(RuntimeError):  # the door is closed, and nobody waits
        filing.get_loop().call_soon_threadsafe(lambda: None if filing.done() else tell(answer))


class Ingest:
    """The agent door's requests."""

    def __init__(
        self,
        store: _Store,
        archive: _Archive,
        site_of_token: Callable[[str], str | None],
        in_flight_bytes: int,
    ) -> None:
        self._store = store
        self._archive = archive
        self._site_of_token = site_of_token
        self._budget_bytes = in_flight_bytes
        self._clerk = Clerk(store)
        self._hands = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ingest")
        self._comparer = ThreadPoolExecutor(1, thread_name_prefix="compare")
        self._comparisons = 0

    def app(self) -> Starlette:
        """The ASGI application of the agent door."""
        return Starlette(
            routes=[
                Route(ITEM_PATH + "{name}", self._put, methods=["PUT"]),
                Route(HELLO_PATH, self._hello, methods=["GET"]),
                Route(INVENTORY_PATH, self._inventory, methods=["POST"]),
                Route("/healthz", _healthy, methods=["GET"]),
            ]
        )

    def close(self) -> None:
        """Finish what was begun."""
        self._hands.shutdown()
        self._comparer.shutdown()
        self._clerk.close()

    @property
    def alive(self) -> bool:
        """Whether items can still be filed."""
        return self._clerk.alive

    async def _hello(self, request: Request) -> Response:
        try:
            site = self._site(request)
            newest = None
            if "run" in request.query_params:
                run = _understood(_RUN.validate_python, request.query_params["run"], "not the name of a run")
                newest = await asyncio.get_running_loop().run_in_executor(self._hands, self._store.newest, site, run)
        except (_Refusal, CentralError) as error:
            return _problem(error)
        newest_run, newest_sequence = newest or (None, None)
        hello = Hello(site=site, at=datetime.now(UTC), newest_run=newest_run, newest_sequence=newest_sequence)
        return _json(hello.to_json(), 200)

    async def _inventory(self, request: Request) -> Response:
        try:
            site = self._site(request)
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_MESSAGE_BYTES:
                    raise _Refusal(413, "the inventory is too large", f"it has at most {MAX_MESSAGE_BYTES} bytes")
            inventory = _understood(Inventory.model_validate_json, bytes(body), "not an inventory")
            if self._comparisons >= _COMPARISONS_AT_MOST:
                raise _Refusal(503, "too many comparisons at once")
            self._comparisons += 1
            try:
                loop = asyncio.get_running_loop()
                differ = await loop.run_in_executor(self._comparer, self._differing, site, inventory.ranges)
            finally:
                self._comparisons -= 1
        except ClientDisconnect:
            return Response(status_code=400)
        except (_Refusal, CentralError) as error:
            await _drain(request)
            return _problem(error)
        return _json(Differences(differ=differ).to_json(), 200)

    def _differing(self, site: str, ranges: tuple[Range, ...]) -> tuple[int, ...]:
        held = self._store.held(site, ranges)
        return tuple(
            number
            for number, (part, items) in enumerate(zip(ranges, held, strict=True))
            if len(items) != part.count or range_digest(items) != part.digest
        )

    async def _put(self, request: Request) -> Response:
        try:
            site = self._site(request)
            name = _understood(ItemName.parse, request.path_params["name"], "not the name of an item")
            chunks: list[bytes] = []
            try:
                await self._receive(request, name, chunks)
                row, new = await self._keep(site, name, chunks)
            finally:
                self._budget_bytes += sum(map(len, chunks))
        except ClientDisconnect:
            return Response(status_code=400)
        except (_Refusal, CentralError) as error:
            await _drain(request)
            return _problem(error)
        receipt = Receipt(
            site=site,
            run=row.run,
            sequence=row.sequence,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            stored_at=instant(row.stored_ms),
        )
        return _json(receipt.to_json(), 201 if new else 200)

    def _site(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            site = self._site_of_token(token.strip())
            if site is not None:
                return site
        raise _Refusal(401, "the token is not known here", "enrol the site, or put its new token into its settings")

    async def _receive(self, request: Request, name: ItemName, chunks: list[bytes]) -> None:
        """The whole body in `chunks`; what they hold is taken from the budget."""
        if _announced_bytes(request) > MAX_ITEM_BYTES:
            raise _Refusal(413, "the item is too large", f"an item has at most {MAX_ITEM_BYTES} bytes")
        digest = request.headers.get("content-digest")
        if digest is not None and digest != content_digest(name.sha256):
            raise _Refusal(400, "Content-Digest is not the hash in the name")
        size_bytes = 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > MAX_ITEM_BYTES:
                raise _Refusal(413, "the item is too large", f"an item has at most {MAX_ITEM_BYTES} bytes")
            if len(chunk) > self._budget_bytes:
                raise _Refusal(503, "too many uploads at once")
            chunks.append(chunk)  # and joined later: to grow one buffer costs as much as all else that is done here
            self._budget_bytes -= len(chunk)

    async def _keep(self, site: str, name: ItemName, chunks: list[bytes]) -> tuple[ItemRow, bool]:
        """What durably stands under the identity, and whether it is new."""
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(self._hands, self._stored, site, name, chunks)
        if isinstance(stored, ItemRow):
            row, new = stored, False
        else:
            row, new = await self._clerk.file(stored)
            if row.object != stored.row.object:
                await loop.run_in_executor(self._hands, self._archive.delete, stored.row.object)
        if row.sha256 != name.sha256:
            raise _Refusal(409, "another item has this identity", f"{row.run}/{row.sequence} is stored already")
        return row, new

    def _stored(self, site: str, name: ItemName, chunks: list[bytes]) -> ItemRow | Sheet:
        """What stands under the identity, else the rows of the item, whose object is now stored."""
        # Here and not as it arrives: it would hold up all the others who are sending.
        data = b"".join(chunks)
        chunks[:] = [data]  # the pieces are free, and the budget counts the same
        if hashlib.sha256(data).hexdigest() != name.sha256:
            raise _Refusal(400, "the body does not have the hash in the name")
        # Nearly every segment is new, and the clerk finds out. Of other items there is more than a row.
        if name.kind is not ItemKind.SEGMENT and (there := self._there(site, name)):
            return there
        try:
            return self._archived(site, name, data)
        except (_Refusal, CentralError):
            if there := self._there(site, name):
                return there
            raise

    def _there(self, site: str, name: ItemName) -> ItemRow | None:
        """What stands under the identity, unless its bytes were lost and these are the same."""
        stored = self._store.item(site, name.run, name.sequence)
        found_again = stored is not None and stored.lost_ms is not None and stored.sha256 == name.sha256
        return None if found_again else stored

    def _archived(self, site: str, name: ItemName, data: bytes) -> Sheet:
        """The rows of an item whose object is stored."""
        stored_ms = time.time_ns() // 1_000_000
        key = f"{instant(stored_ms):%Y/%m/%d}/{site}/{name.camera}/{name}"
        filed = _understood(
            lambda body: sheet_of(site, name, body, key, stored_ms), data, "the body is not what its name says"
        )
        self._archive.put(key, data)
        return filed


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _understood(read: Callable[[_In], _Out], told: _In, wrong: str) -> _Out:
    """What `read` makes of what the agent told; a refusal that says what is wrong with it."""
    try:
        return read(told)
    except ValueError as error:
        raise _Refusal(400, wrong, _first_line(error)) from error


def _announced_bytes(request: Request) -> int:
    """What Content-Length says; more than an item may have where it says nothing that makes sense."""
    announced = request.headers.get("content-length", "0")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else MAX_ITEM_BYTES + 1


async def _drain(request: Request) -> None:
    """Read what the agent is still sending: it only looks at the answer after its last byte."""
    if _announced_bytes(request) <= MAX_ITEM_BYTES:
        with suppress(ClientDisconnect, RuntimeError):  # the latter when all was read already
            async for _ in request.stream():
                pass


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return str(error).splitlines()[0]


def _problem(error: _Refusal | CentralError) -> Response:
    match error:
        case _Refusal(problem=problem):
            pass
        case NoRoom():
            problem = Problem(title="the archive has no room", status=507, detail=str(error))
        case StoreDown() | ArchiveDown():
            _log.error("%s", error)
            problem = Problem(title="the centre cannot store items just now", status=503)
        case _:
            raise error
    headers = {"Retry-After": _RETRY_AFTER_S} if problem.status in (503, 507) else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(problem.to_json(), problem.status, headers, media_type="application/problem+json")


def _json(body: bytes, status: int) -> Response:
    return Response(body, status, media_type="application/json")
