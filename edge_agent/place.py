"""The directory of a spool on one file system: the folders, the way a file becomes an item, and what can go wrong.

writing/      open segments (.part) and small items before their rename (.tmp)
ready/        items without a receipt: the backlog
sent/         items that the centre has; a cache until room is needed
quarantine/   what the centre refuses for good and what could not be read back, each with a .reason.txt
run.json      the life of the agent that uses it, or used it last
battery.json  what discharges have taught of the battery
locks.json    the intervals that are to go last when room is short
.simpang-spool   what makes it this directory and no other: an empty mount point has none
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from edge_agent.contract import ClockQuality, LossCause, run_counter
from edge_agent.core.status import Backlog, End
from edge_agent.errors import DiskTrouble, SpoolError, SpoolFull

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

WRITING, READY, SENT, QUARANTINE = FOLDERS = ("writing", "ready", "sent", "quarantine")
_MARKER: Final = ".simpang-spool"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PROBE_BYTES: Final = 4096
NOTHING: Final = ("", -1)
"""Before the run and sequence of any item."""


@dataclass(frozen=True, slots=True)
class Note:
    """Which life of the agent uses the directory, and how it ended: None while it has not.

    `counter` is the highest that any life had; a life that could not know it has none of its own. Up to `known`, run
    and sequence, it is no news that the centre knows items of which nothing lies here. `end` is when it ended.
    """

    run: str
    boot: str
    ended: LossCause | None
    counter: int
    known: tuple[str, int] = NOTHING
    end: End | None = None

    @classmethod
    def now(cls, run: str, counter: int, known: tuple[str, int], ended: LossCause | None, end: End | None) -> Self:
        """A note of this boot."""
        return cls(run, _boot_id(), ended, counter, known, end)

    @property
    def same_boot(self) -> bool:
        """Whether the host has lived on."""
        return self.boot == _boot_id()

    @property
    def cause(self) -> LossCause:
        """What ended that life: a power cut, unless it noted something else or the host lived on."""
        return self.ended or (LossCause.AGENT if self.same_boot else LossCause.POWER)


@dataclass(frozen=True, slots=True)
class Room:
    """What the file system has left for us."""

    bytes: int
    files: int | None
    """None where it does not count files."""


class Place:
    """The directory, ours alone until closed. `mount` is what must be mounted; `marker` is that of the one we knew.

    Raises SpoolError for what an operator must mend, DiskTrouble for what may pass, SpoolFull where there is no room.
    """

    def __init__(self, directory: Path, *, mount: Path | None = None, marker: str = "") -> None:
        self.directory = directory
        if mount and not mount.is_mount():
            raise DiskTrouble(f"no disk is mounted at {mount}", "mount it, or mend it")
        if not directory.parent.is_dir():
            raise SpoolError(f"there is no {directory.parent} to hold the spool", "create it, or mount its disk")
        with disk_trouble(f"the spool directory {directory} cannot be used"):
            if marker and not mount and not _read_marker(directory) == marker:
                raise DiskTrouble(f"{directory} is not the spool directory that was here before", "mount its disk")
            directory.mkdir(mode=0o750, exist_ok=True)
            self._lock_fd: int | None = None
            self.lock()
            try:
                for folder in FOLDERS:
                    (directory / folder).mkdir(exist_ok=True)
                self.marker = _read_marker(directory) or self._mark()
                """Says that it is this directory and no other."""
                self._identity = _identity(directory.stat())
            except OSError:
                self.close()
                raise

    def path(self, folder: str, name: object) -> Path:
        """Where the file of that name lies in the folder."""
        return self.directory / folder / str(name)

    def look(self) -> None:
        """The directory is still the one that was opened; DiskTrouble when its disk was taken from beneath it."""
        with suppress(OSError):
            if _identity(self.directory.stat()) == self._identity:
                return
        raise DiskTrouble(f"the disk of {self.directory} is gone", "mount it, or mend it")

    def holds_few(self, most: int) -> bool:
        """Whether no more items than that lie here; this takes no longer the more there are."""
        with disk_trouble(f"the spool directory {self.directory} cannot be used"):
            for folder in (SENT, READY, QUARANTINE):
                with os.scandir(self.directory / folder) as entries:
                    most -= sum(1 for _ in islice(entries, most + 1))
                if most < 0:
                    return False
        return True

    def last_written(self) -> End | None:
        """When the newest segment that was left open was last written to; None where none was, or nobody can tell."""
        with suppress(OSError, ValueError):
            parts = [(part.stat().st_mtime, part.stem) for part in self.path(WRITING, "").glob("*.part")]
            written_s, label = max(parts)
            return End(round(written_s * 1000), ClockQuality(label.rpartition("_")[2]))
        return None

    def probe(self) -> None:
        """A file can be written and is durable. What the table of mounts says is not to be trusted."""
        path = self.path(WRITING, "probe.tmp")
        with disk_trouble(f"the spool directory {self.directory} cannot be written to"):
            write_durably(path, bytes(_PROBE_BYTES))
            path.unlink()

    def unreadable(self) -> str:
        """Why nothing can be read from the disk itself, whatever the kernel remembers; empty when something can."""
        try:
            with (self.directory / _MARKER).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                file.read()
        except OSError as error:
            return f"the disk of {self.directory} cannot be read: {error.strerror}"
        return ""

    def room(self) -> Room:
        """What is left for us."""
        with disk_trouble(f"the spool directory {self.directory} cannot be used"):
            disk = os.statvfs(self.directory)
        return Room(disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else None)

    def commit(self, path: Path, name: object) -> None:
        """The finished file becomes the item of that name, for good."""
        ready = self.path(READY, name)
        path.rename(ready)
        sync_directory(ready.parent)

    def put_aside(self, path: Path, reason: str) -> None:
        """The file lies in quarantine/ with the reason why."""
        aside = self.path(QUARANTINE, path.name)
        path.rename(aside)
        aside.with_name(f"{aside.name}.reason.txt").write_text(f"{reason}\n")

    def read_note(self) -> Note | None:
        """Who used it last; None when that is not known."""
        return read_note(self.directory)

    def write_note(self, note: Note) -> None:
        """The note survives a power cut."""
        self.keep("run.json", asdict(note))

    def keep(self, file: str, value: object) -> None:
        """The file holds the value as JSON, whole or not at all."""
        with disk_trouble(f"cannot write {file}"):
            scratch = self.directory / f"{file}.tmp"
            write_durably(scratch, json.dumps(value).encode())
            scratch.rename(self.directory / file)
            sync_directory(self.directory)

    def read(self, file: str) -> Any:
        """The value that was kept in the file; None when there is none that can be read."""
        try:
            return json.loads((self.directory / file).read_text())
        except (OSError, ValueError):
            return None

    def lock(self) -> None:
        """No other process may use the directory."""
        if self._lock_fd is None:
            with disk_trouble(f"the spool directory {self.directory} cannot be used"):
                self._lock_fd = _lock(self.directory / "lock")

    def close(self) -> None:
        """Another process may use the directory; nothing of ours keeps its disk from being unmounted."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _mark(self) -> str:
        marker = str(uuid.uuid4())
        write_durably(self.directory / _MARKER, marker.encode())
        sync_directory(self.directory)
        return marker


def open_memory(directory: Path) -> Place | None:
    """A place in memory, for nobody else; None when it cannot be had."""
    try:
        with disk_trouble(f"{directory} cannot be used"):
            directory.mkdir(mode=0o700, exist_ok=True)
            if directory.lstat().st_uid != os.geteuid():
                raise SpoolError(f"{directory} is not ours", "remove it")
        return Place(directory)
    except SpoolError as error:
        log.warning("there is no memory to fall back on: %s", error)
        return None


class Kept:
    """A value that is to outlast this life, in a file of the place that is in use; noted and taken by one thread."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._value: object = None
        self._found: object = None

    def note(self, value: object) -> None:
        """It is kept as JSON, soon."""
        self._value = value

    def take(self) -> Any:
        """What an earlier life kept, once, when its disk is there; None else."""
        found, self._found = self._found, None
        return found

    def find(self, place: Place) -> None:
        """What the place has is there to be taken."""
        self._found = place.read(self._file)

    def keep(self, place: Place) -> None:
        """What was noted is durable there, unless what lies there was not taken yet."""
        value = self._value
        if value is not None and self._found is None:
            place.keep(self._file, value)
            if self._value is value:
                self._value = None


def read_note(directory: Path) -> Note | None:
    """Who used the directory last; None when that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads((directory / "run.json").read_text())
        counter = max(run_counter(note["run"]), note.get("counter", 0))
        run, sequence = note.get("known", NOTHING)
        ended = LossCause(note["ended"]) if note["ended"] else None
        return Note(note["run"], note["boot"], ended, counter, (str(run), int(sequence)), _read_end(note))
    return None


def _read_end(note: dict[str, Any]) -> End | None:
    """When that life ended; None where an earlier version wrote the note, or it is not what we write."""
    with suppress(ValueError, KeyError, TypeError):
        end = note["end"]
        backlog = Backlog(**{key: int(value) for key, value in end["backlog"].items()}) if end["backlog"] else None
        return End(int(end["now_ms"]), ClockQuality(end["clock"]), int(end["monotonic_ms"]), backlog)
    return None


def write_durably(path: Path, data: bytes) -> None:
    """A file that survives a power cut, once its directory is synced."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """The names in the directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_trouble(what: str) -> Iterator[None]:
    """Trouble of the disk becomes a SpoolError that says what could not be done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpoolFull(f"{what}: {reason}", "free room on its disk") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SpoolError(f"{what}: {reason}", "give it to the user who runs the agent") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise SpoolError(f"{what}: {reason}", "give the path of a directory") from error
        raise DiskTrouble(f"{what}: {reason}", "check the disk: dmesg, mount, smartctl") from error


def _read_marker(directory: Path) -> str:
    try:
        return (directory / _MARKER).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise SpoolError(
            f"another agent uses the spool directory {path.parent}", "stop it, or give each its own directory"
        ) from None
    return fd


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
