"""The test of a UPS's battery, between who decides when and the source that can begin it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core.battery_test import Outcome, Progress, Verdict, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.clock import Clock

_ASKED_MS: Final = 10_000
"""What spoke for a test does so no longer than that."""


class SelfTest:
    """One test at a time. It outlives the connection of the source; asked for by one thread, run by another."""

    def __init__(self, command: str, clock: Clock) -> None:
        self.command = command
        self._clock = clock
        self._asked_ms: int | None = None
        self._progress: Progress | None = None
        self._outcome: Outcome | None = None
        self._refused = False

    @property
    def free(self) -> bool:
        """Whether one may be asked for; none any more once one was refused, until the agent starts again."""
        return not (self.wanted or self._progress or self._outcome or self._refused)

    def ask(self) -> None:
        """A test is wanted, now or not at all."""
        self._asked_ms = self._clock.monotonic_ms()

    @property
    def wanted(self) -> bool:
        """Whether one was asked for that has not begun."""
        return self._asked_ms is not None

    def take(self) -> Outcome | None:
        """How it ended, once."""
        if outcome := self._outcome:
            self._outcome = None
        return outcome

    def begin(self, told: Mapping[str, str]) -> bool:
        """Whether it is to begin, when `told` is what the UPS says: not in a cut, and not long after it was asked."""
        now_ms, asked_ms = self._clock.monotonic_ms(), self._asked_ms
        if asked_ms is None:
            return False
        self._asked_ms = None
        if now_ms - asked_ms > _ASKED_MS or "OL" not in told.get("ups.status", "").split():
            self._outcome = Outcome(Verdict.REFUSED, "mains or the UPS was lost as it was to begin")
            return False
        self._progress = Progress(now_ms, figure(told, "input.voltage"))
        return True

    def refuse(self, reason: str) -> None:
        """It could not be begun, and is not to be tried again."""
        self._refused = True
        self._outcome = Outcome(Verdict.REFUSED, reason)
        self._progress = self._asked_ms = None

    def see(self, told: Mapping[str, str]) -> bool:
        """After what the UPS says now: whether it is a test of ours that discharges the battery."""
        if self._progress is None:
            return False
        self._progress = progress = self._progress.see(told, self._clock.monotonic_ms())
        if progress.outcome and not progress.testing:
            self._outcome, self._progress = progress.outcome, None
        return progress.testing
