"""Index and archive against each other: what only one of them knows is found, and mended. Footage is never deleted.

An object that the index does not know is filed, if it is a whole item; a second object of an item is deleted, if the
first was read and is whole; anything else is put aside. A row whose object is missing or damaged is marked as lost:
its site is asked for the item again when it next compares what it holds.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from central.archive import Archive, Stored
from central.errors import ArchiveDown, NothingThere
from central.ingest import Sheet, sheet_of, tabulate
from central.store import ItemRow, Store
from edge_agent.contract import ItemName

_ROWS_AT_ONCE: Final = 1000
_EXAMPLES: Final = 10


class Finding(StrEnum):
    """What may be wrong with an object or a row."""

    UNFILED = "unfiled"
    DUPLICATE = "duplicate"
    STRAY = "stray"
    FOREIGN = "foreign"
    FOUND = "found"
    MISSING = "missing"
    DAMAGED = "damaged"


DEEDS: Final = {
    Finding.UNFILED: ("whole items that the index does not know", "filed"),
    Finding.DUPLICATE: ("second copies of whole items", "deleted"),
    Finding.STRAY: ("objects that are no whole item", "put aside"),
    Finding.FOREIGN: ("objects of sites that are not enrolled", "left: enrol the site"),
    Finding.FOUND: ("lost items that are there after all", "filed"),
    Finding.MISSING: ("items without their object", "asked for again"),
    Finding.DAMAGED: ("items whose object has other bytes", "put aside, asked for again"),
}
"""By finding: what it means, and what repairing does."""


@dataclass(slots=True)
class Verdict:
    """What was looked at and found."""

    repaired: bool
    objects: int = 0
    items: int = 0
    lost: int = 0
    """Items that their sites are asked for."""
    found: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(Finding, 0))
    examples: dict[Finding, list[str]] = field(default_factory=lambda: {finding: [] for finding in Finding})

    @property
    def left(self) -> int:
        """How many findings are not mended."""
        return self.found[Finding.FOREIGN] if self.repaired else sum(self.found.values())

    def note(self, finding: Finding, key: str) -> None:
        """One more of that."""
        self.found[finding] += 1
        if len(self.examples[finding]) < _EXAMPLES:
            self.examples[finding].append(key)


def verify(
    store: Store,
    archive: Archive,
    now_ms: int,
    progress: Callable[[int, int], None],
    *,
    repair: bool,
    read_all: bool,
    archive_is_new: bool,
) -> Verdict:
    """What does not fit, mended if `repair`; `read_all` compares the bytes of every object with its hash.

    `progress` is called with what was looked at, objects and rows, and how much there may be. ArchiveDown, StoreDown.
    """
    return _Check(store, archive, now_ms, progress, repair=repair, read_all=read_all).run(archive_is_new=archive_is_new)


class _Check:
    def __init__(
        self,
        store: Store,
        archive: Archive,
        now_ms: int,
        progress: Callable[[int, int], None],
        *,
        repair: bool,
        read_all: bool,
    ) -> None:
        self._store, self._archive, self._now_ms, self._progress = store, archive, now_ms, progress
        self._repair, self._read_all = repair, read_all
        self._sites = {row.site for row in store.sites()}
        self._count, self._highest = store.extent()
        # A byte for each row whose object was met: a listing comes in any order, and may be longer than memory.
        self._met = bytearray(self._highest + 1)
        self._filing: list[Sheet] = []
        self.verdict = Verdict(repaired=repair)

    def run(self, *, archive_is_new: bool) -> Verdict:
        for some in self._archive.walk():
            self._look_at_objects(some)
        if self._count and not self.verdict.objects and not archive_is_new:
            raise ArchiveDown(
                f"the archive is empty, and the index knows {self._count} items",
                "mount its disk; if it was replaced by an empty one, add --archive-is-new",
            )
        number = 0
        while rows := self._store.rows(number, _ROWS_AT_ONCE):
            number = rows[-1][0]
            # What came since the walk began has its object.
            self._look_at_rows([(n, row) for n, row in rows if n <= self._highest])
        return self.verdict

    # --- objects ---

    def _look_at_objects(self, some: list[Stored]) -> None:
        places = {stored.key: _place(stored.key) for stored in some}
        known = self._known(place for place in places.values() if place)
        for stored in some:
            place = places[stored.key]
            if place is None:
                self._stray(stored.key)
                continue
            site, name = place
            number, row = known.get((site, name.run, name.sequence), (0, None))
            if row is None:
                self._unknown(stored, site, name)
            elif row.object == stored.key:
                self._own(stored, number, row)
            else:
                self._second(stored, site, name, row)
        if self._filing:
            self._store.add_items(*tabulate(self._filing))
            self._filing.clear()
        self.verdict.objects += len(some)
        self._tell()

    def _known(self, places: Iterable[tuple[str, ItemName]]) -> dict[tuple[str, str, int], tuple[int, ItemRow]]:
        runs: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for site, name in places:
            runs[site, name.run].add(name.sequence)
        return {
            (row.site, row.run, row.sequence): (number, row)
            for (site, run), sequences in runs.items()
            for number, row in self._store.rows_of(site, run, sequences)
        }

    def _own(self, stored: Stored, number: int, row: ItemRow) -> None:
        """The object that a row names."""
        whole = stored.size_bytes >= row.offset + row.length
        if whole and (self._read_all or row.lost_ms is not None):
            whole = self._is_whole(row)
        if not whole:
            self._damaged(row)
        elif row.lost_ms is not None:
            self._file(Finding.FOUND, Sheet(row))
        if number <= self._highest:
            self._met[number] = 1

    def _unknown(self, stored: Stored, site: str, name: ItemName) -> None:
        """An object without a row."""
        if site not in self._sites:
            self.verdict.note(Finding.FOREIGN, stored.key)
        elif filing := self._item(stored, site, name):
            self._file(Finding.UNFILED, filing)
        else:
            self._stray(stored.key)

    def _second(self, stored: Stored, site: str, name: ItemName, row: ItemRow) -> None:
        """An object of an item whose row names another one."""
        filing = self._item(stored, site, name) if row.sha256 == name.sha256 else None
        if filing is None:
            self._stray(stored.key)
        elif row.lost_ms is None and self._is_whole(row):
            self.verdict.note(Finding.DUPLICATE, stored.key)
            now = self._store.item(site, name.run, name.sequence)
            if self._repair and now is not None and now.object == row.object:
                self._archive.delete(stored.key)
        else:
            if row.lost_ms is None and self._repair:
                if self._archive.size(row.object) is not None:
                    self._archive.put_aside(row.object)
                self._store.mark_lost([(site, name.run, name.sequence)], self._now_ms)
            self._file(Finding.FOUND, filing)

    def _item(self, stored: Stored, site: str, name: ItemName) -> Sheet | None:
        """The rows of an object that is a whole item; None when it is not."""
        data = self._archive.read(stored.key, 0, stored.size_bytes) if stored.size_bytes else b""
        if hashlib.sha256(data).hexdigest() != name.sha256:
            return None
        try:
            return sheet_of(site, name, data, stored.key, stored.stored_ms)
        except ValueError:
            return None

    def _is_whole(self, row: ItemRow) -> bool:
        try:
            data = self._archive.read(row.object, row.offset, row.length)
        except NothingThere:
            return False
        return hashlib.sha256(data).hexdigest() == row.sha256

    def _file(self, finding: Finding, filing: Sheet) -> None:
        self.verdict.note(finding, filing.row.object)
        if self._repair:
            self._filing.append(filing)

    def _stray(self, key: str) -> None:
        self.verdict.note(Finding.STRAY, key)
        if self._repair:
            self._archive.put_aside(key)

    # --- rows ---

    def _look_at_rows(self, rows: list[tuple[int, ItemRow]]) -> None:
        gone = []
        for number, row in rows:
            # A lost one whose damaged object was met is no news.
            if row.lost_ms is None and not self._met[number]:
                size_bytes = self._archive.size(row.object)
                if size_bytes is None:
                    self.verdict.note(Finding.MISSING, row.object)
                    gone.append(_identity(row))
                elif size_bytes < row.offset + row.length:
                    self._damaged(row)
            self.verdict.lost += row.lost_ms is not None
        if self._repair:
            self._store.mark_lost(gone, self._now_ms)
            self.verdict.lost += len(gone)
        self.verdict.items += len(rows)
        self._tell()

    def _damaged(self, row: ItemRow) -> None:
        self.verdict.note(Finding.DAMAGED, row.object)
        if self._repair:
            self._store.mark_lost([_identity(row)], self._now_ms)
            self._archive.put_aside(row.object)

    def _tell(self) -> None:
        done = self.verdict.objects + self.verdict.items
        self._progress(done, max(done, 2 * self._count))


def _identity(row: ItemRow) -> tuple[str, str, int]:
    return row.site, row.run, row.sequence


def _place(key: str) -> tuple[str, ItemName] | None:
    """Whose item an object is by its key, `YYYY/MM/DD/site/camera/name`; None when it is not such a key."""
    parts = key.split("/")
    if len(parts) != 6:
        return None
    try:
        name = ItemName.parse(parts[5])
    except ValueError:
        return None
    return (parts[3], name) if parts[4] == name.camera else None
