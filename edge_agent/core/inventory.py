"""What the site believes delivered, in ranges with a digest each, so that what is equal costs a few bytes."""

from __future__ import annotations

from array import array
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_agent.contract import MAX_COMPARED, MAX_RANGES, Inventory, Range, range_digest, run_counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.contract import ItemName

_PARTS: Final = 16
"""A range that differs is asked for again in so many parts: five answers lead from a million items to one."""
_HASH_BYTES: Final = 32


class _Stretch(NamedTuple):
    """Items of one run, by their places in the columns of a search."""

    run: str
    begin: int
    end: int


class Search:
    """Finds which of the `held` items, given in order, the centre lacks: `ask`, then `learn`, until nothing is left.

    A range runs from one held item to another, so what the centre holds beyond them is between ranges, or differs
    until the parts are small enough to leave it out. A range of a single item that differs is one that it lacks.
    Of an item it keeps 36 bytes.
    """

    def __init__(self, held: Iterable[ItemName]) -> None:
        self._sequences, self._hashes = array("I"), bytearray()
        self._asked: list[_Stretch] = []
        # The last comes first; so what is opened up is finished before more is opened, which bounds what waits here.
        self._waiting: list[_Stretch] = []
        for run, names in groupby(held, key=attrgetter("run")):
            begin = len(self._sequences)
            # Whoever laid a second file under a sequence into the spool by hand must not stop the rest.
            for sequence, same in groupby(names, key=attrgetter("sequence")):
                self._sequences.append(sequence)
                self._hashes += bytes.fromhex(next(same).sha256)
            self._waiting += _slices(_Stretch(run, begin, len(self._sequences)), MAX_COMPARED)
        self._waiting.reverse()
        self.compared = len(self._sequences)

    def ask(self) -> Inventory | None:
        """The next question to the centre, the same one until it was learned from; None when all is known."""
        items = sum(stretch.end - stretch.begin for stretch in self._asked)
        while self._waiting and len(self._asked) < MAX_RANGES:
            items += self._waiting[-1].end - self._waiting[-1].begin
            if items > MAX_COMPARED:
                break
            self._asked.append(self._waiting.pop())
        self._asked.sort(key=attrgetter("begin"))
        return Inventory(ranges=tuple(map(self._range, self._asked))) if self._asked else None

    def learn(self, differ: Iterable[int]) -> list[tuple[str, int]]:
        """Run and sequence of what the centre lacks for sure, now that it named the ranges that differ."""
        asked, self._asked = self._asked, []
        missing, opened = [], []
        for stretch in (asked[number] for number in sorted(set(differ)) if number < len(asked)):
            if stretch.end - stretch.begin == 1:
                missing.append((stretch.run, self._sequences[stretch.begin]))
            else:
                opened += _slices(stretch, -(-(stretch.end - stretch.begin) // _PARTS))
        self._waiting += reversed(opened)
        return missing

    def _range(self, stretch: _Stretch) -> Range:
        run, begin, end = stretch
        hashes = (self._hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES].hex() for at in range(begin, end))
        return Range(
            run=run,
            from_sequence=self._sequences[begin],
            to_sequence=self._sequences[end - 1] + 1,
            count=end - begin,
            digest=range_digest(zip(self._sequences[begin:end], hashes, strict=True)),
        )


def _slices(stretch: _Stretch, most: int) -> list[_Stretch]:
    run, begin, end = stretch
    return [_Stretch(run, at, min(at + most, end)) for at in range(begin, end, most)]


def step_back(known: tuple[str, int], run: str, last: tuple[str, int] | None) -> tuple[int | None, str] | None:
    """How many items the disk has forgotten, if that can be told, and what that looks like; None when it has not.

    `known` is the newest item that the centre knows of runs other than this `run`, `last` the newest one that the
    disk held when this run began. Runs count up on one disk, so a later one is not of this disk as it is now; a run
    that began without its disk has the number 0.
    """
    if run_counter(run) and run_counter(known[0]) >= run_counter(run):
        what = f"the centre knows run {known[0]} of this site, which this disk does not"
        return None, f"{what}: it is new or an old image, or another box uses the site's token"
    if last is None or known <= last:
        return None
    if known[0] != last[0]:
        return None, f"the centre knows run {known[0]} of this site, this disk ends with {last[0]}: it stepped back"
    missing = known[1] - last[1]
    what = f"the centre knows {missing} later items of run {known[0]}"
    return missing, f"{what}: the disk lost what it had flushed, or they went from memory while it was away"
