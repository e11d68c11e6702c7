"""What lies in a place becomes known: at the start, and when a disk is back."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from edge_agent.contract import ItemKind, ItemName
from edge_agent.core.status import Backlog
from edge_agent.place import QUARANTINE, READY, SENT, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import RLock

    from edge_agent.core.stock import Stock

log = logging.getLogger(__name__)


class Finding:
    """Brings into the stock what lies in the place, `run` being this life, and `lock` what the stock is used under."""

    def __init__(self, place: Place, stock: Stock, lock: RLock, run: str, *, in_memory: bool) -> None:
        self._place, self._stock, self._lock = place, stock, lock
        self._run = run
        self._in_memory = in_memory

    def __iter__(self) -> Iterator[None]:
        """One file at a time, oldest first; what the centre has before what it lacks."""
        for folder in (SENT, READY, QUARANTINE):
            directory = str(self._place.directory / folder)
            names = sorted(os.listdir(directory), reverse=True)  # noqa: PTH208 - there may be very many
            while names:
                text = names.pop()
                self._find(folder, text, f"{directory}/{text}")
                yield

    def _find(self, folder: str, text: str, path: str) -> None:
        try:
            name = ItemName.parse(text) if folder != QUARANTINE else None
        except ValueError:
            name = None
        with self._lock:
            try:
                size = os.stat(path).st_size  # noqa: PTH116 - likewise
            except FileNotFoundError:
                return  # it went on while we looked
            except OSError as error:
                log.warning("%s: %s", text, error.strerror)
                size = 0  # whoever reads it will see
            if name is None:
                self._find_strange(folder, text, size)
                return
            if not self._in_memory and name.run != self._run:
                self._stock.see_earlier(name, is_sent=folder == SENT)
            if name in self._stock:
                if self._in_memory and not self._stock.is_shelved(name):
                    self._place.path(folder, text).unlink(missing_ok=True)
                elif folder == READY and self._stock.sent_at(name.run, name.sequence) == name:
                    ready = self._place.path(READY, name)
                    # The disk forgot that it went; if it still cannot, the next life sends it again.
                    with suppress(OSError):
                        ready.rename(self._place.path(SENT, name))
                        ready.unlink(missing_ok=True)  # a rename between two names of one file does nothing
            elif self._in_memory or folder == READY:
                self._stock.join_backlog(name, size, shelved=self._in_memory)
            else:
                self._stock.keep_sent(name, size)

    def _find_strange(self, folder: str, text: str, size: int) -> None:
        if folder != QUARANTINE:
            with suppress(OSError):  # it is in nobody's way
                self._place.put_aside(self._place.path(folder, text), f"found in {folder}/, but it is not an item")
                if not self._in_memory:
                    self._stock.put_aside(text, size)
        elif not self._in_memory and not text.endswith(".reason.txt"):
            self._stock.put_aside(text, size)


def count_waiting(place: Place, most: int) -> Backlog | None:
    """What lies in ready/ there; None where that is more than so many items, or cannot be told."""
    items: list[ItemName] = []
    size_bytes = 0
    try:
        with os.scandir(place.path(READY, "")) as entries:
            for entry in islice(entries, most + 1):
                with suppress(ValueError, FileNotFoundError):  # a stranger, or it went on while we looked
                    items.append(ItemName.parse(entry.name))
                    size_bytes += entry.stat().st_size
    except OSError:
        return None
    if len(items) > most:
        return None
    return Backlog(len(items), size_bytes, sum(i.duration_ms for i in items if i.kind is ItemKind.SEGMENT))
