"""What the site believes delivered, in ranges with a digest each, so that what is equal costs a few bytes."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from edge_agent.contract import MAX_COMPARED, MAX_RANGES, Inventory, Range, range_digest, run_counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.contract import ItemName

_PARTS: Final = 16
"""A range that differs is asked for again in so many parts: five answers lead from a million items to one."""
_SEQUENCE: Final = attrgetter("sequence")


class Search:
    """Finds which of the `held` items the centre lacks, answer by answer: `ask`, then `learn`, until nothing is left.

    A range runs from one held item to another, so what the centre holds beyond them is between ranges, or differs
    until the parts are small enough to leave it out. A range of a single item that differs is one that it lacks.
    """

    def __init__(self, held: Iterable[ItemName]) -> None:
        runs: defaultdict[str, list[ItemName]] = defaultdict(list)
        for name in held:
            runs[name.run].append(name)
        self.compared = sum(map(len, runs.values()))
        self._asked: list[Sequence[ItemName]] = []
        # The last comes first; so what is opened up is finished before more is opened, which bounds what waits here.
        self._waiting: list[Sequence[ItemName]] = []
        for run in sorted(runs, reverse=True):
            ordered = sorted(runs[run], key=_SEQUENCE)
            # Whoever laid a second file under a sequence into the spool by hand must not stop the rest.
            unique = [next(same) for _, same in groupby(ordered, key=_SEQUENCE)]
            self._waiting += reversed(_slices(unique, MAX_COMPARED))

    def ask(self) -> Inventory | None:
        """The next question to the centre, the same one until it was learned from; None when all is known."""
        items = sum(map(len, self._asked))
        while self._waiting and len(self._asked) < MAX_RANGES and items + len(self._waiting[-1]) <= MAX_COMPARED:
            self._asked.append(self._waiting.pop())
            items += len(self._asked[-1])
        self._asked.sort(key=lambda stretch: stretch[0])
        return Inventory(ranges=tuple(map(_range, self._asked))) if self._asked else None

    def learn(self, differ: Iterable[int]) -> list[ItemName]:
        """The items that the centre lacks for sure, now that it named the ranges of the question that differ."""
        asked, self._asked = self._asked, []
        missing = []
        for stretch in (asked[number] for number in sorted(set(differ), reverse=True) if number < len(asked)):
            if len(stretch) == 1:
                missing.append(stretch[0])
            else:
                self._waiting += reversed(_slices(stretch, -(-len(stretch) // _PARTS)))
        return missing[::-1]


def _slices(items: Sequence[ItemName], most: int) -> list[Sequence[ItemName]]:
    return [items[begin : begin + most] for begin in range(0, len(items), most)]


def _range(stretch: Sequence[ItemName]) -> Range:
    return Range(
        run=stretch[0].run,
        from_sequence=stretch[0].sequence,
        to_sequence=stretch[-1].sequence + 1,
        count=len(stretch),
        digest=range_digest((name.sequence, name.sha256) for name in stretch),
    )


def step_back(known: tuple[str, int], run: str, last: tuple[str, int] | None) -> tuple[int | None, str] | None:
    """How many items the disk has forgotten, if that can be told, and what that looks like; None when it has not.

    `known` is the newest item that the centre knows of runs other than this `run`, `last` the newest one that the
    disk held when this run began. Runs count up on one disk, so a later one is not of this disk as it is now.
    """
    if run_counter(known[0]) >= run_counter(run):
        what = f"the centre knows run {known[0]} of this site, which this disk does not"
        return None, f"{what}: it is new or an old image, or another box uses the site's token"
    if last is None or known <= last:
        return None
    if known[0] != last[0]:
        return None, f"the centre knows run {known[0]} of this site, this disk ends with {last[0]}: it stepped back"
    missing = known[1] - last[1]
    return missing, f"the centre knows {missing} later items of run {known[0]}: the disk lost what it had flushed"
