"""A disk that loses power: a block device with a volatile write cache, and a real ext4 on it. Needs root.

    with PowerDisk(folder, size_mib=64) as disk:
        spool = disk.mount()
        disk.arm(nth_write=17, seed=4)      # the power goes at the 17th write from now
        ...                                 # whoever writes there finds out
        disk.power_on()                     # after the writers are gone, as they are when a machine has no power
        spool = disk.mount()

A process of its own serves one file through FUSE, a loop device makes a block device of that file. What is written is
in a cache until the kernel asks for a flush. At a cut each sector of the cache is on the disk or is not, by dice that
know no order; then nothing answers any more until `power_on`. Between the file system and its disk nothing is faked.

The mount point is immutable while nothing is mounted there, so that nobody writes beneath it by mistake. When the owner
of the disk dies, its process takes down mount, loop device and itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.rig.parts import require_power_disk
from tests.rig.processes import until

SECTOR: Final = 512
"""What a disk writes whole or not at all."""
_BLOCK: Final = 4096
_SUPERBLOCK: Final = 0
"""The block that is whole or not at all, too. ext4 writes its superblock of two sectors in place, and cannot be mounted
when only one of them arrives; on a disk with sectors of 4096 bytes none does. (`e2fsck -y` mends it, nothing is lost.)
"""
_KEPT_SHARE: Final = (0.0, 0.1, 0.5, 0.9)
"""How likely a sector of the cache survives a cut; each cut has one of these."""
_FIBMAP: Final = 1
"""The request of ioctl(2) for the block of the disk that holds the n-th block of a file; linux/fs.h."""
_FILE: Final = "disk"
_PATIENCE_S: Final = 10.0


class DiskError(AssertionError):
    """The rig cannot do what it was asked for, in the words of whoever refused."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One power cut: when it was, and how many sectors of the cache were saved and lost."""

    at_s: float
    kept_sectors: int
    lost_sectors: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What the disk has been through since it was made; `cut` is how its power went, while it is off."""

    writes: int
    flushes: int
    cached_sectors: int
    cut: Cut | None


class PowerDisk:
    """The disk in a folder of its own; leaving the context leaves no mount, loop device or process behind."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder.absolute()
        self.mount_point = self.folder / "mount"
        self.image = self.folder / "image"
        """What is safe from a power cut."""
        self._size_mib = size_mib
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        require_power_disk()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.image.exists():
            self.image.touch(0o600)
            os.truncate(self.image, self._size_mib << 20)
            at_once = "lazy_itable_init=0,lazy_journal_init=0"
            run("mkfs.ext4", "-q", "-F", "-b", str(_BLOCK), "-m", "0", "-E", at_once, self.image)
        with (self.folder / "disk.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.rig.power_disk", self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # who interrupts the tests does not interrupt the disk beneath a file system
                env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
            )
        try:
            until(lambda: _device_file(self.folder).exists(), _PATIENCE_S, "the disk is there", every_s=0.01)
        except AssertionError as error:
            self._leave()
            raise DiskError((self.folder / "disk.log").read_text()) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        busy = ""
        try:
            _take_down(self.folder)
        except DiskError as error:
            busy = str(error)
        process, self._process = self._process, None
        if process is not None:
            with process, suppress(BrokenPipeError):
                assert process.stdin is not None
                process.stdin.close()  # its word to go
                process.wait(_PATIENCE_S)
        if busy:
            raise DiskError(busy)

    # --- the file system ---

    def mount(self) -> Path:
        """The file system is there, its journal replayed; DiskError when the disk holds none any more."""
        device = run("losetup", "--find", "--show", _device_file(self.folder))
        run("mount", "-t", "ext4", "-o", "errors=remount-ro", device, self.mount_point)
        return self.mount_point

    def unmount(self) -> None:
        """The file system is gone from the mount point; DiskError names who still holds it."""
        _detach(self.folder)

    # --- faults ---

    def arm(self, nth_write: int, seed: int) -> None:
        """The power goes at that write, counted from now."""
        self._ask("arm", nth_write, seed)

    def cut(self, seed: int) -> None:
        """The power goes now."""
        self._ask("cut", seed)

    def feed(self, process: int) -> None:
        """That process and its group lose their power together with the disk, in the same instant."""
        self._ask("feed", process)

    def power_on(self) -> None:
        """The power is back: nothing is mounted, the cache is empty, every fault healed. Its writers must be gone."""
        self.unmount()
        self._ask("power_on")

    def dead(self) -> None:
        """As if pulled out: everything fails, and what was in its cache is still there when it is healed."""
        self._ask("dead")

    def eio_write(self) -> None:
        """Every write fails."""
        self._ask("eio_write")

    def eio_read(self) -> None:
        """Every read fails."""
        self._ask("eio_read")

    def spoil(self, file: Path, at_byte: int) -> None:
        """That place in a file that is synced cannot be read any more, until somebody writes there."""
        self.forget([file])
        number = struct.pack("I", at_byte // _BLOCK)
        with file.open("rb") as opened:
            (block,) = struct.unpack("I", fcntl.ioctl(opened, _FIBMAP, number))
        self._ask("spoil", block)

    def forget(self, files: Iterable[Path]) -> None:
        """The kernel does not remember what of these files is synced: who reads them reads the disk."""
        for file in files:
            with suppress(FileNotFoundError), file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def slow(self, milliseconds: int) -> None:
        """Every write takes that much longer."""
        self._ask("slow", milliseconds)

    def stall(self, milliseconds: int) -> None:
        """For so long from now it answers nothing, and then as before: a card that tidies up within."""
        self._ask("stall", milliseconds)

    def lie(self) -> None:
        """It says that it flushes, and does not, as cheap cards do."""
        self._ask("lie")

    def heal(self) -> None:
        """It works as a disk should; power that is off stays off."""
        self._ask("heal")

    # --- what became of it ---

    @property
    def tally(self) -> Tally:
        told = self._ask("tally")
        return Tally(**told | {"cut": Cut(**told["cut"]) if told["cut"] else None})

    def await_cut(self, seconds: float) -> Cut | None:
        """How the power went, as soon as it has; None when it is still there after so long."""
        deadline = time.monotonic() + seconds
        while (cut := self.tally.cut) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        return cut

    def lose_power(self, seconds: float, seed: int) -> Cut:
        """The cut that was armed, or one just now when it does not come within so many seconds."""
        cut = self.await_cut(seconds)
        if cut is None:
            self.cut(seed)
            cut = self.tally.cut
        assert cut is not None
        return cut

    def _ask(self, word: str, *numbers: int) -> dict[str, Any]:
        with self._lock:
            assert self._process is not None
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps([word, *numbers]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise DiskError((self.folder / "disk.log").read_text())
        told: dict[str, Any] = json.loads(answer)
        return told


# --- mounts and loop devices; the system is asked what there is, so that whoever is left can clear up ---


def _device_file(folder: Path) -> Path:
    return folder / "fuse" / _FILE


def _loops(folder: Path) -> Iterator[str]:
    """The loop devices on the disk of that folder."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if backing.read_text().strip() == str(_device_file(folder)):
                yield f"/dev/{backing.parts[-3]}"


def _mounts() -> dict[str, str]:
    """Mount point to what is mounted there."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return {place: source for source, place, *_ in lines}


def _detach(folder: Path) -> None:
    """Neither file system nor loop device uses the disk; who holds the file system has a moment to let go."""
    mount_point = str(folder / "mount")
    deadline = time.monotonic() + _PATIENCE_S
    held = ""
    while mount_point in _mounts():
        if subprocess.run(["umount", mount_point], capture_output=True, check=False).returncode == 0:
            continue
        if time.monotonic() > deadline:
            held = ", ".join(_holders(mount_point)) or "somebody"
            run("umount", "--lazy", mount_point)
        time.sleep(0.01)
    for loop in _loops(folder):
        run("losetup", "--detach", loop)
    if held:
        raise DiskError(f"{mount_point} is held by {held}")
    until(lambda: not list(_loops(folder)), _PATIENCE_S, "the loop device is free", every_s=0.005)


def _take_down(folder: Path) -> None:
    try:
        _detach(folder)
    finally:
        if (folder / "mount").exists():
            run("chattr", "-i", folder / "mount")


def _holders(mount_point: str) -> list[str]:
    """The processes with a file or their working directory there."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and any(
                link.readlink().is_relative_to(mount_point) for link in (entry / "cwd", *(entry / "fd").iterdir())
            ):
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    return found


def run(*command: str | Path, accept: int = 0) -> str:
    """What a program of the system's own says, also one that is on no plain user's path; DiskError when it fails."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = shutil.which(command[0], path=path) or command[0]
    done = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode not in (0, accept):
        raise DiskError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr} {done.stdout}")
    return done.stdout.strip()


# --- the process of the disk ---


class Device:
    """The stable medium in a file, and the cache before it. Every method may be called from any thread."""

    def __init__(self, image: Path) -> None:
        self.size = image.stat().st_size
        self._fd = os.open(image, os.O_RDWR)
        self._lock = threading.Lock()
        self._cache: dict[int, bytes] = {}
        self._writes = self._flushes = 0
        self._cut: Cut | None = None
        self._armed: tuple[int, int] | None = None
        self._fed: int | None = None
        self._dead = self._eio_read = self._eio_write = self._lies = False
        self._spoilt: set[int] = set()
        self._slow_s = self._stalls_until_s = 0.0

    # what a block layer asks for

    def read(self, size: int, offset: int) -> bytes:
        self._take_time()
        with self._lock:
            if self._off or self._eio_read:
                raise OSError(errno.EIO, "reading fails")
            size = max(0, min(size, self.size - offset))
            first, last = offset // _BLOCK, (offset + size - 1) // _BLOCK
            if not self._spoilt.isdisjoint(range(first, last + 1)):
                raise OSError(errno.EIO, "a sector cannot be read")
            data = b"".join(self._block(number) for number in range(first, last + 1))
            return data[offset - first * _BLOCK :][:size]

    def write(self, data: bytes, offset: int) -> int:
        self._take_time(self._slow_s)
        with self._lock:
            if self._off or self._eio_write:
                raise OSError(errno.EIO, "writing fails")
            done = 0
            while done < len(data):
                number, at = divmod(offset + done, _BLOCK)
                part = data[done : done + _BLOCK - at]
                done += len(part)
                if len(part) < _BLOCK:
                    before = self._block(number)
                    part = before[:at] + part + before[at + len(part) :]
                self._cache[number] = part
                self._spoilt.discard(number)
            self._writes += 1
            if self._armed and self._writes >= self._armed[0]:
                self._lose_power(self._armed[1])
                raise OSError(errno.EIO, "the power is gone")
            return len(data)

    def flush(self) -> None:
        self._take_time()
        with self._lock:
            if self._off:
                raise OSError(errno.EIO, "flushing fails")
            self._flushes += 1
            if not self._lies:
                for number, block in self._cache.items():
                    os.pwrite(self._fd, block, number * _BLOCK)
                self._cache.clear()

    # what the rig asks for

    def obey(self, word: str, *numbers: int) -> dict[str, Any]:
        with self._lock:
            match word:
                case "arm":
                    self._armed = self._writes + numbers[0], numbers[1]
                case "cut":
                    self._lose_power(*numbers)
                case "feed":
                    self._fed = numbers[0]
                    if self._cut:
                        self._starve()
                case "power_on":
                    self._cut = self._armed = self._fed = None
                    self._cache.clear()
                    self._be_well()
                case "dead":
                    self._dead = True
                case "eio_write":
                    self._eio_write = True
                case "eio_read":
                    self._eio_read = True
                case "spoil":
                    self._spoilt.update(numbers)
                case "slow":
                    self._slow_s = numbers[0] / 1000
                case "stall":
                    self._stalls_until_s = time.monotonic() + numbers[0] / 1000
                case "lie":
                    self._lies = True
                case "heal":
                    self._be_well()
                case "tally":
                    pass
                case _:
                    raise ValueError(f"{word}: no such word")
            return asdict(Tally(self._writes, self._flushes, len(self._cache) * (_BLOCK // SECTOR), self._cut))

    @property
    def _off(self) -> bool:
        return self._dead or self._cut is not None

    def _be_well(self) -> None:
        self._dead = self._eio_read = self._eio_write = self._lies = False
        self._spoilt.clear()
        self._slow_s = self._stalls_until_s = 0.0

    def _take_time(self, least_s: float = 0.0) -> None:
        time.sleep(max(least_s, self._stalls_until_s - time.monotonic()))

    def _block(self, number: int) -> bytes:
        return self._cache.get(number) or os.pread(self._fd, _BLOCK, number * _BLOCK)

    def _lose_power(self, seed: int) -> None:
        if self._cut is not None:
            return
        at_s = time.time()
        self._starve()
        dice = random.Random(seed)
        share = dice.choice(_KEPT_SHARE)
        kept = lost = 0
        for number, block in sorted(self._cache.items()):
            size = _BLOCK if number == _SUPERBLOCK else SECTOR
            for at in range(0, _BLOCK, size):
                new = block[at : at + size]
                if os.pread(self._fd, size, number * _BLOCK + at) == new:
                    continue  # nothing to lose
                if dice.random() < share:
                    os.pwrite(self._fd, new, number * _BLOCK + at)
                    kept += 1
                else:
                    lost += 1
        self._cache.clear()
        self._armed = None
        self._cut = Cut(at_s, kept, lost)

    def _starve(self) -> None:
        """Who runs on the same power is gone before it hears that its disk is: it could tell somebody."""
        if self._fed is not None:
            with suppress(ProcessLookupError):
                os.kill(self._fed, signal.SIGKILL)
                os.killpg(self._fed, signal.SIGKILL)


def _serve(folder: Path) -> None:
    """Be the disk in that folder until standard input ends."""
    import mfusepy

    device = Device(folder / "image")
    fuse = folder / "fuse"
    fuse.mkdir(exist_ok=True)

    class Files(mfusepy.Operations):  # type: ignore[misc]
        """One folder with one file."""

        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path == f"/{_FILE}":
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": device.size}
            raise mfusepy.FuseOSError(errno.ENOENT)

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return device.read(size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return device.write(data, offset)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            device.flush()
            return 0

    def listen() -> None:
        for line in sys.stdin:
            print(json.dumps(device.obey(*json.loads(line))), flush=True)
        # Whoever owned the disk is gone, perhaps without a word. Nothing may hang on a file system without a disk.
        with suppress(AssertionError):
            _take_down(folder)
        subprocess.run(["umount", "--lazy", folder], check=False)  # and with it our own mount
        os._exit(0)

    # From here on there is something to take down, and whoever asked for it may be gone already.
    (folder / "mount").mkdir(exist_ok=True)
    run("chattr", "+i", folder / "mount")
    # Whoever enters a network namespace takes a copy of all mounts along, and would hold the disk for ever. Beneath a
    # shared mount the copies follow: what we mount appears there, too, and what we unmount is gone.
    run("mount", "--bind", folder, folder)
    run("mount", "--make-shared", folder)
    threading.Thread(target=listen, daemon=True).start()
    mfusepy.FUSE(Files(), str(fuse), foreground=True, direct_io=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
