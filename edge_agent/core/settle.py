"""Believing what lasts: one debounce for the mains line and for each part of the link."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """A believed value since a moment, and the other value that was seen last, if it was. Monotonic milliseconds."""

    value: T
    since_ms: int
    doubt: T | None = None
    doubt_ms: int = 0

    def see(self, value: T, now_ms: int, hold_ms: int) -> Self:
        """What to believe after seeing `value`: another one only once it was all that was seen for `hold_ms`."""
        if value == self.value:
            return self if self.doubt is None else replace(self, doubt=None)
        since_ms = self.doubt_ms if value == self.doubt else now_ms
        if now_ms - since_ms < hold_ms:
            return replace(self, doubt=value, doubt_ms=since_ms)
        return replace(self, value=value, since_ms=since_ms, doubt=None)
