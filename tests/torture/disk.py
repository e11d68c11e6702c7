"""The disk of one end: everything that can happen to a disk, with a real ext4 on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.rig.power_disk import DiskError, PowerDisk, run

_BITES_BYTES: Final = (1024**2, 4096)


class Disk(PowerDisk):
    """A disk that is mounted again after each fault, whoever still holds on to what it was before."""

    def __exit__(self, *_: object) -> None:
        # Another mount namespace may hold on to a ruin for a while. The process of the disk ends then, and with us.
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            super().__exit__()
        if process := self._process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)

    @property
    def _filler(self) -> Path:
        return self.mount_point / "filler-of-another-program"

    def fill(self) -> None:
        """Another program has taken all the room there was."""
        with self._filler.open("ab") as file:
            for bite_bytes in _BITES_BYTES:
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), file.seek(0, 2), bite_bytes)

    def free(self) -> None:
        """It has given the room back."""
        self._filler.unlink(missing_ok=True)

    def turn_read_only(self) -> None:
        """The file system has met an error and takes no more writes until it is mounted anew."""
        device = self.mount_point.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path("/sys/fs/ext4", name, "trigger_fs_error").write_text("from outside")

    def mend(self) -> None:
        """It works again. Only a file system that has given it up is mounted anew: two that write would ruin it."""
        self.heal()
        probe = self.mount_point / "written-by-another-program"
        try:  # a kernel may refuse every write and still say that it is mounted to be written
            probe.touch()
            probe.unlink()
        except OSError:
            self.plug_in()

    def pull_out(self) -> None:
        """The disk is gone, and its mount point is an empty folder that anybody may write to."""
        self.dead()
        self.turn_read_only()  # or what was not written yet would be, when it is back
        run("umount", "--lazy", self.mount_point)
        run("chattr", "-i", self.mount_point)

    @property
    def strays(self) -> list[Path]:
        """What somebody has written into the empty mount point."""
        return [] if self.mount_point.is_mount() else list(self.mount_point.iterdir())

    def plug_in(self) -> None:
        """There is power, nothing is broken, and a file system is mounted: the old one, checked, or a new one."""
        while self.mount_point.is_mount():
            run("umount", "--lazy", self.mount_point)
        run("chattr", "+i", self.mount_point)
        for loop in self._loops():
            # Whoever holds on to the ruin keeps its device; nothing of it may reach the disk once that is in use again.
            with contextlib.suppress(OSError), open(loop, "rb") as device:  # noqa: PTH123 - to flush, not to read
                os.fsync(device.fileno())
            run("losetup", "--detach", loop)
        self._ask("power_on")
        try:
            run("e2fsck", "-f", "-y", self._device, accept=1)
            self.mount()
        except DiskError:  # only a disk that lied comes to this
            run("mkfs.ext4", "-q", "-F", "-m", "0", self._device)
            self.mount()

    @property
    def _device(self) -> Path:
        return self.folder / "fuse" / "disk"

    def _loops(self) -> list[str]:
        return run("losetup", "-n", "-O", "NAME", "-j", self._device).split()
