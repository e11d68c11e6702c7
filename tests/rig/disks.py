"""Small disks with a file system of their own, and what befalls disks. Unmounted at the end, come what may."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.parts import require_program, require_root

_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""FIFREEZE and FITHAW of ioctl_fs(2)."""


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    """A disk in memory of that size."""
    require_root()
    directory.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory)
    try:
        yield directory
    finally:
        _run("umount", "--lazy", directory)


class Disk:
    """An ext4 disk in a file, that can be taken away and come back."""

    def __init__(self, image: Path, directory: Path, size: str, *options: str) -> None:
        require_root()
        mkfs = require_program("mkfs.ext4")
        self.image, self.directory = image, directory
        directory.mkdir(exist_ok=True)
        _run("truncate", "-s", size, image)
        _run(mkfs, "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, image)

    def __enter__(self) -> Disk:
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        while self.directory.is_mount():
            self.vanish()

    def mount(self) -> None:
        """The disk is there."""
        _run("mount", "-o", "loop,errors=remount-ro", self.image, self.directory)

    def vanish(self) -> None:
        """The disk is gone from the tree, whoever uses it; as good as pulled out."""
        _run("umount", "--lazy", self.directory)

    def unmount(self) -> None:
        """The disk is gone from the tree, if nobody uses it."""
        _run("umount", self.directory)

    def remount(self, mode: str) -> None:
        """It is `ro` or `rw` from now on."""
        _run("mount", "-o", f"remount,{mode}", self.directory)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Whoever writes to it waits, and cannot even be killed."""
        fd = os.open(self.directory, os.O_RDONLY)
        fcntl.ioctl(fd, _FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, _THAW, 0)
            os.close(fd)

    def break_down(self) -> None:
        """The file system finds itself damaged, and takes no writes any more, though the table of mounts says rw."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", self.directory).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("injected by a test")
