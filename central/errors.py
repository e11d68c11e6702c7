# ruff: noqa: N818 - the names say what happened; what they are is drawn below
"""What can go wrong outside of our code, sorted by what whoever must act can do about it.

    CentralError                  every error that a person is told of, with a remedy
    ├── SettingsError             the settings or the arguments of a command cannot be used
    ├── StoreDown                 the database does not answer
    ├── ArchiveDown               the archive does not answer
    │   └── NoRoom                … or has no room left
    ├── BrokerDown                the message broker cannot be started
    ├── HomeDown                  the centre's own directory takes no files
    └── NothingThere              what was asked for does not exist

Anything else that is raised is a bug: it ends the process, and the service manager starts it again.
"""

from __future__ import annotations


class CentralError(Exception):
    """What is wrong and where in `message`, what to do about it in `remedy`; both free of secrets."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SettingsError(CentralError):
    """The settings or the arguments of a command cannot be used."""


class StoreDown(CentralError):
    """The database does not answer."""


class ArchiveDown(CentralError):
    """The archive does not answer."""


class NoRoom(ArchiveDown):
    """The archive has no room left."""


class BrokerDown(CentralError):
    """The message broker cannot be started."""


class HomeDown(CentralError):
    """The centre's own directory takes no files."""


class NothingThere(CentralError):
    """What was asked for does not exist."""
