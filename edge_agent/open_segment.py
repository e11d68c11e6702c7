"""Segments while they are written, and what becomes of those that were left open."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.contract import ClockQuality, ItemKind, ItemName, SegmentFacts, facts_box
from edge_agent.errors import SpoolError, SpoolFull
from edge_agent.place import READY, WRITING, Place, disk_trouble, sync_directory
from edge_agent.torn import Damaged, rescue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

log = logging.getLogger(__name__)

_PART: Final = re.compile(
    r"(?P<run>\d{6}[a-z0-9]{4})_(?P<sequence>\d{8})_segment_(?P<camera>[a-z0-9-]+)_(?P<start_ms>\d+)_(?P<clock>[a-z]+)\.part"
)


class _Spool(Protocol):
    """Who has the places, and takes what is finished."""

    def storing(self, place: Place, what: str) -> AbstractContextManager[None]: ...
    def commit(self, place: Place, path: Path, name: ItemName, size_bytes: int) -> None: ...
    def keep(self, name: ItemName, data: bytes) -> None: ...
    def put_aside(self, place: Place, path: Path, size_bytes: int, reason: str) -> None: ...


class Writing:
    """What lies in writing/: which segments are open there, and what to do with the rest."""

    def __init__(self, spool: _Spool) -> None:
        self._spool = spool
        self._open: set[str] = set()
        self._saved: set[tuple[str, ...]] = set()

    def begin(self, place: Place, file: str) -> OpenSegment:
        """An empty segment file; from its first sync on it survives a power cut."""
        path = place.path(WRITING, file)
        with self._spool.storing(place, f"cannot begin {path.name}"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._open.add(path.name)
        return OpenSegment(self._spool, self, place, path, fd)

    def let_go(self, path: Path, *, is_saved: bool) -> None:
        """The segment is not open any more; its file is of no use where what was whole is saved in another."""
        if is_saved:
            self._saved.add(_identity(path))
        self._open.discard(path.name)

    def spare(self, place: Place) -> None:
        """What became an item there, in this life or the last, is saved: what is left of it elsewhere is of no use."""
        with disk_trouble("cannot look through the spool"):
            self._saved.update(map(_identity, place.path(READY, "").iterdir()))

    def recover(self, place: Place) -> None:
        """What was left there is committed as far as it is whole, except for what is still being written."""
        with disk_trouble("cannot look through the spool"):
            left = sorted(place.path(WRITING, "").iterdir())
        for path in left:
            if path.name in self._open:
                continue
            try:
                if path.suffix == ".part" and _identity(path) not in self._saved:
                    self.salvage(place, path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                log.error("left in writing/: %s: %s", path.name, error.strerror or error)

    def salvage(self, place: Place, path: Path) -> ItemName | None:
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
            self._spool.put_aside(place, path, len(data), f"left open, and damaged: {error}")
            return None
        with path.open("r+b") as file:
            file.truncate(rescued.length)
            file.seek(rescued.length)
            file.write(rescued.tail)
            file.flush()
            os.fsync(file.fileno())
        self._spool.commit(place, path, name, rescued.length + len(rescued.tail))
        return name


class OpenSegment:
    """A segment while it is written; ends with `commit`, `salvage` or `discard`, or is recovered by the next life."""

    def __init__(self, spool: _Spool, writing: Writing, place: Place, path: Path, fd: int) -> None:
        self._spool, self._writing = spool, writing
        self._place, self._path = place, path
        self._fd = fd
        self._hash = hashlib.sha256()
        self._is_named = self._doubtful = self._is_saved = False
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
            if not self._is_named:
                sync_directory(self._path.parent)
                self._is_named = True

    def commit(self, duration_ms: int, facts: SegmentFacts) -> ItemName:
        """The segment is complete, durable and in the line, `facts` in its last box."""
        self.write(facts_box(facts))
        name = _item_name(self._path, duration_ms, self._hash.hexdigest())
        self._committed = self._place.path(READY, name)
        with self._checked(f"cannot commit {self._path.name}"):
            os.fsync(self._fd)
            self._spool.commit(self._place, self._path, name, self.size_bytes)
        self._close()
        return name

    def salvage(self) -> ItemName | None:
        """After disk trouble: what is whole of it is committed, the rest gone; None when nothing was."""
        try:
            if not self._doubtful:
                with suppress(SpoolFull), disk_trouble(f"cannot save the rest of {self._path.name}"):
                    return self._writing.salvage(self._place, self._path)
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
            with self._spool.storing(self._place, what):
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
        self._spool.keep(name, data)
        self._is_saved = True
        with suppress(OSError):  # then the spool removes it when it can
            self._path.unlink(missing_ok=True)
            self._committed.unlink(missing_ok=True)
        return name

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self._writing.let_go(self._path, is_saved=self._is_saved)


def _identity(path: Path) -> tuple[str, ...]:
    """Run and sequence, with which the names of open segments and of items begin."""
    return tuple(path.name.split("_", 2)[:2])


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
