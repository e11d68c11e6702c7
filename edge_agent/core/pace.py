"""How fast the backlog may go: the smallest of the operator's cap, the hours for it, and what the centre granted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from typing import TYPE_CHECKING, Final

from edge_agent.contract import ClockQuality, PaceLimit

if TYPE_CHECKING:
    from datetime import datetime

    from edge_agent.contract import Wish

_SLACK_MS: Final = 25
"""What a late wake-up of the sender may make up for at once."""
_ARREARS_MS: Final = 1000
"""What may be made up for by and by, after a pause for something fresh or for a receipt."""
_HASTE: Final = 1.25
"""How much faster than its pace somebody in arrears goes: no burst, for the way is others' too."""
SHALLOW_MS: Final = 5
"""For so long the backlog may queue on its way, and so much goes at once, where a fresh item may come at any moment."""
DEEP_MS: Final = 50
"""And where none is expected: that costs fewer wake-ups, and a busy processor leaves no gaps."""
_HELD_S: Final = 5
_LEAST_SLICE: Final = 8 * 1024
_MOST_SLICE: Final = 1024 * 1024
_LEAST_IN_FLIGHT: Final = 8 * 1024
_MOST_IN_FLIGHT: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """The hours in which the backlog may go, by the clock on the wall; from one moment to itself is all day."""

    begins: time
    ends: time

    def opens_in_s(self, now: datetime) -> float:
        """Seconds until it is open at `now`, local time; 0 while it is."""
        moment = now.time()
        is_open = (
            self.begins <= moment < self.ends if self.begins < self.ends else not self.ends <= moment < self.begins
        )
        if is_open:
            return 0
        begins = now.replace(hour=self.begins.hour, minute=self.begins.minute, second=0, microsecond=0)
        return (begins - now) % timedelta(days=1) / timedelta(seconds=1)


def parse_window(text: str) -> Window | None:
    """The window that `HH:MM-HH:MM` spells, None for an empty text; ValueError when it is neither."""
    if not text:
        return None
    begins, dash, ends = text.partition("-")
    if not dash or len(begins) != 5 or len(ends) != 5:
        raise ValueError("write it like 22:00-06:00")
    return Window(time.fromisoformat(begins), time.fromisoformat(ends))


@dataclass(frozen=True, slots=True)
class Grant:
    """What the centre lets the backlog take, until a moment of the monotonic clock."""

    bytes_per_s: float
    until_ms: int


def granted(wish: Wish, now_ms: int, quality: ClockQuality, monotonic_ms: int) -> Grant | None:
    """The grant within a wish that came just now; None when there is none, or it has expired.

    It never holds for longer than the centre said, counted from now; nor beyond its end by a wall clock that is right.
    """
    if wish.pace_bytes_per_s is None or wish.pace_until is None:
        return None
    left = wish.pace_until - wish.at
    left_ms = round(left / timedelta(milliseconds=1))
    if quality is not ClockQuality.UNSYNCED:
        left_ms = min(left_ms, round(wish.pace_until.timestamp() * 1000) - now_ms)
    return Grant(wish.pace_bytes_per_s, monotonic_ms + left_ms) if left_ms > 0 else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator set."""

    cap_bytes_per_s: float = 0
    """0 for none."""
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the backlog may take, what says so, and in how many seconds that may be otherwise: only then look again."""

    bytes_per_s: float | None
    """None for whatever live footage leaves."""
    limit: PaceLimit
    opens_in_s: float = 0


def allowance(
    limits: Limits, grant: Grant | None, local: datetime | None, monotonic_ms: int, *, held: bool = False
) -> Allowance:
    """The smallest of all limits; `held` while the backlog waits for mains.

    `local` is the time on the wall; while nobody knows it, None, no hour is closed.
    """
    if held:
        return Allowance(0, PaceLimit.ENERGY, _HELD_S)
    if limits.window is not None and local is not None and (wait_s := limits.window.opens_in_s(local)):
        return Allowance(0, PaceLimit.WINDOW, wait_s)
    found = Allowance(None, PaceLimit.NONE)
    if limits.cap_bytes_per_s:
        found = Allowance(limits.cap_bytes_per_s, PaceLimit.CAP)
    if (
        grant is not None
        and monotonic_ms < grant.until_ms
        and (found.bytes_per_s is None or grant.bytes_per_s < found.bytes_per_s)
    ):
        opens_in_s = 0 if grant.bytes_per_s else (grant.until_ms - monotonic_ms) / 1000
        found = Allowance(grant.bytes_per_s, PaceLimit.GRANT, opens_in_s)
    return found


class Meter:
    """Bytes against time: who wants to send asks, and is told how long to wait first. Times are monotonic ms."""

    def __init__(self) -> None:
        self._paid_ms = self._free_ms = 0.0

    def take(self, size_bytes: int, bytes_per_s: float, now_ms: float) -> float:
        """Milliseconds until so many bytes may go; they are counted as gone then."""
        begins_ms = max(self._free_ms, self._paid_ms, now_ms - _SLACK_MS)
        took_ms = size_bytes * 1000 / bytes_per_s
        self._paid_ms = max(self._paid_ms, now_ms - _ARREARS_MS) + took_ms
        self._free_ms = begins_ms + took_ms / _HASTE
        return max(0, begins_ms - now_ms)


def slice_bytes(bytes_per_s: float, queue_ms: float = SHALLOW_MS) -> int:
    """How much goes at once at that rate, where it may queue for so long."""
    return round(min(_MOST_SLICE, max(_LEAST_SLICE, bytes_per_s * queue_ms / 1000)))


def in_flight_bytes(bytes_per_s: float, rtt_ms: float, queue_ms: float) -> int:
    """How much may be on its way at once on a link of that rate and round trip, so that it is never idle and nothing
    queues for longer. While there is less, the link is not full, and the next measure of its rate lets it grow.
    """
    return round(min(_MOST_IN_FLIGHT, max(_LEAST_IN_FLIGHT, bytes_per_s * (rtt_ms + queue_ms) / 1000)))
