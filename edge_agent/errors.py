# ruff: noqa: N818 - the names say what happened; what they are is drawn below
"""What can go wrong outside of our code, sorted by what whoever must act can do about it.

    AgentError                    every error that a person is told of, with a remedy
    ├── SettingsError             the configuration cannot be used
    ├── PowerError                the battery or the mains line cannot be read
    ├── FootageError              no footage is written just now; says which cause the hole has
    │   ├── CameraError           the camera gives no video
    │   │   └── CameraRefused     … and trying again will not help until somebody changes the credentials
    │   └── SpoolError            the spool directory cannot be used
    │       ├── SpoolFull         … because it has no room
    │       └── DiskTrouble       … because its disk is gone or fails, which may pass
    └── LinkError                 an item did not reach the centre
        ├── Unreachable           nobody answers: try again later
        ├── Refused               the centre does not accept our credentials
        ├── Rejected              the centre will never take this item
        │   └── Superseded        … because it has another of the same identity
        └── Busy                  the centre asks for patience

Anything else that is raised is a bug: it ends the process, and the service manager starts it again.
"""

from __future__ import annotations

from typing import ClassVar

from edge_agent.contract import LossCause


class AgentError(Exception):
    """What is wrong and where in `message`, what to do about it in `remedy`; both free of secrets."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SettingsError(AgentError):
    """The configuration cannot be used."""


class PowerError(AgentError):
    """The battery or the mains line cannot be read."""


class FootageError(AgentError):
    """No footage is written just now."""

    cause: ClassVar[LossCause]
    """What the hole in the footage is put down to."""


class CameraError(FootageError):
    """The camera gives no video: unreachable, mute, stalled, not a camera, or a codec that we do not record."""

    cause = LossCause.CAMERA


class CameraRefused(CameraError):
    """The camera does not accept the credentials."""


class SpoolError(FootageError):
    """The spool directory cannot be used."""

    cause = LossCause.DISK


class SpoolFull(SpoolError):
    """The spool has no room left."""


class DiskTrouble(SpoolError):
    """The disk of the spool is gone or fails; it may come back by itself."""


class LinkError(AgentError):
    """An item did not reach the centre."""


class Unreachable(LinkError):
    """Nobody answers."""


class Refused(LinkError):
    """The centre does not accept our credentials."""


class Rejected(LinkError):
    """The centre will never take this item."""


class Superseded(Rejected):
    """The centre has the item already, as another salvage of the same segment."""


class Busy(LinkError):
    """The centre asks for patience: try again after `retry_after_s` seconds."""

    def __init__(self, message: str, remedy: str = "", *, retry_after_s: float) -> None:
        super().__init__(message, remedy)
        self.retry_after_s = retry_after_s
