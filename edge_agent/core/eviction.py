"""What to drop when room is short, and how long until it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from edge_agent.contract import ClockQuality, ItemKind, ItemName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Key = TypeVar("_Key")


class WhenFull(StrEnum):
    """The operator's choice once only unsent items are left."""

    DROP_OLDEST = "drop-oldest"
    STOP_RECORDING = "stop-recording"


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, shelf by shelf, each oldest first; `unsent` is what hurts."""

    sent: list[ItemName]
    quarantined: list[str]
    unsent: list[ItemName]


def plan(
    excess_bytes: int,
    *,
    sent: Iterable[tuple[ItemName, int]],
    quarantined: Iterable[tuple[str, int]],
    unsent: Iterable[tuple[ItemName, int]],
    when_full: WhenFull,
) -> Plan:
    """The least to drop so that `excess_bytes` become free: what the centre has, what it refused, the oldest unsent.

    Each shelf is given as (name, bytes), oldest first. Events stay: they are small and explain the holes.
    """
    budget = _Budget(excess_bytes)
    expendable = (item for item in unsent if item[0].kind is not ItemKind.EVENT)
    return Plan(
        sent=list(budget.take(sent)),
        quarantined=list(budget.take(quarantined)),
        unsent=list(budget.take(expendable)) if when_full is WhenFull.DROP_OLDEST else [],
    )


@dataclass
class _Budget:
    left_bytes: int

    def take(self, shelf: Iterable[tuple[_Key, int]]) -> Iterator[_Key]:
        if self.left_bytes <= 0:
            return
        for name, size in shelf:
            self.left_bytes -= size
            yield name
            if self.left_bytes <= 0:
                return


def full_in_s(free_bytes: int, grown_bytes: int, elapsed_s: float) -> float | None:
    """Seconds until `free_bytes` are used up by what grew in the last `elapsed_s`; None when it does not grow."""
    if free_bytes <= 0:
        return 0.0
    if elapsed_s <= 0 or grown_bytes <= 0:
        return None
    return free_bytes * elapsed_s / grown_bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """An interval of one camera of which `items` items were dropped unsent; Unix milliseconds as that run knew them."""

    run: str
    camera: str
    clock: ClockQuality
    from_ms: int
    to_ms: int
    items: int


def dropped(names: Iterable[ItemName]) -> list[Dropped]:
    """The intervals that the segments among `names` covered, one per run, camera and quality of the clock."""
    spans: dict[tuple[str, str, ClockQuality], Dropped] = {}
    for name in names:
        if name.kind is not ItemKind.SEGMENT:
            continue
        key = name.run, name.camera, name.clock
        known = spans.get(key, Dropped(*key, name.start_ms, name.end_ms, 0))
        spans[key] = Dropped(*key, min(known.from_ms, name.start_ms), max(known.to_ms, name.end_ms), known.items + 1)
    return list(spans.values())
