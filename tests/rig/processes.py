"""Real processes, for rigs: started in a session of their own, heard to the last word, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

EDGE_AGENT: Final = (sys.executable, "-m", "edge_agent")
CENTRAL: Final = (sys.executable, "-m", "central")

_T = TypeVar("_T")


class LateError(AssertionError):
    """An outcome that was waited for did not come."""


def until(outcome: Callable[[], _T | None], seconds: float, what: str, every_s: float = 0.05) -> _T:
    """The first true value of `outcome()`, tried for so many seconds; LateError says what did not come."""
    deadline = time.monotonic() + seconds
    while not (value := outcome()):
        if time.monotonic() > deadline:
            raise LateError(f"not within {seconds:g} s: {what}")
        time.sleep(every_s)
    return value


class Program:
    """A command that can be started, stopped and started again; what it says is added to one log file.

    It dies with the thread that started it (setpriv of util-linux sees to that), and so does all it started itself
    when the context ends.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
        # What an agent keeps in memory while its disk is gone goes when the folder of the test goes.
        self._environment = {"RUNTIME_DIRECTORY": str(log.parent)} | _plain_environment() | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []

    def start(self) -> Self:
        """It runs."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._sessions.append(self._process.pid)
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended by itself; LateError with the end of its log."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LateError(f"{self.name} still runs after {seconds:g} s\n{self.last_words()}") from None

    def stop(self, seconds: float = 15) -> int:
        """Asked to stop, it has; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """It is gone at once, without a chance to say anything; what it started itself stays."""
        self.signal(signal.SIGKILL)
        self.wait(5)

    def output(self) -> str:
        """All it ever said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_words(self, lines: int = 40) -> str:
        """The end of what it said, under a headline."""
        return "\n".join([f"--- {self.name} ---", *self.output().splitlines()[-lines:]])

    def until(self, outcome: Callable[[], _T | None], seconds: float, what: str) -> _T:
        """As `until`, but gives up at once when the program ends, and shows its last words."""

        def outcome_or_end() -> _T | None:
            if value := outcome():
                return value
            if not self.running:
                code = self._process.returncode if self._process else None
                raise LateError(f"{self.name} ended with {code} before: {what}\n{self.last_words()}")
            return value

        try:
            return until(outcome_or_end, seconds, what)
        except LateError as error:
            raise error if "ended with" in str(error) else LateError(f"{error}\n{self.last_words()}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stop_all([self])


def stop_all(programs: Sequence[Program], seconds: float = 12) -> None:
    """All have stopped: asked together, ended by force after so many seconds, with everything that they started."""
    for program in programs:
        if program.running:
            program.signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for program in programs:
        with contextlib.suppress(LateError):
            if program.running:
                program.wait(max(0.1, deadline - time.monotonic()))
        for session in program._sessions:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
        if program.running:
            program.wait(5)


def left_behind(folder: Path) -> list[str]:
    """The command lines of the processes that name `folder`: what a rig there has not cleaned up."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(folder) in line:
                    found.append(f"{entry.name} {line.strip()}")
    return found


def _plain_environment() -> dict[str, str]:
    """Ours without the settings of an agent or a centre, and with the words of a program coming at once."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SIMPANG_")}
    return plain | {"PYTHONUNBUFFERED": "1"}
