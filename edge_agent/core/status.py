"""What rooms and jobs tell each other: frozen values, latest wins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from edge_agent.contract import ClockQuality, LossCause, Picture


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for the centre."""

    items: int
    bytes: int
    ms: int


@dataclass(frozen=True, slots=True)
class End:
    """When a life ended, by its own clocks, and what waited then; None is what is not known."""

    now_ms: int
    clock: ClockQuality
    monotonic_ms: int | None = None
    backlog: Backlog | None = None


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """The life of the agent before this one, and how it ended; its name, where that is known."""

    run: str | None
    cause: LossCause
    in_order: bool = False
    same_boot: bool = False
    end: End | None = None


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What the spool holds and how much more it can take.

    `free_bytes` is what can still be recorded without losing anything unsent: sent items count as room.
    `taken_bytes` and `sent_bytes` count since the start of this run.
    """

    backlog_items: int
    backlog_ms: int
    backlog_bytes: int
    oldest_unsent_ms: int | None
    used_bytes: int
    free_bytes: int
    quarantined: int
    evicted: int
    taken_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """What the spool holds, and in how many seconds it is full if all goes on as now (None: never).

    `detail` is what is wrong with its disk, empty when nothing is.
    """

    stats: SpoolStats
    full_in_s: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What one camera gives. Times are Unix milliseconds by the agent's clock; `cause` says why it is not recording."""

    camera: str
    since_ms: int
    recording: bool = False
    cause: LossCause | None = None
    detail: str = ""
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    bitrate_bps: float | None = None
    last_frame_ms: int | None = None
    recorded_until_ms: int | None = None
    picture: Picture = Picture.UNKNOWN


class Feed(Enum):
    """What a camera is to give."""

    MAIN = auto()
    SUB = auto()
    """Its smaller stream."""
    OFF = auto()
    """Nothing: its power is about to be cut, or is."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What comparing with the centre shows: when the last complete comparison began, what the disk has forgotten."""

    compared_ms: int | None = None
    detail: str = ""
