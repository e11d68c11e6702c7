"""Whether another box connects as this site, and how long the broker is left to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from edge_agent.core.backoff import delay_s

_MOST_WAIT_S: Final = 300
_ALONE_MS: Final = 2 * _MOST_WAIT_S * 1000
"""Another box would have come back meanwhile."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """How often of late another box took the connection to the broker from us."""

    met: int = 0

    @property
    def are_sure(self) -> bool:
        """Whether there is another box. What happens once may be the late word of an old life."""
        return self.met > 1

    def meet(self) -> Self:
        """Once more."""
        return type(self)(self.met + 1)

    def while_held(self, held_ms: int) -> Self:
        """With a connection that nobody has taken for so long."""
        return type(self)() if held_ms >= _ALONE_MS else self

    def wait_s(self, chance: float) -> float:
        """Seconds until the connection that was lost is tried again; `chance` as for `delay_s`."""
        if self.are_sure:
            return delay_s(self.met - 1, chance, first_s=30, most_s=_MOST_WAIT_S)
        return delay_s(1, chance)
