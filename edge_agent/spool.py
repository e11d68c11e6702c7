"""The spool: the directory of items on this disk, and the only queue.

    writing/      open segments (.part) and small items before their rename (.tmp)
    ready/        items without a receipt: the backlog
    sent/         items that the centre has; a cache until room is needed
    quarantine/   what the centre refuses for good and what could not be read back, each with a .reason.txt

State is where a file lies; the index is memory, rebuilt by a scan. The rename into `ready/` is the commit.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, BinaryIO, Final

import av

from edge_agent.contract import (
    FACTS_UUID,
    NO_CAMERA,
    Box,
    ClockQuality,
    ItemKind,
    ItemName,
    LossCause,
    SegmentFacts,
    facts_box,
    run_counter,
    run_id,
    whole_boxes,
)
from edge_agent.core.cutting import find_holes
from edge_agent.core.eviction import WhenFull, plan
from edge_agent.core.shipping import Line
from edge_agent.core.status import PreviousRun, SpoolStats
from edge_agent.errors import SpoolError, SpoolFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.clock import Clock

log = logging.getLogger(__name__)

_WRITING, _READY, _SENT, _QUARANTINE = _FOLDERS = ("writing", "ready", "sent", "quarantine")
_PART: Final = re.compile(
    r"(?P<run>\d{6}[a-z0-9]{4})_(?P<sequence>\d{8})_segment_(?P<camera>[a-z0-9-]+)_(?P<start_ms>\d+)_(?P<clock>[a-z]+)\.part"
)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Spool:
    """Items on disk, safe against a power cut at any moment; every method may be called from any thread.

    `quota_bytes` is what all items together may take, `reserve_bytes` what stays free on the file system for others.
    Whatever the disk does is raised as SpoolError, or SpoolFull when it is short of room.
    """

    def __init__(
        self,
        directory: Path,
        *,
        quota_bytes: int,
        reserve_bytes: int,
        clock: Clock,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
    ) -> None:
        self._directory = directory
        self._quota_bytes = quota_bytes
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._when_full = when_full
        self._lock = Lock()
        self._line = Line()
        self._sent: dict[ItemName, int] = {}
        self._quarantined: dict[str, int] = {}
        self._lost: list[ItemName] = []
        self._used_bytes = self._cached_bytes = self._taken_bytes = self._sent_bytes = self._evicted = 0
        self._sequence = 0
        self.arrived = Event()
        """Set on each commit; whoever ships waits for it and clears it."""

        if not directory.parent.is_dir():
            raise SpoolError(f"there is no {directory.parent} to hold the spool", "create it, or mount its disk")
        with _disk_trouble(f"the spool directory {directory} cannot be used"):
            directory.mkdir(exist_ok=True)
            self._lock_fd = _lock(directory / "lock")
            try:
                for folder in _FOLDERS:
                    (directory / folder).mkdir(exist_ok=True)
                self._scan()
                self._evict()
                self.last = self._last()
                """Run and sequence of the newest item found here; None while nothing that was sent is kept any more."""
                self.previous, self.run = self._begin_run()
                """How the run before this one ended, None when this is the first; and the name of this run."""
                self._recover()
            except (OSError, SpoolError):
                self.close()
                raise

    # --- what the recorder needs ---

    def begin_segment(self, camera: str, start_ms: int, clock: ClockQuality) -> OpenSegment:
        """An empty segment file that survives a power cut from now on; SpoolFull when no room can be made for it."""
        if self._free_bytes() <= 0:
            with _disk_trouble("cannot make room"):
                self._evict()
        if self._free_bytes() <= 0:
            raise SpoolFull(f"the spool {self._directory} is full", "wait for the link, or give it more room")
        path = self._path(_WRITING, f"{self.run}_{self._next_sequence():08d}_segment_{camera}_{start_ms}_{clock}.part")
        with _disk_trouble(f"cannot begin {path.name}"):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            _sync_directory(path.parent)
        return OpenSegment(self, path, fd)

    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName:
        """A small item is on the disk for good and in the line."""
        sha256 = hashlib.sha256(data).hexdigest()
        sequence = self._next_sequence()
        name = ItemName(self.run, sequence, kind, camera or NO_CAMERA, start_ms, duration_ms, clock, sha256)
        path = self._path(_WRITING, f"{name.run}_{name.sequence:08d}.tmp")
        with _disk_trouble(f"cannot store {name}"):
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._commit(path, name, len(data))
        return name

    # --- what the shipper needs ---

    def next_unsent(self) -> ItemName | None:
        """The item whose turn it is: fresh before backlog, each oldest first. It stays until sent or quarantined."""
        with self._lock:
            return self._line.next(self._clock.monotonic_ms())

    def open(self, name: ItemName) -> BinaryIO:
        """The bytes of an unsent item, to be closed by the caller."""
        with _disk_trouble(f"cannot read {name}"):
            return self._path(_READY, name).open("rb")

    def mark_sent(self, name: ItemName) -> None:
        """The centre has it: from now on it is only a cache. Nothing happens when it was evicted meanwhile."""
        with _disk_trouble(f"cannot put {name} aside"), self._lock:
            size = self._line.leave(name)
            if size is None:
                return
            # Not synced: if a power cut undoes the rename, the item is sent once more and recognised.
            self._path(_READY, name).rename(self._path(_SENT, name))
            self._sent[name] = size
            self._cached_bytes += size
            self._sent_bytes += size

    def quarantine(self, name: ItemName, reason: str) -> None:
        """The item leaves the line and is kept aside with the reason why."""
        with _disk_trouble(f"cannot put {name} aside"), self._lock:
            size = self._line.leave(name)
            if size is not None:
                self._put_aside(self._path(_READY, name), size, reason)

    # --- what comparing with the centre needs ---

    def sent(self) -> list[ItemName]:
        """What the centre has, as far as it is still kept here."""
        with self._lock:
            return list(self._sent)

    def unsend(self, name: ItemName) -> bool:
        """A sent item that the centre lacks is in the line again; false when it is not kept any more."""
        with _disk_trouble(f"cannot put {name} back into the line"), self._lock:
            if name not in self._sent:
                return False
            size = self._sent.pop(name)
            self._cached_bytes -= size
            try:
                # Not synced: if a power cut undoes the rename, the next comparison puts it back.
                self._path(_SENT, name).rename(self._path(_READY, name))
            except FileNotFoundError:  # somebody made room by hand
                self._used_bytes -= size
                return False
            self._line.join_backlog(name, size)
        self.arrived.set()
        return True

    # --- what keeping house needs ---

    def stats(self) -> SpoolStats:
        """What lies here now."""
        free_bytes = self._free_bytes()
        with self._lock:
            return SpoolStats(
                backlog_items=len(self._line),
                backlog_ms=self._line.duration_ms,
                backlog_bytes=self._line.bytes,
                oldest_unsent_ms=self._line.oldest_start_ms(),
                used_bytes=self._used_bytes,
                free_bytes=max(0, free_bytes + self._cached_bytes),
                quarantined=len(self._quarantined),
                evicted=self._evicted,
                taken_bytes=self._taken_bytes,
                sent_bytes=self._sent_bytes,
            )

    def make_room(self) -> list[ItemName]:
        """Quota and reserve are kept, as far as the operator's choice allows; what was lost unsent since last asked."""
        with _disk_trouble("cannot make room"):
            self._evict()
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def end(self, cause: LossCause) -> None:
        """The run has ended in good order, because of `cause`; the next one will know."""
        with _disk_trouble("cannot note the end of this run"):
            self._write_note(self.run, cause)

    def close(self) -> None:
        """Another process may use the directory."""
        os.close(self._lock_fd)

    # --- inside ---

    def _path(self, folder: str, name: ItemName | str) -> Path:
        return self._directory / folder / str(name)

    def _next_sequence(self) -> int:
        with self._lock:
            self._sequence += 1
            return self._sequence - 1

    def _free_bytes(self) -> int:
        with _disk_trouble(f"the spool directory {self._directory} cannot be used"):
            disk = os.statvfs(self._directory)
        return min(self._quota_bytes - self._used_bytes, disk.f_bavail * disk.f_frsize - self._reserve_bytes)

    def _evict(self) -> None:
        with self._lock:
            doomed = plan(
                -self._free_bytes(),
                sent=self._sent.items(),
                quarantined=self._quarantined.items(),
                unsent=self._line.items(),
                when_full=self._when_full,
            )
            for name in doomed.sent:
                size = self._sent.pop(name)
                self._cached_bytes -= size
                self._used_bytes -= size
            for file in doomed.quarantined:
                self._used_bytes -= self._quarantined.pop(file)
            for name in doomed.unsent:
                self._used_bytes -= self._line.leave(name) or 0
            self._evicted += len(doomed.unsent)
            self._lost += doomed.unsent
        for name in doomed.sent:
            self._path(_SENT, name).unlink(missing_ok=True)
        for file in doomed.quarantined:
            self._path(_QUARANTINE, file).unlink(missing_ok=True)
            self._path(_QUARANTINE, f"{file}.reason.txt").unlink(missing_ok=True)
        for name in doomed.unsent:
            self._path(_READY, name).unlink(missing_ok=True)

    def _commit(self, path: Path, name: ItemName, size: int) -> None:
        ready = self._path(_READY, name)
        path.rename(ready)
        _sync_directory(ready.parent)
        with self._lock:
            self._line.join(name, size, self._clock.monotonic_ms())
            self._used_bytes += size
            self._taken_bytes += size
        self.arrived.set()

    def _put_aside(self, path: Path, size: int, reason: str) -> None:
        aside = self._path(_QUARANTINE, path.name)
        path.rename(aside)
        aside.with_name(f"{aside.name}.reason.txt").write_text(f"{reason}\n")
        self._quarantined[aside.name] = size

    def _scan(self) -> None:
        for folder in (_SENT, _READY, _QUARANTINE):
            for entry in sorted(os.scandir(self._directory / folder), key=lambda entry: entry.name):
                size = entry.stat().st_size
                if folder == _QUARANTINE:
                    if not entry.name.endswith(".reason.txt"):
                        self._quarantined[entry.name] = size
                        self._used_bytes += size
                    continue
                self._used_bytes += size
                try:
                    name = ItemName.parse(entry.name)
                except ValueError:
                    self._put_aside(Path(entry.path), size, f"found in {folder}/, but it is not an item")
                    continue
                if folder == _READY:
                    self._line.join_backlog(name, size)
                else:
                    self._sent[name] = size
                    self._cached_bytes += size

    def _last(self) -> tuple[str, int] | None:
        # What is sent last is dropped last: where some of it is kept, nothing newer was dropped.
        names = chain(self._sent, (name for name, _ in self._line.items())) if self._sent else ()
        return max(((name.run, name.sequence) for name in names), default=None)

    def _begin_run(self) -> tuple[PreviousRun | None, str]:
        """How the last run ended, by its note; and a new run, noted before anything is written in its name."""
        previous = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads((self._directory / "run.json").read_text())
            died = LossCause.AGENT if note["boot"] == _boot_id() else LossCause.POWER
            previous = PreviousRun(note["run"], LossCause(note["ended"]) if note["ended"] else died)
        names = chain(self._sent, (name for name, _ in self._line.items()))
        newest = max((name.run for name in names), default=None)
        if previous is None and newest:  # the note was lost or damaged: only a power cut does that
            previous = PreviousRun(newest, LossCause.POWER)
        counter = max((run_counter(run) for run in (previous and previous.run, newest) if run), default=0) + 1
        run = run_id(counter, secrets.token_hex(2))
        self._write_note(run, None)
        return previous, run

    def _write_note(self, run: str, ended: LossCause | None) -> None:
        note = {"run": run, "boot": _boot_id(), "ended": ended}
        path = self._directory / "run.json.tmp"
        with path.open("w") as file:
            json.dump(note, file)
            file.flush()
            os.fsync(file.fileno())
        path.rename(self._directory / "run.json")
        _sync_directory(self._directory)

    def _recover(self) -> None:
        """What earlier runs left in writing/ is committed as far as it is whole."""
        for entry in sorted(os.scandir(self._directory / _WRITING), key=lambda entry: entry.name):
            path = Path(entry.path)
            if path.suffix == ".part":
                self._salvage(path)
            else:
                path.unlink()

    def _salvage(self, path: Path) -> ItemName | None:
        """Cut the open segment back to its last whole fragment and commit it; None when nothing of it is left."""
        data = path.read_bytes()
        try:
            rescued = _rescue(data)
            if rescued is None:
                path.unlink()
                return None
            tail = facts_box(rescued.facts)
            sha256 = hashlib.sha256(data[: rescued.length] + tail).hexdigest()
            name = _item_name(path, rescued.duration_ms, sha256)
        except (ValueError, av.error.FFmpegError) as error:
            log.warning("put aside %s, which was left open and is damaged: %s", path.name, error)
            with self._lock:
                self._used_bytes += len(data)
                self._put_aside(path, len(data), f"left open, and damaged: {error}")
            return None
        with path.open("r+b") as file:
            file.truncate(rescued.length)
            file.seek(rescued.length)
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
        self._commit(path, name, rescued.length + len(tail))
        return name


class OpenSegment:
    """A segment while it is written; ends with `commit`, `salvage` or `discard`, or is recovered by the next run."""

    def __init__(self, spool: Spool, path: Path, fd: int) -> None:
        self._spool = spool
        self._path = path
        self._fd = fd
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """All of `data` is handed to the kernel; its length. What a muxer still spills after the end goes nowhere."""
        if self._fd < 0:
            return len(data)
        with _disk_trouble(f"cannot write {self._path.name}"):
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self.size_bytes += len(data)
        return len(data)

    def sync(self) -> None:
        """What was written survives a power cut."""
        with _disk_trouble(f"cannot sync {self._path.name}"):
            os.fdatasync(self._fd)

    def commit(self, duration_ms: int, facts: SegmentFacts) -> ItemName:
        """The segment is complete, durable and in the line, `facts` in its last box."""
        self.write(facts_box(facts))
        name = _item_name(self._path, duration_ms, self._hash.hexdigest())
        with _disk_trouble(f"cannot commit {self._path.name}"):
            os.fsync(self._fd)
            self._spool._commit(self._path, name, self.size_bytes)
        self._close()
        return name

    def salvage(self) -> ItemName | None:
        """After disk trouble: what is whole of it is committed, the rest gone; None when nothing was."""
        self._close()
        with _disk_trouble(f"cannot save the rest of {self._path.name}"):
            return self._spool._salvage(self._path)

    def discard(self) -> None:
        """The segment never was."""
        self._close()
        with _disk_trouble(f"cannot remove {self._path.name}"):
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


def _item_name(part: Path, duration_ms: int, sha256: str) -> ItemName:
    """What the open segment `part` is called once it is complete; ValueError when it is none."""
    label = _PART.fullmatch(part.name)
    if label is None:
        raise ValueError("its name is not that of an open segment")
    return ItemName(
        label["run"],
        int(label["sequence"]),
        ItemKind.SEGMENT,
        label["camera"],
        int(label["start_ms"]),
        duration_ms,
        ClockQuality(label["clock"]),
        sha256,
    )


@dataclass(frozen=True, slots=True)
class _Rescued:
    length: int
    duration_ms: int
    facts: SegmentFacts


def _rescue(data: bytes) -> _Rescued | None:
    """How far a torn segment file is whole, and the facts of that part; None when it holds no whole fragment.

    Raises ValueError or FFmpegError when it is damaged rather than torn.
    """
    boxes = list(whole_boxes(data))
    length = max((box.end for box in boxes if box.type == "mdat"), default=0)
    if not length:
        return None
    kept = [box for box in boxes if box.end <= length]
    facts = (box for box in kept if box.type == "uuid" and data[box.offset + 8 : box.offset + 24] == FACTS_UUID)
    draft = next(facts, None)
    if draft is None:
        raise ValueError("it does not say what it is")
    return _measure(data[:length], kept, SegmentFacts.model_validate_json(data[draft.offset + 24 : draft.end]))


def _measure(data: bytes, boxes: list[Box], draft: SegmentFacts) -> _Rescued:
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        stream = container.streams.video[0]
        ms = float((stream.time_base or 0) * 1000)
        packets = [(packet.dts or 0, packet.duration or 0) for packet in container.demux(stream) if packet.size]
    if not packets:
        raise ValueError("its fragments hold no pictures")
    times_ms = [round((dts - packets[0][0]) * ms) for dts, _ in packets]
    init_bytes = sum(box.size for box in boxes if box.type in {"ftyp", "moov"})
    facts = draft.model_copy(
        update={
            "packets": len(packets),
            "init_bytes": init_bytes,
            "media_bytes": len(data) - init_bytes,
            "holes": find_holes(times_ms),
            "recovered": True,
        }
    )
    return _Rescued(len(data), times_ms[-1] + round(packets[-1][1] * ms), facts)


@contextmanager
def _disk_trouble(what: str) -> Iterator[None]:
    """Trouble of the disk becomes a SpoolError that says what could not be done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpoolFull(f"{what}: {reason}", "free room on its disk") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SpoolError(f"{what}: {reason}", "give it to the user who runs the agent") from error
        raise SpoolError(f"{what}: {reason}", "check the disk: dmesg, mount, smartctl") from error


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise SpoolError(
            f"another agent uses the spool directory {path.parent}", "stop it, or give each its own directory"
        ) from None
    return fd


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
