"""The UPS's own test of its battery: when one is due, what may pass for it while it runs, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from edge_agent.core.pace import Window
    from edge_agent.core.supply import PowerReading

_DAY_MS: Final = 86_400_000
_FIRST_HOUR_MS: Final = 3_600_000
"""A life is left alone for so long: what it remembers may come late, and a test may end a site at most so often."""
_CUT_GRAIN_MS: Final = 60_000
_FULL_PERCENT: Final = 95
_LATEST_MS: Final = 4_000_000_000_000
_OURS_MS: Final = 60_000
"""So long a discharge is put down to the test by our having begun it; after that only by the UPS's own word."""
_LONGEST_MS: Final = 3_600_000
_RESULT_MS: Final = 120_000
"""Drivers ask a UPS for its result each half minute; an older one is not taken for it."""
_HALF_PERCENT: Final = 50
_DRAWS: Final = frozenset({"OB", "DISCHRG"})
_ENDS: Final = frozenset({"LB", "FSD"})
_RUNS: Final = frozenset({"TEST", "CAL"})


class Verdict(StrEnum):
    """What came of a test."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It ran, or may have, and the UPS tells no result."""
    REFUSED = "refused"
    """None was begun."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a test ended, and in whose words."""

    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class PastTests:
    """What is remembered from test to test; Unix milliseconds, 0 for never."""

    began_ms: int = 0
    failed_ms: int = 0
    """When the latest one failed; 0 once one passed."""
    cut_ms: int = 0
    """When mains was missing last, to the minute."""
    undated_cut: bool = False
    """Mains was missing while no clock could be trusted; that counts from when one can."""

    def see(self, *, mains: bool | None, unix_ms: int) -> PastTests:
        """With what is known of mains; `unix_ms` is 0 while no clock can be trusted."""
        missing = self.undated_cut or mains is False
        if not missing or not unix_ms:
            return replace(self, undated_cut=missing) if missing is not self.undated_cut else self
        if 0 <= unix_ms - self.cut_ms < _CUT_GRAIN_MS and not self.undated_cut:
            return self
        return replace(self, cut_ms=unix_ms, undated_cut=False)

    def begun(self, unix_ms: int) -> PastTests:
        """A test begins."""
        return replace(self, began_ms=unix_ms)

    def ended(self, outcome: Outcome) -> PastTests:
        """It ended. A test that failed counts until one passes, a word that is none changes nothing."""
        if outcome.verdict is Verdict.FAILED:
            return replace(self, failed_ms=self.began_ms)
        return replace(self, failed_ms=0) if outcome.verdict is Verdict.PASSED else self

    def told(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)

    def recall(self, value: object) -> PastTests:
        """With what an earlier life told; what is no such thing is left alone."""
        if not isinstance(value, dict):
            return self
        found = {field.name: value.get(field.name) for field in fields(PastTests)}
        undated = found.pop("undated_cut") is True
        known = {name: at for name, at in found.items() if type(at) is int and 0 <= at <= _LATEST_MS}
        newest = {name: max(at, getattr(self, name)) for name, at in known.items()}
        return replace(self, undated_cut=self.undated_cut or undated, **newest)


NO_TESTS: Final = PastTests()


@dataclass(frozen=True, slots=True)
class Timetable:
    """How often a test is wanted, 0 for never, and in which hours."""

    every_days: float
    window: Window | None = None

    def is_due(self, tests: PastTests, reading: PowerReading, now: datetime, *, lived_ms: int, charged: bool) -> bool:
        """Whether a test is to begin at `now`, local time by a clock that can be trusted.

        `lived_ms` is the age of this life; `charged`, that mains was there long enough to fill any pack.
        """
        if not self.every_days or lived_ms < _FIRST_HOUR_MS:
            return False
        if not reading.mains or reading.testing or reading.low:
            return False
        if not charged if reading.charge_percent is None else reading.charge_percent < _FULL_PERCENT:
            return False
        now_ms = round(now.timestamp() * 1000)
        if tests.undated_cut or abs(now_ms - tests.cut_ms) < _DAY_MS:
            return False
        # A date in the future was written by a clock that was wrong.
        if 0 <= now_ms - tests.began_ms < self.every_days * _DAY_MS:
            return False
        return self.window is None or not self.window.opens_in_s(now)


@dataclass(frozen=True, slots=True)
class Progress:
    """A test that we began, as the UPS shows it. Monotonic milliseconds."""

    began_ms: int
    input_v: float | None
    """What mains had before."""
    ran: bool = False
    """The UPS said that it runs."""
    drew: bool = False
    """The battery has fed the site for it."""
    over: bool = False
    """Whatever discharges the battery from now on is no test."""
    draws: bool = False
    outcome: Outcome | None = None

    @property
    def testing(self) -> bool:
        """Whether it is the test that discharges the battery, as far as anybody can tell."""
        return self.draws and not self.over

    def see(self, told: Mapping[str, str], now_ms: int) -> Progress:
        """After what the UPS says at `now_ms`, as variables of NUT.

        A discharge passes for the test only once, and only as long as nothing speaks against it: mains is measured to
        be there if it is measured, the battery is more than half full and not called low, and a minute has not passed
        or the UPS itself says that a test is in progress.
        """
        words, result = set(told.get("ups.status", "").split()), told.get("ups.test.result", "")
        draws, passed_ms = bool(words & _DRAWS), now_ms - self.began_ms
        runs = "progress" in result.lower() or bool(words & _RUNS)
        ours = passed_ms < _OURS_MS or (runs and passed_ms < _LONGEST_MS)
        over = self.over or not ours or bool(words & _ENDS) or self._speaks_against(told) or (self.drew and not draws)
        ran = self.ran or runs
        outcome = self.outcome
        if outcome is None and passed_ms >= (_LONGEST_MS if runs else 0 if ran else _RESULT_MS):
            outcome = judged(result)
        return replace(self, ran=ran, drew=self.drew or draws, over=over, draws=draws, outcome=outcome)

    def _speaks_against(self, told: Mapping[str, str]) -> bool:
        charge, input_v = figure(told, "battery.charge"), figure(told, "input.voltage")
        if charge is not None and charge < _HALF_PERCENT:
            return True
        return input_v is not None and self.input_v is not None and input_v < self.input_v / 2


def figure(told: Mapping[str, str], name: str) -> float | None:
    """The number that the variable has; None where it has none."""
    try:
        return float(told[name])
    except (KeyError, ValueError):
        return None


def judged(result: str) -> Outcome:
    """What `ups.test.result` means; drivers word it as their UPS does."""
    word = result.lower()
    if not word:
        return Outcome(Verdict.UNKNOWN, "the UPS tells no result")
    if any(bad in word for bad in ("fail", "error", "warning")):
        return Outcome(Verdict.FAILED, result)
    passed = "pass" in word or word == "ok"
    return Outcome(Verdict.PASSED if passed else Verdict.UNKNOWN, result)
