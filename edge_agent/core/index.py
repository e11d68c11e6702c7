"""Very many items in little memory: their names and sizes, in the order of names."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from itertools import islice
from typing import TYPE_CHECKING, Final

from edge_agent.contract import ClockQuality, ItemKind, ItemName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GONE: Final = -1
_SLACK: Final = 1024
"""So many places of items that left are not worth tidying up."""
_HASH_BYTES: Final = 32


class Index:
    """Sizes by item, like a dictionary in the order of names, but in less than 80 bytes of memory for each.

    Joining at the end, leaving anywhere and looking at either end take no longer the more items there are.
    """

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._order: list[str] = []
        self._labels = _Labels()
        self._length = 0
        self._passed: tuple[str, int] | None = None

    def __len__(self) -> int:
        return self._length

    def __contains__(self, name: ItemName) -> bool:
        return self._find(name) is not None

    def __setitem__(self, name: ItemName, size_bytes: int) -> None:
        self.pop(name)
        run = self._runs.get(name.run)
        if run is None:
            run = self._runs[name.run] = _Run(name.run, self._labels)
            insort(self._order, name.run)
        run.add(name, size_bytes)
        self._length += 1
        if self._passed and (name.run, name.sequence) <= self._passed:
            self._passed = name.run, name.sequence - 1

    def __iter__(self) -> Iterator[ItemName]:
        return (name for name, _ in self.items())

    def __reversed__(self) -> Iterator[ItemName]:
        for run in reversed(self._order):
            yield from self._runs[run].names_backwards()

    def items(self) -> Iterator[tuple[ItemName, int]]:
        """Each item with its size, in order."""
        for run in self._order:
            yield from self._runs[run].items()

    def after(self, run: str, sequence: int, limit: int) -> list[ItemName]:
        """The next items in order behind that place, which need not be one of an item."""
        found: list[ItemName] = []
        for at in range(bisect_left(self._order, run), len(self._order)):
            items = self._runs[self._order[at]].items(sequence if self._order[at] == run else -1)
            found += (name for name, _ in islice(items, limit - len(found)))
            if len(found) == limit:
                break
        return found

    def at(self, run: str, sequence: int) -> ItemName | None:
        """The item at that place; the first, should there be several."""
        return next(
            (name for name in self.after(run, sequence - 1, 1) if (name.run, name.sequence) == (run, sequence)), None
        )

    def candidates(self, stays: Callable[[ItemName], bool]) -> Iterator[tuple[ItemName, int]]:
        """Each item that does not stay, for a caller who takes out what is yielded.

        Those that stay are passed over once, and not looked at again until `reconsider`.
        """
        run, sequence = self._passed or ("", 0)
        for at in range(bisect_left(self._order, run), len(self._order)):
            for name, size_bytes in self._runs[self._order[at]].items(sequence if self._order[at] == run else -1):
                if not stays(name):
                    yield name, size_bytes
                self._passed = name.run, name.sequence

    def reconsider(self) -> None:
        """What stays may be another choice from now on."""
        self._passed = None

    def pop(self, name: ItemName) -> int | None:
        """The item is out; its size in bytes, None when it was not in."""
        at = self._find(name)
        if at is None:
            return None
        run = self._runs[name.run]
        size_bytes = run.remove(at)
        self._length -= 1
        if not run.length:
            del self._runs[name.run]
            del self._order[bisect_left(self._order, name.run)]
        return size_bytes

    def _find(self, name: ItemName) -> int | None:
        run = self._runs.get(name.run)
        return run.find(name) if run else None


class _Labels:
    """Kind, camera and clock, of which few differ: a number for each."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[ItemKind, str, ClockQuality], int] = {}
        self._labels: list[tuple[ItemKind, str, ClockQuality]] = []

    def number(self, name: ItemName) -> int:
        label = name.kind, name.camera, name.clock
        number = self._numbers.setdefault(label, len(self._labels))
        if number == len(self._labels):
            self._labels.append(label)
        return number

    def __getitem__(self, number: int) -> tuple[ItemKind, str, ClockQuality]:
        return self._labels[number]


class _Run:
    """The items of one run in columns, by sequence. Who leaves keeps the place, marked, until it pays to tidy up."""

    def __init__(self, run: str, labels: _Labels) -> None:
        self.length = 0
        self._run, self._labels = run, labels
        self._sequences, self._durations, self._label = array("I"), array("I"), array("I")
        self._sizes, self._starts = array("q"), array("q")
        self._columns = self._sequences, self._durations, self._label, self._sizes, self._starts
        self._hashes = bytearray()
        self._head = 0

    def find(self, name: ItemName) -> int | None:
        at = bisect_left(self._sequences, name.sequence)
        while at < len(self._sequences) and self._sequences[at] == name.sequence:
            if self._sizes[at] != _GONE and self._name(at) == name:
                return at
            at += 1
        return None

    def add(self, name: ItemName, size_bytes: int) -> None:
        at = bisect_right(self._sequences, name.sequence)
        self._sequences.insert(at, name.sequence)
        self._durations.insert(at, name.duration_ms)
        self._label.insert(at, self._labels.number(name))
        self._sizes.insert(at, size_bytes)
        self._starts.insert(at, name.start_ms)
        self._hashes[at * _HASH_BYTES : at * _HASH_BYTES] = bytes.fromhex(name.sha256)
        self._head = min(self._head, at)
        self.length += 1

    def remove(self, at: int) -> int:
        size_bytes, self._sizes[at] = self._sizes[at], _GONE
        self.length -= 1
        if not self.length:
            return size_bytes
        while self._sizes[self._head] == _GONE:
            self._head += 1
        while self._sizes[-1] == _GONE:
            self._drop(len(self._sizes) - 1, len(self._sizes))
        if len(self._sizes) - self.length > self.length + _SLACK:
            self._tidy()
        return size_bytes

    def items(self, after: int = -1) -> Iterator[tuple[ItemName, int]]:
        for at in range(max(self._head, bisect_right(self._sequences, after) if after >= 0 else 0), len(self._sizes)):
            if self._sizes[at] != _GONE:
                yield self._name(at), self._sizes[at]

    def names_backwards(self) -> Iterator[ItemName]:
        return (self._name(at) for at in range(len(self._sizes) - 1, -1, -1) if self._sizes[at] != _GONE)

    def _name(self, at: int) -> ItemName:
        kind, camera, clock = self._labels[self._label[at]]
        sha256 = self._hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES].hex()
        return ItemName(
            self._run, self._sequences[at], kind, camera, self._starts[at], self._durations[at], clock, sha256
        )

    def _drop(self, first: int, end: int) -> None:
        for column in self._columns:
            del column[first:end]
        del self._hashes[first * _HASH_BYTES : end * _HASH_BYTES]

    def _tidy(self) -> None:
        here = [at for at, size in enumerate(self._sizes) if size != _GONE]
        for column in self._columns:
            column[:] = array(column.typecode, (column[at] for at in here))
        self._hashes = bytearray().join(self._hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES] for at in here)
        self._head = 0
