"""Items on their way: a real HTTP server that plays the centre, the stranger, and the centre in trouble."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import select
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

import pytest
from pydantic import SecretStr

from edge_agent.contract import (
    ClockQuality,
    EventData,
    EventType,
    Inventory,
    ItemKind,
    ItemName,
    LossCause,
    content_digest,
)
from edge_agent.core.pace import Limits
from edge_agent.errors import Busy, LinkError, Refused, Rejected, SpoolError, Superseded, Unreachable
from edge_agent.gates import FreshGate, LateGate
from edge_agent.jobs.ship import Lane, Ship
from edge_agent.settings import CentreSettings
from edge_agent.uplink import Uplink
from tests.fakes import FakeClock
from tests.rig.link import free_port
from tests.rig.processes import until

TOKEN = "a-secret-token"
BODY = b"a few seconds of footage" * 30_000

Answer = tuple[int, dict[str, str], bytes]


def item(body: bytes = BODY, kind: ItemKind = ItemKind.SEGMENT, sequence: int = 5) -> ItemName:
    digest = hashlib.sha256(body).hexdigest()
    return ItemName("000001aaaa", sequence, kind, "north", 1_800_000_000_000, 4000, ClockQuality.SYNCED, digest)


def receipt(name: ItemName, **other: object) -> bytes:
    table = {
        "site": "kota-lama",
        "run": name.run,
        "sequence": name.sequence,
        "sha256": name.sha256,
        "size_bytes": len(BODY),
        "stored_at": "2027-01-15T08:00:00.000Z",
    }
    return json.dumps(table | other).encode()


class Centre:
    """Answers each request as the test says, after reading its body; keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Answer | None] = lambda _path: (201, {}, receipt(item()))
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.hangs_up = False
        centre = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True
                    return
                centre.asked.append((self.path, dict(self.headers), body))
                answer = centre.answer(self.path)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = self.close_connection or centre.hangs_up

            def do_GET(self) -> None:
                self.headers["Content-Length"] = "0"
                self.do_PUT()

            do_POST = do_PUT  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def says(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """The answer to everything from now on."""
        self.answer = lambda _path: (status, headers, body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def centre() -> Iterator[Centre]:
    centre = Centre()
    yield centre
    centre.close()


@pytest.fixture
def uplink(centre: Centre) -> Iterator[Uplink]:
    uplink = Uplink(CentreSettings(url=centre.url, token=SecretStr(TOKEN), timeout_s=1), "kota-lama")
    yield uplink
    uplink.close()


def deliver(uplink: Uplink, name: ItemName | None = None) -> None:
    uplink.deliver(name or item(), io.BytesIO(BODY), lambda most: most)


# --- uplink ---


def test_an_item_goes_with_its_name_its_hash_and_our_token(centre: Centre, uplink: Uplink) -> None:
    deliver(uplink)
    deliver(uplink)
    path, headers, body = centre.asked[0]
    assert path == f"/agent/v1/items/{item()}"
    assert body == BODY
    assert headers["Content-Digest"] == content_digest(item().sha256)
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Welcome to the hotel</html>"),
        (200, b""),
        (200, b"{}"),
        (200, receipt(item(), site="another-site")),
        (200, receipt(item(), sequence=6)),
        (200, receipt(item(), sha256="0" * 64)),
        (201, receipt(item())[:-10]),
        (200, b"x" * 1_000_000),
        (204, b""),
        (302, b""),
        (404, b""),
        (500, b"oops"),
    ],
)
def test_whoever_gives_no_receipt_for_this_item_has_not_got_it(
    centre: Centre, uplink: Uplink, answer: tuple[int, bytes]
) -> None:
    status, body = answer
    centre.says(status, {"Location": "http://elsewhere/"} if status == 302 else {}, body)
    with pytest.raises(Unreachable, match=centre.url):
        deliver(uplink)
    assert len(centre.asked) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Rejected),
        (409, Superseded),
        (413, Rejected),
        (422, Rejected),
        (401, Refused),
        (403, Refused),
        (429, Busy),
        (503, Busy),
        (507, Busy),
    ],
)
def test_each_refusal_is_sorted_by_what_can_be_done(
    centre: Centre, uplink: Uplink, status: int, expected: type[LinkError]
) -> None:
    problem = json.dumps({"title": "Not so", "status": status, "detail": "for a reason"}).encode()
    centre.says(status, {}, problem)
    with pytest.raises(expected, match=f"{status} Not so: for a reason") as caught:
        deliver(uplink)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("86400", 600), ("soon", 30), ("-5", 30), ("", 30), ("٣", 30)]
)
def test_patience_is_what_the_centre_asks_for_within_reason(
    centre: Centre, uplink: Uplink, header: str, seconds: float
) -> None:
    centre.says(503, {"Retry-After": header.encode().decode("latin-1")}, b"")
    with pytest.raises(Busy) as caught:
        deliver(uplink)
    assert caught.value.retry_after_s == seconds


def test_a_slow_centre_and_one_that_hangs_up_are_unreachable(centre: Centre, uplink: Uplink) -> None:
    hold = threading.Event()

    def answer_late(_path: str) -> None:
        hold.wait(5)

    centre.answer = answer_late
    with pytest.raises(Unreachable):
        deliver(uplink)
    hold.set()
    centre.answer = lambda _path: None
    with pytest.raises(Unreachable):
        deliver(uplink)
    centre.says(201, {}, receipt(item()))
    deliver(uplink)


def test_a_closed_port_is_unreachable() -> None:
    settings = CentreSettings(url=f"http://127.0.0.1:{free_port()}", token=SecretStr(TOKEN))
    uplink = Uplink(settings, "kota-lama")
    with pytest.raises(Unreachable, match="refused") as caught:
        deliver(uplink)
    uplink.close()
    assert "[centre]" in caught.value.remedy


def test_hello_says_who_we_are_or_that_this_is_no_centre(centre: Centre, uplink: Uplink) -> None:
    centre.says(200, {}, b'{"site":"kota-lama","at":"2027-01-15T08:00:00Z"}')
    assert uplink.hello().site == "kota-lama"
    centre.says(200, {}, b"hello yourself")
    with pytest.raises(Unreachable, match="as a centre does"):
        uplink.hello()


def test_an_inventory_is_posted_and_only_the_word_of_a_centre_counts(centre: Centre, uplink: Uplink) -> None:
    part = {"run": item().run, "from_sequence": 5, "to_sequence": 6, "count": 1, "digest": "0" * 32}
    question = Inventory.model_validate({"ranges": [part]})
    centre.says(200, {}, b'{"differ": [0]}')
    assert uplink.differing(question) == (0,)
    path, headers, body = centre.asked[0]
    assert (path, json.loads(body)["ranges"]) == ("/agent/v1/inventory", [part])
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    for nonsense in (b"", b"<html>", b"{}", b'{"differ": ["all"]}', b'{"differ": [-1]}'):
        centre.says(200, {}, nonsense)
        with pytest.raises(Unreachable, match="as a centre does"):
            uplink.differing(question)
    centre.says(503, {"Retry-After": "5"}, b"")
    with pytest.raises(Busy):
        uplink.differing(question)


def test_hello_tells_our_run_where_it_matters(centre: Centre, uplink: Uplink) -> None:
    centre.says(
        200, {}, b'{"site":"kota-lama","at":"2027-01-15T08:00:00Z","newest_run":"000001aaaa","newest_sequence":4}'
    )
    assert uplink.hello("000002bbbb").newest_sequence == 4
    assert centre.asked[0][0] == "/agent/v1/hello?run=000002bbbb"


# --- ship ---


class Shelf:
    """A queue in memory, with files that can be damaged."""

    def __init__(self, *names: ItemName) -> None:
        self.arrived = threading.Event()
        self.unsent = list(names)
        self.body: bytes | Exception = BODY
        self.is_evicting = False
        self.is_disk_to_blame = False
        self.sent: list[ItemName] = []
        self.aside: list[tuple[ItemName, str]] = []

    def take(self) -> ItemName | None:
        return self.unsent[0] if self.unsent else None

    def release(self, name: ItemName) -> None:
        pass

    def waits(self, name: ItemName) -> bool:
        return name in self.unsent and not self.is_evicting

    def open(self, name: ItemName) -> BinaryIO:
        if isinstance(self.body, Exception):
            raise self.body
        return io.BytesIO(self.body)

    def mark_sent(self, name: ItemName) -> None:
        self.unsent.remove(name)
        self.sent.append(name)

    def put_off(self, name: ItemName) -> bool:
        return self.is_disk_to_blame

    def quarantine(self, name: ItemName, reason: str) -> None:
        self.unsent.remove(name)
        self.aside.append((name, reason))


class Shipped:
    """A ship between a shelf and the HTTP server."""

    def __init__(self, uplink: Uplink, *names: ItemName) -> None:
        self.shelf = Shelf(*names)
        self.clock = FakeClock()
        self.events: list[EventData] = []
        self.fresh = FreshGate(self.clock)
        self.late = LateGate(self.fresh, Limits(), self.clock)
        self.ship = self._ship(uplink, Lane(self.shelf.take, self.shelf.arrived, 1.0, self.fresh))
        self.backlog = self._ship(uplink, Lane(self.shelf.take, self.shelf.arrived, 30.0, self.late))

    def _ship(self, uplink: Uplink, lane: Lane) -> Ship:
        return Ship(lane, self.shelf, uplink, self._announce, lambda: None, "000002bbbb", self.clock)

    def _announce(self, kind: EventType, data: EventData) -> None:
        assert kind is EventType.SPOOL_QUARANTINED
        self.events.append(data)


def test_only_a_receipt_lets_an_item_go(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    centre.says(200, {}, b"<html>")
    assert shipped.ship.run_once() > 0
    assert shipped.shelf.unsent == [item()]
    centre.says(200, {}, receipt(item()))
    assert shipped.ship.run_once() == 0
    assert shipped.shelf.sent == [item()]
    assert shipped.ship.flows


def test_a_long_break_is_tens_of_lines_and_its_end_is_told(
    centre: Centre, uplink: Uplink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge_agent")
    shipped = Shipped(uplink, item())
    centre.says(500, {}, b"")
    waits = [shipped.ship.run_once() for _ in range(600)]
    assert all(0.5 <= wait <= 8 for wait in waits), "items go within 15 s, however long the break was"
    assert waits[-1] >= 4
    assert len(caplog.records) < 20
    centre.says(200, {}, receipt(item()))
    shipped.ship.run_once()
    assert "again, after 600 failures" in caplog.records[-1].getMessage()


def test_a_busy_centre_is_left_alone_for_as_long_as_it_asks(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    centre.says(503, {"Retry-After": "20"}, b"")
    assert 20 <= shipped.ship.run_once() <= 25


def test_refused_credentials_are_tried_slowly(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    centre.says(401, {}, b"")
    assert shipped.ship.run_once() >= 15
    assert shipped.shelf.unsent


def test_what_the_centre_rejects_twice_is_put_aside_and_explained(centre: Centre, uplink: Uplink) -> None:
    second = item(sequence=6)
    shipped = Shipped(uplink, item(), second)
    centre.answer = lambda path: (422, {}, b"") if str(item()) in path else (201, {}, receipt(second))
    assert shipped.ship.run_once() == 1
    assert shipped.ship.run_once() == 0
    assert shipped.ship.run_once() == 0
    ((name, reason),) = shipped.shelf.aside
    assert (name, shipped.shelf.sent) == (item(), [second])
    assert "422" in reason
    (event,) = shipped.events
    assert (event.cause, event.camera, event.items) == (LossCause.DAMAGED, "north", 1)
    assert event.to_at is not None
    assert event.from_at is not None
    assert (event.to_at - event.from_at).total_seconds() == 4


def test_what_the_centre_has_in_another_salvage_is_put_aside_and_no_loss(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    centre.says(409, {}, b"")
    assert shipped.ship.run_once() == 0
    ((name, reason),) = shipped.shelf.aside
    assert (name, shipped.events) == (item(), [])
    assert "409" in reason


def test_what_was_damaged_on_the_way_is_sent_again(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    centre.says(400, {}, b"")
    shipped.ship.run_once()
    centre.says(201, {}, receipt(item()))
    shipped.ship.run_once()
    assert shipped.shelf.sent == [item()]
    assert not shipped.events


def test_what_was_damaged_on_the_disk_is_put_aside_at_once(centre: Centre, uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    shipped.shelf.body = b"rot"
    centre.says(400, {}, b"")
    shipped.ship.run_once()
    assert "changed on the disk" in shipped.shelf.aside[0][1]


@pytest.mark.parametrize("trouble", [SpoolError("input/output error"), OSError(5, "Input/output error")])
def test_what_can_never_be_read_back_is_put_aside(
    uplink: Uplink, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """While it may be readable later it is left alone, without many words."""
    shipped = Shipped(uplink, item())
    shipped.shelf.body = trouble
    shipped.shelf.is_disk_to_blame = True
    waits = [shipped.ship.run_once() for _ in range(100)]
    assert waits[0] >= 0.5
    assert 4 <= waits[-1] <= 8
    assert len(caplog.records) < 10
    assert not shipped.shelf.aside
    shipped.shelf.is_disk_to_blame = False
    shipped.ship.run_once()
    assert "cannot be read back" in shipped.shelf.aside[0][1]
    assert shipped.events[0].cause is LossCause.DAMAGED


def test_an_event_that_is_put_aside_makes_no_event(centre: Centre, uplink: Uplink) -> None:
    name = item(kind=ItemKind.EVENT)
    shipped = Shipped(uplink, name)
    centre.says(422, {}, b"")
    shipped.ship.run_once()
    shipped.ship.run_once()
    assert shipped.shelf.aside
    assert not shipped.events


def test_an_idle_ship_wakes_when_an_item_arrives(uplink: Uplink) -> None:
    shipped = Shipped(uplink)
    assert shipped.ship.run_once() == 0
    assert shipped.clock.waited_s == [1.0]


def test_the_backlog_does_not_try_while_fresh_items_fail(centre: Centre, uplink: Uplink) -> None:
    """One who knocks at a dead centre is enough; half a minute after the last one the backlog tries itself."""
    shipped = Shipped(uplink, item())
    centre.says(500, {}, b"")
    shipped.ship.run_once()
    assert shipped.backlog.run_once() == 1
    assert len(centre.asked) == 1
    shipped.clock.advance(30)
    shipped.backlog.run_once()
    assert len(centre.asked) == 2
    shipped.ship.run_once()
    shipped.fresh.hope()
    shipped.backlog.run_once()
    assert len(centre.asked) == 4


def test_what_is_evicted_while_it_is_sent_is_not_put_aside(uplink: Uplink) -> None:
    shipped = Shipped(uplink, item())
    shipped.shelf.body = SpoolError("no such file")
    shipped.shelf.is_evicting = True
    assert shipped.ship.run_once() == 0
    assert not shipped.shelf.aside


def test_a_centre_that_hung_up_on_an_idle_connection_is_called_again(centre: Centre, uplink: Uplink) -> None:
    centre.hangs_up = True
    deliver(uplink)
    sock = uplink._connection.sock
    assert sock is not None
    until(lambda: select.select([sock], [], [], 0)[0], 5, "the end of the connection")
    deliver(uplink)
    assert len(centre.asked) == 2


def test_a_file_that_cannot_be_read_to_its_end_is_no_trouble_of_the_link(centre: Centre, uplink: Uplink) -> None:
    """A bad sector must not hold up the line as a broken link does."""

    class Rotten(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(SpoolError, match="Input/output error"):
        uplink.deliver(item(), Rotten(BODY), lambda most: min(most, 60_000))
    deliver(uplink)
    assert centre.asked[-1][2] == BODY


@pytest.mark.parametrize("queue_ms", [None, lambda: 5])
def test_an_item_goes_in_slices_as_large_as_admitted(centre: Centre, queue_ms: Callable[[], float] | None) -> None:
    uplink = Uplink(CentreSettings(url=centre.url, token=SecretStr(TOKEN), timeout_s=1), "kota-lama", queue_ms)
    asked: list[int] = []

    def admit(most: int) -> int:
        asked.append(most)
        return min(most, 10_000)

    uplink.deliver(item(), io.BytesIO(BODY), admit)
    uplink.close()
    assert centre.asked[0][2] == BODY
    assert len(asked) == len(BODY) // 10_000
    assert max(asked) <= 1024 * 1024
