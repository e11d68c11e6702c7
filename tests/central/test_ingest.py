"""The agent door over real HTTP: one receipt per item, and nothing counted that has none."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event as Signal
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from central.archive import Archive
from central.enrolment import Roll, enrol
from central.errors import ArchiveDown, StoreDown
from central.ingest import Clerk, Ingest, sheet_of, tabulate
from central.settings import S3Settings
from central.store import ItemRow, Store
from edge_agent.contract import (
    HELLO_PATH,
    INVENTORY_PATH,
    ITEM_PATH,
    MAX_ITEM_BYTES,
    MAX_MESSAGE_BYTES,
    Differences,
    Event,
    EventData,
    EventType,
    Hello,
    Hole,
    Inventory,
    ItemKind,
    ItemName,
    LossCause,
    Problem,
    Range,
    Receipt,
    Telemetry,
    content_digest,
    facts_box,
    instant,
    range_digest,
    read_facts,
)
from tests.rig.processes import until
from tests.rig.segments import RUN, make_item, make_segment

T = 1_795_000_000_000


class Door:
    """A running agent door with one site, and what is behind it."""

    def __init__(self, store: Store, folder: Path, in_flight_bytes: int = 2**30) -> None:
        self.store = store
        self.folder = folder
        self.archive = Archive.open(str(folder), S3Settings(), 0)
        token = enrol(store, "aloha", "", None, None, renew=True)
        roll = Roll(store)
        roll.refresh()
        self.ingest = Ingest(store, self.archive, roll.site_of_token, in_flight_bytes)
        config = uvicorn.Config(self.ingest.app(), log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.address[1]}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        self.token = token

    def put(self, name: ItemName | str, data: bytes, **headers: str) -> httpx2.Response:
        return self.client.put(f"{ITEM_PATH}{name}", content=data, headers=headers)

    def differing(self, *ranges: Range) -> tuple[int, ...]:
        answer = self.client.post(INVENTORY_PATH, content=Inventory(ranges=ranges).to_json())
        assert answer.status_code == 200, answer.text
        return Differences.model_validate_json(answer.content).differ

    def objects(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self.ingest.close()


@pytest.fixture
def door(sqlite_store: Store, tmp_path: Path) -> Iterator[Door]:
    opened = Door(sqlite_store, tmp_path / "archive")
    yield opened
    opened.close()


def refused(answer: httpx2.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == status
    return problem


def test_an_item_is_stored_and_its_receipt_covers_it(door: Door) -> None:
    name, data = make_segment(
        sequence=3, gap_before_ms=700, gap_cause=LossCause.CAMERA, holes=(Hole(offset_ms=1, duration_ms=2),)
    )
    answer = door.put(name, data, **{"Content-Digest": content_digest(name.sha256)})
    assert answer.status_code == 201
    assert Receipt.model_validate_json(answer.content).covers("aloha", name)
    row = door.store.item("aloha", name.run, name.sequence)
    assert row is not None
    facts = read_facts(data)
    assert (row.init_bytes, row.media_bytes) == (facts.init_bytes, facts.media_bytes)
    assert (row.gap_before_ms, row.gap_cause, json.loads(row.holes or "")) == (700, "camera", [[1, 2]])
    assert door.archive.read(row.object, row.offset, row.length) == data
    assert row.object.startswith(f"{instant(row.stored_ms):%Y/%m/%d}/aloha/north/")


def test_the_same_bytes_again_get_the_same_receipt(door: Door) -> None:
    name, data = make_segment()
    first, second = door.put(name, data), door.put(name, data)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert len(door.objects()) == 1


def test_the_same_bytes_a_day_later_leave_one_object(door: Door) -> None:
    name, data = make_segment()
    key = f"2026/01/02/aloha/north/{name}"
    door.archive.put(key, data)
    door.store.add_items(*tabulate([sheet_of("aloha", name, data, key, T)]))
    assert door.put(name, data).status_code == 200
    row = door.store.item("aloha", name.run, name.sequence)
    assert row is not None
    assert row.object == key
    assert door.objects() == [door.folder / key]


def test_items_may_come_twice_out_of_order_and_through_another_door(door: Door) -> None:
    """The centre moved, or was started again: its store decides, not its address or its memory."""
    items = [make_segment(sequence=sequence, media_start_ms=sequence * 4000) for sequence in (5, 1, 4, 0, 3)]
    first = [door.put(*item) for item in items]
    other = Door(door.store, door.folder)
    try:
        with ThreadPoolExecutor(8) as pool:
            again = list(pool.map(lambda n: (door, other)[n % 2].put(*items[n % 5]), range(20)))
    finally:
        other.close()
    assert {answer.status_code for answer in first} == {201}
    assert {answer.status_code for answer in again} == {200}
    assert {answer.content for answer in again} == {answer.content for answer in first}
    assert len(door.objects()) == 5


def test_other_bytes_under_the_same_identity_are_refused_and_not_kept(door: Door) -> None:
    name, data = make_segment()
    other, other_data = make_segment(media_start_ms=4000)
    door.put(name, data)
    refused(door.put(other, other_data), 409)
    assert len(door.objects()) == 1
    row = door.store.item("aloha", name.run, name.sequence)
    assert row is not None
    assert row.sha256 == name.sha256


def test_an_event_under_the_identity_of_another_is_not_told(door: Door) -> None:
    first, other = (
        Event(id=f"{RUN}/{number}", source="/aloha", type=kind, time=instant(T), data=EventData(run=RUN)).to_json()
        for number, kind in enumerate([EventType.AGENT_STARTED, EventType.CAMERA_LOST])
    )
    assert door.put(make_item(ItemKind.EVENT, first), first).status_code == 201
    refused(door.put(make_item(ItemKind.EVENT, other), other), 409)
    ((_, stored),) = door.store.events("aloha", 10)
    assert stored.type == EventType.AGENT_STARTED


def test_parallel_deliveries_of_one_item_agree(door: Door) -> None:
    name, data = make_segment()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: door.put(name, data), range(24)))
    assert sorted({answer.status_code for answer in answers}) in ([200, 201], [201])
    assert sum(answer.status_code == 201 for answer in answers) == 1
    assert len({answer.content for answer in answers}) == 1
    assert len(door.objects()) == 1


def test_parallel_deliveries_of_different_bytes_have_one_winner(door: Door) -> None:
    rivals = [make_segment(media_start_ms=1000 * number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda rival: door.put(*rival), rivals))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    until(lambda: len(door.objects()) == 1, 5, "one object")


def test_an_agent_that_goes_before_the_answer_finds_its_item_stored(door: Door) -> None:
    name, data = make_segment()
    head = f"PUT {ITEM_PATH}{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.token}\r\n"
    with socket.create_connection(door.address) as gone:
        gone.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    until(lambda: door.store.item("aloha", name.run, name.sequence), 5, "the item")
    assert door.put(name, data).status_code == 200


def test_an_agent_that_goes_in_the_middle_leaves_nothing(door: Door) -> None:
    name, data = make_segment()
    head = f"PUT {ITEM_PATH}{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.token}\r\n"
    with socket.create_connection(door.address) as gone:
        gone.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:100])
    assert door.client.get("/healthz").text == "ok\n"
    assert door.store.item("aloha", name.run, name.sequence) is None
    assert door.objects() == []
    assert door.put(name, data).status_code == 201


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic YWxvaGE6eA=="])
def test_who_is_not_known_gets_in_nowhere(door: Door, authorization: str) -> None:
    name, data = make_segment()
    door.client.headers["Authorization"] = authorization
    problem = refused(door.put(name, data), 401)
    assert "enrol" in problem.detail
    refused(door.client.get(HELLO_PATH), 401)
    assert door.objects() == []


def test_hello_tells_who_one_is(door: Door) -> None:
    hello = Hello.model_validate_json(door.client.get(HELLO_PATH).content)
    assert hello.site == "aloha"


def test_hello_tells_the_newest_item_of_other_runs(door: Door) -> None:
    name, data = make_segment()

    def newest(run: str) -> tuple[str | None, int | None]:
        hello = Hello.model_validate_json(door.client.get(HELLO_PATH, params={"run": run}).content)
        return hello.newest_run, hello.newest_sequence

    assert newest(RUN) == (None, None)
    for run, sequence in (("000002bbbb", 7), ("000004dddd", 3), ("000004dddd", 12)):
        door.put(replace(name, run=run, sequence=sequence), data)
    assert newest("000003cccc") == ("000004dddd", 12)
    assert newest("000004dddd") == ("000002bbbb", 7)
    assert newest("000009dddd") == ("000004dddd", 12)
    refused(door.client.get(HELLO_PATH, params={"run": "x"}), 400)


# --- inventories ---


def stretch(*names: ItemName) -> Range:
    """The range that holds these items of one run."""
    return Range(
        run=names[0].run,
        from_sequence=names[0].sequence,
        to_sequence=names[-1].sequence + 1,
        count=len(names),
        digest=range_digest((name.sequence, name.sha256) for name in names),
    )


def test_the_ranges_that_differ_are_named(door: Door) -> None:
    _, data = make_segment()
    names = [make_segment(sequence=sequence)[0] for sequence in range(8)]
    for name in names[:6]:
        door.put(name, data)
    assert door.differing(stretch(*names[:6])) == ()
    assert door.differing(stretch(*names[:3]), stretch(*names[3:7]), stretch(names[7])) == (1, 2)
    other_bytes = replace(names[2], sha256="0" * 64)
    assert door.differing(stretch(*names[:2]), stretch(other_bytes), stretch(*names[3:6])) == (1,)
    assert door.differing(stretch(names[0], *names[2:6])) == (0,), "the centre holds one more"
    assert door.differing(stretch(replace(names[0], run="000009zzzz"))) == (0,)


def test_an_item_whose_bytes_were_lost_differs_until_it_is_back(door: Door) -> None:
    name, data = make_segment()
    door.put(name, data)
    door.store.mark_lost([("aloha", name.run, name.sequence)], T)
    (lost,) = door.objects()
    lost.unlink()
    assert door.differing(stretch(name)) == (0,)
    other, other_data = make_segment(media_start_ms=4000)
    refused(door.put(other, other_data), 409)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: door.put(name, data), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert door.differing(stretch(name)) == ()
    row = door.store.item("aloha", name.run, name.sequence)
    assert row is not None
    assert row.lost_ms is None
    assert door.archive.read(row.object, row.offset, row.length) == data
    assert len(door.objects()) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b'{"ranges": []}', 400),
        (b'{"ranges": [{"run": "000001aaaa"}]}', 400),
        (b" " * (MAX_MESSAGE_BYTES + 1), 413),
    ],
)
def test_what_is_no_inventory_is_refused(door: Door, body: bytes, status: int) -> None:
    problem = refused(door.client.post(INVENTORY_PATH, content=body), status)
    assert "\n" not in problem.detail
    door.client.headers["Authorization"] = "Bearer wrong"
    refused(door.client.post(INVENTORY_PATH, content=body), 401)


def test_comparisons_beyond_a_few_are_asked_to_come_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And items are taken meanwhile."""
    name, data = make_segment()
    begun, go_on, held = Signal(), Signal(), door.store.held

    def slow(*arguments: object) -> object:
        begun.set()
        go_on.wait(10)
        return held(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(door.store, "held", slow)
    question = Inventory(ranges=(stretch(name),)).to_json()
    with ThreadPoolExecutor(9) as pool:
        try:
            asked = [pool.submit(door.client.post, INVENTORY_PATH, content=question) for _ in range(9)]
            until(lambda: any(one.done() for one in asked), 10, "one is sent away")
            assert begun.is_set()
            assert door.put(name, data).status_code == 201
        finally:
            go_on.set()
    assert sorted(one.result().status_code for one in asked) == [200] * 8 + [503]


# --- what is refused ---


def test_a_body_that_is_not_what_its_name_says_is_refused(door: Door) -> None:
    name, data = make_segment()
    refused(door.put(name, data[:-1] + b"x"), 400)
    refused(door.put(name, data, **{"Content-Digest": content_digest("0" * 64)}), 400)
    refused(door.put("nonsense.mp4", data), 400)
    refused(door.put(f"{name}x", data), 400)
    assert door.objects() == []


def _facts(**changes: object) -> bytes:
    _, data = make_segment()
    facts = read_facts(data)
    return data[: facts.init_bytes + facts.media_bytes] + facts_box(facts.model_copy(update=changes))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ItemKind.SEGMENT, b""),
        (ItemKind.SEGMENT, b"no boxes"),
        (ItemKind.SEGMENT, make_segment()[1][:-10]),
        (ItemKind.SEGMENT, _facts(media_bytes=1)),
        (ItemKind.SEGMENT, _facts(session=2**31)),
        (ItemKind.SEGMENT, _facts(gap_before_ms=2**60)),
        (ItemKind.SNAPSHOT, b"GIF89a"),
        (ItemKind.SNAPSHOT, b"\xff\xd8\xff torn"),
        (ItemKind.EVENT, b"{}"),
        (ItemKind.EVENT, b"\xff"),
        (ItemKind.EVENT, b" " * (MAX_MESSAGE_BYTES + 1)),
        (ItemKind.TELEMETRY, b'{"samples": 3}'),
    ],
)
def test_content_that_is_not_of_its_kind_is_refused(door: Door, kind: ItemKind, data: bytes) -> None:
    camera = "north" if kind is ItemKind.SEGMENT else "site"
    problem = refused(door.put(make_item(kind, data, camera=camera), data), 400)
    assert problem.detail
    assert "\n" not in problem.detail
    assert door.objects() == []


def test_what_is_announced_too_large_is_refused_at_once(door: Door) -> None:
    name, _ = make_segment()
    head = f"PUT {ITEM_PATH}{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.token}\r\n"
    with socket.create_connection(door.address, timeout=5) as agent:
        agent.sendall(f"{head}Content-Length: {MAX_ITEM_BYTES + 1}\r\n\r\n".encode())
        assert agent.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_length_that_no_number_holds_is_too_large(door: Door) -> None:
    """Whether or not the server in front lets it through."""
    name, _ = make_segment()
    headers = {"Authorization": f"Bearer {door.token}", "Content-Length": "9" * 5000}
    assert TestClient(door.ingest.app()).put(f"{ITEM_PATH}{name}", headers=headers).status_code == 413


def test_what_grows_too_large_on_the_way_is_refused(door: Door) -> None:
    name, _ = make_segment()
    chunk = bytes(1024 * 1024)
    endless = door.client.put(f"{ITEM_PATH}{name}", content=(chunk for _ in range(MAX_ITEM_BYTES // len(chunk) + 1)))
    refused(endless, 413)


def test_events_telemetry_and_snapshots_are_taken(door: Door) -> None:
    event = Event(
        id=f"{RUN}/1", source="/aloha", type=EventType.AGENT_STARTED, time=instant(T), data=EventData(run=RUN)
    ).to_json()
    telemetry = Telemetry(samples=()).to_json()
    snapshot = b"\xff\xd8\xff\xe0 picture \xff\xd9"
    for sequence, (kind, data, camera) in enumerate(
        [
            (ItemKind.EVENT, event, "site"),
            (ItemKind.TELEMETRY, telemetry, "site"),
            (ItemKind.SNAPSHOT, snapshot, "north"),
        ]
    ):
        assert door.put(make_item(kind, data, sequence=sequence, camera=camera), data).status_code == 201
    ((_, stored),) = door.store.events("aloha", 10)
    assert stored.type == EventType.AGENT_STARTED
    assert door.store.latest_snapshot("aloha", "north") is not None


def test_an_event_whose_id_cannot_be_stored_is_refused(door: Door) -> None:
    for number, bad in enumerate(["", "x" * 201, "a\u0000b"]):
        event = Event(id=bad, source="/", type=EventType.AGENT_STARTED, time=instant(T), data=EventData(run=RUN))
        data = event.to_json()
        refused(door.put(make_item(ItemKind.EVENT, data, sequence=number), data), 400)


@pytest.mark.parametrize("start_ms", [0, 253_402_300_799_000, 999_999_999_999_999])
def test_absurd_times_are_stored(door: Door, start_ms: int) -> None:
    name, data = make_segment(start_ms=start_ms)
    assert door.put(name, data).status_code == 201


def test_a_disk_without_room_asks_to_come_back(sqlite_store: Store, tmp_path: Path) -> None:
    door = Door(sqlite_store, tmp_path / "archive")
    door.archive._reserve_bytes = 2**60
    try:
        name, data = make_segment()
        answer = door.put(name, data)
        refused(answer, 507)
        assert int(answer.headers["retry-after"]) > 0
        assert door.store.item("aloha", name.run, name.sequence) is None
        assert door.objects() == []
    finally:
        door.close()


def test_what_is_stored_has_its_receipt_though_there_is_no_room_or_no_archive(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent must be able to let it go."""
    name, data = make_segment()
    receipt = door.put(name, data).content
    door.archive._reserve_bytes = 2**60
    answer = door.put(name, data)
    assert (answer.status_code, answer.content) == (200, receipt)
    refused(door.put(replace(name, sequence=name.sequence + 1), data), 507)

    def archive_down(*_: object) -> None:
        raise ArchiveDown("the archive does not answer")

    monkeypatch.setattr(door.archive, "put", archive_down)
    answer = door.put(name, data)
    assert (answer.status_code, answer.content) == (200, receipt)


def test_a_store_or_an_archive_that_is_down_asks_to_come_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = make_segment()

    def store_down(*_: object) -> None:
        raise StoreDown("the database does not answer")

    def archive_down(*_: object) -> None:
        raise ArchiveDown("the archive does not answer")

    picture = b"\xff\xd8\xff\xe0 picture \xff\xd9"
    snapshot = make_item(ItemKind.SNAPSHOT, picture, sequence=1, camera="north")
    for part, method, trouble, item in (
        (door.store, "item", store_down, (snapshot, picture)),
        (door.store, "add_items", store_down, (name, data)),
        (door.archive, "put", archive_down, (name, data)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(part, method, trouble)
            answer = door.put(*item)
            refused(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    assert door.store.item("aloha", name.run, name.sequence) is None
    assert door.put(name, data).status_code == 201
    assert len(door.objects()) == 1


def test_too_many_uploads_at_once_are_asked_to_come_back_and_then_taken(sqlite_store: Store, tmp_path: Path) -> None:
    """One upload holds nearly all the memory there is while its archive is slow."""
    name, data = make_segment()
    door = Door(sqlite_store, tmp_path / "archive", in_flight_bytes=len(data) + 100)
    busy, go_on = Signal(), Signal()
    put = door.archive.put

    def slow(key: str, data: bytes | bytearray) -> None:
        busy.set()
        go_on.wait(10)
        put(key, data)

    door.archive.put = slow  # type: ignore[method-assign]
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(door.put, name, data)
            assert busy.wait(10)
            refused(door.put(replace(name, sequence=9), data), 503)
            go_on.set()
            assert first.result().status_code == 201
        assert door.put(replace(name, sequence=9), data).status_code == 201
    finally:
        go_on.set()
        door.close()


def test_many_items_are_filed_in_few_transactions(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    add_items = door.store.add_items

    def counted(rows: list[ItemRow], *more: Any) -> object:
        sizes.append(len(rows))
        return add_items(rows, *more)

    monkeypatch.setattr(door.store, "add_items", counted)
    name, data = make_segment()
    began_s = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: door.put(replace(name, sequence=n), data), range(64)))
    assert {answer.status_code for answer in answers} == {201}
    assert sum(sizes) == 64
    assert len(sizes) <= 100 * (time.monotonic() - began_s) + 1, "more than a hundred transactions a second"
    assert len({hashlib.sha256(answer.content).hexdigest() for answer in answers}) == 64


def test_an_item_is_filed_though_its_door_closed_meanwhile(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Signal()
    add_items = sqlite_store.add_items

    def late(*rows: Any) -> object:
        assert closed.wait(10)
        return add_items(*rows)

    monkeypatch.setattr(sqlite_store, "add_items", late)
    clerk = Clerk(sqlite_store)
    name, data = make_segment()

    async def leave() -> None:
        clerk.file(sheet_of("aloha", name, data, "key", T))

    asyncio.run(leave())
    closed.set()
    clerk.close()
    assert sqlite_store.item("aloha", name.run, name.sequence) is not None
