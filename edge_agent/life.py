"""The life of the agent by the notes in its places: its name, and how the one before it ended."""

from __future__ import annotations

import os
import re
import secrets
import string
from threading import Lock
from typing import TYPE_CHECKING, Final

from edge_agent.contract import MAX_COUNTER, MAX_SEQUENCE, LossCause, run_counter, run_id
from edge_agent.core.status import End, PreviousRun
from edge_agent.place import NOTHING, READY, SENT, Note, Place, disk_trouble

if TYPE_CHECKING:
    from edge_agent.clock import Stamp
    from edge_agent.core.status import Backlog

_OF_A_RUN: Final = re.compile(r"(\d{6}[a-z0-9]{4})_.*")
_TAG: Final = string.ascii_lowercase + string.digits


class Life:
    """The life that begins with these places, the second one in memory.

    One that starts without a disk does not know how many there were before: its number is 0. Any thread may tell it
    what is to be known of it later; `claim` writes that down.
    """

    def __init__(self, disk: Place | None, memory: Place | None) -> None:
        self.previous: PreviousRun | None = None
        """How the life before this one ended; None when this is the first."""
        self._counter = 0
        self._ended: LossCause | None = None
        self._end: End | None = None
        self._lock, self._pen = Lock(), Lock()  # whoever tells us something does not wait for a disk
        notes = [note for place in (disk, memory) if place and (note := place.read_note())]
        self._known = self.known_before = max((note.known for note in notes), default=NOTHING)
        """Up to that item, run and sequence, lives before this one knew that the centre may know more than the disk."""
        last = max(notes, key=lambda note: note.counter, default=None)
        if last:
            torn = disk.last_written() if disk and last.ended is None else None
            self.previous = PreviousRun(
                last.run, last.cause, in_order=last.ended is not None, same_boot=last.same_boot, end=last.end or torn
            )
            self._counter = last.counter
        elif disk is None:
            self.previous = PreviousRun(None, LossCause.DISK)
        elif newest := _newest_run(disk):  # the note was lost or damaged: only a power cut does that
            self.previous = PreviousRun(newest, LossCause.POWER)
            self._counter = run_counter(newest)
        if disk or self._counter:
            self._counter = min(self._counter + 1, MAX_COUNTER)
        self.run = run_id(self._counter, "".join(secrets.choice(_TAG) for _ in range(4)))
        """Its name."""

    def claim(self, place: Place) -> None:
        """The place says that this life uses it, and what the next one is to know; nothing happens where it does."""
        with self._pen:
            before = place.read_note()
            if before and before.run != self.run:
                self.known_before = max(self.known_before, before.known)
            with self._lock:
                if before:
                    self._counter, self._known = max(self._counter, before.counter), max(self._known, before.known)
                note = Note.now(self.run, self._counter, self._known, self._ended, self._end)
            if note != before:
                place.write_note(note)

    def end(self, cause: LossCause, at: Stamp, backlog: Backlog | None) -> None:
        """It has ended in good order at that moment, because of `cause`; so much waited then."""
        self._ended, self._end = cause, End(at.now_ms, at.quality, at.monotonic_ms, backlog)

    def learn(self, run: str, sequence: int) -> None:
        """The centre knows that item of another life: the next one counts on from there, and it is no news then."""
        with self._lock:
            self._counter, self._known = max(self._counter, run_counter(run)), max(self._known, (run, sequence))

    def forget(self, run: str) -> None:
        """Of that run the centre may have later items than the disk shows, and nothing is wrong with the disk."""
        with self._lock:
            self._known = max(self._known, (run, MAX_SEQUENCE))


def _newest_run(disk: Place) -> str | None:
    """The last run of which something lies there."""
    with disk_trouble("cannot look through the spool"):
        names = (entry.name for folder in (SENT, READY) for entry in os.scandir(disk.path(folder, "")))
        return max((label[1] for name in names if (label := _OF_A_RUN.fullmatch(name))), default=None)
