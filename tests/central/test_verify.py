"""Index and archive that do not fit: what is found, what is mended, and that no byte of footage goes away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import obstore
import pytest

from central.archive import Archive
from central.enrolment import enrol
from central.errors import ArchiveDown
from central.history import camera_timeline
from central.ingest import sheet_of, tabulate
from central.store import ItemRow, Store
from central.verify import Finding, Verdict, verify
from edge_agent.contract import Event, EventData, EventType, ItemKind, ItemName, LossCause, instant
from tests.central.test_ingest import Door
from tests.rig.segments import RUN, make_item, make_segment

T = 1_795_000_000_000


class Shelves:
    """A site's items in a store and an archive."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self.store, self.archive = store, archive
        enrol(store, "aloha", "", None, None, renew=False)

    def segment(self, number: int, day: str = "2026/11/18", *, row: bool = True) -> tuple[ItemName, bytes, str]:
        """An item's name, its bytes and its object."""
        name, data = make_segment(sequence=number, media_start_ms=number * 4000, start_ms=T + number * 4000)
        return name, data, self.put(name, data, day, row=row)

    def put(self, name: ItemName, data: bytes, day: str = "2026/11/18", *, row: bool = True) -> str:
        key = f"{day}/aloha/{name.camera}/{name}"
        self.archive.put(key, data)
        if row:
            filed = sheet_of("aloha", name, data, key, T)
            self.store.add_items(*tabulate([filed]))
        return key

    def row(self, name: ItemName) -> ItemRow:
        row = self.store.item("aloha", name.run, name.sequence)
        assert row is not None
        return row

    def objects(self) -> dict[str, bytes]:
        """Every object, also those put aside."""
        keys = [meta["path"] for some in obstore.list(self.archive._objects) for meta in some]
        return {key: bytes(obstore.get(self.archive._objects, key).bytes()) for key in keys}

    def verify(self, *, repair: bool = False, read_all: bool = False, archive_is_new: bool = False) -> Verdict:
        told: list[tuple[int, int]] = []
        verdict = verify(
            self.store,
            self.archive,
            T + 60_000,
            lambda done, total: told.append((done, total)),
            repair=repair,
            read_all=read_all,
            archive_is_new=archive_is_new,
        )
        assert all(done <= total for done, total in told)
        return verdict

    def finds(self, repair: bool = True, **options: Any) -> dict[Finding, int]:
        """What is found, the same before it is mended, and nothing of it any more after that."""
        before = self.objects()
        seen = self.verify(**options)
        assert self.objects() == before, "who only looks changes nothing"
        assert seen.left == sum(seen.found.values())
        found = {finding: count for finding, count in seen.found.items() if count}
        if repair:
            mended = self.verify(repair=True, **options)
            assert mended.found == seen.found
            assert set(self.objects().values()) == set(before.values()), "not one byte is gone"
            assert self.verify(**options).left == mended.left
        return found


@pytest.fixture
def shelves(sqlite_store: Store, archive: Archive) -> Shelves:
    return Shelves(sqlite_store, archive)


def test_what_fits_is_fine(shelves: Shelves) -> None:
    for number in range(3):
        shelves.segment(number)
    verdict = shelves.verify(read_all=True)
    assert (verdict.objects, verdict.items, verdict.lost, verdict.left) == (3, 3, 0, 0)
    assert shelves.finds() == {}


def test_whole_items_without_a_row_are_filed(shelves: Shelves) -> None:
    """As the door does it: with the facts of the segment, and the event in the item."""
    name, data, key = shelves.segment(0, row=False)
    event = Event(
        id=f"{RUN}-1", source="aloha", type=EventType.AGENT_STARTED, time=instant(T), data=EventData(run=RUN)
    ).to_json()
    shelves.put(make_item(ItemKind.EVENT, event, sequence=1), event, row=False)
    assert shelves.finds() == {Finding.UNFILED: 2}
    row = shelves.row(name)
    assert (row.object, row.length, row.media_start_ms) == (key, len(data), 0)
    assert [stored.type for _, stored in shelves.store.events("aloha", 9)] == [EventType.AGENT_STARTED]


def test_what_is_no_whole_item_is_put_aside_unchanged(shelves: Shelves) -> None:
    name, data, key = shelves.segment(0)
    torn, torn_data = make_segment(sequence=1)
    shelves.put(torn, torn_data[:-9], row=False)
    shelves.put(make_item(ItemKind.SNAPSHOT, b"no picture", sequence=2), b"no picture", row=False)
    rival, rival_data = make_segment(sequence=0, media_start_ms=8000)
    shelves.put(rival, rival_data, row=False)
    shelves.archive.put("notes.txt", b"somebody's")
    shelves.archive.put(f"2026/11/18/aloha/south/{name}", data)
    assert shelves.finds() == {Finding.STRAY: 5}
    objects = shelves.objects()
    assert [k for k in objects if not k.startswith("quarantine/")] == [key]
    assert objects["quarantine/notes.txt"] == b"somebody's"
    assert objects[f"quarantine/2026/11/18/aloha/north/{torn}"] == torn_data[:-9]


def test_a_second_copy_goes_only_when_the_first_is_whole(shelves: Shelves) -> None:
    whole, _, first = shelves.segment(0)
    shelves.segment(0, "2026/11/19", row=False)
    damaged, data, bad = shelves.segment(1)
    shelves.archive.put(bad, data[:-1] + b"x")
    _, _, good = shelves.segment(1, "2026/11/19", row=False)
    assert shelves.finds() == {Finding.DUPLICATE: 1, Finding.FOUND: 1}
    assert shelves.row(whole).object == first
    row = shelves.row(damaged)
    assert (row.object, row.lost_ms) == (good, None)
    assert set(shelves.objects()) == {first, good, f"quarantine/{bad}"}


def test_rows_without_their_object_are_marked_once_and_not_offered(shelves: Shelves) -> None:
    names = [shelves.segment(number)[0] for number in range(3)]
    shelves.archive.delete(shelves.row(names[1]).object)
    assert shelves.finds() == {Finding.MISSING: 1}
    assert shelves.row(names[1]).lost_ms == T + 60_000
    verdict = shelves.verify(repair=True)
    assert (verdict.lost, verdict.left) == (1, 0)
    assert [f.sequence for f in shelves.store.footage("aloha", "north", T, T + 60_000)] == [0, 2]
    intervals = camera_timeline(shelves.store, "aloha", "north", T, T + 12_000, T + 12_000)
    assert [(i.from_ms - T, i.to_ms - T, i.state.value, i.cause) for i in intervals] == [
        (0, 4000, "recorded", None),
        (4000, 8000, "lost", LossCause.CENTRE),
        (8000, 12_000, "recorded", None),
    ]


def test_a_camera_whose_footage_is_all_lost_is_told_so(shelves: Shelves) -> None:
    for number in range(2):
        shelves.archive.delete(shelves.row(shelves.segment(number)[0]).object)
    shelves.segment(9, "2026/11/20")
    shelves.verify(repair=True)
    (lost,) = camera_timeline(shelves.store, "aloha", "north", T, T + 8000, T + 8000)
    assert (lost.state.value, lost.cause) == ("lost", LossCause.CENTRE)


def test_a_lost_snapshot_makes_way_for_the_one_before(shelves: Shelves) -> None:
    for number, picture in enumerate((b"\xff\xd8\xff one \xff\xd9", b"\xff\xd8\xff two \xff\xd9")):
        shelves.put(make_item(ItemKind.SNAPSHOT, picture, sequence=number, camera="north"), picture)
    newest = shelves.store.latest_snapshot("aloha", "north")
    assert newest is not None
    shelves.archive.delete(newest.object)
    shelves.verify(repair=True)
    shown = shelves.store.latest_snapshot("aloha", "north")
    assert shown is not None
    assert shown.sequence == 0


def test_a_cut_object_is_seen_at_once_and_a_changed_one_by_its_hash(shelves: Shelves) -> None:
    cut, cut_data, cut_key = shelves.segment(0)
    changed, data, changed_key = shelves.segment(1)
    shelves.archive.put(cut_key, cut_data[:-1])
    shelves.archive.put(changed_key, data[:-1] + b"x")
    assert shelves.finds(repair=False) == {Finding.DAMAGED: 1}
    assert shelves.finds(read_all=True) == {Finding.DAMAGED: 2}
    assert shelves.row(cut).lost_ms == shelves.row(changed).lost_ms == T + 60_000
    assert {key.partition("/")[0] for key in shelves.objects()} == {"quarantine"}


def test_a_lost_item_whose_object_is_back_is_filed_again(shelves: Shelves) -> None:
    """The disk was mounted again; or another copy turned up."""
    name, data, key = shelves.segment(0)
    other, _, other_key = shelves.segment(1)
    kept, _, _ = shelves.segment(2)
    for gone in (key, other_key):
        shelves.archive.delete(gone)
    shelves.verify(repair=True)
    shelves.archive.put(key, data)
    _, _, copy = shelves.segment(1, "2026/11/21", row=False)
    assert shelves.finds() == {Finding.FOUND: 2}
    assert (shelves.row(name).object, shelves.row(name).lost_ms) == (key, None)
    assert (shelves.row(other).object, shelves.row(other).lost_ms) == (copy, None)
    assert shelves.row(kept).lost_ms is None


def test_the_objects_of_a_site_that_is_not_enrolled_are_left_alone(shelves: Shelves) -> None:
    """The index was restored from before it was."""
    name, data, _ = shelves.segment(0)
    shelves.archive.put(f"2026/11/18/tugu/north/{replace(name, sequence=5)}", data)
    before = shelves.objects()
    assert shelves.finds() == {Finding.FOREIGN: 1}
    assert shelves.objects() == before


def test_an_empty_archive_is_taken_for_a_disk_that_is_not_mounted(shelves: Shelves) -> None:
    name, _, key = shelves.segment(0)
    shelves.archive.delete(key)
    with pytest.raises(ArchiveDown, match="mount"):
        shelves.verify(repair=True)
    assert shelves.row(name).lost_ms is None
    assert shelves.verify(repair=True, archive_is_new=True).lost == 1
    assert shelves.verify().left == 0


def test_more_than_fits_into_one_look(shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central.archive._WALKED_AT_ONCE", 2)
    monkeypatch.setattr("central.verify._ROWS_AT_ONCE", 2)
    names = [shelves.segment(number, row=number % 3 > 0)[0] for number in range(9)]
    shelves.archive.delete(shelves.row(names[4]).object)
    assert shelves.finds() == {Finding.UNFILED: 3, Finding.MISSING: 1}


def test_it_may_run_while_items_arrive(sqlite_store: Store, tmp_path: Path) -> None:
    """Between object and row each item looks like one without a row."""
    door = Door(sqlite_store, tmp_path / "archive")
    segments = [make_segment(sequence=number, media_start_ms=number * 4000) for number in range(40)]
    verdicts = []
    try:
        with ThreadPoolExecutor(8) as pool:
            put = [pool.submit(door.put, *segments[number % 40]) for number in range(120)]
            while not all(answer.done() for answer in put):
                verdicts.append(
                    verify(
                        sqlite_store,
                        door.archive,
                        T,
                        lambda *_: None,
                        repair=True,
                        read_all=True,
                        archive_is_new=True,
                    )
                )
        receipts = {answer.result().content for answer in put}
        assert len(receipts) == len(door.objects()) == sqlite_store.extent()[0] == 40
        assert sum(verdict.lost + verdict.left for verdict in verdicts) == 0
    finally:
        door.close()


@pytest.mark.parametrize(("lost", "same"), list(product((False, True), repeat=2)))
def test_filing_heals_a_lost_row_only_with_the_same_bytes(store: Store, *, lost: bool, same: bool) -> None:
    """On each kind of database."""
    name, data = make_segment()
    row = sheet_of("aloha", name, data, "a", T).row
    ((_, new),) = store.add_items([row], [])
    assert new
    if lost:
        store.mark_lost([("aloha", name.run, name.sequence)], T)
        store.mark_lost([("aloha", name.run, name.sequence)], T + 5)
    again = replace(row, object="b", stored_ms=T + 9, sha256=row.sha256 if same else "0" * 64)
    ((there, healed),) = store.add_items([again], [])
    assert healed == (lost and same)
    assert store.item("aloha", name.run, name.sequence) == there
    assert there == (again if healed else replace(row, lost_ms=T if lost else None))
