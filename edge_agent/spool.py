"""The spool: the items that wait for the centre or are kept after it has them, and the only queue.

They lie on the disk as `place.py` says; what the disk cannot take lies in memory for a while. State is where a file
lies; the books on it, `core/stock.py`, are rebuilt by a scan. The rename into `ready/` is the commit.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Event, Lock, RLock
from typing import TYPE_CHECKING, BinaryIO, Final

from edge_agent.clock import stamp
from edge_agent.contract import NO_CAMERA, ClockQuality, ItemKind, ItemName, LossCause
from edge_agent.core.eviction import Locks, Span, WhenFull
from edge_agent.core.shipping import Order, Want
from edge_agent.core.stock import Stock
from edge_agent.errors import DiskTrouble, SpoolError, SpoolFull
from edge_agent.finding import Finding, count_waiting
from edge_agent.life import Life
from edge_agent.open_segment import Writing
from edge_agent.place import QUARANTINE, READY, SENT, WRITING, Kept, Place, disk_trouble, open_memory, write_durably

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.clock import Clock
    from edge_agent.core.eviction import Excess
    from edge_agent.core.status import Backlog, PreviousRun, SpoolStats
    from edge_agent.open_segment import OpenSegment

log = logging.getLogger(__name__)

_LOCKS: Final = "locks.json"
_SCAN_STEP: Final = 10_000
"""So many files are looked at in one go, which takes a moment."""
_FEW: Final = 1000
"""So many are known before anything else begins; of more even the list takes seconds to read from a cold disk."""
_DROP_STEP, _DROP_STEPS = 64, 32
"""So many items are dropped in one go, and so often within one turn of keeping house."""
_PAGE: Final = 1000
"""So many items are looked through at once while everybody else waits."""
_UNSHELVE_STEP: Final = 32


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
        self._clock = clock
        self._when_full = when_full
        self._lock, self._scan_lock = RLock(), Lock()
        self._stock = Stock(
            quota_bytes=quota_bytes,
            reserve_bytes=reserve_bytes,
            memory_bytes=memory_bytes,
            order=order,
            when_full=when_full,
        )
        self._wants: Sequence[Want] = ()
        self._wants_are_news = self._locks_are_news = False
        self.battery = Kept("battery.json")
        """What is known of the battery."""
        self._sequence = 0
        self._denied = False
        self._writing = Writing(self)
        self._scanning: Iterator[None] = iter(())
        self.scanned = False
        """Whether all that lies here is known; `tend` goes on until it is."""
        self.trouble = ""
        """Why the disk cannot be used; empty while it can."""
        self._short = self._unreadable = ""
        self.events_only = False
        """While it is, nothing else that is fresh can be taken."""
        self.arrived = Event()
        """Set on each commit; whoever ships waits for it and clears it."""
        self.late = Event()
        """Set while something joins the backlog; likewise."""

        self._disk: Place | None = None
        self._marker = ""
        self._memory = open_memory(memory) if memory else None
        self.run = ""
        """The name of this life."""
        self.newest_sequence: int | None = None  # of the items of this life
        self.previous: PreviousRun | None = None
        """How the life before this one ended; None when this is the first."""
        self.last: tuple[str, int] | None = None
        """Run and sequence of the newest item of earlier lives that was found, or is known to be gone; None while it is
        not known, or where nothing that was sent is kept any more."""
        self._life: Life | None = None
        if self._memory:
            self._writing.spare(self._memory)
        try:
            self._open_disk()
        except (DiskTrouble, SpoolFull) as error:
            if self._memory is None:
                raise
            self._fail(error)
        except SpoolError:
            self.close()
            raise
        life = self._live(None)
        if self._memory:
            self._writing.recover(self._memory)
            for _ in Finding(self._memory, self._stock, self._lock, self.run, in_memory=True):
                pass
            life.claim(self._memory)

    # --- what the recorder needs ---

    def begin_segment(self, camera: str, start_ms: int, clock: ClockQuality) -> OpenSegment:
        """An empty segment file, safe against a power cut from its first sync on; SpoolFull when there is no room."""
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
        self.keep(name, data)
        return name

    # --- what the shipper needs ---

    def next_unsent(self) -> ItemName | None:
        """The item whose turn it is: fresh before backlog, each oldest first. It stays until sent or quarantined."""
        with self._lock:
            return self._stock.line.next(self._clock.monotonic_ms())

    def take_fresh(self) -> ItemName | None:
        """The fresh item whose turn it is, for the caller alone until it is released, sent or quarantined."""
        with self._lock:
            name = self._stock.line.take_fresh(self._clock.monotonic_ms(), events_only=self.events_only)
            if self._stock.line.has_late:
                self.late.set()
            return name

    def take_late(self) -> ItemName | None:
        """The item of the backlog whose turn it is, likewise."""
        self._look_for_wanted()
        with self._lock:
            return self._stock.line.take_late(self._clock.monotonic_ms())

    def release(self, name: ItemName) -> None:
        """Whose turn it is may take it again."""
        with self._lock:
            self._stock.line.release(name)

    def put_off(self, name: ItemName) -> bool:
        """What could not be read has its turn later; false when it never can, though the disk can be read."""
        self._unreadable = self._why_unreadable()
        with self._lock:
            return self._stock.line.put_off(name, self._clock.monotonic_ms(), is_at_fault=not self._unreadable)

    def waits(self, name: ItemName) -> bool:
        """Whether the item is still without a receipt, and here."""
        with self._lock:
            return name in self._stock.line

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
                if self._stock.is_shelved(name):  # and not on its way to the disk just now
                    return self._path(READY, name).open("rb")
            return self._path(READY, name).open("rb")

    def mark_sent(self, name: ItemName) -> None:
        """The centre has it: from now on it is only a cache. Nothing happens when it was evicted meanwhile."""
        with self._lock:
            shelf = self._shelf(name)
            size = self._stock.deliver(name)
            if size is None:
                return
            if shelf:
                shelf.unlink(missing_ok=True)
                if self._life:
                    self._life.forget(name.run)
                return
            try:
                # Not synced: if a power cut undoes the rename, the item is sent once more and recognised.
                with disk_trouble(f"cannot put {name} aside"):
                    self._path(READY, name).rename(self._path(SENT, name))
            except SpoolError as error:  # a later scan finds it where it was, and it is sent once more
                self._fail(error)
                return
            self._stock.keep_sent(name, size)

    def quarantine(self, name: ItemName, reason: str) -> None:
        """The item leaves the line and is kept aside with the reason why.

        DiskTrouble: the disk does not let us; the item is out of the way until the disk is back and looked through.
        """
        with self._lock:
            shelf = self._shelf(name)
            size = self._stock.leave(name)
            if size is None:
                return
            if shelf:  # memory is too little for what nobody takes
                shelf.unlink(missing_ok=True)
                return
            disk, path = self._disk, self._path(READY, name)
            assert disk  # noqa: S101 - it has a path
            try:
                with disk_trouble(f"cannot put {name} aside"):
                    self.put_aside(disk, path, size, reason)
            except SpoolError as error:
                # Where somebody took the file away, there is nothing to keep.
                if not isinstance(error.__cause__, FileNotFoundError) or not self._is_there(disk):
                    self._fail(error)
                    raise

    # --- what comparing with the centre needs ---

    def sent(self, after: tuple[str, int], limit: int) -> list[ItemName]:
        """Of what the centre has and is still kept here, the next items behind that run and sequence."""
        with self._lock:
            return self._stock.sent(after, limit)

    def unsend(self, run: str, sequence: int) -> bool:
        """A sent item that the centre lacks is in the line again; false when it is not kept any more."""
        with self._lock:
            name = self._stock.sent_at(run, sequence)
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
            size = self._stock.drop_sent(name)
            if here:
                self._stock.join_backlog(name, size)
        if here:
            self.arrived.set()
        return here

    def learn(self, run: str, sequence: int) -> None:
        """The centre knows that item of another life; the lives to come do, too, once the spool was tended."""
        if self._life:
            self._life.learn(run, sequence)

    # --- what keeping house needs ---

    def stats(self) -> SpoolStats:
        """What lies here now."""
        disk = self._disk
        free_bytes = disk.room().bytes if disk else None
        with self._lock:
            return self._stock.stats(free_bytes)

    def waiting(self) -> Backlog | None:
        """What has no receipt; None while the disk is still looked through, and it is not few enough to be counted."""
        disk = self._disk
        if disk and not self.scanned:
            return count_waiting(disk, _FEW)
        with self._lock:
            return self._stock.line.backlog

    def make_room(self) -> list[ItemName]:
        """Quota and reserve are kept, as far as the operator's choice allows; what was lost unsent since last asked.

        Where very much must go, it takes several calls.
        """
        for _ in range(_DROP_STEPS):
            if not self._evict():
                break
        with self._lock:
            return self._stock.tell_lost()

    def lock(self, spans: Iterable[tuple[str, int, int]]) -> None:
        """What reaches into these (camera, from, to) goes last from now on, and in later lives; Unix milliseconds."""
        locks = Locks(Span(*span) for span in spans)
        with self._lock:
            known = self._stock.locks
            if known and known.spans == locks.spans:
                return
            self._stock.lock(locks)
            self._locks_are_news = True

    def tend(self) -> str:
        """The disk is looked after: what is wrong with it now, empty when nothing is.

        One that is back is taken into use again, with what lies on it, and gets what waited in memory.
        """
        for step in (
            self._regain,
            self._scan_on,
            self._unshelve,
            self._keep_locks,
            self._keep_battery,
            self._keep_note,
        ):
            try:
                step()
            except SpoolError as error:
                self._fail(error)
        self._unreadable = self._unreadable and self._why_unreadable()
        return self.trouble or self._unreadable or self._short

    def end(self, cause: LossCause) -> None:
        """The life has ended in good order, because of `cause`; the next one will know."""
        if self._life:
            self._life.end(cause, stamp(self._clock), self.waiting())
            for place in filter(None, (self._memory, self._disk)):
                self._life.claim(place)
        self._keep_battery()

    def close(self) -> None:
        """Another process may use the directory."""
        if self._disk:
            self._disk.close()
        if self._memory:
            self._memory.close()
            if self._disk and not self._stock.has_shelved and not self.trouble:
                shutil.rmtree(self._memory.directory, ignore_errors=True)

    # --- what an open segment needs ---

    @contextmanager
    def storing(self, place: Place, what: str) -> Iterator[None]:
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

    def commit(self, place: Place, path: Path, name: ItemName, size_bytes: int) -> None:
        """The finished file is the item of that name, for good, and in the line."""
        place.commit(path, name)
        with self._lock:
            self._stock.join(name, size_bytes, self._clock.monotonic_ms(), shelved=place is self._memory)
            if name.run == self.run:
                self.newest_sequence = max(name.sequence, self.newest_sequence or 0)
        self.arrived.set()

    def keep(self, name: ItemName, data: bytes) -> None:
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

    def put_aside(self, place: Place, path: Path, size_bytes: int, reason: str) -> None:
        """The file lies in quarantine with the reason why."""
        place.put_aside(path, reason)
        if place is self._disk:
            with self._lock:
                self._stock.put_aside(path.name, size_bytes)

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

    def _why_unreadable(self) -> str:
        return self._disk.unreadable() if self._disk else self.trouble

    def _shelf(self, name: ItemName) -> Path | None:
        """Where the item lies in memory; None when it does not."""
        return self._memory.path(READY, name) if self._memory and self._stock.is_shelved(name) else None

    def _path(self, folder: str, name: ItemName) -> Path:
        if shelf := self._shelf(name):
            return shelf
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
            self._stock.line.want(wants)
        place = ("", -1) if wants else None
        while place and wants is self._wants:
            with self._lock:
                place = self._stock.line.look_for_wanted(place, _PAGE)

    def _next_sequence(self) -> int:
        with self._lock:
            self._sequence += 1
            return self._sequence - 1

    def _begin(self, place: Place, label: str) -> OpenSegment:
        return self._writing.begin(place, f"{self.run}_{self._next_sequence():08d}_{label}")

    def _store(self, place: Place, name: ItemName, data: bytes) -> None:
        path = place.path(WRITING, f"{name.run}_{name.sequence:08d}.tmp")
        with self.storing(place, f"cannot store {name}"):
            write_durably(path, data)
            self.commit(place, path, name, len(data))

    # --- room ---

    def _excess(self, disk: Place) -> Excess:
        room = disk.room()
        return self._stock.excess(room.bytes, room.files, is_denied=self._denied)

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
            doomed = self._stock.give_way(excess, is_all_known=self.scanned, most=_DROP_STEP)
            newest = max(doomed.sent, default=None)
            if newest and self._life and (self._stock.newest_sent or newest) <= newest:
                self._life.forget(newest.run)
        files = [disk.path(SENT, name) for name in doomed.sent]
        for file in doomed.quarantined:
            files += [disk.path(QUARANTINE, file), disk.path(QUARANTINE, f"{file}.reason.txt")]
        files += [disk.path(READY, name) for name in doomed.unsent]
        with disk_trouble("cannot make room"):
            for path in files:
                path.unlink(missing_ok=True)
        return len(files)

    def _bound_memory(self, memory: Place) -> None:
        """The oldest in memory give way to what comes."""
        with self._lock:
            for name in self._stock.bound_shelf(memory.room().bytes):
                memory.path(READY, name).unlink(missing_ok=True)

    # --- the disk comes and goes ---

    def _live(self, disk: Place | None) -> Life:
        """This life, which begins with whatever place there is first."""
        if self._life is None:
            self._life = Life(disk, self._memory)
            self.run, self.previous = self._life.run, self._life.previous
        return self._life

    def _open_disk(self) -> None:
        self._disk = Place(self._directory, mount=self._mount, marker=self._marker)
        try:
            self._take_over(self._disk)
        except SpoolError:
            self._lose_disk()
            raise

    def _take_over(self, disk: Place) -> None:
        """The disk is in force: this life is noted on it, and what lies there is saved and found."""
        life = self._live(disk)
        with self._scan_lock, self._lock:
            self._marker = disk.marker
            self._scanning, self.scanned = self._scan(disk), False
            if self._stock.locks is None:
                self._stock.lock(Locks.kept(disk.read(_LOCKS)))
            else:
                self._locks_are_news = True
        self.battery.find(disk)
        try:
            life.claim(disk)
        except SpoolFull:
            self._scan_on(to_the_end=True)
            self._denied = True
            self._evict()
            life.claim(disk)
        self._writing.recover(disk)
        if disk.holds_few(_FEW):
            self._scan_on(to_the_end=True)

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
            self._stock.forget_disk()
            self._scanning, self.scanned = iter(()), False

    def _unshelve(self) -> None:
        """Some of what waits in memory goes to the disk, if that has room."""
        disk, names = self._disk, self._stock.shelved(_UNSHELVE_STEP)
        if self.trouble or disk is None or not names or self._stock.room_bytes(disk.room().bytes) <= 0:
            return
        for name in names:
            try:
                data = self._path(READY, name).read_bytes()
            except (OSError, SpoolError):
                continue  # it is at the centre by now
            scratch = disk.path(WRITING, f"{name.run}_{name.sequence:08d}.tmp")
            with self.storing(disk, f"cannot store {name}"):
                write_durably(scratch, data)
                disk.commit(scratch, name)
            with self._lock:
                if shelf := self._shelf(name):
                    self._stock.unshelve(name)
                    shelf.unlink(missing_ok=True)
                else:
                    disk.path(READY, name).unlink(missing_ok=True)

    def _keep_locks(self) -> None:
        disk, locks = self._disk, self._stock.locks
        if locks and self._locks_are_news and disk and not self.trouble:
            self._locks_are_news = False
            disk.keep(_LOCKS, locks.spans)

    def _keep_battery(self) -> None:
        if self._disk and not self.trouble:
            self.battery.keep(self._disk)

    def _keep_note(self) -> None:
        if self._life and self._memory:
            with suppress(SpoolError):  # it serves where the disk does not
                self._life.claim(self._memory)
        if self._life and self._disk and not self.trouble:
            with suppress(SpoolFull):  # it can wait
                self._life.claim(self._disk)

    # --- finding what is here ---

    def _scan_on(self, *, to_the_end: bool = False) -> None:
        with self._scan_lock, disk_trouble("cannot look through the spool"):
            for _ in islice(self._scanning, None if to_the_end else _SCAN_STEP):
                pass

    def _scan(self, disk: Place) -> Iterator[None]:
        yield from Finding(disk, self._stock, self._lock, self.run, in_memory=False)
        if disk is self._disk:
            self.scanned = True
            newest = self._stock.newest_earlier
            if newest and self._life:
                self.last = self.last or max(newest, self._life.known_before)
