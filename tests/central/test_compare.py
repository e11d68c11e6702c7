"""A site that compares itself with a real door: what was lost goes again, and a disk that went back is found out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from central.store import Store
from central.verify import verify
from edge_agent.contract import ClockQuality, Event, EventData, EventType, ItemKind, instant
from edge_agent.gates import FreshGate
from edge_agent.jobs.compare import Compare
from edge_agent.jobs.ship import Lane, Ship
from edge_agent.settings import CentreSettings
from edge_agent.spool import Spool
from edge_agent.uplink import Uplink
from tests.central.test_ingest import Door
from tests.fakes import FakeClock

T = 1_795_000_000_000


class Box:
    """A site's disk, and the two jobs that bring it into line with the centre; one life per instance."""

    def __init__(self, directory: Path, door: Door) -> None:
        self.clock = FakeClock()
        self.spool = Spool(directory, quota_bytes=1 << 30, reserve_bytes=0, clock=self.clock)
        url = f"http://127.0.0.1:{door.address[1]}"
        self.uplink = Uplink(CentreSettings(url=url, token=SecretStr(door.token)), "aloha")
        self.told: list[tuple[EventType, EventData]] = []
        lane = Lane(
            lambda: self.spool.take_fresh() or self.spool.take_late(), self.spool.arrived, 0, FreshGate(self.clock)
        )
        self.ship = Ship(lane, self.spool, self.uplink, self._announce, lambda: None, self.spool.run, self.clock)
        self.compare = Compare(self.spool, self.uplink, self._announce, self.clock)

    def _announce(self, kind: EventType, data: EventData) -> None:
        self.told.append((kind, data))

    def live(self, items: int) -> None:
        """So many items are made, compared with the centre and sent, as far as the jobs think they must be."""
        for number in range(items):
            data = EventData(run=self.spool.run)
            event = Event(
                id=f"{data.run}-{number}", source="aloha", type=EventType.AGENT_STARTED, time=instant(T), data=data
            )
            self.spool.add(ItemKind.EVENT, None, T, 0, ClockQuality.SYNCED, event.to_json())
        self.compare.ask()
        while self.compare.run_once() == 0:
            pass
        while self.spool.next_unsent():
            assert self.ship.run_once() == 0

    def end(self) -> None:
        self.uplink.close()
        self.spool.close()


@pytest.fixture
def door(sqlite_store: Store, tmp_path: Path) -> Iterator[Door]:
    opened = Door(sqlite_store, tmp_path / "archive")
    yield opened
    opened.close()


def test_what_the_centre_lost_goes_again_and_only_that(door: Door, tmp_path: Path) -> None:
    box = Box(tmp_path / "spool", door)
    box.live(40)
    for file in sorted(door.objects(), key=lambda path: path.name)[10:13]:
        file.unlink()

    def check() -> int:
        look = {"repair": True, "read_all": True, "archive_is_new": False}
        return verify(door.store, door.archive, T, lambda *_: None, **look).lost

    assert check() == 3
    box.live(0)
    assert check() == 0
    assert [(kind, data.items, data.returned) for kind, data in box.told] == [(EventType.SPOOL_COMPARED, 40, 3)]
    box.live(2)
    assert len(box.told) == 1
    assert len(door.objects()) == 42
    box.end()


def test_an_old_image_and_a_cloned_card_are_found_out(door: Door, tmp_path: Path) -> None:
    """The centre knows what such a disk has forgotten."""
    box = Box(tmp_path / "card", door)
    box.live(3)
    shutil.copytree(tmp_path / "card", tmp_path / "image")
    shutil.copytree(tmp_path / "card", tmp_path / "clone")
    box.live(4)
    box.end()

    image = Box(tmp_path / "image", door)
    image.live(1)
    ((kind, data),) = image.told
    assert (kind, data.items, data.previous_run) == (EventType.SPOOL_STEPPED_BACK, 4, box.spool.run)
    assert "4 later items" in image.compare.proof.detail
    image.end()

    clone = Box(tmp_path / "clone", door)
    clone.live(1)
    ((kind, data),) = clone.told
    assert (kind, data.previous_run) == (EventType.SPOOL_STEPPED_BACK, image.spool.run)
    assert "another box" in clone.compare.proof.detail
    clone.end()

    box = Box(tmp_path / "card", door)
    box.live(1)
    assert "another box" in box.compare.proof.detail
    box.end()


def test_lives_that_follow_on_each_other_are_nothing_to_tell(door: Door, tmp_path: Path) -> None:
    for _ in range(4):
        box = Box(tmp_path / "spool", door)
        box.live(3)
        assert (box.told, box.compare.proof.detail) == ([], "")
        box.end()
