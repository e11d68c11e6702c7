"""What the agent goes on with where its settings file cannot be used: a copy of the last one that it ran with.

A power cut while somebody writes the file can leave half of it, and after the next boot there must be a recording.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.errors import SettingsError
from edge_agent.place import sync_directory, write_durably
from edge_agent.settings import parse, read

if TYPE_CHECKING:
    from edge_agent.settings import Settings

log = logging.getLogger(__name__)

_FILE: Final = "last-good.toml"


class LastGood:
    """The copy of the settings file at `path`. It lies in `directory`; without one there is none."""

    def __init__(self, path: Path, directory: Path | None) -> None:
        self._path = path
        self._copy = directory / _FILE if directory else None
        self._text = ""
        self.trouble = ""
        """What is wrong with the file, so that it is not in force; empty when it is."""

    def load(self) -> Settings:
        """The settings of the file, else of the copy, and of the environment; SettingsError when neither will do."""
        try:
            self._text = read(self._path)
            return parse(self._text, self._path)
        except SettingsError as error:
            if self._copy:
                with suppress(SettingsError, OSError):
                    settings = parse(read(self._copy), self._copy)
                    since = datetime.fromtimestamp(self._copy.stat().st_mtime, UTC)
                    first, *more = str(error).splitlines()
                    told = f"{first} (and {len(more)} more)" if more else first
                    self.trouble = f"{told}; meanwhile the settings of {since:%F %H:%M} UTC are in force"
                    log.error("%s. Mend the file until `edge-agent check` finds it fit, and restart", self.trouble)
                    return settings
            raise

    def keep(self) -> None:
        """The file that is in force is the copy from now on, durably; what keeps us from it is told."""
        if self._copy is None or self.trouble:
            return
        with suppress(SettingsError):
            if read(self._copy) == self._text:
                return
        scratch = self._copy.with_suffix(".tmp")
        try:
            scratch.unlink(missing_ok=True)
            scratch.touch(mode=0o600, exist_ok=False)  # it holds the token
            write_durably(scratch, self._text.encode())
            scratch.rename(self._copy)
            sync_directory(self._copy.parent)
        except OSError as error:
            log.warning("the settings are not kept for a bad day: %s: %s", self._copy, error.strerror or error)


def state_directory() -> Path | None:
    """Where the service manager lets us keep what is to last; None when it says nothing."""
    first = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None
