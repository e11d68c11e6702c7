"""What to drop when room is short, and how long until it is."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

from edge_agent.contract import ClockQuality, ItemKind, ItemName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Key = TypeVar("_Key")


class WhenFull(StrEnum):
    """The operator's choice once only unsent items are left."""

    DROP_OLDEST = "drop-oldest"
    STOP_RECORDING = "stop-recording"


class Span(NamedTuple):
    """A stretch of one camera's time, Unix milliseconds."""

    camera: str
    from_ms: int
    to_ms: int


class Locks:
    """Which items are not to go before all others have gone: those of a camera that reach into one of its spans."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans = tuple(sorted(span for span in spans if span.from_ms < span.to_ms))
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for span in self.spans:
            starts, ends = self._starts.setdefault(span.camera, []), self._ends.setdefault(span.camera, [])
            if ends and span.from_ms <= ends[-1]:
                ends[-1] = max(ends[-1], span.to_ms)
            else:
                starts.append(span.from_ms)
                ends.append(span.to_ms)

    @classmethod
    def kept(cls, value: Any) -> Self:
        """Those whose spans were kept as that JSON value; none where it is none of ours."""
        try:
            return cls(Span(*span) for span in value)
        except (TypeError, AttributeError):
            return cls()

    def hold(self, name: ItemName) -> bool:
        """Whether the item is locked; a moment without duration is where it happened."""
        starts = self._starts.get(name.camera)
        if not starts:
            return False
        before = bisect_left(starts, max(name.end_ms, name.start_ms + 1)) - 1
        return before >= 0 and self._ends[name.camera][before] > name.start_ms


@dataclass(frozen=True, slots=True)
class Excess:
    """What is there too much of: bytes, and files."""

    bytes: int = 0
    files: int = 0

    def __bool__(self) -> bool:
        return self.bytes > 0 or self.files > 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, shelf by shelf, each oldest first; `unsent` is what hurts."""

    sent: list[ItemName]
    quarantined: list[str]
    unsent: list[ItemName]


def plan(
    excess: Excess,
    *,
    sent: Iterable[tuple[ItemName, int]],
    quarantined: Iterable[tuple[str, int]],
    unsent: Iterable[tuple[ItemName, int]],
    locked_sent: Iterable[tuple[ItemName, int]] = (),
    locked_unsent: Iterable[tuple[ItemName, int]] = (),
    when_full: WhenFull,
    most: int,
) -> Plan:
    """The least to drop against the excess, but no more than `most` files at once.

    First goes what the centre has, then what it refused, then the oldest unsent, and the locked in the same order.
    Each shelf is given as (name, bytes), oldest first. Events stay: they are small and explain the holes.
    """
    budget = _Budget(excess.bytes, excess.files, most)
    drops = when_full is WhenFull.DROP_OLDEST
    easy, refused = list(budget.take(sent)), list(budget.take(quarantined))
    hard = list(budget.take(_expendable(unsent))) if drops else []
    easy += budget.take(locked_sent)
    hard += budget.take(_expendable(locked_unsent)) if drops else []
    return Plan(easy, refused, hard)


def is_expendable(name: ItemName) -> bool:
    """Whether it may ever go unsent."""
    return name.kind is not ItemKind.EVENT


def _expendable(unsent: Iterable[tuple[ItemName, int]]) -> Iterator[tuple[ItemName, int]]:
    return (item for item in unsent if is_expendable(item[0]))


@dataclass
class _Budget:
    left_bytes: int
    left_files: int
    most: int

    def take(self, shelf: Iterable[tuple[_Key, int]]) -> Iterator[_Key]:
        if not self._goes_on():
            return
        for name, size in shelf:
            self.left_bytes -= size
            self.left_files -= 1
            self.most -= 1
            yield name
            if not self._goes_on():
                return

    def _goes_on(self) -> bool:
        return self.most > 0 and (self.left_bytes > 0 or self.left_files > 0)


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


@dataclass(frozen=True, slots=True)
class Alarm:
    """Whether it has been said that the spool fills up: once when less than `warn_s` are left."""

    warn_s: float
    is_on: bool = False

    def after(self, full_in_s: float | None, *, waits: bool) -> Alarm:
        """What holds after this forecast; it is over when much time is left, or nothing waits any more."""
        if full_in_s is not None and full_in_s < self.warn_s:
            return replace(self, is_on=True)
        if not waits or (full_in_s is not None and full_in_s > _CALM * self.warn_s):
            return replace(self, is_on=False)
        return self


_CALM: Final = 1.25
