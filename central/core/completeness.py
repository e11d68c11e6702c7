"""How much of each day of a camera is there, to come, lost and why, or unexplained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from central.core.timeline import Interval, State, unix_ms
from edge_agent.contract import LossCause


@dataclass(frozen=True, slots=True)
class Tally:
    """Milliseconds by fate; what was expected is their sum."""

    recorded_ms: int = 0
    pending_ms: int = 0
    unknown_ms: int = 0
    unexplained_ms: int = 0
    lost_ms: tuple[tuple[LossCause, int], ...] = ()

    @property
    def expected_ms(self) -> int:
        """How long the camera should have been recording."""
        lost_ms = sum(ms for _, ms in self.lost_ms)
        return self.recorded_ms + self.pending_ms + self.unknown_ms + self.unexplained_ms + lost_ms


def tally(intervals: Iterable[Interval]) -> Tally:
    """What the intervals add up to. Nothing was expected before the first footage."""
    by_state = dict.fromkeys(State, 0)
    lost: dict[LossCause, int] = {}
    for interval in intervals:
        length_ms = interval.to_ms - interval.from_ms
        by_state[interval.state] += length_ms
        if interval.state is State.LOST and interval.cause is not None:
            lost[interval.cause] = lost.get(interval.cause, 0) + length_ms
    return Tally(
        recorded_ms=by_state[State.RECORDED],
        pending_ms=by_state[State.PENDING],
        unknown_ms=by_state[State.SILENT],
        unexplained_ms=by_state[State.UNEXPLAINED],
        lost_ms=tuple(sorted(lost.items())),
    )


def days(from_ms: int, to_ms: int, zone: tzinfo) -> Iterator[tuple[date, int, int]]:
    """Each day of `zone` that the interval touches, with the part of the interval in it."""
    day = datetime.fromtimestamp(from_ms / 1000, zone).date()
    while (start_ms := day_start_ms(day, zone)) < to_ms:
        following = day + timedelta(days=1)
        yield day, max(start_ms, from_ms), min(day_start_ms(following, zone), to_ms)
        day = following


def day_start_ms(day: date, zone: tzinfo) -> int:
    """The first moment of the day there."""
    return unix_ms(datetime.combine(day, time(), zone))
