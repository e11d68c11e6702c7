"""What waits on a disk that cannot be read: that of one bad sector is told as lost, all else waits and goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from edge_agent.contract import EventType, ItemName, LossCause
from edge_agent.gates import FreshGate
from edge_agent.jobs.ship import Lane, Ship
from edge_agent.settings import CentreSettings
from edge_agent.uplink import Uplink
from tests.edge_agent.test_disk_trouble import Site, on_disk, site
from tests.edge_agent.test_ship import TOKEN, Centre, receipt
from tests.edge_agent.test_spool import begin, finished
from tests.fakes import FakeClock
from tests.rig.power_disk import PowerDisk

ITEMS = 12


class Shipping:
    """A spool on a disk that can fail, a backlog of which the kernel remembers nothing, and its way to a centre."""

    def __init__(self, disk: PowerDisk, here: Site, uplink: Uplink, clock: FakeClock) -> None:
        self.disk, self.here, self.spool, self.clock = disk, here, here.spool, clock
        self.waiting = [here.segment() for _ in range(ITEMS)]
        disk.forget(here.directory / "ready" / str(name) for name in self.waiting)
        clock.advance(60)
        self.announced: list[tuple[EventType, LossCause | None]] = []
        gate = FreshGate(clock)
        self.fresh, self.late = (
            Ship(
                Lane(take, come, 1, gate),
                here.spool,
                uplink,
                lambda kind, data: self.announced.append((kind, data.cause)),
                lambda: None,
                here.spool.run,
                clock,
            )
            for take, come in ((here.spool.take_fresh, here.spool.arrived), (here.spool.take_late, here.spool.late))
        )

    def go_on(self, seconds: float) -> None:
        """So much time passes; nobody but the backlog ships."""
        until_ms = self.clock.monotonic_ms() + seconds * 1000
        while self.clock.monotonic_ms() < until_ms:
            self.clock.advance(self.late.run_once())

    @property
    def sent(self) -> set[str]:
        return on_disk(self.here.directory, "sent")

    @property
    def aside(self) -> set[str]:
        return {name for name in on_disk(self.here.directory, "quarantine") if not name.endswith(".txt")}


@pytest.fixture
def shipping(tmp_path: Path) -> Iterator[Shipping]:
    clock, centre = FakeClock(), Centre()
    centre.answer = lambda path: (201, {}, receipt(ItemName.parse(path.rpartition("/")[2])))
    door = CentreSettings(url=centre.url, token=SecretStr(TOKEN), timeout_s=5)
    with (
        PowerDisk(tmp_path / "disk", 32) as disk,
        site(disk.mount() / "spool", None, clock=clock) as here,
        closing(Uplink(door, "kota-lama")) as uplink,
        closing(centre),
    ):
        yield Shipping(disk, here, uplink, clock)


def names(items: list[ItemName]) -> set[str]:
    return set(map(str, items))


@pytest.mark.parametrize("seconds", [1, 60, 3600])
def test_a_disk_that_cannot_be_read_for_a_while_costs_nothing(shipping: Shipping, seconds: float) -> None:
    """It says so meanwhile, and what is recorded goes on to it and from it."""
    shipping.disk.eio_read()
    shipping.go_on(seconds)
    assert "cannot be read" in shipping.here.turn()
    live = begin(shipping.spool).commit(4000, finished())
    assert shipping.fresh.run_once() == 0
    assert shipping.sent == {str(live)}
    assert on_disk(shipping.here.directory) == names(shipping.waiting)
    shipping.disk.heal()
    assert shipping.here.turn() == ""
    shipping.go_on(45)
    assert shipping.sent == names([*shipping.waiting, live])
    assert shipping.here.said() == ["trouble", "back"]
    assert (shipping.aside, shipping.announced) == (set(), [])


def test_a_disk_that_cannot_be_read_until_the_next_life_costs_nothing_either(shipping: Shipping) -> None:
    shipping.disk.eio_read()
    shipping.go_on(600)
    shipping.spool.close()
    shipping.disk.heal()
    with site(shipping.here.directory, None) as later:
        assert names(later.waiting()) == names(shipping.waiting)


def test_a_bad_sector_costs_what_lies_on_it_and_holds_up_nothing(shipping: Shipping) -> None:
    bad = shipping.waiting[0]
    shipping.disk.spoil(shipping.here.directory / "ready" / str(bad), 100)
    shipping.go_on(10)
    assert shipping.sent == names(shipping.waiting[1:])
    assert (shipping.aside, shipping.announced) == (set(), [])
    assert shipping.spool.stats().backlog_items == 1
    shipping.go_on(90)
    assert shipping.aside == {str(bad)}
    assert shipping.announced == [(EventType.SPOOL_QUARANTINED, LossCause.DAMAGED)]
    assert shipping.here.turn() == ""
    assert shipping.here.said() == []


def test_a_bad_sector_is_told_from_a_disk_that_cannot_be_read_at_all(shipping: Shipping) -> None:
    """What failed while nothing could be read speaks against no item."""
    bad = shipping.waiting[0]
    shipping.disk.eio_read()
    shipping.go_on(600)
    shipping.disk.heal()
    shipping.disk.spoil(shipping.here.directory / "ready" / str(bad), 100)
    shipping.go_on(40)
    assert shipping.aside == set()
    shipping.go_on(120)
    assert shipping.aside == {str(bad)}
    assert shipping.sent == names(shipping.waiting[1:])


def test_what_was_put_off_gives_way_like_all_else_when_room_is_short(shipping: Shipping) -> None:
    shipping.disk.eio_read()
    shipping.go_on(60)
    line = shipping.spool._stock.line
    assert {name for name, _ in line.items()} == set(shipping.waiting)
    assert {name for name, _ in line.candidates(lambda _name: False)} == set(shipping.waiting)
    assert len(line) == ITEMS
    for name in shipping.waiting:
        assert shipping.spool.waits(name)
        assert line.leave(name)
    assert (len(line), line.bytes, line.duration_ms) == (0, 0, 0)
