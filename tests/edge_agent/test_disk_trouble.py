"""What befalls the disk of a spool: what is said, what is kept, what goes on, and that it mends by itself."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from pydantic import SecretStr

from edge_agent.contract import Event, EventData, EventType, ItemKind, ItemName, LossCause, Receipt, instant, read_facts
from edge_agent.core.eviction import WhenFull
from edge_agent.core.status import Room
from edge_agent.errors import DiskTrouble, SpoolError, SpoolFull, Superseded
from edge_agent.gates import FreshGate
from edge_agent.jobs.keep import Keep
from edge_agent.jobs.ship import Lane, Ship
from edge_agent.settings import CentreSettings
from edge_agent.spool import Spool
from edge_agent.uplink import Uplink
from tests.edge_agent.test_agent import TOKEN, Box, findings, run_once
from tests.edge_agent.test_spool import FRAGMENT_ENDS, OPEN_FILE, SYNCED, begin, finished
from tests.fakes import FakeClock
from tests.rig.disks import Disk, tmpfs
from tests.rig.link import free_port
from tests.rig.mosquitto import Listener, Mosquitto

MIB = 1024**2


class Site:
    """A spool on a disk, with memory to fall back on and somebody who keeps house; what was said is kept."""

    def __init__(self, directory: Path, memory: Path | None, clock: FakeClock | None = None, **settings: Any) -> None:
        clock = clock or FakeClock()
        self.events: list[tuple[EventType, EventData]] = []
        self.rooms: list[Room] = []
        self.directory = directory
        self.spool = Spool(
            directory,
            clock=clock,
            memory=memory,
            **{"quota_bytes": 1 << 30, "reserve_bytes": 0, "memory_bytes": MIB} | settings,
        )
        self.keep = Keep(
            self.spool, clock, announce=lambda kind, data: self.events.append((kind, data)), show=self.rooms.append
        )

    def snapshot(self, size: int = 1000) -> ItemName:
        return self.spool.add(ItemKind.SNAPSHOT, "north", 1, 0, SYNCED, os.urandom(size))

    def segment(self) -> ItemName:
        return begin(self.spool).commit(4000, finished())

    def bytes_of(self, name: ItemName) -> bytes:
        with self.spool.open(name) as file:
            return file.read()

    def waiting(self) -> list[ItemName]:
        """All that would be sent, in that order, sent."""
        names = []
        while name := self.spool.next_unsent():
            assert self.bytes_of(name)
            names.append(name)
            self.spool.mark_sent(name)
        return names

    def said(self) -> list[str]:
        return [kind.removeprefix("simpang.spool.") for kind, _ in self.events]

    def turn(self) -> str:
        """One turn of keeping house; what the state of the spool says then."""
        self.keep.run_once()
        return self.rooms[-1].detail


@contextmanager
def site(directory: Path, memory: Path | None, clock: FakeClock | None = None, **settings: Any) -> Iterator[Site]:
    here = Site(directory, memory, clock, **settings)
    try:
        yield here
    finally:
        here.spool.close()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path / "disk.img", tmp_path / "disk", "16M") as disk:
        yield disk


def on_disk(directory: Path, folder: str = "ready") -> set[str]:
    return {path.name for path in (directory / folder).iterdir()}


def test_a_disk_that_is_not_mounted_is_waited_for_in_memory(disk: Disk, memory: Path) -> None:
    """Nothing is written where it should be; when it comes, what waited in memory goes there."""
    disk.vanish()
    with site(disk.directory / "spool", memory, mount=disk.directory) as here:
        assert here.spool.previous is not None
        assert (here.spool.previous.run, here.spool.previous.cause) == (None, LossCause.DISK)
        assert here.spool.run.startswith("000000"), "which life it is cannot be known"
        first, second = here.segment(), here.snapshot()
        assert "no disk is mounted" in here.turn()
        assert here.said() == ["trouble"]
        assert list(disk.directory.iterdir()) == []
        assert here.spool.next_unsent() == first
        disk.mount()
        assert here.turn() == ""
        assert here.said() == ["trouble", "back"]
        assert on_disk(here.directory) == {str(first), str(second)}
        assert not list((memory / "ready").iterdir())
        third = here.segment()
        assert on_disk(here.directory) == {str(first), str(second), str(third)}
        assert read_facts(here.bytes_of(first)) == finished()
        assert here.waiting() == [first, second, third]
    assert not memory.exists()
    with site(disk.directory / "spool", memory, mount=disk.directory) as later:
        assert later.spool.previous is not None
        assert later.spool.previous.run == here.spool.run
        assert later.spool.run.startswith("000001")


@pytest.mark.parametrize("knows_mount", [True, False])
def test_a_disk_that_is_pulled_out_is_noticed_and_taken_back(disk: Disk, memory: Path, *, knows_mount: bool) -> None:
    """Where no mount is set, the marker in the directory says that it is the same again."""
    mount = disk.directory if knows_mount else None
    with site(disk.directory / "spool", memory, mount=mount) as here:
        kept, open_segment = here.segment(), begin(here.spool)
        other = here.spool.begin_segment("south", 1000, SYNCED)
        other.write(OPEN_FILE)
        run = here.spool.run
        disk.vanish()
        saved = None
        with pytest.raises(DiskTrouble, match="cannot commit"):
            open_segment.commit(4000, finished())
        saved = open_segment.salvage()
        assert saved is not None
        assert read_facts(here.bytes_of(saved)).recovered, "read back through the open file"
        live = here.segment()
        assert ("no disk is mounted" if knows_mount else "is not the spool directory that was here") in here.turn()
        assert list(disk.directory.iterdir()) == []
        assert here.spool.stats().backlog_items == 2
        disk.mount()
        assert here.turn() == ""
        assert here.said() == ["trouble", "back"]
        assert here.spool.run == run
        assert {path.name for path in (here.directory / "writing").iterdir()} == {other._path.name}
        late = other.commit(4000, finished())
        assert set(here.waiting()) == {kept, saved, live, late}
        assert not list((here.directory / "writing").iterdir())
    with site(disk.directory / "spool", memory) as later:
        assert later.waiting() == []
        assert later.spool.previous is not None
        assert later.spool.previous.run == run


def test_a_disk_that_forgot_what_was_sent_is_reminded(disk: Disk, memory: Path) -> None:
    """A rename that was not synced may be undone when the disk is mounted anew; the file does not stay in the line."""
    with site(disk.directory / "spool", memory, mount=disk.directory) as here:
        sent = here.segment()
        assert here.waiting() == [sent]
        (here.directory / "sent" / str(sent)).rename(here.directory / "ready" / str(sent))
        here.spool._fail(DiskTrouble("writing failed"))
        assert here.turn() == ""
        assert (on_disk(here.directory), on_disk(here.directory, "sent")) == (set(), {str(sent)})
        assert here.waiting() == []


def test_an_empty_directory_is_not_taken_for_the_disk_that_was_there(disk: Disk, memory: Path) -> None:
    with site(disk.directory, memory) as here:
        kept = here.segment()
        disk.vanish()
        for _ in range(3):
            live = here.segment()
            assert "is not the spool directory that was here before" in here.turn()
        assert list(disk.directory.iterdir()) == []
        disk.mount()
        assert here.turn() == ""
        assert {kept, live} <= set(here.waiting())


def test_a_disk_that_is_read_only_still_gives_what_it_has(disk: Disk, memory: Path) -> None:
    with site(disk.directory / "spool", memory) as here:
        old = [here.segment() for _ in range(3)]
        disk.remount("ro")
        live = here.segment()
        assert "Read-only file system" in here.turn()
        assert not here.rooms[-1].stats.evicted
        with pytest.raises(DiskTrouble):
            here.spool.quarantine(old[0], "cannot be read back")
        assert here.spool.next_unsent() == old[1], "a bad item holds up nothing, though it cannot be put aside"
        assert here.waiting() == [old[1], old[2], live]
        newest = here.segment()
        disk.remount("rw")
        assert here.turn() == ""
        assert here.said() == ["trouble", "back"]
        assert set(here.waiting()) == {*old, newest}, "sent once more, since nobody could note it"
        assert on_disk(here.directory, "sent") == {str(name) for name in (*old, newest)}
        lies_bytes = sum(path.stat().st_size for path in (here.directory / "sent").iterdir())
        assert here.spool.stats().used_bytes == lies_bytes, "what is found again counts once"


def test_a_file_system_that_finds_itself_damaged_is_noticed_whatever_it_says(disk: Disk, memory: Path) -> None:
    with site(disk.directory / "spool", memory) as here:
        kept, open_segment = here.segment(), begin(here.spool)
        disk.break_down()
        with pytest.raises(SpoolError):
            open_segment.commit(4000, finished())
        saved = open_segment.salvage()
        live = here.segment()
        assert here.turn()
        assert here.bytes_of(kept)
        disk.unmount()  # which would fail if the agent held on to it
        disk.mount()
        assert here.turn() == ""
        assert set(here.waiting()) == {kept, saved, live}


def test_a_disk_that_takes_everything_and_fails_at_the_sync_is_never_believed(tmp_path: Path, memory: Path) -> None:
    """The writes of a thin disk succeed until the sync; what was durable before is what counts."""
    with (
        tmpfs(tmp_path / "below", "8M") as below,
        Disk(below / "thin.img", tmp_path / "thin", "64M", "-J", "size=1") as disk,
        site(disk.directory / "spool", memory) as here,
    ):
        kept = here.segment()
        segment = begin(here.spool)
        segment.write(b"\0" * 12 * MIB)
        with pytest.raises(SpoolError):
            segment.sync()
        saved = segment.salvage()
        assert saved is not None
        assert saved != kept
        assert str(saved) in on_disk(memory), "not where a sync has failed"
        assert here.turn()
        live = here.segment()
        assert set(here.waiting()) == {kept, saved, live}


def test_a_segment_whose_sync_failed_goes_into_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync the kernel calls pages clean that never reached the disk."""
    with site(tmp_path / "spool", None) as here:
        for damage in (False, True):
            segment = begin(here.spool)
            number = os.fstat(segment._fd).st_ino
            with monkeypatch.context() as patch:
                patch.setattr(os, "fdatasync", _fails)
                with pytest.raises(DiskTrouble, match="Input/output error"):
                    segment.sync()
            if damage:
                os.pwrite(segment._fd, b"rot", 2000)
            name = segment.salvage()
            if damage:
                assert name is None, "what does not read back as it was written is no footage"
            else:
                assert name is not None
                assert (tmp_path / "spool" / "ready" / str(name)).stat().st_ino != number
        assert here.turn() == ""


@pytest.mark.parametrize("reboots", [False, True])
def test_what_a_failed_disk_gives_back_of_a_segment_that_went_through_memory_is_no_second_item(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, *, reboots: bool
) -> None:
    """The agent dies before the disk is back. With the host memory is gone, too, but the centre has what was in it."""
    with site(tmp_path / "spool", memory) as here:
        segment = begin(here.spool)
        part = segment._path
        half = part.read_bytes()[: FRAGMENT_ENDS[0]]
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", _fails)
            with pytest.raises(DiskTrouble):
                segment.sync()
        saved = segment.salvage()
        assert saved is not None
    part.write_bytes(half)
    if reboots:
        shutil.rmtree(memory)
    with site(tmp_path / "spool", memory) as later:
        found = later.spool.next_unsent()
        assert found is not None
        assert (found.run, found.sequence, found == saved) == (saved.run, saved.sequence, not reboots)
        assert not list((tmp_path / "spool" / "writing").iterdir())
        fresh, said = FreshGate(FakeClock()), []
        lane = Lane(later.spool.next_unsent, later.spool.arrived, 0, fresh)
        ship = Ship(lane, later.spool, Centre(saved), lambda *event: said.append(event), lambda: None, "", FakeClock())
        assert ship.run_once() == 0
        assert later.spool.next_unsent() is None
        assert said == []
        assert later.spool.stats().quarantined == reboots


class Centre:
    """Has one item, and takes none with the same identity but other bytes."""

    def __init__(self, item: ItemName) -> None:
        self._item = item

    def deliver(self, name: ItemName, file: BinaryIO, _admit: Callable[[int], int]) -> Receipt:
        assert (name.run, name.sequence) == (self._item.run, self._item.sequence)
        if name != self._item:
            raise Superseded("409 another item has this identity")
        return Receipt(
            site="a", run=name.run, sequence=name.sequence, sha256=name.sha256, size_bytes=1, stored_at=instant(0)
        )


def _fails(_fd: int) -> None:
    raise OSError(5, "Input/output error")


def test_another_program_that_fills_the_disk_is_made_room_for(tmp_path: Path, memory: Path) -> None:
    """First what the centre has gives way, then the oldest unsent, and it is told; then there is still memory."""
    with tmpfs(tmp_path / "disk", "4M") as disk, site(disk / "spool", memory, reserve_bytes=MIB) as here:
        names = [here.snapshot(400_000) for _ in range(6)]
        here.spool.mark_sent(names[2])
        (disk / "ballast").write_bytes(bytes(1_400_000))
        here.turn()
        assert not on_disk(here.directory, "sent")
        assert str(names[0]) not in on_disk(here.directory)
        assert str(names[-1]) in on_disk(here.directory)
        for number in range(3):
            with pytest.raises(OSError, match="No space left"):
                (disk / f"ballast{number}").write_bytes(bytes(10_000_000))
            here.turn()
        assert here.spool.stats().backlog_items == 0, "nothing is left to drop"
        live = here.segment()
        assert str(live) in on_disk(memory)
        assert "is full" in here.turn()
        assert here.said() == ["trouble"]
        for ballast in disk.glob("ballast*"):
            ballast.unlink()
        later = here.segment()
        assert here.turn() == ""
        assert on_disk(here.directory) == {str(live), str(later)}


def test_a_disk_without_inodes_is_made_room_on_though_it_has_bytes(tmp_path: Path) -> None:
    with (
        Disk(tmp_path / "disk.img", tmp_path / "disk", "16M", "-N", "128") as disk,
        site(disk.directory / "spool", None) as here,
    ):
        names = [here.snapshot() for _ in range(60)]
        for name in names[:30]:
            here.spool.mark_sent(name)
        for number in range(os.statvfs(disk.directory).f_favail):
            (disk.directory / f"of-another-{number}").touch()
        with pytest.raises(OSError, match="No space left"):
            (disk.directory / "of-another").touch()
        assert os.statvfs(disk.directory).f_bavail > 1000
        segment = here.spool.begin_segment("north", 1000, SYNCED)
        segment.write(OPEN_FILE)
        here.turn()
        segment.commit(4000, finished())
        assert len(on_disk(here.directory, "sent")) < 30
        assert set(map(str, names[30:])) <= on_disk(here.directory), "what the centre has was enough"


def test_a_disk_that_is_full_at_the_start_gives_up_what_the_centre_has(tmp_path: Path, memory: Path) -> None:
    with tmpfs(tmp_path / "disk", "2M") as disk:
        with site(disk / "spool", None) as here:
            for _ in range(3):
                here.spool.mark_sent(here.snapshot(400_000))
            kept = here.segment()
        with pytest.raises(OSError, match="No space left"):
            (disk / "ballast").write_bytes(bytes(10_000_000))
        with site(disk / "spool", None) as here:
            assert here.segment() > kept
        with pytest.raises(OSError, match="No space left"):
            (disk / "spool" / "ready" / "ballast").write_bytes(bytes(10_000_000))


def test_memory_is_bounded_and_what_it_cost_is_told(disk: Disk, memory: Path) -> None:
    disk.vanish()
    with site(disk.directory / "spool", memory, mount=disk.directory, memory_bytes=10 * len(OPEN_FILE)) as here:
        event = here.spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
        names = [here.segment() for _ in range(15)]
        here.turn()
        assert sum(path.stat().st_size for path in (memory / "ready").iterdir()) < 11 * len(OPEN_FILE)
        kept = here.waiting()
        assert kept[0] == event
        assert kept[1:] == names[-len(kept) + 1 :]
        lost = [data for kind, data in here.events if kind is EventType.SPOOL_EVICTED]
        assert sum(data.items or 0 for data in lost) == 15 - len(kept) + 1


def test_memory_that_is_smaller_than_it_may_be_is_not_overfilled(tmp_path: Path, disk: Disk) -> None:
    disk.vanish()
    with (
        tmpfs(tmp_path / "little", "8M") as little,
        site(disk.directory / "spool", little / "memory", mount=disk.directory, memory_bytes=64 * MIB) as here,
    ):
        names = [here.snapshot(MIB) for _ in range(20)]
        assert here.waiting() == names[-4:]


def test_what_waits_in_memory_outlives_a_crash_of_the_agent(disk: Disk, memory: Path) -> None:
    disk.vanish()
    with site(disk.directory / "spool", memory, mount=disk.directory) as here:
        name = here.segment()
        begin(here.spool)
    with site(disk.directory / "spool", memory, mount=disk.directory) as later:
        assert later.spool.previous is not None
        assert (later.spool.previous.run, later.spool.previous.cause) == (here.spool.run, LossCause.AGENT)
        disk.mount()
        assert later.turn() == ""
        found = later.waiting()
        assert name in found
        assert sorted(item.sequence for item in found) == [name.sequence, name.sequence + 1]
        assert on_disk(later.directory, "sent") == set(map(str, found))


def test_lives_are_counted_though_the_disk_was_away_for_one(tmp_path: Path, disk: Disk, memory: Path) -> None:
    """As long as the host lives on, memory knows the count, too."""
    spool = disk.directory / "spool"
    with site(spool, memory, mount=disk.directory) as first:
        first.snapshot()
        shutil.copytree(memory, tmp_path / "as-it-was")
    shutil.move(tmp_path / "as-it-was", memory)  # a killed agent does not tidy up
    disk.vanish()
    with site(spool, memory, mount=disk.directory) as second:
        assert second.spool.run[:6] == "000002"
        second.snapshot()
        disk.mount()
    with site(spool, memory, mount=disk.directory) as third:
        assert third.spool.run[:6] == "000003"
        assert third.spool.previous is not None
        assert third.spool.previous.run == second.spool.run


def test_where_recording_is_to_stop_memory_does_not_go_on(tmp_path: Path, memory: Path) -> None:
    with site(tmp_path / "spool", memory, quota_bytes=len(OPEN_FILE), when_full=WhenFull.STOP_RECORDING) as here:
        here.segment()
        with pytest.raises(SpoolFull):
            here.segment()
        assert "is full" in here.turn()
        assert here.spool.stats().backlog_items == 1


def test_a_place_that_an_operator_must_mend_is_no_case_for_memory(tmp_path: Path, memory: Path) -> None:
    with pytest.raises(SpoolError, match="to hold the spool"):
        Site(tmp_path / "no" / "such", memory)
    with site(tmp_path / "spool", None), pytest.raises(SpoolError, match="another agent uses"):
        Site(tmp_path / "spool", memory)


def test_memory_that_is_somebody_elses_is_not_used(tmp_path: Path, memory: Path) -> None:
    memory.mkdir()
    try:
        os.chown(memory, 65534, 65534)
    except PermissionError:
        pytest.skip("only root can give a directory away")
    with site(tmp_path / "spool", memory) as here:
        here.segment()
    assert not list(memory.iterdir())


def test_a_bad_sector_under_an_old_item_is_told_from_a_bad_link(tmp_path: Path) -> None:
    """It would be tried for ever otherwise, and hold up all behind it."""
    with (
        Disk(tmp_path / "disk.img", tmp_path / "disk", "32M") as disk,
        site(disk.directory / "spool", None) as here,
        socket.create_server(("127.0.0.1", 0)) as centre,
    ):
        door = CentreSettings(url=f"http://127.0.0.1:{centre.getsockname()[1]}", token=SecretStr(TOKEN))
        names = [here.snapshot(MIB) for _ in range(24)]
        os.truncate(disk.image, 26 * MIB)  # behind all that the file system needs for itself
        with closing(Uplink(door, "kota-lama")) as uplink:
            bad = next(name for name in names if not can_be_read(here.spool, name))
            with here.spool.open(bad) as file, pytest.raises(SpoolError, match="Input/output error"):
                uplink.deliver(bad, file, lambda most: most)
        here.spool.quarantine(bad, "cannot be read back")
        assert str(bad) in on_disk(here.directory, "quarantine")
        assert here.spool.stats().backlog_items == len(names) - 1


def can_be_read(spool: Spool, name: ItemName) -> bool:
    """From the disk, not from what the kernel remembers."""
    with spool.open(name) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            return bool(file.read())
        except OSError:
            return False


def test_check_tells_of_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    box = Box(tmp_path, broker_port=free_port())
    box.change("[spool]", f'[spool]\nmount = "{tmp_path}"')
    found = findings(run_once("check", "--config", box.config, "--json"))["spool"]
    assert (found["fit"], found["found"]) == (False, f"no disk is mounted at {tmp_path}")


TOPIC = "simpang/v1/kota-lama"


def test_an_agent_without_its_disk_records_on_and_takes_it_back(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start as in the midst of it; what it says, and that each hole in the footage has its cause."""
    disk.vanish()
    memory = tmp_path / "memory"
    memory.mkdir()
    broker = tmp_path / "broker"
    broker.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(memory))
    with Mosquitto(broker, {"kota-lama": TOKEN}) as mosquitto, Listener(mosquitto.port) as listener:
        box = Box(tmp_path, mosquitto.port)
        box.change(f'directory = "{box.spool}"', f'directory = "{disk.directory}/spool"\nmount = "{disk.directory}"')
        box.spool = disk.directory / "spool"
        with box.program:
            box.program.start()

            def held() -> list[Path]:
                return list(memory.glob("*/ready/*.mp4"))

            def said(kind: EventType) -> int:
                bodies = [body for topic, body in listener.said if topic == f"{TOPIC}/event"]
                return sum(Event.model_validate_json(body).type is kind for body in bodies)

            def is_back(times: int) -> Callable[[], bool]:
                return lambda: said(EventType.SPOOL_BACK) == times

            for times in (1, 2):
                listener.until(f"{TOPIC}/spool", "no disk is mounted", seconds=15)
                listener.until(f"{TOPIC}/camera/north", '"recording":true', seconds=15)
                listener.until(f"{TOPIC}/presence", "online", seconds=15)
                box.program.until(lambda: len(held()) > 1, 20, "segments in memory")
                assert list(disk.directory.iterdir()) == []
                disk.mount()
                box.program.until(is_back(times), 10, "the disk is back")
                box.program.until(lambda: list((box.spool / "writing").glob("*.part")), 10, "it records on the disk")
                box.program.until(lambda: not held(), 10, "memory is empty")
                if times == 1:
                    disk.vanish()
            assert said(EventType.SPOOL_TROUBLE) == 2
            assert box.program.stop() == 0
            assert "Traceback" not in box.program.output()
        assert box.starts()[0].data.cause is LossCause.DISK
        names = box.items(ItemKind.SEGMENT)
        assert len({name.sequence for name in names}) == len(names)
        facts = [read_facts((box.spool / "ready" / str(name)).read_bytes()) for name in names]
        assert [fact.gap_cause for fact in facts if fact.gap_before_ms][1:] == [LossCause.DISK]
        for (before, _), (after, fact) in pairwise(zip(names, facts, strict=True)):
            assert abs(after.start_ms - fact.gap_before_ms - before.end_ms) < 200 or fact.gap_cause is LossCause.DISK
    assert not list(memory.iterdir())
