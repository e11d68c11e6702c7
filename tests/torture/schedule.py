"""When which fault strikes where: a pure function of the seed, so that a run can be lived through again."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

WARM_S: Final = 12.0
"""Before the first fault, everything runs."""
CALM_S: Final = (17.0, 32.0)
"""Between the faults of a round and the next round: longer than shipping may take to recover."""
CENTRE_CALM_S: Final = (30.0, 60.0)
"""What strikes the centre strikes every site, and so it does it less often."""
_SPREAD_S: Final = 6.0
"""Within so many seconds the faults of a round begin."""
_AT_ONCE: Final = (1, 1, 2, 2, 3)


class Kind(Protocol):
    """What the schedule must know of a fault: two that lay hands on one of the same parts are never there at once."""

    @property
    def name(self) -> str: ...
    @property
    def parts(self) -> frozenset[str]: ...
    @property
    def lasts_s(self) -> tuple[float, float]: ...


@dataclass(frozen=True, slots=True)
class Stroke:
    """A fault at a place, `at_s` seconds after the beginning, for `lasts_s` seconds."""

    at_s: float
    place: str
    fault: str
    lasts_s: float

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s


def schedule(
    seed: int, length_s: float, sites: Sequence[str], at_site: Collection[Kind], at_centre: Collection[Kind]
) -> tuple[Stroke, ...]:
    """All strokes of a campaign of that length, in order of time; none is still there at its end.

    Each place has rounds of one to three faults with calm between them, from a deck in which each fault is once.
    """
    places = [(site, at_site, CALM_S) for site in sites] + [("", at_centre, CENTRE_CALM_S)]
    strokes = [
        stroke
        for place, kinds, calm_s in places
        if kinds
        for stroke in _rounds(random.Random(f"{seed} {place}"), length_s, place, list(kinds), calm_s)
    ]
    return tuple(sorted(strokes, key=lambda stroke: (stroke.at_s, stroke.place)))


def _rounds(
    dice: random.Random, length_s: float, place: str, kinds: list[Kind], calm_s: tuple[float, float]
) -> list[Stroke]:
    strokes: list[Stroke] = []
    deck: list[Kind] = []
    begins_s = WARM_S + dice.uniform(0, _SPREAD_S)
    while True:
        hand: list[Kind] = []
        for _ in range(dice.choice(_AT_ONCE)):
            if not deck:
                deck = dice.sample(kinds, len(kinds))
            if any(kind.parts & deck[-1].parts for kind in hand):
                break
            hand.append(deck.pop())
        dealt = [_stroke(dice, begins_s, place, kind) for kind in hand]
        ends_s = max(stroke.ends_s for stroke in dealt)
        if ends_s > length_s:
            return strokes
        strokes += dealt
        begins_s = ends_s + dice.uniform(*calm_s)


def _stroke(dice: random.Random, begins_s: float, place: str, kind: Kind) -> Stroke:
    at_s, lasts_s = begins_s + dice.uniform(0, _SPREAD_S), dice.uniform(*kind.lasts_s)
    return Stroke(round(at_s, 2), place, kind.name, round(lasts_s, 2))
