"""What the spool knows of its items: which wait, which the centre has, which nobody takes, and the bytes of each."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from edge_agent.core.eviction import Excess, Locks, Plan, WhenFull, is_expendable, plan
from edge_agent.core.index import Index
from edge_agent.core.shipping import Line, Order
from edge_agent.core.status import SpoolStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge_agent.contract import ItemName

_SPARE_FILES: Final = 16
"""A file system that can take so many files more, or fewer, is short of them."""
_SPARE_MEMORY_BYTES: Final = 4 * 1024**2
"""Left free where the newest waits in memory, for the segments that are being written."""


class Stock:
    """The books, to be kept in step with the files by whoever moves those.

    An item waits in the line, on the disk or shelved in memory, or the centre has it and it is kept on the disk.
    `quota_bytes` is what all on the disk may take, `reserve_bytes` what stays free there, `memory_bytes` what may be
    shelved.
    """

    def __init__(
        self, *, quota_bytes: int, reserve_bytes: int, memory_bytes: int, order: Order, when_full: WhenFull
    ) -> None:
        self._quota_bytes, self._reserve_bytes, self._memory_bytes = quota_bytes, reserve_bytes, memory_bytes
        self._when_full = when_full
        self.line = Line(order)
        """Says whose turn it is; who joins and leaves it does so through the stock."""
        self.locks: Locks | None = None
        """None while they are not known."""
        self._sent = Index()
        self._quarantined: dict[str, int] = {}
        self._shelved: dict[ItemName, int] = {}
        self._lost: list[ItemName] = []
        self._used_bytes = self._shelved_bytes = self._cached_bytes = 0
        self._taken_bytes = self._sent_bytes = self._evicted = 0
        self._newest, self._keeps_sent = ("", 0), False

    def __contains__(self, name: ItemName) -> bool:
        return name in self.line or name in self._sent

    # --- what joins ---

    def join(self, name: ItemName, size_bytes: int, now_ms: int, *, shelved: bool) -> None:
        """A fresh item waits from now on; `now_ms` is of the monotonic clock."""
        self.line.join(name, size_bytes, now_ms)
        self._count(name, size_bytes, shelved=shelved)
        self._taken_bytes += size_bytes

    def join_backlog(self, name: ItemName, size_bytes: int, *, shelved: bool = False) -> None:
        """An item of an earlier life waits from now on, or one that waits again."""
        self.line.join_backlog(name, size_bytes)
        self._count(name, size_bytes, shelved=shelved)

    def keep_sent(self, name: ItemName, size_bytes: int) -> None:
        """The centre has it; what lies on the disk is a cache."""
        self._sent[name] = size_bytes
        self._cached_bytes += size_bytes
        self._used_bytes += size_bytes

    def put_aside(self, file: str, size_bytes: int) -> None:
        """Nobody takes the file of that name; told again, it counts once."""
        self._used_bytes += size_bytes - self._quarantined.get(file, 0)
        self._quarantined[file] = size_bytes

    # --- what leaves ---

    def leave(self, name: ItemName) -> int | None:
        """The item waits no longer and lies nowhere; its size in bytes, None when it did not wait."""
        size_bytes = self.line.leave(name)
        if size_bytes is None:
            return None
        if name in self._shelved:
            self._shelved_bytes -= self._shelved.pop(name)
        else:
            self._used_bytes -= size_bytes
        return size_bytes

    def deliver(self, name: ItemName) -> int | None:
        """As `leave`, because the centre has it."""
        size_bytes = self.leave(name)
        self._sent_bytes += size_bytes or 0
        return size_bytes

    def drop_sent(self, name: ItemName) -> int:
        """It is kept as a cache no longer; its size in bytes."""
        size_bytes = self._sent.pop(name) or 0
        self._cached_bytes -= size_bytes
        self._used_bytes -= size_bytes
        return size_bytes

    def forget_disk(self) -> None:
        """What lies on the disk is out of reach: only what is shelved is known."""
        self.line.forget()
        for name, size_bytes in self._shelved.items():
            self.line.join_backlog(name, size_bytes)
        self._sent, self._quarantined = Index(), {}
        self._used_bytes = self._cached_bytes = 0

    # --- what is shelved in memory ---

    def is_shelved(self, name: ItemName) -> bool:
        """Whether it lies in memory, not on the disk."""
        return name in self._shelved

    @property
    def has_shelved(self) -> bool:
        """Whether anything does."""
        return bool(self._shelved)

    def shelved(self, most: int) -> list[ItemName]:
        """The first that were shelved, no more than that."""
        return list(islice(self._shelved, most))

    def unshelve(self, name: ItemName) -> None:
        """It lies on the disk now."""
        size_bytes = self._shelved.pop(name)
        self._shelved_bytes -= size_bytes
        self._used_bytes += size_bytes

    # --- what the centre has ---

    def sent(self, after: tuple[str, int], limit: int) -> list[ItemName]:
        """Of what it has and is still kept here, the next items behind that run and sequence."""
        return self._sent.after(*after, limit)

    def sent_at(self, run: str, sequence: int) -> ItemName | None:
        """The item at that place, if it has it and it is still kept here."""
        return self._sent.at(run, sequence)

    @property
    def newest_sent(self) -> ItemName | None:
        """The newest of what it has and is still kept here."""
        return next(reversed(self._sent), None)

    def see_earlier(self, name: ItemName, *, is_sent: bool) -> None:
        """An item of an earlier life was found on the disk."""
        self._newest = max(self._newest, (name.run, name.sequence))
        self._keeps_sent |= is_sent

    @property
    def newest_earlier(self) -> tuple[str, int] | None:
        """Run and sequence of the newest of those; None where nothing that was sent was among them."""
        return self._newest if self._keeps_sent else None

    # --- room, and what gives way ---

    def room_bytes(self, free_bytes: int | None) -> int:
        """What more may be put on a disk with so much free; where there is none, into memory."""
        if free_bytes is None:
            return self._memory_bytes - self._shelved_bytes
        return min(self._quota_bytes - self._used_bytes, free_bytes - self._reserve_bytes)

    def excess(self, free_bytes: int, free_files: int | None, *, is_denied: bool) -> Excess:
        """What is too much on a disk that has so much free, or says so but has just refused to take more."""
        room_bytes = self.room_bytes(free_bytes)
        short = 0 if free_files is None else max(0, _SPARE_FILES - free_files)
        return Excess(1 - room_bytes if room_bytes <= 0 else 0, max(short, is_denied))

    def lock(self, locks: Locks) -> None:
        """What they hold goes last from now on."""
        self.locks = locks
        self._sent.reconsider()
        self.line.reconsider()

    def give_way(self, excess: Excess, *, is_all_known: bool, most: int) -> Plan:
        """What is dropped against the excess, in this order, no more than `most` items: it is here no more.

        Before all is known, only what the centre has goes: there may be something better to drop.
        """
        doomed = plan(
            excess,
            sent=self._sent.candidates(self._is_locked),
            quarantined=self._quarantined.items() if is_all_known else (),
            unsent=self.line.candidates(self._stays) if is_all_known else (),
            locked_sent=self._locked(self._sent.items()) if is_all_known else (),
            locked_unsent=self._locked(self.line.items()) if is_all_known else (),
            when_full=self._when_full,
            most=most,
        )
        for name in doomed.sent:
            self.drop_sent(name)
        for file in doomed.quarantined:
            self._used_bytes -= self._quarantined.pop(file)
        for name in doomed.unsent:
            self._lose(name)
        return doomed

    def bound_shelf(self, free_bytes: int) -> list[ItemName]:
        """What is dropped so that memory with so much free takes more: the oldest first, events last."""
        most_bytes = min(self._memory_bytes, self._shelved_bytes + free_bytes - _SPARE_MEMORY_BYTES)
        doomed = []
        while self._shelved and self._shelved_bytes >= most_bytes:
            name = next(filter(is_expendable, self._shelved), next(iter(self._shelved)))
            self._lose(name)
            doomed.append(name)
        return doomed

    def tell_lost(self) -> list[ItemName]:
        """What was dropped unsent since last asked."""
        lost, self._lost = self._lost, []
        return lost

    def stats(self, free_bytes: int | None) -> SpoolStats:
        """What is here now; `free_bytes` as for `room_bytes`."""
        return SpoolStats(
            backlog_items=len(self.line),
            backlog_ms=self.line.duration_ms,
            backlog_bytes=self.line.bytes,
            oldest_unsent_ms=self.line.oldest_start_ms(),
            used_bytes=self._used_bytes + self._shelved_bytes,
            free_bytes=max(0, self.room_bytes(free_bytes) + self._cached_bytes),
            quarantined=len(self._quarantined),
            evicted=self._evicted,
            taken_bytes=self._taken_bytes,
            sent_bytes=self._sent_bytes,
        )

    def _count(self, name: ItemName, size_bytes: int, *, shelved: bool) -> None:
        if shelved:
            self._shelved[name] = size_bytes
            self._shelved_bytes += size_bytes
        else:
            self._used_bytes += size_bytes

    def _lose(self, name: ItemName) -> None:
        self.leave(name)
        self._evicted += 1
        self._lost.append(name)

    def _is_locked(self, name: ItemName) -> bool:
        return self.locks is not None and self.locks.hold(name)

    def _stays(self, name: ItemName) -> bool:
        return not is_expendable(name) or self._is_locked(name) or name in self._shelved

    def _locked(self, items: Iterable[tuple[ItemName, int]]) -> Iterator[tuple[ItemName, int]]:
        return (item for item in items if self._is_locked(item[0]) and item[0] not in self._shelved)
