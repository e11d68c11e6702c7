"""The time of day of one process, moved while it runs: a board without a battery clock, and NTP's step later.

The shim is a library (clock_shim.c) that the process preloads. It moves what libc tells of the time of day and answers
whether the clock is kept right; monotonic clocks and sleeps are the machine's own. Not for programs that wait until
a time of day, and not for those that are linked statically.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Self

from tests.rig.parts import require_program

_SOURCE = Path(__file__).with_suffix(".c")


class ClockShim:
    """A clock of its own for each process that is started with `environment`; synced and true until told otherwise."""

    def __init__(self, folder: Path) -> None:
        self._library, self._words = folder / "clock_shim.so", folder / "clock_shim"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to live by this clock, and all that it starts."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIM": str(self._words)}

    def shift(self, seconds: float) -> None:
        """The time of day is so far from the machine's, at once; negative is in the past."""
        struct.pack_into("=q", self._map, 0, round(seconds * 1e9))

    def synced(self, synced: bool) -> None:
        """Whether the kernel says that something keeps the clock right."""
        struct.pack_into("=q", self._map, 8, synced)

    def __enter__(self) -> Self:
        compiler = require_program("gcc")
        flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
        subprocess.run([compiler, *flags, "-o", self._library, _SOURCE], check=True, timeout=60)
        self._words.write_bytes(bytes(16))
        with self._words.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)
        self.synced(True)
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()
