"""What a fault is, and what the common kinds may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from edge_agent.contract import LossCause
from tests.torture.account import Part, Rule
from tests.torture.crossing import Place

P = TypeVar("P", bound=Place, contravariant=True)


def nothing(_: Place) -> None:
    """Done."""


@dataclass(frozen=True)
class Fault(Generic[P]):
    """One way to break something, and to mend it."""

    name: str
    telling: str
    parts: frozenset[str]
    lasts_s: tuple[float, float]
    begin: Callable[[P], None]
    end: Callable[[P], None] = nothing
    rule: Rule = field(default=Rule())
    again: tuple[float, Callable[[P], None]] | None = None
    """Done every so many seconds while it lasts."""
    needs_root: bool = False
    """For a disk or a network port of its own."""


BOTH: Final = frozenset(Part)
RECORDING: Final = frozenset({Part.RECORDING})
SHIPPING: Final = frozenset({Part.SHIPPING})
LOSES_NOTHING: Final = Rule(stops=SHIPPING)
BY_CAMERA: Final = Rule(frozenset({LossCause.CAMERA}), RECORDING)
BY_DISK: Final = Rule(frozenset({LossCause.DISK, LossCause.EVICTED}), BOTH)
BY_DAMAGE: Final = Rule(frozenset({LossCause.DAMAGED}), SHIPPING)
BY_POWER: Final = Rule(frozenset({LossCause.POWER, LossCause.AGENT}), BOTH, is_cut=True)
BY_AGENT: Final = Rule(frozenset({LossCause.AGENT}), BOTH, is_cut=True)
