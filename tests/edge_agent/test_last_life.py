"""What a life of the spool leaves to the next: when it ended, by which clock, and what waited then."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.contract import ClockQuality, ItemKind, LossCause
from edge_agent.core.status import Backlog, End
from edge_agent.spool import Spool
from tests.fakes import FakeClock
from tests.rig.backlog import SEGMENT_MS, lay_down

SYNCED = ClockQuality.SYNCED
SIZE_BYTES = 100


@contextmanager
def opened(directory: Path, clock: FakeClock) -> Iterator[Spool]:
    spool = Spool(directory, quota_bytes=1 << 30, reserve_bytes=0, clock=clock)
    yield spool
    spool.close()


def rewrite(note: Path, **changes: object) -> None:
    note.write_text(json.dumps(json.loads(note.read_text()) | changes))


def test_the_next_life_knows_when_the_last_one_ended_and_what_waited(tmp_path: Path) -> None:
    clock = FakeClock()
    lay_down(tmp_path / "ready", 3, SIZE_BYTES)
    with opened(tmp_path, clock) as first:
        first.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
        waiting = first.waiting()
        assert waiting is not None
        assert (waiting.items, waiting.ms) == (4, 3 * SEGMENT_MS)
        assert first.newest_sequence == 0, "of its own items"
        first.end(LossCause.POWER)
        ended = End(clock.now_ms(), SYNCED, clock.monotonic_ms(), waiting)
    clock.advance(60)
    with opened(tmp_path, clock) as second:
        assert second.previous is not None
        assert (second.previous.end, second.previous.in_order, second.previous.same_boot) == (ended, True, True)
        assert second.newest_sequence is None
    rewrite(tmp_path / "run.json", boot="another")
    with opened(tmp_path, clock) as third:
        assert third.previous is not None
        assert (third.previous.cause, third.previous.in_order) == (LossCause.POWER, False)
        assert (third.previous.end, third.previous.same_boot) == (None, False), "its end was no ordered one"


@pytest.mark.parametrize("end", ["absent", None, [], {}, {"now_ms": "?"}, {"now_ms": 1, "clock": "exact"}])
def test_a_note_without_an_end_that_can_be_read_still_says_how_it_ended(tmp_path: Path, end: object) -> None:
    """As the version before this one wrote it, or a later one might."""
    with opened(tmp_path, FakeClock()) as first:
        first.end(LossCause.STOPPED)
    note = json.loads((tmp_path / "run.json").read_text())
    del note["end"]
    (tmp_path / "run.json").write_text(json.dumps(note if end == "absent" else note | {"end": end}))
    with opened(tmp_path, FakeClock()) as second:
        assert second.previous is not None
        assert (second.previous.run, second.previous.cause) == (first.run, LossCause.STOPPED)
        assert (second.previous.in_order, second.previous.end) == (True, None)


def test_after_a_cut_the_segment_that_was_left_open_tells_when_it_was(tmp_path: Path) -> None:
    with opened(tmp_path, FakeClock()) as first:
        for camera, written_s in (("north", 5000.0), ("south", 5001.5)):
            first.begin_segment(camera, 1_000, ClockQuality.HOLDOVER)
            (part,) = (tmp_path / "writing").glob(f"*_{camera}_*.part")
            os.utime(part, (written_s, written_s))
    rewrite(tmp_path / "run.json", boot="another")
    with opened(tmp_path, FakeClock()) as second:
        assert second.previous is not None
        assert second.previous.cause is LossCause.POWER
        assert second.previous.end == End(5_001_500, ClockQuality.HOLDOVER)


def test_before_all_is_looked_through_few_are_counted_and_many_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.spool._FEW", 5)
    names = lay_down(tmp_path / "ready", 4, SIZE_BYTES)
    lay_down(tmp_path / "sent", 9, SIZE_BYTES, "south")
    size_bytes = sum((tmp_path / "ready" / str(name)).stat().st_size for name in names)
    with opened(tmp_path, FakeClock()) as spool:
        assert not spool.scanned
        assert spool.waiting() == Backlog(4, size_bytes, 4 * SEGMENT_MS)
        for _ in range(2):
            spool.add(ItemKind.EVENT, None, 1, 0, SYNCED, b"{}")
        assert spool.waiting() is None
        spool.end(LossCause.STOPPED)
        spool.tend()
        assert spool.waiting() == Backlog(6, size_bytes + 4, 4 * SEGMENT_MS)
