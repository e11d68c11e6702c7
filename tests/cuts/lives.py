"""Lives of the product that end like those of a machine without power.

A life is forked from a process that has imported the product already: its code is the product's, its start takes
milliseconds instead of seconds, and thousands of cuts become affordable.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_FORKS: Final = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """The product is imported; from now on a life begins at once."""
    # One thread for linear algebra that nobody does: who forks should have no other threads.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _FORKS.set_forkserver_preload(["tests.cuts.lives", "edge_agent.agent", "central.__main__"])
    first = _FORKS.Process(target=os.getpid)
    first.start()
    first.join()


class Life:
    """The command line of an end, running with everything that it starts itself; its words go to a log."""

    def __init__(self, body: Callable[..., None], log: Path, *arguments: object) -> None:
        self._process = _FORKS.Process(target=_live, args=(body, log, arguments), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the leader of its session."""
        return self._process.pid or 0

    @property
    def ended(self) -> int | None:
        """The exit code, once it has ended by itself."""
        return self._process.exitcode

    def end(self) -> None:
        """As by a power cut: nothing of it runs any more, and nobody was told."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()  # in case it was not the leader of its group yet
        self._process.join()

    def stop(self, seconds: float) -> int | None:
        """Asked to stop, it has; its exit code, None when it does not within the time."""
        self._process.terminate()
        self._process.join(seconds)
        return self._process.exitcode


def _live(body: Callable[..., None], log: Path, arguments: tuple[object, ...]) -> None:
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    body(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def agent(config: Path, journal: Path) -> None:
    """`edge-agent run`; each promise of its spool is in the journal, in the moment in which it was made."""
    from edge_agent import __main__, open_segment, spool

    ledger = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def told(word: str, deed: Callable[..., Any], what: Callable[..., object]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            result = deed(*arguments)
            os.write(ledger, f"{time.time():.3f} {word} {what(result, *arguments)}\n".encode())
            return result

        return do

    spool.Spool.begin_segment = told("begin", spool.Spool.begin_segment, lambda _, __, camera, *___: camera)  # type: ignore[method-assign]
    spool.Spool.add = told("commit", spool.Spool.add, lambda name, *_: name)  # type: ignore[method-assign]
    open_segment.OpenSegment.commit = told("commit", open_segment.OpenSegment.commit, lambda name, *_: name)  # type: ignore[method-assign]
    sys.argv = ["edge-agent", "run", "--config", str(config)]
    __main__.main()


def central(*arguments: str | Path) -> None:
    """`central` with these arguments."""
    from central import __main__

    sys.argv = ["central", *map(str, arguments)]
    __main__.main()
