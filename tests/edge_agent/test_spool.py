"""The spool on a real disk: commit, recovery, trouble."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract import (
    ClockQuality,
    ItemKind,
    ItemName,
    LossCause,
    SegmentFacts,
    facts_box,
    read_facts,
    whole_boxes,
)
from edge_agent.core.eviction import WhenFull
from edge_agent.core.shipping import Want
from edge_agent.errors import SpoolError, SpoolFull
from edge_agent.open_segment import OpenSegment
from edge_agent.spool import Spool
from edge_agent.torn import rescue
from tests.fakes import FakeClock
from tests.rig.parts import require_root
from tests.rig.segments import encode

SYNCED = ClockQuality.SYNCED
MEDIA = encode(4000)
INIT_BYTES = sum(box.size for box in whole_boxes(MEDIA) if box.type in {"ftyp", "moov"})
DRAFT = SegmentFacts(
    codec="h264",
    width=64,
    height=48,
    session=3,
    media_start_ms=8000,
    monotonic_ms=77,
    packets=0,
    init_bytes=0,
    media_bytes=0,
    gap_before_ms=1500,
    gap_cause=LossCause.CAMERA,
)
OPEN_FILE = MEDIA[:INIT_BYTES] + facts_box(DRAFT) + MEDIA[INIT_BYTES:]


def open_spool(directory: Path, quota_bytes: int = 1 << 30, when_full: WhenFull = WhenFull.DROP_OLDEST) -> Spool:
    return Spool(directory, quota_bytes=quota_bytes, reserve_bytes=0, clock=FakeClock(), when_full=when_full)


@contextmanager
def opened(directory: Path, quota_bytes: int = 1 << 30, when_full: WhenFull = WhenFull.DROP_OLDEST) -> Iterator[Spool]:
    spool = open_spool(directory, quota_bytes, when_full)
    try:
        yield spool
    finally:
        spool.close()


def begin(spool: Spool, data: bytes = OPEN_FILE) -> OpenSegment:
    segment = spool.begin_segment("north", 1000, SYNCED)
    segment.write(data)
    segment.sync()
    return segment


def finished() -> SegmentFacts:
    return DRAFT.model_copy(
        update={"init_bytes": INIT_BYTES, "media_bytes": len(OPEN_FILE) - INIT_BYTES, "packets": 40}
    )


def test_a_committed_segment_is_named_by_its_bytes_and_ships_once(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        name = begin(spool).commit(4000, finished())
        assert spool.arrived.is_set()
        assert spool.next_unsent() == name
        with spool.open(name) as file:
            data = file.read()
        assert hashlib.sha256(data).hexdigest() == name.sha256
        assert read_facts(data) == finished()
        assert (name.run, name.sequence, name.camera, name.start_ms, name.duration_ms) == (
            spool.run,
            0,
            "north",
            1000,
            4000,
        )
        stats = spool.stats()
        assert (stats.backlog_items, stats.backlog_ms, stats.backlog_bytes) == (1, 4000, len(data))
        assert (stats.oldest_unsent_ms, stats.used_bytes, stats.taken_bytes) == (1000, len(data), len(data))
        spool.mark_sent(name)
        spool.mark_sent(name)
        assert spool.next_unsent() is None
        assert [path.name for path in (tmp_path / "sent").iterdir()] == [str(name)]
        assert spool.stats().backlog_items == 0
        assert spool.stats().sent_bytes == len(data)


def test_what_waits_is_found_again_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        first = spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
        second = begin(spool).commit(4000, finished())
        sent = spool.add(ItemKind.SNAPSHOT, "north", 3, 0, SYNCED, b"jpeg")
        spool.mark_sent(sent)
        used_bytes = spool.stats().used_bytes
    with opened(tmp_path) as spool:
        assert spool.next_unsent() == first
        spool.mark_sent(first)
        assert spool.next_unsent() == second
        assert spool.stats().used_bytes == used_bytes
        assert spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}") > second


def test_runs_are_counted_and_know_how_the_one_before_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        assert first.previous is None
        first.end(LossCause.STOPPED)
    with opened(tmp_path) as second:
        assert second.previous is not None
        assert (second.previous.run, second.previous.cause) == (first.run, LossCause.STOPPED)
        assert second.run > first.run
    with opened(tmp_path) as third:
        assert third.previous is not None
        assert third.previous.cause is LossCause.AGENT, "it died while the host lived on"
        note = json.loads((tmp_path / "run.json").read_text()) | {"boot": "another"}
        (tmp_path / "run.json").write_text(json.dumps(note))
    with opened(tmp_path) as fourth:
        assert fourth.previous is not None
        assert fourth.previous.cause is LossCause.POWER
        fourth.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
    (tmp_path / "run.json").write_bytes(b"\0" * 80)
    with opened(tmp_path) as fifth:
        assert fifth.previous is not None
        assert (fifth.previous.run, fifth.previous.cause) == (fourth.run, LossCause.POWER)
        assert fifth.run > fourth.run


def test_a_second_agent_is_sent_away(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolError, match="another agent uses"):
        open_spool(tmp_path)
    open_spool(tmp_path).close()


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torn")


FRAGMENT_ENDS = [box.end for box in whole_boxes(OPEN_FILE) if box.type == "mdat"]


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(OPEN_FILE)))
def test_a_segment_torn_at_any_byte_is_cut_back_to_its_last_whole_fragment(torn: Path, length: int) -> None:
    """The facts that were known at its start survive; what is left is a whole segment."""
    with opened(torn) as spool:
        torn_run = spool.run
        begin(spool, OPEN_FILE[:length])
    whole = max((end for end in FRAGMENT_ENDS if end <= length), default=0)
    with opened(torn) as spool:
        names = [
            name
            for name in map(ItemName.parse, (path.name for path in (torn / "ready").iterdir()))
            if name.run == torn_run
        ]
        assert not list((torn / "writing").iterdir())
        assert len(names) == (whole > 0)
        for name in names:
            data = (torn / "ready" / str(name)).read_bytes()
            facts = read_facts(data)
            assert data[:whole] == OPEN_FILE[:whole]
            assert hashlib.sha256(data).hexdigest() == name.sha256
            assert facts.recovered
            assert (facts.session, facts.gap_before_ms, facts.gap_cause) == (3, 1500, LossCause.CAMERA)
            assert facts.packets == 10 * (1 + FRAGMENT_ENDS.index(whole))
            assert name.duration_ms == 100 * facts.packets
            assert (name.camera, name.start_ms, name.sequence) == ("north", 1000, 0)
            spool.mark_sent(name)


NOISE = encode(4000, size=(96, 64), noisy=True)
NOISE_AT = next(box.offset for box in whole_boxes(NOISE) if box.type == "moof")
NOISY_FILE = NOISE[:NOISE_AT] + facts_box(DRAFT) + NOISE[NOISE_AT:]


@settings(max_examples=60, deadline=None)
@given(lost=st.sets(st.integers(0, len(NOISY_FILE) // 512), min_size=1, max_size=5), synced=st.integers(0, 3))
def test_sectors_that_never_reached_the_disk_are_in_no_segment(lost: set[int], synced: int) -> None:
    """After a power cut a file may have its length and not its bytes: only the fragments before the hole are kept."""
    ends = [box.end for box in whole_boxes(NOISY_FILE) if box.type == "mdat"]
    safe = ends[synced]
    torn = bytearray(NOISY_FILE)
    for sector in lost:
        at, end = max(safe, sector * 512), min(len(torn), (sector + 1) * 512)
        torn[at:end] = bytes(max(0, end - at))
    hole = next((at for at in range(len(torn)) if torn[at] != NOISY_FILE[at]), len(torn))
    rescued = rescue(bytes(torn))
    assert rescued is not None
    assert rescued.length == max(end for end in ends if end <= hole)
    assert NOISY_FILE[: rescued.length] == torn[: rescued.length]


def test_damage_is_put_aside_and_never_stops_the_start(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        begin(spool, MEDIA)
        run = spool.run
    (tmp_path / "writing" / f"{run}_00000009_segment_north_1_synced.part").write_bytes(
        OPEN_FILE.replace(b"avc1", b"\0\0\0\0").replace(b"trun", b"\0\0\0\0")
    )
    (tmp_path / "writing" / f"{run}_00000010_segment_north_1_synced.part").write_bytes(
        OPEN_FILE.replace(b"vide", b"soun")
    )
    late = bytearray(OPEN_FILE)
    late[late.rindex(b"tfdt") + 8] = 1  # the last fragment begins in millions of years: more than a name can say
    (tmp_path / "writing" / f"{run}_00000011_segment_north_1_synced.part").write_bytes(late)
    (tmp_path / "writing" / f"{run}_00000012_segment_north_1_synced.part").write_bytes(
        OPEN_FILE.replace(b"ftyp", b"free")
    )
    (tmp_path / "writing" / "strange.part").write_bytes(OPEN_FILE)
    (tmp_path / "writing" / "half.tmp").write_bytes(b"half")
    (tmp_path / "ready" / "README").write_bytes(b"hello")
    with opened(tmp_path) as spool:
        assert spool.next_unsent() is None
        assert spool.stats().quarantined == 7
        assert not list((tmp_path / "writing").iterdir())
        reasons = sorted(path.read_text() for path in (tmp_path / "quarantine").glob("*.reason.txt"))
        assert any("it does not say what it is" in reason for reason in reasons)
        assert any("not an item" in reason for reason in reasons)
        assert any("it holds no video" in reason for reason in reasons)
        assert any("not an item name" in reason for reason in reasons)
        assert any("not a fragmented MP4" in reason for reason in reasons)
    with opened(tmp_path) as spool:
        assert spool.stats().quarantined == 7


def test_an_item_that_the_centre_refuses_leaves_the_line(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        name = spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
        spool.quarantine(name, "409: other bytes under this name")
        spool.quarantine(name, "again")
        assert spool.next_unsent() is None
        assert (spool.stats().quarantined, spool.stats().used_bytes) == (1, 2)
        assert "409" in (tmp_path / "quarantine" / f"{name}.reason.txt").read_text()


def test_room_is_made_by_dropping_what_the_centre_has_first(tmp_path: Path) -> None:
    with opened(tmp_path, quota_bytes=2500) as spool:
        names = [spool.add(ItemKind.SNAPSHOT, "north", n, 0, SYNCED, bytes([n]) * 1000) for n in range(3)]
        spool.mark_sent(names[1])
        assert spool.make_room() == []
        assert not list((tmp_path / "sent").iterdir())
        spool.add(ItemKind.SNAPSHOT, "north", 4, 0, SYNCED, b"x" * 1000)
        assert spool.stats().free_bytes == 0
        spool.begin_segment("north", 1, SYNCED).discard()
        assert spool.make_room() == [names[0]], "a segment makes its own room; the loss is told when asked"
        assert not (tmp_path / "ready" / str(names[0])).exists()
        assert (spool.stats().evicted, spool.stats().used_bytes) == (1, 2000)
    with opened(tmp_path, quota_bytes=1500) as spool:
        assert spool.make_room() == [names[2]], "what a smaller quota cost at the start is told, too"
    with opened(tmp_path, quota_bytes=500, when_full=WhenFull.STOP_RECORDING) as spool:
        assert spool.make_room() == []
        assert spool.stats().backlog_items == 1
        with pytest.raises(SpoolFull, match="is full"):
            spool.begin_segment("north", 1, SYNCED)
        spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"explains it")


def test_what_is_locked_goes_last_in_this_life_and_the_next(tmp_path: Path) -> None:
    locked = [("north", 4000, 12_000)]
    with opened(tmp_path) as spool:
        names = [spool.add(ItemKind.SNAPSHOT, "north", n * 4000, 0, SYNCED, bytes([n]) * 1000) for n in range(5)]
        spool.mark_sent(names[1])
        spool.lock(locked)
        assert spool.tend() == ""
    with opened(tmp_path, quota_bytes=3500) as spool:
        assert spool.make_room() == [names[0], names[3]], "neither 1, which the centre has, nor 2"
    with opened(tmp_path, quota_bytes=1500) as spool:
        assert spool.make_room() == [names[4]]
        assert not list((tmp_path / "sent").iterdir())
        spool.lock([])
        assert spool.tend() == ""
    with opened(tmp_path, quota_bytes=500) as spool:
        assert spool.make_room() == [names[2]]


def test_a_quota_that_was_lowered_is_kept_in_steps_and_recording_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(300):
            spool.mark_sent(spool.add(ItemKind.SNAPSHOT, "north", number, 0, SYNCED, bytes(100)))
    with opened(tmp_path, quota_bytes=1000) as spool:
        spool.begin_segment("north", 1, SYNCED).discard()
        assert 200 < len(list((tmp_path / "sent").iterdir())) < 300, "one step, and the segment has its room"
        while spool.stats().used_bytes > 1000:
            spool.make_room()
        assert len(list((tmp_path / "sent").iterdir())) <= 10


def test_very_many_items_are_found_bit_by_bit_while_recording_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.spool._SCAN_STEP", 10)
    monkeypatch.setattr("edge_agent.spool._FEW", 40)
    with opened(tmp_path) as spool:
        names = [spool.add(ItemKind.SNAPSHOT, "north", number, 0, SYNCED, b"x") for number in range(50)]
        for name in names[:20]:
            spool.mark_sent(name)
    with opened(tmp_path) as spool:
        assert not spool.scanned
        fresh = begin(spool).commit(4000, finished())
        assert spool.next_unsent() == fresh
        spool.mark_sent(fresh)
        while spool.stats().backlog_items < 30:
            assert spool.tend() == ""
        assert spool.stats().used_bytes == 50 + spool.stats().sent_bytes
        for name in names[20:]:
            assert spool.next_unsent() == name
            spool.mark_sent(name)
    note = tmp_path / "run.json"
    note.unlink()
    with opened(tmp_path) as spool:
        assert spool.run > fresh.run, "by the names of what lies there"


def test_what_is_wanted_is_found_in_a_backlog_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.spool._PAGE", 3)
    with opened(tmp_path) as spool:
        names = [spool.add(ItemKind.SNAPSHOT, "north", n * 1000, 1, SYNCED, bytes([n])) for n in range(10)]
    with opened(tmp_path) as spool:
        spool.want([Want("north", 7000, 9000)])
        order = [spool.take_late() for _ in names]
        assert order == [names[7], names[8], *names[:7], names[9]]


def test_a_place_that_cannot_hold_a_spool_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="create it, or mount its disk"):
        open_spool(tmp_path / "no" / "such")
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="File exists"):
        open_spool(tmp_path / "file")
    with pytest.raises(SpoolError, match="cannot be used"):
        open_spool(Path("/sys/kernel"))


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    require_root()
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_disk_is_told_and_costs_nothing_that_was_stored(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk, opened(disk / "spool") as spool:
        kept = begin(spool).commit(4000, finished())
        segment = begin(spool)
        with pytest.raises(SpoolFull, match="No space left"):
            segment.write(b"\0" * 500_000)
        with pytest.raises(SpoolFull, match="No space left"):
            spool.add(ItemKind.SNAPSHOT, "north", 1, 0, SYNCED, b"\0" * 500_000)
        assert spool.next_unsent() == kept
        rescued = segment.salvage()
        assert rescued is not None
        assert rescued.duration_ms == 4000, "cutting it back is what makes room for its end"
    with small_disk(tmp_path / "full", "64k") as disk:
        (disk / "spool").mkdir()
        with pytest.raises(OSError, match="No space left"):
            (disk / "ballast").write_bytes(b"\0" * 500_000)
        with pytest.raises(SpoolFull, match="free room on its disk"):
            open_spool(disk / "spool")


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with opened(tmp_path) as spool:
        segment = begin(spool)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(SpoolError, match="Input/output error; check the disk"):
                segment.sync()
        name = segment.salvage()
        assert name is not None
        assert read_facts((tmp_path / "ready" / str(name)).read_bytes()).recovered


def test_what_is_known_of_the_battery_outlasts_a_life_and_is_taken_before_it_is_written_over(tmp_path: Path) -> None:
    def kept() -> object:
        return json.loads((tmp_path / "battery.json").read_text())

    with opened(tmp_path) as spool:
        assert spool.battery.take() is None
        spool.battery.note({"lessons": [1]})
        assert spool.tend() == ""
    with opened(tmp_path) as spool:
        spool.battery.note({"lessons": []})
        assert spool.tend() == ""
        assert kept() == {"lessons": [1]}
        assert spool.battery.take() == {"lessons": [1]}
        assert spool.battery.take() is None
        spool.battery.note({"lessons": [1, 2]})
        spool.end(LossCause.POWER)
        assert kept() == {"lessons": [1, 2]}
    (tmp_path / "battery.json").write_text("half a no")
    with opened(tmp_path) as spool:
        assert spool.battery.take() is None
