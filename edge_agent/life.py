"""The life of the agent by the notes in its places: its name, and how the one before it ended."""

from __future__ import annotations

import os
import re
import secrets
import string
from typing import Final

from edge_agent.contract import LossCause, run_counter, run_id
from edge_agent.core.status import PreviousRun
from edge_agent.place import READY, SENT, Note, Place, disk_trouble

_OF_A_RUN: Final = re.compile(r"(\d{6}[a-z0-9]{4})_.*")
_TAG: Final = string.ascii_lowercase + string.digits


class Life:
    """The life that begins with these places, the second one in memory.

    One that starts without a disk does not know how many there were before: its number is 0.
    """

    def __init__(self, disk: Place | None, memory: Place | None) -> None:
        self.previous: PreviousRun | None = None
        """How the life before this one ended; None when this is the first."""
        self._counter = 0
        notes = [note for place in (disk, memory) if place and (note := place.read_note())]
        last = max(notes, key=lambda note: note.counter, default=None)
        if last:
            self.previous = PreviousRun(last.run, last.cause)
            self._counter = last.counter
        elif disk is None:
            self.previous = PreviousRun(None, LossCause.DISK)
        elif newest := _newest_run(disk):  # the note was lost or damaged: only a power cut does that
            self.previous = PreviousRun(newest, LossCause.POWER)
            self._counter = run_counter(newest)
        if disk or self._counter:
            self._counter += 1
        self.run = run_id(self._counter, "".join(secrets.choice(_TAG) for _ in range(4)))
        """Its name."""

    def claim(self, place: Place) -> None:
        """The place says that this life uses it."""
        before = place.read_note()
        self._counter = max(self._counter, before.counter if before else 0)
        place.write_note(Note.now(self.run, self._counter))

    def end(self, place: Place, cause: LossCause) -> None:
        """The place says that it has ended in good order, because of `cause`."""
        place.write_note(Note.now(self.run, self._counter, cause))


def _newest_run(disk: Place) -> str | None:
    """The last run of which something lies there."""
    with disk_trouble("cannot look through the spool"):
        names = (entry.name for folder in (SENT, READY) for entry in os.scandir(disk.path(folder, "")))
        return max((label[1] for name in names if (label := _OF_A_RUN.fullmatch(name))), default=None)
