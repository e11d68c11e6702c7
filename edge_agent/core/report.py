"""When a state is worth a message: news at once, numbers now and then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from edge_agent.contract import CameraState, SpoolState, instant

if TYPE_CHECKING:
    from edge_agent.contract import Message
    from edge_agent.core.drain import Flow
    from edge_agent.core.pace import Allowance
    from edge_agent.core.status import CameraStatus, Proof, Room


@dataclass(frozen=True, slots=True)
class Pace:
    """At least `floor_s` between two messages that differ in numbers only; never more than `ceiling_s` without one."""

    floor_s: float
    ceiling_s: float


PACES: Final = {
    "power": Pace(2, 60),
    "battery": Pace(0, 3600),
    "link": Pace(10, 60),
    "spool": Pace(5, 60),
    "camera": Pace(10, 60),
    "host": Pace(30, 60),
    "info": Pace(0, 3600),
}
"""By group; a camera's group is `camera`."""


class News:
    """Whether what is looked at often has changed since it was last told, or that is `again_ms` ago."""

    def __init__(self, again_ms: int) -> None:
        self._again_ms = again_ms
        self._told: object = None
        self._told_ms = 0

    def has(self, fact: object, now_ms: int) -> bool:
        """Whether to tell `fact` at `now_ms` (monotonic); where so, it counts as told."""
        if fact == self._told and now_ms - self._told_ms < self._again_ms:
            return False
        self._told, self._told_ms = fact, now_ms
        return True


def words(message: Message) -> tuple[object, ...]:
    """What a person would call news: all of a message but its quantities and its times."""
    return tuple(
        value is None if isinstance(value, float | datetime | None) or type(value) is int else value
        for value in vars(message).values()
    )


def is_due(pace: Pace, sent: Message | None, sent_ms: int, fact: Message, now_ms: int) -> bool:
    """Whether `fact` is to be published at `now_ms`, when `sent` was at `sent_ms` (both monotonic)."""
    if sent is None or words(sent) != words(fact):
        return True
    quiet_s = (now_ms - sent_ms) / 1000
    return quiet_s >= pace.ceiling_s or (quiet_s >= pace.floor_s and _without_time(sent) != _without_time(fact))


def _without_time(message: Message) -> dict[str, object]:
    return {key: value for key, value in vars(message).items() if key != "at"}


def camera_state(status: CameraStatus, now_ms: int) -> CameraState:
    """The message that says what a camera gives."""
    return CameraState(
        camera=status.camera,
        recording=status.recording,
        cause=status.cause,
        detail=status.detail,
        codec=status.codec,
        width=status.width,
        height=status.height,
        fps=status.fps,
        bitrate_bps=status.bitrate_bps,
        last_frame_at=_instant(status.last_frame_ms),
        recorded_until=_instant(status.recorded_until_ms),
        picture=status.picture,
        since=instant(status.since_ms),
        at=instant(now_ms),
    )


def spool_state(room: Room, proof: Proof, flow: Flow, allowance: Allowance, now_ms: int) -> SpoolState:
    """The message that says what waits, how it flows, and what holds it back."""
    stats = room.stats
    return SpoolState(
        backlog_items=stats.backlog_items,
        backlog_s=stats.backlog_ms / 1000,
        backlog_bytes=stats.backlog_bytes,
        oldest_unsent_at=_instant(stats.oldest_unsent_ms),
        quarantined_items=stats.quarantined,
        evicted_items=stats.evicted,
        used_bytes=stats.used_bytes,
        free_bytes=stats.free_bytes,
        full_in_s=room.full_in_s,
        sent_bytes_per_s=round(flow.sent_bytes_per_s),
        taken_bytes_per_s=round(flow.taken_bytes_per_s),
        drain_eta_s=None if flow.drain_eta_s is None else round(flow.drain_eta_s, 1),
        pace_bytes_per_s=allowance.bytes_per_s,
        pace_limit=allowance.limit,
        compared_at=_instant(proof.compared_ms),
        detail="; ".join(filter(None, (room.detail, proof.detail))),
        at=instant(now_ms),
    )


def _instant(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else instant(unix_ms)
