"""The spool: the items that wait for the centre or are kept after it has them, and the only queue.

They lie on the disk as `place.py` says; what the disk cannot take lies in memory for a while. State is where a file
lies; the index is rebuilt by a scan. The rename into `ready/` is the commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import string
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Event, Lock, RLock
from typing import TYPE_CHECKING, BinaryIO, Final

from edge_agent.contract import (
    NO_CAMERA,
    ClockQuality,
    ItemKind,
    ItemName,
    LossCause,
    SegmentFacts,
    facts_box,
    run_counter,
    run_id,
)
from edge_agent.core.eviction import Excess, Locks, Span, WhenFull, is_expendable, plan
from edge_agent.core.index import Index
from edge_agent.core.shipping import Line, Order, Want
from edge_agent.core.status import PreviousRun, SpoolStats
from edge_agent.errors import DiskTrouble, SpoolError, SpoolFull
from edge_agent.place import (
    QUARANTINE,
    READY,
    SENT,
    WRITING,
    Note,
    Place,
    Room,
    disk_trouble,
    sync_directory,
    write_durably,
)
from edge_agent.torn import Damaged, rescue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.clock import Clock

log = logging.getLogger(__name__)

_PART: Final = re.compile(
    r"(?P<run>\d{6}[a-z0-9]{4})_(?P<sequence>\d{8})_segment_(?P<camera>[a-z0-9-]+)_(?P<start_ms>\d+)_(?P<clock>[a-z]+)\.part"
)
_OF_A_RUN: Final = re.compile(r"(\d{6}[a-z0-9]{4})_.*")
_LOCKS: Final = "locks.json"
_TAG: Final = string.ascii_lowercase + string.digits

_SCAN_STEP: Final = 10_000
"""So many files are looked at in one go, which takes a moment."""
_FEW: Final = 1000
"""So many are known before anything else begins; of more even the list takes seconds to read from a cold disk."""
_DROP_STEP, _DROP_STEPS = 64, 32
"""So many items are dropped in one go, and so often within one turn of keeping house."""
_SPARE_FILES: Final = 16
"""A file system that can take so many files more, or fewer, is short of them."""
_PAGE: Final = 1000
"""So many items are looked through at once while everybody else waits."""
_UNSHELVE_STEP: Final = 32
_SPARE_MEMORY_BYTES: Final = 4 * 1024**2
"""Left free where the newest waits in memory, for the segments that are being written."""


class Spool:
    """Items on disk, safe against a power cut at any moment; every method may be called from any thread.

    `quota_bytes` is what all items on the disk may take, `reserve_bytes` what stays free on it for others. `mount` is
    what must be mounted before anything is written. `memory` is a directory on a file system in memory: as long as
    the disk cannot be used, up to `memory_bytes` of new items wait there, the oldest dropped first, and go to the disk
    when it is back. Without one, whatever the disk does is raised as SpoolError, or SpoolFull when it is short of room.
    """

    def __init__(
        self,
        directory: Path,
        *,
        quota_bytes: int,
        reserve_bytes: int,
        clock: Clock,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
        order: Order = Order.OLDEST,
        mount: Path | None = None,
        memory: Path | None = None,
        memory_bytes: int = 0,
    ) -> None:
        self._directory = directory
        self._mount = mount
        self._quota_bytes = quota_bytes
        self._reserve_bytes = reserve_bytes
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._when_full = when_full
        self._lock, self._scan_lock = RLock(), Lock()
        self._line = Line(order)
        self._wants: Sequence[Want] = ()
        self._wants_are_news = False
        self._sent = Index()
        self._quarantined: dict[str, int] = {}
        self._shelved: dict[ItemName, int] = {}
        self._shelved_bytes = 0
        self._locks: Locks | None = None
        self._locks_are_news = False
        self._lost: list[ItemName] = []
        self._used_bytes = self._cached_bytes = self._taken_bytes = self._sent_bytes = self._evicted = 0
        self._sequence = 0
        self._denied = False
        self._open_parts: set[str] = set()
        self._saved_parts: set[str] = set()
        self._scanning: Iterator[None] = iter(())
        self.scanned = False
        """Whether all that lies here is known; `tend` goes on until it is."""
        self.trouble = ""
        """Why the disk cannot be used; empty while it can."""
        self._short = ""
        self.arrived = Event()
        """Set on each commit; whoever ships waits for it and clears it."""
        self.late = Event()
        """Set while something joins the backlog; likewise."""

        self._disk: Place | None = None
        self._marker = ""
        self._memory = self._open_memory(memory) if memory else None
        self.run = ""
        """The name of this life."""
        self.previous: PreviousRun | None = None
        """How the life before this one ended; None when this is the first."""
        self.last: tuple[str, int] | None = None
        """Run and sequence of the newest item of earlier lives that was found; None while it is not known, or where
        nothing that was sent is kept any more: what is newest goes last."""
        self._newest, self._keeps_sent = ("", 0), False
        self._counter = 0
        try:
            self._open_disk()
        except (DiskTrouble, SpoolFull) as error:
            if self._memory is None:
                raise
            self._fail(error)
        except SpoolError:
            self.close()
            raise
        if not self.run:
            self._begin_life(None)
        if self._memory:
            self._recover(self._memory)
            for _ in self._scan(self._memory):
                pass
            self._memory.write_note(Note.now(self.run, self._counter))

    # --- what the recorder needs ---

    def begin_segment(self, camera: str, start_ms: int, clock: ClockQuality) -> OpenSegment:
        """An empty segment file that survives a power cut from now on; SpoolFull when no room can be made for it."""
        label = f"segment_{camera}_{start_ms}_{clock}.part"
        if disk := self._usable():
            try:
                disk.look()
                self._make_way(disk)
                segment = self._begin(disk, label)
            except SpoolError as error:
                if not self._leave_to_memory(error):
                    raise
            else:
                self._short = ""
                return segment
        return self._begin(self._in_memory(), label)

    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName:
        """A small item is on the disk for good and in the line."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = ItemName(
            self.run, self._next_sequence(), kind, camera or NO_CAMERA, start_ms, duration_ms, clock, sha256
        )
        self._keep(name, data)
        return name

    # --- what the shipper needs ---

    def next_unsent(self) -> ItemName | None:
        """The item whose turn it is: fresh before backlog, each oldest first. It stays until sent or quarantined."""
        with self._lock:
            return self._line.next(self._clock.monotonic_ms())

    def take_fresh(self) -> ItemName | None:
        """The fresh item whose turn it is, for the caller alone until it is released, sent or quarantined."""
        with self._lock:
            name = self._line.take_fresh(self._clock.monotonic_ms())
            if self._line.has_late:
                self.late.set()
            return name

    def take_late(self) -> ItemName | None:
        """The item of the backlog whose turn it is, likewise."""
        self._look_for_wanted()
        with self._lock:
            return self._line.take_late(self._clock.monotonic_ms())

    def release(self, name: ItemName) -> None:
        """Whose turn it is may take it again."""
        with self._lock:
            self._line.release(name)

    def waits(self, name: ItemName) -> bool:
        """Whether the item is still without a receipt, and here."""
        with self._lock:
            return name in self._line

    def want(self, wants: Sequence[Want]) -> None:
        """What of the backlog is in those stretches goes first from its next turn on, and nothing else does."""
        with self._lock:
            if wants != self._wants:
                self._wants, self._wants_are_news = wants, True
                self.late.set()

    def open(self, name: ItemName) -> BinaryIO:
        """The bytes of an unsent item, to be closed by the caller."""
        with disk_trouble(f"cannot read {name}"):
            with self._lock:
                if name in self._shelved:  # and not on its way to the disk just now
                    return self._path(READY, name).open("rb")
            return self._path(READY, name).open("rb")

    def mark_sent(self, name: ItemName) -> None:
        """The centre has it: from now on it is only a cache. Nothing happens when it was evicted meanwhile."""
        with self._lock:
            size = self._line.leave(name)
            if size is None:
                return
            self._sent_bytes += size
            if name in self._shelved:
                self._unshelved(name).unlink(missing_ok=True)
                return
            try:
                # Not synced: if a power cut undoes the rename, the item is sent once more and recognised.
                with disk_trouble(f"cannot put {name} aside"):
                    self._path(READY, name).rename(self._path(SENT, name))
            except SpoolError as error:  # a later scan finds it where it was, and it is sent once more
                self._fail(error)
                return
            self._sent[name] = size
            self._cached_bytes += size

    def quarantine(self, name: ItemName, reason: str) -> None:
        """The item leaves the line and is kept aside with the reason why.

        DiskTrouble: the disk does not let us; the item is out of the way until the disk is back and looked through.
        """
        with self._lock:
            size = self._line.leave(name)
            if size is None:
                return
            if name in self._shelved:  # memory is too little for what nobody takes
                self._unshelved(name).unlink(missing_ok=True)
                return
            disk, path = self._disk, self._path(READY, name)
            assert disk  # noqa: S101 - it has a path
            try:
                with disk_trouble(f"cannot put {name} aside"):
                    self._put_aside(disk, path, size, reason)
            except SpoolError as error:
                # Where somebody took the file away, there is nothing to keep.
                if not isinstance(error.__cause__, FileNotFoundError) or not self._is_there(disk):
                    self._fail(error)
                    raise
            self._used_bytes -= size

    # --- what comparing with the centre needs ---

    def sent(self, after: tuple[str, int], limit: int) -> list[ItemName]:
        """Of what the centre has and is still kept here, the next items behind that run and sequence."""
        with self._lock:
            return self._sent.after(*after, limit)

    def unsend(self, run: str, sequence: int) -> bool:
        """A sent item that the centre lacks is in the line again; false when it is not kept any more."""
        with self._lock:
            name = self._sent.at(run, sequence)
            if name is None:
                return False
            here = True
            try:
                # Not synced: if a power cut undoes the rename, the next comparison puts it back.
                with disk_trouble(f"cannot put {name} back into the line"):
                    self._path(SENT, name).rename(self._path(READY, name))
            except SpoolError as error:
                # Where somebody took the file away, there is nothing to send.
                disk = self._disk
                if not isinstance(error.__cause__, FileNotFoundError) or disk is None or not self._is_there(disk):
                    self._fail(error)
                    raise
                here = False
            size = self._sent.pop(name) or 0
            self._cached_bytes -= size
            if here:
                self._line.join_backlog(name, size)
            else:
                self._used_bytes -= size
        if here:
            self.arrived.set()
        return here

    # --- what keeping house needs ---

    def stats(self) -> SpoolStats:
        """What lies here now."""
        disk = self._disk
        free_bytes = self._room(disk).bytes if disk else self._memory_bytes - self._shelved_bytes
        with self._lock:
            return SpoolStats(
                backlog_items=len(self._line),
                backlog_ms=self._line.duration_ms,
                backlog_bytes=self._line.bytes,
                oldest_unsent_ms=self._line.oldest_start_ms(),
                used_bytes=self._used_bytes + self._shelved_bytes,
                free_bytes=max(0, free_bytes + self._cached_bytes),
                quarantined=len(self._quarantined),
                evicted=self._evicted,
                taken_bytes=self._taken_bytes,
                sent_bytes=self._sent_bytes,
            )

    def make_room(self) -> list[ItemName]:
        """Quota and reserve are kept, as far as the operator's choice allows; what was lost unsent since last asked.

        Where very much must go, it takes several calls.
        """
        for _ in range(_DROP_STEPS):
            if not self._evict():
                break
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def lock(self, spans: Iterable[tuple[str, int, int]]) -> None:
        """What reaches into these (camera, from, to) goes last from now on, and in later lives; Unix milliseconds."""
        locks = Locks(Span(*span) for span in spans)
        with self._lock:
            if self._locks and locks.spans == self._locks.spans:
                return
            self._locks, self._locks_are_news = locks, True
            self._sent.reconsider()
            self._line.reconsider()

    def tend(self) -> str:
        """The disk is looked after: what is wrong with it now, empty when nothing is.

        One that is back is taken into use again, with what lies on it, and gets what waited in memory.
        """
        for step in (self._regain, self._scan_on, self._unshelve, self._keep_locks):
            try:
                step()
            except SpoolError as error:
                self._fail(error)
        return self.trouble or self._short

    def end(self, cause: LossCause) -> None:
        """The life has ended in good order, because of `cause`; the next one will know."""
        for place in (self._memory, self._disk):
            if place:
                place.write_note(Note.now(self.run, self._counter, cause))

    def close(self) -> None:
        """Another process may use the directory."""
        if self._disk:
            self._disk.close()
        if self._memory:
            self._memory.close()
            if self._disk and not self._shelved and not self.trouble:
                shutil.rmtree(self._memory.directory, ignore_errors=True)

    # --- where things go ---

    def _usable(self) -> Place | None:
        """The disk, unless it is known to be in trouble and there is something better."""
        return None if self.trouble and self._memory else self._disk

    def _in_memory(self) -> Place:
        if self._memory is None:
            raise DiskTrouble(self.trouble, "check the disk: dmesg, mount, smartctl")
        self._bound_memory(self._memory)
        return self._memory

    def _leave_to_memory(self, error: SpoolError) -> bool:
        """Whether memory takes what the disk refused with that error."""
        if isinstance(error, SpoolFull):
            self._short = error.message
            return self._memory is not None and self._when_full is WhenFull.DROP_OLDEST
        self._fail(error)
        return self._memory is not None

    def _fail(self, error: SpoolError) -> None:
        """The disk is in trouble until `tend` finds that it is not."""
        if error.message != self.trouble:
            log.error("%s", error)
        self.trouble = error.message

    def _is_there(self, place: Place) -> bool:
        try:
            place.look()
        except DiskTrouble as error:
            self._fail(error)
            return False
        return True

    def _path(self, folder: str, name: ItemName | str) -> Path:
        if name in self._shelved and self._memory:
            return self._memory.path(folder, name)
        if self._disk is None:
            raise DiskTrouble(f"cannot reach {name}: {self.trouble}")
        return self._disk.path(folder, name)

    def _look_for_wanted(self) -> None:
        """The whole backlog is looked at once per news, in the thread of whoever ships it; nobody waits meanwhile."""
        with self._lock:
            if not self._wants_are_news:
                return
            self._wants_are_news = False
            wants = self._wants
            self._line.want(wants)
        place = ("", -1) if wants else None
        while place and wants is self._wants:
            with self._lock:
                place = self._line.look_for_wanted(place, _PAGE)

    def _next_sequence(self) -> int:
        with self._lock:
            self._sequence += 1
            return self._sequence - 1

    def _begin(self, place: Place, label: str) -> OpenSegment:
        path = place.path(WRITING, f"{self.run}_{self._next_sequence():08d}_{label}")
        with self._storing(place, f"cannot begin {path.name}"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            sync_directory(path.parent)
        self._open_parts.add(path.name)
        return OpenSegment(self, place, path, fd)

    def _keep(self, name: ItemName, data: bytes) -> None:
        """The item is in the line, and on the disk for good if that can be."""
        if disk := self._usable():
            try:
                disk.look()
                return self._store(disk, name, data)
            except SpoolError as error:
                if not isinstance(error, SpoolFull):
                    self._fail(error)
                if self._memory is None:
                    raise
        return self._store(self._in_memory(), name, data)

    def _store(self, place: Place, name: ItemName, data: bytes) -> None:
        path = place.path(WRITING, f"{name.run}_{name.sequence:08d}.tmp")
        with self._storing(place, f"cannot store {name}"):
            write_durably(path, data)
            self._commit(place, path, name, len(data))

    def _commit(self, place: Place, path: Path, name: ItemName, size: int) -> None:
        place.commit(path, name)
        with self._lock:
            self._line.join(name, size, self._clock.monotonic_ms())
            if place is self._memory:
                self._shelved[name] = size
                self._shelved_bytes += size
            else:
                self._used_bytes += size
            self._taken_bytes += size
        self.arrived.set()

    @contextmanager
    def _storing(self, place: Place, what: str) -> Iterator[None]:
        """As disk_trouble; and from now on the disk is known to be full or in trouble, whatever it says of itself."""
        try:
            with disk_trouble(what):
                yield
        except SpoolFull:
            self._denied |= place is self._disk
            raise
        except SpoolError as error:
            if place is self._disk:
                self._fail(error)
            raise

    def _put_aside(self, place: Place, path: Path, size: int, reason: str) -> None:
        place.put_aside(path, reason)
        if place is self._disk:
            with self._lock:
                self._quarantined[path.name] = size
                self._used_bytes += size

    # --- room ---

    def _room(self, disk: Place) -> Room:
        """What more we may put there."""
        room = disk.room()
        return Room(min(self._quota_bytes - self._used_bytes, room.bytes - self._reserve_bytes), room.files)

    def _excess(self, disk: Place) -> Excess:
        room = self._room(disk)
        short = 0 if room.files is None else max(0, _SPARE_FILES - room.files)
        return Excess(1 - room.bytes if room.bytes <= 0 else 0, max(short, self._denied))

    def _make_way(self, disk: Place) -> None:
        """There is room for more, or some was just made; SpoolFull when none can be."""
        if self._excess(disk) and not self._evict() and self._excess(disk):
            raise SpoolFull(f"the spool {self._directory} is full", "wait for the link, or give it more room")

    def _evict(self) -> int:
        """Some of what is too much is dropped: how many files."""
        with self._lock:
            disk = self._disk
            if disk is None or self.trouble or not (excess := self._excess(disk)):
                return 0
            self._denied = False
            known = self.scanned  # before that, there may be something better to drop
            doomed = plan(
                excess,
                sent=self._sent.candidates(self._is_locked),
                quarantined=self._quarantined.items() if known else (),
                unsent=self._line.candidates(self._stays) if known else (),
                locked_sent=self._locked(self._sent.items()) if known else (),
                locked_unsent=self._locked(self._line.items()) if known else (),
                when_full=self._when_full,
                most=_DROP_STEP,
            )
            files = []
            for name in doomed.sent:
                size = self._sent.pop(name) or 0
                self._cached_bytes -= size
                self._used_bytes -= size
                files.append(disk.path(SENT, name))
            for file in doomed.quarantined:
                self._used_bytes -= self._quarantined.pop(file)
                files += [disk.path(QUARANTINE, file), disk.path(QUARANTINE, f"{file}.reason.txt")]
            for name in doomed.unsent:
                self._used_bytes -= self._line.leave(name) or 0
                files.append(disk.path(READY, name))
            self._evicted += len(doomed.unsent)
            self._lost += doomed.unsent
        with disk_trouble("cannot make room"):
            for path in files:
                path.unlink(missing_ok=True)
        return len(files)

    def _is_locked(self, name: ItemName) -> bool:
        return self._locks is not None and self._locks.hold(name)

    def _stays(self, name: ItemName) -> bool:
        return not is_expendable(name) or self._is_locked(name) or name in self._shelved

    def _locked(self, items: Iterable[tuple[ItemName, int]]) -> Iterator[tuple[ItemName, int]]:
        return (item for item in items if self._is_locked(item[0]) and item[0] not in self._shelved)

    def _bound_memory(self, memory: Place) -> None:
        """The oldest in memory give way to what comes."""
        with self._lock:
            most_bytes = min(self._memory_bytes, self._shelved_bytes + memory.room().bytes - _SPARE_MEMORY_BYTES)
            while self._shelved and self._shelved_bytes >= most_bytes:
                name = next(filter(is_expendable, self._shelved), next(iter(self._shelved)))
                self._line.leave(name)
                self._unshelved(name).unlink(missing_ok=True)
                self._evicted += 1
                self._lost.append(name)

    def _unshelved(self, name: ItemName) -> Path:
        """Where the item lay in memory, where it is no more."""
        path = self._path(READY, name)
        self._shelved_bytes -= self._shelved.pop(name)
        return path

    # --- the disk comes and goes ---

    def _open_memory(self, directory: Path) -> Place | None:
        try:
            with disk_trouble(f"{directory} cannot be used"):
                directory.mkdir(mode=0o700, exist_ok=True)
                if directory.lstat().st_uid != os.geteuid():
                    raise SpoolError(f"{directory} is not ours", "remove it")
            return Place(directory)
        except SpoolError as error:
            log.warning("there is no memory to fall back on: %s", error)
            return None

    def _open_disk(self) -> None:
        self._disk = Place(self._directory, mount=self._mount, marker=self._marker)
        try:
            if not self.run:
                self._begin_life(self._disk)
            self._take_over(self._disk)
        except SpoolError:
            self._lose_disk()
            raise

    def _take_over(self, disk: Place) -> None:
        """The disk is in force: this life is noted on it, and what lies there is saved and found."""
        with self._scan_lock, self._lock:
            self._marker = disk.marker
            self._scanning, self.scanned = self._scan(disk), False
            if self._locks is None:
                self._locks = _read_locks(disk)
            else:
                self._locks_are_news = True
        try:
            self._claim(disk)
        except SpoolFull:
            self._scan_on(to_the_end=True)
            self._denied = True
            self._evict()
            self._claim(disk)
        self._recover(disk)
        if disk.holds_few(_FEW):
            self._scan_on(to_the_end=True)

    def _claim(self, disk: Place) -> None:
        before = disk.read_note()
        self._counter = max(self._counter, before.counter if before else 0)
        disk.write_note(Note.now(self.run, self._counter))

    def _regain(self) -> None:
        """The disk is in use, again if it was in trouble; SpoolError as long as it cannot be."""
        if self._disk and not self._is_there(self._disk):
            self._lose_disk()
        if not self.trouble:
            return
        if self._disk:
            try:
                self._disk.lock()
                with suppress(SpoolFull):
                    self._disk.probe()
                self._take_over(self._disk)
            except SpoolError:
                self._disk.close()  # who wants to mend it must be able to unmount it; what it has can still be read
                raise
        else:
            self._open_disk()
        log.info("the disk of %s is back", self._directory)
        self.trouble = ""

    def _lose_disk(self) -> None:
        """What lies on the disk is out of reach, and not lost."""
        with self._lock:
            if self._disk:
                self._disk.close()
            self._disk = None
            self._line.forget()
            for name, size in self._shelved.items():
                self._line.join_backlog(name, size)
            self._sent, self._quarantined = Index(), {}
            self._used_bytes = self._cached_bytes = 0
            self._scanning, self.scanned = iter(()), False

    def _unshelve(self) -> None:
        """Some of what waits in memory goes to the disk, if that has room."""
        disk = self._disk
        if self.trouble or disk is None or not self._shelved or self._room(disk).bytes <= 0:
            return
        for name in list(islice(self._shelved, _UNSHELVE_STEP)):
            try:
                data = self._path(READY, name).read_bytes()
            except (OSError, SpoolError):
                continue  # it is at the centre by now
            scratch = disk.path(WRITING, f"{name.run}_{name.sequence:08d}.tmp")
            with self._storing(disk, f"cannot store {name}"):
                write_durably(scratch, data)
                disk.commit(scratch, name)
            with self._lock:
                if name in self._shelved:
                    self._unshelved(name).unlink(missing_ok=True)
                    self._used_bytes += len(data)
                else:
                    disk.path(READY, name).unlink(missing_ok=True)

    def _keep_locks(self) -> None:
        disk = self._disk
        if self._locks and self._locks_are_news and disk and not self.trouble:
            self._locks_are_news = False
            disk.keep(_LOCKS, self._locks.spans)

    # --- finding what is here ---

    def _scan_on(self, *, to_the_end: bool = False) -> None:
        with self._scan_lock, disk_trouble("cannot look through the spool"):
            for _ in islice(self._scanning, None if to_the_end else _SCAN_STEP):
                pass

    def _scan(self, place: Place) -> Iterator[None]:
        """Finds what lies there, one file at a time, oldest first; what the centre has before what it lacks."""
        for folder in (SENT, READY, QUARANTINE):
            directory = str(place.directory / folder)
            names = sorted(os.listdir(directory), reverse=True)  # noqa: PTH208 - there may be very many
            while names:
                text = names.pop()
                self._find(place, folder, text, f"{directory}/{text}")
                yield
        if place is self._disk:
            self.scanned = True
            if self.last is None and self._keeps_sent:
                self.last = self._newest

    def _find(self, place: Place, folder: str, text: str, path: str) -> None:
        try:
            name = ItemName.parse(text) if folder != QUARANTINE else None
        except ValueError:
            name = None
        with self._lock:
            try:
                size = os.stat(path).st_size  # noqa: PTH116 - likewise
            except FileNotFoundError:
                return  # it went on while we looked
            except OSError as error:
                log.warning("%s: %s", text, error.strerror)
                size = 0  # whoever reads it will see
            if name is not None and place is self._disk and name.run != self.run:
                self._newest = max(self._newest, (name.run, name.sequence))
                self._keeps_sent |= folder == SENT
            if name is None:
                self._find_strange(place, folder, text, size)
            elif name in self._line or name in self._sent:
                if place is self._memory and name not in self._shelved:
                    place.path(folder, text).unlink(missing_ok=True)
            elif place is self._memory:
                self._line.join_backlog(name, size)
                self._shelved[name] = size
                self._shelved_bytes += size
            elif folder == READY:
                self._line.join_backlog(name, size)
                self._used_bytes += size
            else:
                self._sent[name] = size
                self._used_bytes += size
                self._cached_bytes += size

    def _find_strange(self, place: Place, folder: str, text: str, size: int) -> None:
        if folder != QUARANTINE:
            with suppress(OSError):  # it is in nobody's way
                self._put_aside(place, place.path(folder, text), size, f"found in {folder}/, but it is not an item")
        elif place is self._disk and not text.endswith(".reason.txt") and text not in self._quarantined:
            self._quarantined[text] = size
            self._used_bytes += size

    def _begin_life(self, disk: Place | None) -> None:
        """The name of this life, and how the last one ended, by the notes of both places.

        A life that starts without a disk does not know how many there were before: its number is 0.
        """
        notes = [note for place in (disk, self._memory) if place and (note := place.read_note())]
        last = max(notes, key=lambda note: note.counter, default=None)
        if last:
            self.previous = PreviousRun(last.run, last.cause)
            self._counter = last.counter
        elif disk is None:
            self.previous = PreviousRun(None, LossCause.DISK)
        elif newest := _newest_run(disk):  # the note was lost or damaged: only a power cut does that
            self.previous = PreviousRun(newest, LossCause.POWER)
            self._counter = run_counter(newest)
        if disk or self._counter:
            self._counter += 1
        self.run = run_id(self._counter, "".join(secrets.choice(_TAG) for _ in range(4)))

    def _recover(self, place: Place) -> None:
        """What was left in writing/ is committed as far as it is whole, except for what is still being written."""
        with disk_trouble("cannot look through the spool"):
            left = sorted(place.path(WRITING, "").iterdir())
        for path in left:
            if path.name in self._open_parts:
                continue
            try:
                if path.suffix == ".part" and path.name not in self._saved_parts:
                    self._salvage(place, path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                log.error("left in writing/: %s: %s", path.name, error.strerror or error)

    def _salvage(self, place: Place, path: Path) -> ItemName | None:
        """Cut the open segment back to its last whole fragment and commit it; None when nothing of it is left."""
        data = path.read_bytes()
        try:
            rescued = rescue(data)
            if rescued is None:
                path.unlink()
                return None
            sha256 = hashlib.sha256(data[: rescued.length] + rescued.tail).hexdigest()
            name = _item_name(path, rescued.duration_ms, sha256)
        except Damaged as error:
            log.warning("put aside %s, which was left open and is damaged: %s", path.name, error)
            self._put_aside(place, path, len(data), f"left open, and damaged: {error}")
            return None
        with path.open("r+b") as file:
            file.truncate(rescued.length)
            file.seek(rescued.length)
            file.write(rescued.tail)
            file.flush()
            os.fsync(file.fileno())
        self._commit(place, path, name, rescued.length + len(rescued.tail))
        return name


class OpenSegment:
    """A segment while it is written; ends with `commit`, `salvage` or `discard`, or is recovered by the next life."""

    def __init__(self, spool: Spool, place: Place, path: Path, fd: int) -> None:
        self._spool, self._place = spool, place
        self._path = path
        self._fd = fd
        self._hash = hashlib.sha256()
        self._doubtful = False
        self._committed = path
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """All of `data` is handed to the kernel; its length. What a muxer still spills after the end goes nowhere."""
        if self._fd < 0:
            return len(data)
        with self._checked(f"cannot write {self._path.name}", is_sync=False):
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self.size_bytes += len(data)
        return len(data)

    def sync(self) -> None:
        """What was written survives a power cut."""
        with self._checked(f"cannot sync {self._path.name}"):
            os.fdatasync(self._fd)

    def commit(self, duration_ms: int, facts: SegmentFacts) -> ItemName:
        """The segment is complete, durable and in the line, `facts` in its last box."""
        self.write(facts_box(facts))
        name = _item_name(self._path, duration_ms, self._hash.hexdigest())
        self._committed = self._place.path(READY, name)
        with self._checked(f"cannot commit {self._path.name}"):
            os.fsync(self._fd)
            self._spool._commit(self._place, self._path, name, self.size_bytes)
        self._close()
        return name

    def salvage(self) -> ItemName | None:
        """After disk trouble: what is whole of it is committed, the rest gone; None when nothing was."""
        try:
            if not self._doubtful:
                with suppress(SpoolFull), disk_trouble(f"cannot save the rest of {self._path.name}"):
                    return self._spool._salvage(self._place, self._path)
            return self._move()
        finally:
            self._close()

    def discard(self) -> None:
        """The segment never was."""
        self._close()
        with disk_trouble(f"cannot remove {self._path.name}"):
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _checked(self, what: str, *, is_sync: bool = True) -> Iterator[None]:
        """After a failed sync nobody knows what is on the disk, and the next sync will not tell."""
        try:
            with self._spool._storing(self._place, what):
                yield
        except SpoolError as error:
            self._doubtful |= is_sync or not isinstance(error, SpoolFull)
            raise

    def _move(self) -> ItemName | None:
        """What is whole goes into a new file: read back through the open one, and held against what was written."""
        with disk_trouble(f"cannot read {self._path.name} back"):
            data = os.pread(self._fd, self.size_bytes, 0)
        try:
            if hashlib.sha256(data).digest() != self._hash.digest():
                raise Damaged("it does not read back as it was written")
            rescued = rescue(data)
        except Damaged as error:
            log.error("lost %s: %s", self._path.name, error)
            return None
        if rescued is None:
            return None
        data = data[: rescued.length] + rescued.tail
        name = _item_name(self._path, rescued.duration_ms, hashlib.sha256(data).hexdigest())
        self._spool._keep(name, data)
        self._spool._saved_parts.add(self._path.name)
        with suppress(OSError):  # then the spool removes it when it can
            self._path.unlink(missing_ok=True)
            self._committed.unlink(missing_ok=True)
        return name

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self._spool._open_parts.discard(self._path.name)


def _item_name(part: Path, duration_ms: int, sha256: str) -> ItemName:
    """What the open segment `part` is called once it is complete; Damaged when it is none."""
    label = _PART.fullmatch(part.name)
    if label is None:
        raise Damaged("its name is not that of an open segment")
    try:
        name = ItemName(
            label["run"],
            int(label["sequence"]),
            ItemKind.SEGMENT,
            label["camera"],
            int(label["start_ms"]),
            duration_ms,
            ClockQuality(label["clock"]),
            sha256,
        )
        return ItemName.parse(str(name))
    except ValueError as error:
        raise Damaged(str(error)) from error


def _newest_run(disk: Place) -> str | None:
    """The last run of which something lies there."""
    with disk_trouble("cannot look through the spool"):
        names = (entry.name for folder in (SENT, READY) for entry in os.scandir(disk.path(folder, "")))
        return max((label[1] for name in names if (label := _OF_A_RUN.fullmatch(name))), default=None)


def _read_locks(disk: Place) -> Locks:
    try:
        return Locks(Span(*span) for span in json.loads((disk.directory / _LOCKS).read_text()))
    except (OSError, ValueError, TypeError):
        return Locks()
