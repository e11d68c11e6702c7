"""The battery of a site over the years: which discharge runs, what the ones before have taught, and what to keep of it.

What is kept is one JSON value. It may come back from the disk of this box or from the centre, whole, old or garbled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from edge_agent.core.battery import Estimate, Runtime, estimate, from_full, teaches
from edge_agent.core.battery_test import NO_TESTS, PastTests
from edge_agent.core.discharge import Discharge, Point
from edge_agent.core.learning import Lesson, heard, merged, replace_before_ms, told

if TYPE_CHECKING:
    from edge_agent.core.discharge import Pack
    from edge_agent.core.supply import PowerReading

_CHARGED_MS: Final = 8 * 3_600_000
"""After so long on mains the pack is full."""
_MOST: Final = 4e12
"""No number of ours is larger; as Unix milliseconds it is the year 2096."""
_KEEP_MS: Final = 30_000
"""A running discharge is kept so often, so that one that ends in the dark has been seen nearly to its end."""


class SiteBattery:
    """Readings go in, an estimate comes out; `boot` tags the monotonic clock of the times that it is given."""

    def __init__(self, pack: Pack, boot: str | None, tests: PastTests = NO_TESTS) -> None:
        self._pack, self._boot = pack, boot
        self.lessons: tuple[Lesson, ...] = ()
        self.tests = tests
        self._told_tests = self.tests
        self._discharge: Discharge | None = None
        self._estimate: Estimate | None = None
        self._taken = 0.0
        self._mains_ms = 0
        self._seen_ms: int | None = None
        self._unix_ms = 0
        self._kept_ms = 0
        self._news = False

    def see(self, reading: PowerReading, monotonic_ms: int, unix_ms: int) -> None:
        """Take in a sane reading; `unix_ms` is 0 while no clock can be trusted."""
        passed_ms = 0 if self._seen_ms is None else monotonic_ms - self._seen_ms
        self._seen_ms, self._unix_ms = monotonic_ms, unix_ms
        self.tests = self.tests.see(mains=reading.mains, unix_ms=unix_ms)
        if reading.drains:
            if self._discharge is None:
                missing = max(0.0, 1 - self._mains_ms / _CHARGED_MS)
                self._discharge = Discharge(self._pack, self._taken * missing)
                self._kept_ms = monotonic_ms
            if self._discharge.see(reading, monotonic_ms):
                self._estimate = None
            if monotonic_ms - self._kept_ms >= _KEEP_MS:
                self._kept_ms, self._news = monotonic_ms, True
        elif reading.mains:
            self.end()
            self._mains_ms += passed_ms

    def estimate(self, until_percent: float) -> Estimate | None:
        """How full the pack is, and how long until that; None on mains, and while too little was seen."""
        if self._estimate is None and self._discharge and (trace := self._discharge.trace()):
            self._estimate = estimate(self._pack, self.lessons, trace, until_percent, self._unix_ms)
        return self._estimate

    def end(self) -> None:
        """A running discharge is over, because mains is back or the agent stops for it; nothing happens without one."""
        if self._discharge:
            self._learn(self._discharge, self._unix_ms, dark=False)
            self._discharge = self._estimate = None

    def note(self) -> dict[str, object] | None:
        """What is to be kept, once there is something new."""
        if not self._news and self.tests == self._told_tests:
            return None
        self._news, self._told_tests = False, self.tests
        note: dict[str, object] = {
            "lessons": [told(lesson) for lesson in self.lessons],
            "taken": self._taken,
            "tests": self.tests.told(),
        }
        if self._discharge:
            points = [[*asdict(point).values()] for point in self._discharge.points]
            note["running"] = {
                "boot": self._boot,
                "at_ms": self._seen_ms,
                "unix_ms": self._unix_ms,
                "taken": self._discharge.taken,
                "points": points,
            }
        return note

    def recall(self, note: object) -> None:
        """What was kept counts, too. A discharge that was running when the box went dark has ended with that.

        What is no such note is left alone.
        """
        if not isinstance(note, Mapping):
            return
        lessons = (heard(each) for each in _list(note.get("lessons")) if isinstance(each, Mapping))
        self._merge(lesson for lesson in lessons if lesson)
        if isinstance(taken := note.get("taken"), int | float) and taken > 0:
            self._taken = max(self._taken, float(taken))
        self.tests = self.tests.recall(note.get("tests"))
        running = note.get("running")
        if isinstance(running, Mapping) and self._discharge is None:
            self._take_up(running)

    def _merge(self, lessons: Iterable[Lesson]) -> None:
        both = merged(self.lessons, lessons)
        if both != self.lessons:
            self.lessons, self._news = both, True

    def written(self) -> tuple[str, ...]:
        """The lessons as text, one by one."""
        return tuple(json.dumps(told(lesson), separators=(",", ":")) for lesson in self.lessons)

    def hear(self, written: Sequence[str]) -> None:
        """Lessons that were written count, too; what is none is left alone."""
        found = []
        for text in written:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue
        self.recall({"lessons": found})

    @property
    def known(self) -> bool:
        """Whether the pack has shown its end."""
        return bool(self.lessons)

    @property
    def charged(self) -> bool:
        """Whether mains was there for long enough to fill any pack."""
        return self._mains_ms >= _CHARGED_MS

    @property
    def replace_before_ms(self) -> int | None:
        """When the pack will have lost a fifth of its energy, or failed a test, as Unix time; None if not known."""
        aged_ms = replace_before_ms(self._pack, self.lessons) if self.lessons else None
        known_ms = [at_ms for at_ms in (aged_ms, self.tests.failed_ms) if at_ms]
        return min(known_ms, default=None)

    def from_full(self, until_percent: float) -> Runtime | None:
        """How long the pack lasts from full until that, at the site's usual load; None while no discharge has shown."""
        return from_full(self._pack, self.lessons, until_percent, self._unix_ms)

    def _take_up(self, running: Mapping[object, object]) -> None:
        try:
            taken, at_ms, unix_ms = (_number(running[name]) or 0 for name in ("taken", "at_ms", "unix_ms"))
            points = [_point(*_list(point)) for point in _list(running["points"])]
        except (KeyError, TypeError, ValueError):
            return
        if not 0 <= taken <= _MOST or not 0 <= unix_ms <= _MOST or not 0 <= at_ms <= _MOST:
            return
        if self._boot and running.get("boot") == self._boot:
            self._discharge = Discharge(self._pack, taken, points, int(at_ms))
        else:
            self._learn(Discharge(self._pack, taken, points), int(unix_ms), dark=True)

    def _learn(self, discharge: Discharge, unix_ms: int, *, dark: bool) -> None:
        trace = discharge.trace()
        if trace is None:  # a line that bounced
            return
        self._taken, self._mains_ms = trace.total, 0
        self._news = True
        if lesson := teaches(self._pack, self.lessons, trace, unix_ms, dark=dark):
            self.lessons = merged(self.lessons, [lesson])


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not abs(value) <= _MOST:
        raise ValueError("no number")
    return float(value)


def _point(seconds: object, volts: object, amperes: object, temperature_c: object) -> Point:
    passed_s, middle_v = _number(seconds), _number(volts)
    if not passed_s or not middle_v or min(passed_s, middle_v) < 0:
        raise ValueError("no point")
    return Point(passed_s, middle_v, _number(amperes), _number(temperature_c))
