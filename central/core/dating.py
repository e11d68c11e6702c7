"""When something was that a clock has labelled nobody vouched for.

The monotonic clock of a host never steps, and all runs of one boot share it. So one moment of that boot at which the
time of day was right tells how far the two are apart, and with that when everything else of the boot was.

Of a boot in which it never was right, the order of the runs tells between which others it lies, and its arrival that it
was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from edge_agent.contract import ClockQuality

HOLDOVER_ERROR_MS: Final = 60_000
"""A clock that was right once does not drift further in a month; when it is, somebody has set it."""
STEP_MS: Final = 1000
"""Nothing is moved for less because of when it arrived: our clock may be a little behind."""
DRIFT: Final = 10_000
"""Of so much by a monotonic clock that nothing keeps right, one part may be wrong: 100 ppm, more than any quartz."""
_EVER_MS: Final = -(2**62)
_NEVER_MS: Final = 2**62


class Dating(StrEnum):
    """How the time of footage is known."""

    CLOCK = "clock"
    """By a clock that was right."""
    AFTERWARDS = "afterwards"
    """The clock was not right, but became so later in the same boot: counted back from there."""
    BOUNDED = "bounded"
    """The clock was not right in the whole boot, but others tell what it lies between."""
    UNSYNCED = "unsynced"
    """By a clock that nobody vouched for: the order is right, the time may not be."""

    @classmethod
    def of(cls, clock: str, start_ms: int, label_ms: int | None, *, adrift: bool) -> Dating:
        """What a row says: its quality, its time, and what its label was if another clock has had its say on it.

        `adrift` while nothing has proven the clock of its run.
        """
        if clock == ClockQuality.UNSYNCED:
            if label_ms is None:
                return cls.UNSYNCED
            return cls.BOUNDED if adrift else cls.AFTERWARDS
        return cls.CLOCK if label_ms in (None, start_ms) else cls.AFTERWARDS


def proven_offset(run: str, proofs: Mapping[str, int]) -> int | None:
    """The time of day minus the monotonic clock for `run`, from those that runs of its boot have proven.

    Its own, else of the run that proved it next, else of the one before; the clock may have been set in between.
    """
    later = min((other for other in proofs if other >= run), default=None)
    chosen = later or max(proofs, default=None)
    return proofs[chosen] if chosen else None


def true_ms(label_ms: int, monotonic_ms: int, clock: str, offset_ms: int) -> int:
    """When it was, given the proven offset."""
    proven_ms = monotonic_ms + offset_ms
    if clock == ClockQuality.UNSYNCED or abs(label_ms - proven_ms) > HOLDOVER_ERROR_MS:
        return proven_ms
    return label_ms


class Loose(NamedTuple):
    """What rows of a run tell that nobody vouched for: what the fields of Adrift say."""

    site: str
    run: str
    first_ms: int
    last_ms: int
    said_ms: int
    arrived_ms: int

    @classmethod
    def of(
        cls,
        site: str,
        run: str | None,
        clock: str | None,
        monotonic_ms: int | None,
        duration_ms: int,
        label_ms: int,
        arrived_ms: int,
    ) -> Self | None:
        """What one row tells; None where somebody vouched for its clock, or nobody knows the monotonic one."""
        if run is None or monotonic_ms is None or clock != ClockQuality.UNSYNCED:
            return None
        end_ms = monotonic_ms + duration_ms
        return cls(site, run, monotonic_ms, end_ms, label_ms - monotonic_ms, arrived_ms - end_ms)


class Sure(NamedTuple):
    """Between which moments footage of a run lies whose clock somebody vouched for."""

    site: str
    run: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Adrift:
    """What a boot recorded of which nobody knows how far the time of day is from the monotonic clock."""

    first_ms: int
    last_ms: int
    """Its first and its last moment, by the monotonic clock."""
    said_ms: int
    """How far the two are apart by its own labels."""
    arrived_ms: int
    """How far at most: nothing arrives before it was."""
    placed_ms: int | None = None
    """How far as it is shown, if it was placed before."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the time of day may be from the monotonic clock, and how far apart the two are shown."""

    earliest_ms: int | None
    latest_ms: int
    placed_ms: int
    error_ms: int | None
    """How far what is shown may be from the truth; None where nothing bounds it on one side."""


def bounds(after_ms: int | None, adrift: Sequence[Adrift], before_ms: int | None) -> list[Bounds]:
    """Where each of them lies that followed on each other between two moments; empty where that is impossible.

    A label that may be true stands. One that cannot be tells nothing; then it is as late as possible: what a boot ships
    itself arrives at once, and power that comes and goes is followed by power that stays. No two of them overlap,
    unless the monotonic clock counted more than there was.
    """
    earliest: list[int] = []
    from_ms = _EVER_MS if after_ms is None else after_ms
    for boot in adrift:
        earliest.append(from_ms - boot.first_ms)
        from_ms += boot.last_ms - boot.first_ms
    found: list[Bounds] = []
    until_ms = free_until_ms = _NEVER_MS if before_ms is None else before_ms
    for boot, earliest_ms in zip(reversed(adrift), reversed(earliest), strict=True):
        drift_ms = (boot.last_ms - boot.first_ms) // DRIFT
        free_ms = free_until_ms - boot.last_ms
        latest_ms = min(boot.arrived_ms + drift_ms, until_ms - boot.last_ms)
        if earliest_ms > min(boot.arrived_ms, free_ms) + drift_ms:
            return []
        if earliest_ms <= boot.said_ms <= min(boot.arrived_ms + drift_ms + STEP_MS, free_ms):
            placed_ms = boot.said_ms
        else:
            placed_ms = boot.arrived_ms
            if boot.placed_ms is not None and abs(boot.placed_ms - placed_ms) <= drift_ms + STEP_MS:
                # Else each item that arrives a little faster would move all others of its run.
                placed_ms = boot.placed_ms
            placed_ms = min(max(placed_ms, earliest_ms), free_ms)
        error_ms = max(placed_ms - earliest_ms, latest_ms - placed_ms) + drift_ms
        known = after_ms is not None
        found.append(Bounds(earliest_ms if known else None, latest_ms, placed_ms, error_ms if known else None))
        until_ms, free_until_ms = latest_ms + boot.first_ms, placed_ms + boot.first_ms
    return found[::-1]
