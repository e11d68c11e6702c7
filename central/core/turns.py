"""Whether one box speaks for a site, or two do in turns."""

from __future__ import annotations


class Turns:
    """The last two runs of each site that said they are there."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def take(self, site: str, run: str) -> str | None:
        """The other run, when this one is back after it. The lives of one box follow on each other; none returns."""
        now = self._now.get(site)
        if now is None or now == run:
            self._now[site] = run
            return None
        before = self._before.get(site)
        self._before[site], self._now[site] = now, run
        return now if run == before else None
