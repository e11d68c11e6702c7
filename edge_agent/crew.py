"""Named threads, each doing its job over and over until told to stop; and whether each gets on with it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock

log = logging.getLogger(__name__)

_ALLOWANCE_MS: Final = 60_000
"""The longest turn that is not a hang: a name lookup and two handshakes with a mute broker take less."""

_STEP_MS: Final = 500
"""Turns begin on common half seconds, so that one wake-up of a cold processor serves several threads."""


class Job(Protocol):
    """What a thread does."""

    def run_once(self) -> float:
        """One turn; seconds until the next."""
        ...


class Crew:
    """The threads of the agent. An exception that leaves a job is a bug: it is logged and everybody is told to stop."""

    def __init__(self, clock: Clock) -> None:
        self.stop = threading.Event()
        self.crashed = False
        self._clock = clock
        self._threads: list[tuple[threading.Thread, threading.Event]] = []
        self._due_ms: dict[str, int] = {}
        self._wakes: dict[str, threading.Event] = {}
        threading.excepthook = self._crash

    def hire(self, name: str, job: Job, stop: threading.Event | None = None) -> None:
        """A thread of that name turns `job` from now on, until `stop` (the common one, if not given) is set."""
        stop = stop or self.stop
        self._wakes[name] = threading.Event()
        self.progress(name)
        # A daemon, so that one that hangs in a system call cannot keep a stopped agent alive.
        thread = threading.Thread(target=self._work, args=(name, job, stop), name=name, daemon=True)
        self._threads.append((thread, stop))
        thread.start()

    def _work(self, name: str, job: Job, stop: threading.Event) -> None:
        while not stop.is_set():
            wait_s = job.run_once()
            self.progress(name, wait_s)
            self._rest(name, wait_s, stop)

    def _rest(self, name: str, wait_s: float, stop: threading.Event) -> None:
        due_ms = self._clock.monotonic_ms() + wait_s * 1000
        if wait_s * 1000 > _STEP_MS / 2:
            due_ms = round(due_ms / _STEP_MS) * _STEP_MS
        wake = self._wakes[name]
        while not stop.is_set() and (left_s := (due_ms - self._clock.monotonic_ms()) / 1000) > 0:
            if self._clock.wait(wake, left_s):
                break
        wake.clear()

    def hurry(self, *names: str) -> None:
        """Their next turns need not wait any longer, of those who are hired."""
        for name in names:
            if wake := self._wakes.get(name):
                wake.set()

    def end(self, stop: threading.Event | None = None) -> None:
        """Whoever was hired with `stop` (the common one, if not given) has its last turn."""
        (stop or self.stop).set()
        self.hurry(*self._wakes)

    def progress(self, name: str, wait_s: float = 0) -> None:
        """The thread got on; it is due again after `wait_s`."""
        self._due_ms[name] = self._clock.monotonic_ms() + round(wait_s * 1000) + _ALLOWANCE_MS

    def stuck(self) -> list[str]:
        """Who has not got on for too long."""
        now_ms = self._clock.monotonic_ms()
        return [name for name, due_ms in list(self._due_ms.items()) if now_ms > due_ms]

    def join(self, patience_s: float) -> list[str]:
        """Wait for all that were told to stop; who did not within the patience."""
        until_ms = self._clock.monotonic_ms() + patience_s * 1000
        told = [thread for thread, stop in self._threads if stop.is_set()]
        for thread in told:
            thread.join(max(0.0, (until_ms - self._clock.monotonic_ms()) / 1000))
        return [thread.name for thread in told if thread.is_alive()]

    def within(self, patience_s: float, deed: Callable[[], None]) -> bool:
        """Whether the deed was done within the patience; else it is left behind."""
        thread = threading.Thread(target=deed, name="last words", daemon=True)
        thread.start()
        thread.join(patience_s)
        return not thread.is_alive()

    def _crash(self, what: threading.ExceptHookArgs) -> None:
        name = what.thread.name if what.thread else "?"
        log.critical("bug in thread %s", name, exc_info=what.exc_value)
        self.crashed = True
        self.end()
