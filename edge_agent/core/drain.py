"""How fast the spool fills and empties, and when its backlog is gone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_agent.core.status import SpoolStats

_WINDOW_MS: Final = 60_000
_SILENCE_MS: Final = 15_000
"""Nothing sent for so long means that nothing goes, whatever the rest of the window says."""
_LEAST_MS: Final = 4_000
"""Less is no measure."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes per second in and out of the spool, and in how many seconds its backlog is gone; None when it is not."""

    taken_bytes_per_s: float = 0
    sent_bytes_per_s: float = 0
    drain_eta_s: float | None = None


class Drain:
    """Measures over the last minute; what went out only from when it began to, so that a break does not spoil it."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int, int]] = deque()

    def see(self, stats: SpoolStats, now_ms: int) -> Flow:
        """The flow, after a look at the spool at `now_ms`, monotonic."""
        self._seen.append((now_ms, stats.taken_bytes, stats.sent_bytes))
        while now_ms - self._seen[0][0] > _WINDOW_MS:
            self._seen.popleft()
        first_ms, first_taken, first_sent = self._seen[0]
        taken = _per_s(stats.taken_bytes - first_taken, now_ms - first_ms)
        # The last look before anything went, and the last one at which more had gone than before.
        begun_ms = max((ms for ms, _, sent in self._seen if sent == first_sent), default=first_ms)
        moved_ms = min(ms for ms, _, sent in self._seen if sent == stats.sent_bytes)
        is_going = stats.sent_bytes > first_sent and now_ms - moved_ms < _SILENCE_MS
        sent = _per_s(stats.sent_bytes - first_sent, now_ms - begun_ms) if is_going else 0
        if not stats.backlog_items:
            return Flow(taken, sent, 0)
        spare = sent - taken
        return Flow(taken, sent, stats.backlog_bytes / spare if spare > 0 else None)


def _per_s(size_bytes: int, took_ms: int) -> float:
    return size_bytes * 1000 / took_ms if took_ms >= _LEAST_MS else 0
