"""The words of the contract: names, times, causes, and what every message is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

CONTRACT_VERSION: Final = "1.0"

ID = r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
RUN = r"[0-9]{6}[a-z0-9]{4}"
MAX_COUNTER: Final = 999_999
RESERVED_SITES: Final = frozenset({"city"})

SiteId = Annotated[str, StringConstraints(pattern=rf"^{ID}$")]
CameraId = Annotated[str, StringConstraints(pattern=rf"^{ID}$")]
RunId = Annotated[str, StringConstraints(pattern=rf"^{RUN}$")]


def run_id(counter: int, tag: str) -> str:
    """The name of the agent's `counter`-th life; names sort in the order of lives.

    `tag` is four random characters of [a-z0-9], so that two boxes with a copied counter still differ.
    """
    run = f"{counter:06d}{tag}"
    if not re.fullmatch(RUN, run):
        raise ValueError(f"not a run: counter {counter}, tag {tag!r}")
    return run


def run_counter(run: str) -> int:
    """The counter within a run's name."""
    return int(run[:6])


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # a moment of the year 1 or 9999, of which UTC has none
        raise ValueError("out of range") from None


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(_rfc3339, when_used="json")]
"""A moment: RFC 3339, UTC, milliseconds on the wire."""


def instant(unix_ms: int) -> datetime:
    """The moment `unix_ms` milliseconds after 1970-01-01T00:00:00Z."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


class ClockQuality(StrEnum):
    """How far a wall-clock time of the agent can be trusted."""

    SYNCED = "synced"
    HOLDOVER = "holdover"
    UNSYNCED = "unsynced"


Boot = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
"""A tag of one boot of the host: the runs that have it share a monotonic clock."""


OffsetMs = Annotated[int, Field(ge=-(10**15), le=10**15)]
"""The time of day minus the monotonic clock of a host."""


class LossCause(StrEnum):
    """Why footage of an interval does not exist."""

    CAMERA = "camera"
    """The camera gave no video: unreachable, refused, stalled, no video stream."""
    POWER = "power"
    """The site had no power, or stopped in good order because its battery was empty."""
    AGENT = "agent"
    """The agent process died and was started again while the host lived on."""
    STOPPED = "stopped"
    """Somebody stopped the agent in good order."""
    DISK = "disk"
    """The spool could not store it."""
    EVICTED = "evicted"
    """It was recorded and dropped unsent, because the spool had no room."""
    DAMAGED = "damaged"
    """It was recorded, but its file could not be read back, or the centre refused it for good."""
    CENTRE = "centre"
    """It had reached the centre, which lost it."""


class Supply(StrEnum):
    """What feeds the site; NUT's OL, OB and LB in words."""

    MAINS = "mains"
    BATTERY = "battery"
    LOW = "low"
    UNKNOWN = "unknown"


class Step(StrEnum):
    """What a site has given up to spare its battery: this, and all that stands before it in the site's plan."""

    FULL = "full"
    """Nothing."""
    NO_PUBLIC_STREAM = "no-public-stream"
    """The centre is asked to show no live picture of the site to the public."""
    NO_BACKFILL = "no-backfill"
    """The backlog waits; what is fresh goes on."""
    SUB_STREAM = "sub-stream"
    """Cameras that have a second, smaller stream are recorded from that."""
    NO_PICTURE_CHECKS = "no-picture-checks"
    """No snapshots are taken, and nobody looks at what they show."""
    CAMERAS_IN_TURNS = "cameras-in-turns"
    """Cameras with an outlet of their own have power one after the other."""
    RECORD_ONLY = "record-only"
    """Footage stays at the site; state and events go on."""
    STOP = "stop"
    """The agent stops in good order."""


class SourceState(StrEnum):
    """How far one source of power readings can be believed."""

    OK = "ok"
    DEAD = "dead"
    """It gives nothing: absent, refused, broken or silent."""
    FROZEN = "frozen"
    """On battery nothing that it gives has moved for so long that it is no measurement any more."""
    DOUBTFUL = "doubtful"
    """What it gives cannot be: out of range, no number, a charge that rises on battery or falls at one blow."""


class Reach(StrEnum):
    """Whether one part of the link answers."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class Picture(StrEnum):
    """What OpenCV thinks of the last key frame."""

    OK = "ok"
    BLACK = "black"
    FROZEN = "frozen"
    BLURRED = "blurred"
    UNKNOWN = "unknown"


class Message(BaseModel):
    """Base of everything with a body: flat JSON, unknown keys ignored, immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """The body on the wire, UTF-8."""
        return self.model_dump_json().encode()
