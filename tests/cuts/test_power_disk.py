"""The disk that loses power does, and no more than that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.rig.parts import require_network_namespaces
from tests.rig.power_disk import DiskError, PowerDisk
from tests.rig.processes import left_behind, until

SIZE_MIB = 16
SECTORS = bytes(range(1, 201)) * 512


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerDisk]:
    with PowerDisk(tmp_path / "disk", SIZE_MIB) as disk:
        yield disk


def write(path: Path, data: bytes, *, sync: bool) -> None:
    with path.open("wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def write_for_ever(root: Path) -> None:
    for number in count():
        write(root / str(number), SECTORS, sync=True)


def after_the_cut(disk: PowerDisk) -> Path:
    disk.power_on()
    return disk.mount()


def test_what_was_synced_survives_and_the_rest_does_not(disk: PowerDisk) -> None:
    """At a cut the page cache is gone, and what had a flush is on the disk."""
    root = disk.mount()
    write(root / "synced", SECTORS, sync=True)
    write(root / "hoped", SECTORS, sync=False)
    disk.cut(seed=1)
    with pytest.raises(OSError, match="Input/output error"):
        write(root / "late", SECTORS, sync=True)
    root = after_the_cut(disk)
    assert (root / "synced").read_bytes() == SECTORS
    assert not (root / "late").exists()
    assert not (root / "hoped").exists() or (root / "hoped").read_bytes() != SECTORS


def test_the_power_goes_at_the_nth_write(disk: PowerDisk) -> None:
    """The cut comes in the midst of what is being written, and tells what it took."""
    root = disk.mount()
    before = disk.tally.writes
    disk.arm(nth_write=5, seed=7)
    with pytest.raises(OSError, match=r"Input/output error|Read-only"):
        write_for_ever(root)
    cut = disk.await_cut(5)
    assert cut is not None
    assert disk.tally.writes == before + 5
    assert cut.kept_sectors + cut.lost_sectors > 0


def test_who_is_fed_by_the_same_power_dies_before_the_disk_answers(disk: PowerDisk) -> None:
    """It cannot tell anybody that its disk is gone, nor act on it."""
    root = disk.mount()
    writer = (
        "import os, sys\n"
        "try:\n"
        "    while True: f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT); os.write(f, bytes(9999)); os.fsync(f)\n"
        "finally: print('it fails')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", writer, root / "file"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        disk.feed(process.pid)
        disk.arm(nth_write=20, seed=1)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == -signal.SIGKILL


def test_a_disk_that_lies_loses_what_it_promised(disk: PowerDisk) -> None:
    """fsync returns, and the data is gone all the same: no program can help that."""
    root = disk.mount()
    write(root / "before", SECTORS, sync=True)
    disk.lie()
    write(root / "promised", SECTORS, sync=True)
    disk.cut(seed=2)
    root = after_the_cut(disk)
    assert not (root / "promised").exists() or (root / "promised").read_bytes() != SECTORS


def test_a_sector_cannot_be_read_until_it_is_written(disk: PowerDisk) -> None:
    """Of one file, at one place; other files can be read, and so can that place once there is something new."""
    root = disk.mount()
    write(root / "spoilt", SECTORS, sync=True)
    write(root / "whole", SECTORS, sync=True)
    disk.spoil(root / "spoilt", 50_000)
    disk.forget([root / "whole"])
    with (root / "spoilt").open("rb") as file, pytest.raises(OSError, match="Input/output error"):
        file.read()
    assert (root / "whole").read_bytes() == SECTORS
    with (root / "spoilt").open("r+b") as file:
        file.write(SECTORS)
        os.fsync(file.fileno())
    disk.forget([root / "spoilt"])
    assert (root / "spoilt").read_bytes() == SECTORS


def test_errors_come_and_go(disk: PowerDisk) -> None:
    """Writes that fail are told by fsync; a disk that is healed takes data again after a new mount."""
    root = disk.mount()
    disk.eio_write()
    with pytest.raises(OSError, match=r"Input/output error|Read-only"):
        write(root / "file", SECTORS, sync=True)
    disk.heal()
    disk.power_on()
    disk.dead()
    with pytest.raises(DiskError):
        disk.mount()
    disk.heal()
    disk.unmount()
    root = disk.mount()
    write(root / "file", SECTORS, sync=True)
    assert (root / "file").read_bytes() == SECTORS


def test_nobody_writes_beneath_it(disk: PowerDisk) -> None:
    """While nothing is mounted the mount point takes no file, not even root's."""
    with pytest.raises(PermissionError):
        (disk.mount_point / "stray").touch()


def test_nobody_takes_it_along_into_a_network_namespace(disk: PowerDisk) -> None:
    """Who was started in one while it was mounted does not hold it, and sees it when it is back."""
    ip = require_network_namespaces()
    name = f"cuts-{os.getpid()}"
    root = disk.mount()
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        with subprocess.Popen([ip, "netns", "exec", name, "cat"], stdin=subprocess.PIPE) as visitor:
            there = Path(f"/proc/{visitor.pid}/root{root}/file")
            until(lambda: Path(f"/proc/{visitor.pid}/comm").read_text() == "cat\n", 10, "the visitor is there")
            disk.power_on()
            root = disk.mount()
            write(root / "file", SECTORS, sync=True)
            assert there.read_bytes() == SECTORS
            disk.unmount()
            assert visitor.stdin is not None
            visitor.stdin.close()
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


def test_a_forgotten_file_system_is_taken_down(tmp_path: Path) -> None:
    """Leaving the context unmounts, and nothing stays."""
    folder = tmp_path / "disk"
    with PowerDisk(folder, SIZE_MIB) as disk:
        disk.mount()
    until(lambda: nothing_left(folder), 20, "nothing is left")


def test_nothing_is_left_when_its_owner_is_killed(tmp_path: Path) -> None:
    """Mount, loop device and process go, although nobody could clear up."""
    folder = tmp_path / "disk"
    owner = (
        "import sys, time; from pathlib import Path; from tests.rig.power_disk import PowerDisk\n"
        f"with PowerDisk(Path({str(folder)!r}), {SIZE_MIB}) as disk: disk.mount(); print(flush=True); time.sleep(60)"
    )
    with PowerDisk(folder, SIZE_MIB):
        pass  # skips where it cannot be
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        process.send_signal(signal.SIGKILL)
    until(lambda: nothing_left(folder), 20, "nothing is left")


def nothing_left(folder: Path) -> bool:
    """No mount, loop device or process names the folder."""
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    mounts = Path("/proc/self/mounts").read_text()
    return str(folder) not in mounts and not any(str(folder) in line for line in backing) and not left_behind(folder)
