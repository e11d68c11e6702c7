"""What a service manager does for an agent and a centre: what should run and has ended is started again."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

from tests.rig.processes import Program

RESTART_S: Final = 2.0
"""As in the units of deploy/."""


class Keeper:
    """Starts programs in a thread that lives as long as the context: they die with the thread that started them."""

    def __init__(self) -> None:
        self._due_s: dict[Program, float | None] = {}
        self._wanted: set[Program] = set()
        self._stop, self._hurry = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def keep(self, program: Program) -> None:
        """It runs, now and whenever it should end."""
        with self._lock:
            self._wanted.add(program)
            self._due_s[program] = 0.0
        self._hurry.set()

    def leave(self, program: Program) -> None:
        """It is not started any more; it is not stopped either."""
        with self._lock:
            self._wanted.discard(program)

    def kill(self, program: Program) -> None:
        """It is gone at once, and not started any more."""
        with self._lock:
            self._wanted.discard(program)
            if program.running:
                program.kill()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                for program in self._wanted:
                    self._look_after(program)
            self._hurry.wait(0.1)
            self._hurry.clear()

    def _look_after(self, program: Program) -> None:
        due_s, now_s = self._due_s.get(program), time.monotonic()
        if program.running:
            self._due_s[program] = None
        elif due_s is None:
            self._due_s[program] = now_s + RESTART_S
        elif now_s >= due_s:
            program.start()
            self._due_s[program] = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._hurry.set()
        self._thread.join()
