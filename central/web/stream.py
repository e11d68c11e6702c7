"""Which sites changed: doors say so, pages that are open learn of it."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock


class Changes:
    """A counter that goes up with every change, and for each site when it last changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._sites: dict[str, int] = {}

    def mark(self, sites: Iterable[str]) -> None:
        """These sites changed just now."""
        with self._lock:
            self._count += 1
            self._sites.update(dict.fromkeys(sites, self._count))

    def since(self, count: int) -> tuple[int, list[str]]:
        """The counter, and the sites that changed after it stood at `count`."""
        with self._lock:
            return self._count, sorted(site for site, changed in self._sites.items() if changed > count)
