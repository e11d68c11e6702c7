"""The test of a UPS's battery, between who decides when and the source that can begin it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.core.battery_test import Outcome, Progress, Verdict, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.clock import Clock


class SelfTest:
    """One test at a time. It outlives the connection of the source; asked for by one thread, run by another."""

    def __init__(self, command: str, clock: Clock) -> None:
        self.command = command
        self.wanted = False
        self._clock = clock
        self._progress: Progress | None = None
        self._outcome: Outcome | None = None
        self._refused = False

    @property
    def free(self) -> bool:
        """Whether one may be asked for; none any more once one was refused, until the agent starts again."""
        return not (self.wanted or self._progress or self._outcome or self._refused)

    def ask(self) -> None:
        """A test is wanted."""
        self.wanted = True

    def take(self) -> Outcome | None:
        """How it ended, once."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def begin(self, told: Mapping[str, str]) -> None:
        """It is about to begin; what the UPS said last was `told`."""
        self._progress = Progress(self._clock.monotonic_ms(), figure(told, "input.voltage"))
        self.wanted = False

    def refuse(self, reason: str) -> None:
        """It was not begun, and is not to be tried again."""
        self._refused = True
        self._outcome = Outcome(Verdict.REFUSED, reason)
        self._progress, self.wanted = None, False

    def see(self, told: Mapping[str, str]) -> bool:
        """After what the UPS says now: whether it is a test of ours that discharges the battery."""
        if self._progress is None:
            return False
        self._progress = progress = self._progress.see(told, self._clock.monotonic_ms())
        if progress.outcome and not progress.testing:
            self._outcome, self._progress = progress.outcome, None
        return progress.testing
