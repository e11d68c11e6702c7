"""Take the next item to the centre, and let go of it on a receipt only."""

from __future__ import annotations

import hashlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from edge_agent.contract import EventData, EventType, ItemKind, LossCause, instant
from edge_agent.core.backoff import delay_s, is_told
from edge_agent.errors import Busy, LinkError, Refused, Rejected, SpoolError, Superseded

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from edge_agent.clock import Clock
    from edge_agent.contract import ItemName, Receipt

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 5.0
_MOST_WAIT_S = 8.0
"""A door that opens is noticed at once; one that stood open while nothing came of it is tried again so soon."""
_CHUNK_BYTES = 256 * 1024


class Queue(Protocol):
    """Where the items wait."""

    def open(self, name: ItemName) -> BinaryIO:
        """Its bytes; SpoolError when they cannot be read."""
        ...

    def mark_sent(self, name: ItemName) -> None:
        """The centre has it."""
        ...

    def quarantine(self, name: ItemName, reason: str) -> None:
        """It is put aside."""
        ...

    def put_off(self, name: ItemName) -> bool:
        """What cannot be read has its turn later; false when there is no point in it any more."""
        ...

    def waits(self, name: ItemName) -> bool:
        """Whether it is still there, without a receipt."""
        ...

    def release(self, name: ItemName) -> None:
        """It can be taken again."""
        ...


class Gate(Protocol):
    """What the items pass on their way."""

    def opens_in_s(self) -> float:
        """Seconds until it is worth asking again; 0 when an item may begin."""
        ...

    def passage(self, name: ItemName, progress: Callable[[], None], /) -> AbstractContextManager[Callable[[int], int]]:
        """An item goes through. Asked for so many bytes, it says in its own time how many of them may go at once."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """Which items go, and through which gate."""

    take: Callable[[], ItemName | None]
    """The next one, for us alone."""
    come: threading.Event
    """Set when there may be one."""
    idle_s: float
    gate: Gate


class Centre(Protocol):
    """Where the items go."""

    def deliver(self, name: ItemName, file: BinaryIO, admit: Callable[[int], int]) -> Receipt:
        """The receipt; LinkError when there is none."""
        ...


class Ship:
    """One item of its lane per turn. `progress` is called while bytes flow: on a poor link that takes minutes."""

    def __init__(
        self,
        lane: Lane,
        queue: Queue,
        centre: Centre,
        announce: Callable[[EventType, EventData], None],
        progress: Callable[[], None],
        run: str,
        clock: Clock,
    ) -> None:
        self._lane, self._queue, self._centre = lane, queue, centre
        self._announce, self._progress, self._run, self._clock = announce, progress, run, clock
        self._failures = 0
        self._doubted: ItemName | None = None
        self.flows = False
        """Whether the last item reached the centre."""

    def run_once(self) -> float:
        """One item is at the centre, or put aside, or a reason to wait is known; seconds until the next turn."""
        self._lane.come.clear()
        name = self._lane.take()
        if name is None:
            self._clock.wait(self._lane.come, self._lane.idle_s)
            return 0
        try:
            wait_s = self._lane.gate.opens_in_s()
            return min(wait_s, _LOOK_AGAIN_S) if wait_s else self._send(name)
        finally:
            self._queue.release(name)

    def _send(self, name: ItemName) -> float:
        try:
            with self._queue.open(name) as file, self._lane.gate.passage(name, self._progress) as admit:
                self._centre.deliver(name, file, admit)
        except Superseded as error:
            # A disk that failed may give back, in a later life, what had gone another way from memory.
            return self._put_aside(name, str(error), is_lost=False)
        except Rejected as error:
            return self._look_again(name, error)
        except LinkError as error:
            return self._wait(error)
        except (SpoolError, OSError) as error:
            return self._unreadable(name, error)
        self.flows = True
        if self._failures:
            log.info("items reach the centre again, after %d failures", self._failures)
            self._failures = 0
        return self._settle(self._queue.mark_sent, name)

    def _wait(self, error: LinkError) -> float:
        self._failures += 1
        self.flows = False
        if is_told(self._failures):
            log.warning("%s (failure %d in a row)", error, self._failures)
        if isinstance(error, Busy):
            return error.retry_after_s * (1 + random.random() / 4)  # noqa: S311 - spreads load, guards nothing
        first_s, most_s = (30, 300) if isinstance(error, Refused) else (1, _MOST_WAIT_S)
        return delay_s(self._failures, random.random(), first_s=first_s, most_s=most_s)  # noqa: S311

    def _look_again(self, name: ItemName, error: Rejected) -> float:
        """What the centre rejects is tried once more if the file is whole: it may have been damaged on the way."""
        try:
            with self._queue.open(name) as file:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except (SpoolError, OSError) as trouble:
            return self._unreadable(name, trouble)
        whole = digest.hexdigest() == name.sha256
        if whole and self._doubted != name:
            self._doubted = name
            return 1
        return self._put_aside(name, str(error) if whole else "its bytes changed on the disk of the site")

    def _unreadable(self, name: ItemName, error: Exception) -> float:
        if not self._queue.waits(name):
            return 0  # evicted while it was being sent
        if self._queue.put_off(name):
            self._failures += 1
            if is_told(self._failures):
                log.warning("%s: tried again later: %s (failure %d in a row)", name, error, self._failures)
            return delay_s(self._failures, random.random(), most_s=_MOST_WAIT_S)  # noqa: S311
        return self._put_aside(name, f"cannot be read back: {error}")

    def _put_aside(self, name: ItemName, reason: str, *, is_lost: bool = True) -> float:
        log.error("%s: put aside: %s", name, reason)
        wait_s = self._settle(lambda item: self._queue.quarantine(item, reason), name)
        # Only footage leaves a hole. An event about an event might be rejected like it, and so on.
        if is_lost and not wait_s and name.kind is ItemKind.SEGMENT:
            self._announce(
                EventType.SPOOL_QUARANTINED,
                EventData(
                    run=self._run,
                    camera=name.camera,
                    cause=LossCause.DAMAGED,
                    detail=reason,
                    from_at=instant(name.start_ms),
                    to_at=instant(name.end_ms),
                    items=1,
                    items_run=name.run,
                    items_clock=name.clock,
                ),
            )
        return wait_s

    def _settle(self, deed: Callable[[ItemName], None], name: ItemName) -> float:
        """The item leaves the line; if the disk does not let it, patience."""
        try:
            deed(name)
        except SpoolError as error:
            self._failures += 1
            if is_told(self._failures):
                log.error("%s", error)
            return delay_s(self._failures, random.random())  # noqa: S311
        return 0
