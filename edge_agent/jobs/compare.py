"""Compare what was sent with what the centre holds, and send again what it lacks."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.contract import EventData, EventType
from edge_agent.core.backoff import delay_s, is_told
from edge_agent.core.inventory import Search, step_back
from edge_agent.core.status import Proof
from edge_agent.errors import LinkError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_agent.clock import Clock
    from edge_agent.contract import Hello, Inventory, ItemName
    from edge_agent.core.status import SpoolStats

log = logging.getLogger(__name__)

_TURN_S: Final = 10.0
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_FEW_ITEMS: Final = 16
"""What is on its way at any time; more of them are a backlog, which goes first."""
_PAGE: Final = 1000
"""So many names are read in one go, which keeps nobody from the spool for long."""
_PAUSE: Final = 50
_LONGEST_PAUSE_MS: Final = 600_000
"""A link that comes and goes costs no more than a fiftieth of the time in comparisons."""


class _Shelf(Protocol):
    """Where sent items lie until room is needed."""

    @property
    def run(self) -> str: ...
    @property
    def scanned(self) -> bool: ...
    @property
    def last(self) -> tuple[str, int] | None: ...
    def stats(self) -> SpoolStats: ...
    def sent(self, after: tuple[str, int], limit: int) -> list[ItemName]: ...
    def unsend(self, run: str, sequence: int) -> bool: ...
    def learn(self, run: str, sequence: int) -> None: ...


class _Centre(Protocol):
    """Who is asked; LinkError when it does not answer."""

    def hello(self, run: str | None = None) -> Hello: ...
    def differing(self, inventory: Inventory) -> Sequence[int]: ...
    def close(self) -> None: ...


class Compare:
    """One question to the centre per turn, from the start on, when asked to, and once a day.

    A comparison waits for a backlog to drain, but no longer than an hour; one that a break of the link interrupts goes
    on where it was.
    """

    def __init__(
        self, shelf: _Shelf, centre: _Centre, announce: Callable[[EventType, EventData], None], clock: Clock
    ) -> None:
        self._shelf, self._centre, self._announce, self._clock = shelf, centre, announce, clock
        self._due_ms = self._begun_ms = self._rested_ms = clock.monotonic_ms()
        self._begun_at_ms = 0
        self._search: Search | None = None
        self._returned = self._failures = 0
        self.proof = Proof()
        """What came of it."""

    def ask(self) -> None:
        """A comparison is due; from any thread."""
        self._due_ms = min(self._due_ms, self._clock.monotonic_ms())

    def run_once(self) -> float:
        """One answer of the centre was learned from; seconds until the next turn."""
        try:
            if self._search is None and not self._begin():
                return _TURN_S
            self._go_on()
        except (LinkError, SpoolError) as error:
            if isinstance(error, SpoolError):  # what was learned last is lost
                self._search = None
                self.ask()
            self._failures += 1
            if is_told(self._failures):
                log.warning("not compared with the centre: %s (failure %d in a row)", error, self._failures)
            return delay_s(self._failures, random.random(), first_s=5, most_s=300)  # noqa: S311 - spreads load
        self._failures = 0
        return 0

    def _begin(self) -> bool:
        """Whether a comparison has begun, because it was due."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < max(self._due_ms, self._rested_ms) or not self._shelf.scanned:
            return False
        if self._shelf.stats().backlog_items > _FEW_ITEMS and now_ms < self._due_ms + _HOUR_MS:
            return False
        self._look_back(self._centre.hello(self._shelf.run))
        self._begun_ms, self._begun_at_ms = now_ms, self._clock.now_ms()
        self._due_ms = now_ms + round(_DAY_MS * (1 - random.random() / 8))  # noqa: S311 - spreads load
        self._search, self._returned = Search(self._sent()), 0
        return True

    def _sent(self) -> Iterator[ItemName]:
        place = "", -1
        while names := self._shelf.sent(place, _PAGE):
            yield from names
            place = names[-1].run, names[-1].sequence

    def _look_back(self, hello: Hello) -> None:
        """If the centre knows of items that the disk has forgotten, that is said; the next life counts from there."""
        if hello.newest_run is None or hello.newest_sequence is None:
            return
        found = step_back((hello.newest_run, hello.newest_sequence), self._shelf.run, self._shelf.last)
        items, detail = found or (None, "")
        if detail and detail != self.proof.detail:
            log.error("%s", detail)
            data = EventData(run=self._shelf.run, previous_run=hello.newest_run, items=items, detail=detail)
            self._announce(EventType.SPOOL_STEPPED_BACK, data)
        self.proof = Proof(self.proof.compared_ms, detail)
        self._shelf.learn(hello.newest_run, hello.newest_sequence)

    def _go_on(self) -> None:
        search = self._search
        assert search is not None  # noqa: S101 - begun
        inventory = search.ask()
        if inventory is not None:
            for run, sequence in search.learn(self._centre.differing(inventory)):
                self._returned += self._shelf.unsend(run, sequence)
            return
        now_ms = self._clock.monotonic_ms()
        self._search, self._rested_ms = None, now_ms + min(_LONGEST_PAUSE_MS, _PAUSE * (now_ms - self._begun_ms))
        self._centre.close()  # the centre would not keep an idle connection for a day either
        self.proof = Proof(self._begun_at_ms, self.proof.detail)
        if self._returned:
            log.warning("%d of %d items were not at the centre: they are sent again", self._returned, search.compared)
            data = EventData(run=self._shelf.run, items=search.compared, returned=self._returned)
            self._announce(EventType.SPOOL_COMPARED, data)
