"""Network UPS Tools as children: a real `upsd`, and its driver `dummy-ups` that plays what a file says."""

from __future__ import annotations

import getpass
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.rig.link import free_port
from tests.rig.parts import require_upsd
from tests.rig.processes import Program, until

UPS: Final = "cabinet"
USER: Final = ("simpang", 'a "word" with #')
"""A user that may log in, and the password."""
TESTER: Final = "tester"
"""One that may begin tests, with the same password."""


class ScriptedDriver:
    """A driver of NUT that offers instant commands, which `dummy-ups` does not; it speaks the protocol of NUT's own.

    What it shows is told by `values`; `ran` is what it was asked to do.
    """

    def __init__(self, commands: tuple[str, ...], **values: str) -> None:
        self.socket = Path()
        self.ran: list[str] = []
        self._commands = commands
        self._values = {name.replace("__", "."): value for name, value in values.items()}
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []
        self._server: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    @property
    def running(self) -> bool:
        """Whether upsd can connect."""
        return self._server is not None

    def start(self) -> None:
        """It listens where upsd looks for it."""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.socket))
        self._server.listen()
        self._spawn(self._accept, self._server)

    def tell(self, **values: str) -> None:
        """upsd knows these values from now on."""
        told = {name.replace("__", "."): value for name, value in values.items()}
        with self._lock:
            self._values.update(told)
            for line in self._lines:
                line.sendall(b"".join(_set(name, value) for name, value in told.items()))

    def kill(self) -> None:
        """It is gone."""
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None
        with self._lock:
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, work: Callable[[socket.socket], None], line: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(line,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                self._spawn(self._serve, server.accept()[0])

    def _serve(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            for words in map(str.split, line.makefile()):
                with self._lock:
                    if words[:1] == ["DUMPALL"]:
                        told = [_set(name, value) for name, value in self._values.items()]
                        told += [f"ADDCMD {command}\n".encode() for command in self._commands]
                        line.sendall(b"".join(told) + b"DATAOK\nDUMPDONE\n")
                        self._lines.append(line)
                    elif words[:1] == ["PING"]:
                        line.sendall(b"PONG\n")
                    elif words[:1] == ["INSTCMD"]:
                        self.ran.append(words[1])


def _set(name: str, value: str) -> bytes:
    return f'SETINFO {name} "{value}"\n'.encode()


class Upsd:
    """One UPS on a free port of the loopback. It shows what was told last, or plays the steps of a script by itself.

    With a `driver` of ours, that one stands in for `dummy-ups`.
    """

    def __init__(self, folder: Path, script: str = "", driver: ScriptedDriver | None = None) -> None:
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
        self._write(
            folder,
            "upsd.users",
            f'[{USER[0]}]\npassword = "{password}"\nupsmon secondary'
            f'\n[{TESTER}]\npassword = "{password}"\nupsmon secondary\ninstcmds = ALL',
        )
        where = {
            "NUT_CONFPATH": str(folder),
            **dict.fromkeys(("NUT_STATEPATH", "NUT_PIDPATH", "NUT_ALTPIDPATH"), self._state.name),
        }
        user = getpass.getuser()
        self.driver = driver or Program(
            "dummy-ups", [programs / "dummy-ups", "-a", UPS, "-u", user, "-F"], folder / "driver.log", where
        )
        if driver:
            driver.socket = Path(self._state.name) / f"dummy-ups-{UPS}"
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
