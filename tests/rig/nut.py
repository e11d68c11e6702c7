"""Network UPS Tools as children: a real `upsd`, and its driver `dummy-ups` that plays what a file says."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.rig.link import free_port
from tests.rig.parts import require_upsd
from tests.rig.processes import Program, until

UPS: Final = "cabinet"
USER: Final = ("simpang", 'a "word" with #')
"""A user that may log in, and the password."""


class Upsd:
    """One UPS on a free port of the loopback. It shows what was told last, or plays the steps of a script by itself."""

    def __init__(self, folder: Path, script: str = "") -> None:
        programs = require_upsd()
        self.port = free_port()
        # The driver's socket lies there, and the path of a socket must be short.
        self._state = tempfile.TemporaryDirectory(prefix="nut")
        self._script = folder / ("ups.seq" if script else "ups.dev")
        self._script.write_text(script)
        self._told_s = int(self._script.stat().st_mtime)
        mode = "dummy-loop" if script else "dummy-once"
        self._write(folder, "nut.conf", "MODE=standalone")
        self._write(folder, "ups.conf", f"pollinterval=1\n[{UPS}]\ndriver=dummy-ups\nport={self._script}\nmode={mode}")
        self._write(folder, "upsd.conf", f"LISTEN 127.0.0.1 {self.port}\nSTATEPATH {self._state.name}\nMAXAGE 10")
        password = USER[1].replace('"', '\\"').replace("#", "\\#")
        self._write(folder, "upsd.users", f'[{USER[0]}]\npassword = "{password}"\nupsmon secondary')
        where = {
            "NUT_CONFPATH": str(folder),
            **dict.fromkeys(("NUT_STATEPATH", "NUT_PIDPATH", "NUT_ALTPIDPATH"), self._state.name),
        }
        user = getpass.getuser()
        self.driver = Program(
            "dummy-ups", [programs / "dummy-ups", "-a", UPS, "-u", user, "-F"], folder / "driver.log", where
        )
        self.upsd = Program("upsd", [programs / "upsd", "-u", user, "-F"], folder / "upsd.log", where)

    def tell(self, values: Mapping[str, str]) -> None:
        """The driver soon gives these values; others stay as they were."""
        scratch = self._script.with_suffix(".new")
        scratch.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
        # It looks at whole seconds to see whether the file is another one.
        self._told_s += 1
        os.utime(scratch, (self._told_s, self._told_s))
        scratch.rename(self._script)

    def start(self) -> Self:
        """It serves the UPS."""
        if not self.driver.running:
            self.driver.start()
            until(lambda: any(Path(self._state.name).glob("dummy-ups-*")), 10, "the driver's socket")
        said = self.upsd.log.read_text().count("Connected to UPS") if self.upsd.log.exists() else 0
        self.upsd.start()
        self.upsd.until(lambda: self.upsd.output().count("Connected to UPS") > said, 10, "upsd serves")
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.upsd.__exit__()
        self.driver.__exit__()
        self._state.cleanup()

    def _write(self, folder: Path, name: str, text: str) -> None:
        (folder / name).write_text(f"{text}\n")
        (folder / name).chmod(0o600)
