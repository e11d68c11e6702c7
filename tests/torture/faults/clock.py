"""The clock of a crossing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.torture.crossing import Crossing
from tests.torture.faults.agent import kill, start
from tests.torture.faults.fault import BY_AGENT, Fault

_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S


def _boot_in_the_past(at: Crossing) -> None:
    kill(at)
    at.clock.synced(False)
    at.clock.shift(-at.dice.choice((_HOUR_S, 100 * _DAY_S)) * at.dice.uniform(0.5, 2))
    start(at)


def _jump(at: Crossing) -> None:
    at.clock.synced(False)
    at.clock.shift(at.dice.choice((-1, 1)) * at.dice.choice((300, 1.5 * _HOUR_S, 3650 * _DAY_S)))


def _set_right(at: Crossing) -> None:
    at.clock.shift(0)
    at.clock.synced(True)


CLOCK: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "boot in the past",
        "The agent is killed and comes up with a clock that is hours or months behind, until something sets it right.",
        frozenset({"agent", "clock"}),
        (5, 14),
        _boot_in_the_past,
        _set_right,
        BY_AGENT,
    ),
    Fault(
        "clock jumps",
        "The clock of the site is not kept right any more and jumps by minutes to years, ahead or back, and returns.",
        frozenset({"clock"}),
        (5, 14),
        _jump,
        _set_right,
    ),
]
