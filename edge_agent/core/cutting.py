"""When a segment ends, and what the times of a camera's pictures mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from edge_agent.contract import MAX_ITEM_BYTES, Hole

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLE_MS: Final = 1000
"""A longer step between two pictures is a hole, unless the camera is so slow that it is less than …"""
HOLE_FRAMES: Final = 5

NUDGE_MS: Final = 500
"""A camera clock that steps back by less is put up with."""
LEAP_MS: Final = 2000
"""A camera clock that runs further ahead of the time that passed has jumped."""
STALE_MS: Final = 5000
"""A camera clock that falls further behind within one session has stood still."""
RELABEL_MS: Final = 1000
"""Labels further from the wall clock are set anew."""
_CATCHES_UP: Final = 0.25
"""Of the length of a segment: by how much less late than its first picture others come while a camera catches up.

The first one is a key frame, so large that on a thin line it is late by itself.
"""

LONG_GOP: Final = 3
"""So many segment lengths without a key frame are worth a word to the operator."""


def hole_ms(frame_ms: float) -> float:
    """The longest step between two pictures, `frame_ms` apart as a rule, that is not a hole."""
    return max(HOLE_MS, HOLE_FRAMES * frame_ms)


def find_holes(times_ms: Sequence[int]) -> tuple[Hole, ...]:
    """The holes between the pictures of a segment, whose decode times are given from its start."""
    steps = [after - before for before, after in pairwise(times_ms)]
    limit_ms = hole_ms(sorted(steps)[len(steps) // 2]) if steps else 0
    return tuple(
        Hole(offset_ms=at, duration_ms=step) for at, step in zip(times_ms, steps, strict=False) if step > limit_ms
    )


def is_full(*, key: bool, elapsed_ms: float, size_bytes: int, segment_ms: float) -> bool:
    """Whether a segment ends before this picture: at a key frame once it is long enough.

    A camera whose key frames are too rare for the largest item is cut anywhere, since every byte counts.
    """
    if key:
        return elapsed_ms >= segment_ms or size_bytes >= MAX_ITEM_BYTES // 4
    return size_bytes >= MAX_ITEM_BYTES // 2


def catches_up(first_lag_ms: float, least_lag_ms: float, length_ms: float) -> bool:
    """Whether the pictures of a segment came faster than they were filmed, because something had held them up."""
    return first_lag_ms - least_lag_ms > _CATCHES_UP * length_ms


@dataclass(frozen=True, slots=True)
class Leap:
    """The camera's clock made a jump that no time explains."""

    by_ms: int


class Order:
    """Keeps the decode times of one stream in order. Times in are ticks of the stream, and milliseconds monotonic."""

    def __init__(self, tick_ms: float) -> None:
        self._tick_ms = tick_ms
        self._nudge = NUDGE_MS / tick_ms
        self._step = HOLE_MS / tick_ms
        self._last: int | None = None
        self._least_lag_ms = math.inf
        self.nudged = 0

    def place(self, dts: int, now_ms: int) -> int | Leap:
        """The decode time to store for a packet that arrived at `now_ms`; Leap when its clock cannot be followed."""
        last, self._last = self._last, dts
        # A picture may come late, since parsers and reordering keep it back, but none comes early.
        lag_ms = now_ms - dts * self._tick_ms
        early_ms = self._least_lag_ms - lag_ms
        self._least_lag_ms = min(self._least_lag_ms, lag_ms)
        if last is None or last < dts <= last + self._step:
            return dts
        step = dts - last
        if step <= 0:
            if -step >= self._nudge:
                return Leap(round(step * self._tick_ms))
            self.nudged += 1
            self._last = last + 1
            return last + 1
        return Leap(round(early_ms)) if early_ms > LEAP_MS else dts


class Labels:
    """Clock times for the media times of one session; all in milliseconds.

    `lag_ms` is the monotonic clock minus media time, as a picture came; `offset_ms` the wall clock minus the monotonic.
    """

    def __init__(self, lag_ms: int, offset_ms: int) -> None:
        self._lag_ms, self._offset_ms = lag_ms, offset_ms

    def monotonic(self, media_ms: int) -> int:
        """Monotonic clock of the host at the picture at `media_ms`."""
        return media_ms + self._lag_ms

    def wall(self, media_ms: int) -> int:
        """Unix time of the picture at `media_ms`."""
        return media_ms + self._lag_ms + self._offset_ms

    def follow(self, lag_ms: int, offset_ms: int, *, catches_up: bool) -> int | None:
        """Labels agree with the wall clock to a second; how long the camera's clock stood still, if it did.

        `lag_ms` is the least that was seen lately: a picture may come late, but none comes early. While a camera
        catches up, because it, the network or we stood still, how late they come says nothing of its clock.
        """
        behind_ms = lag_ms - self._lag_ms
        if catches_up:
            behind_ms = min(behind_ms, 0)
        if behind_ms > STALE_MS:
            return behind_ms
        if abs(behind_ms + offset_ms - self._offset_ms) > RELABEL_MS:
            self._lag_ms, self._offset_ms = self._lag_ms + behind_ms, offset_ms
        return None


def backdate(times: Sequence[tuple[int | None, int | None]], frame: int) -> list[tuple[int, int]]:
    """Decode and presentation times for the first pictures of a session, given as far as they are known, in ticks.

    `frame` is the usual distance of two pictures. What is missing follows from the first known decode time.
    """
    first = next((number for number, (dts, _) in enumerate(times) if dts is not None), len(times))
    anchor = times[first][0] if first < len(times) else None
    shown = min((pts for _, pts in times if pts is not None), default=None)
    dated: list[tuple[int, int]] = []
    for number, (dts, pts) in enumerate(times):
        if dts is None:
            dts = (anchor or 0) - (first - number) * frame if number < first else dated[-1][0] + frame
        if pts is None:
            pts = max(dts, shown - frame if shown is not None and number == 0 else dts)
        dated.append((dts, pts))
    return dated
