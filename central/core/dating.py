"""When something was that a clock has labelled nobody vouched for.

The monotonic clock of a host never steps, and all runs of one boot share it. So one moment of that boot at which the
time of day was right tells how far the two are apart, and with that when everything else of the boot was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from edge_agent.contract import ClockQuality

HOLDOVER_ERROR_MS: Final = 60_000
"""A clock that was right once does not drift further in a month; when it is, somebody has set it."""


class Dating(StrEnum):
    """How the time of footage is known."""

    CLOCK = "clock"
    """By a clock that was right."""
    AFTERWARDS = "afterwards"
    """The clock was not right, but became so later in the same boot: counted back from there."""
    UNSYNCED = "unsynced"
    """By a clock that nobody vouched for: the order is right, the time may not be."""

    @classmethod
    def of(cls, clock: str, start_ms: int, label_ms: int | None) -> Dating:
        """What a row says: its quality, its time, and what its label was if a proof has had its say on it."""
        if clock == ClockQuality.UNSYNCED:
            return cls.UNSYNCED if label_ms is None else cls.AFTERWARDS
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
