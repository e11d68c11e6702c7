"""Rows that were labelled by a wrong clock get their true time, in whatever order they and the proof arrive."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from central.core.dating import HOLDOVER_ERROR_MS, Dating, proven_offset
from central.store import EventRow, ItemRow, Store, _engine
from edge_agent.contract import ClockQuality, Event, EventData, EventType, LossCause, instant
from tests.central.test_store import item_row

SITE = "aloha"
OFFSET_MS = 1_795_000_000_000
"""The true time of day minus the monotonic clock of the boot."""
WRONG_MS = OFFSET_MS - 200 * 86_400_000
RUNS = [f"{number:06d}aaaa" for number in range(5)]
BOOT, OTHER_BOOT = "0123abcd", "4567abcd"
SYNCED, HOLDOVER, UNSYNCED = ClockQuality.SYNCED, ClockQuality.HOLDOVER, ClockQuality.UNSYNCED


def segment(run: int, at_s: int, clock: ClockQuality, offset_ms: int, **more: Any) -> ItemRow:
    """A segment of that run, `at_s` seconds after the boot."""
    return item_row(
        at_s,
        run=RUNS[run],
        start_ms=at_s * 1000 + offset_ms,
        monotonic_ms=at_s * 1000,
        clock=clock,
        **{"stored_ms": OFFSET_MS + 10**6} | more,
    )


def event(
    run: int,
    at_s: int,
    clock: ClockQuality,
    offset_ms: int,
    kind: EventType = EventType.AGENT_STARTED,
    boot: str | None = BOOT,
    **data: Any,
) -> EventRow:
    now_ms = at_s * 1000 + offset_ms
    told = EventData(run=RUNS[run], boot=boot, clock=clock, wall_minus_monotonic_ms=offset_ms, **data)
    body = Event(id=f"{RUNS[run]}-{at_s}", source=SITE, type=kind, time=instant(now_ms), data=told)
    return EventRow.of(SITE, body, OFFSET_MS + 10**6)


def shown(store: Store) -> dict[int, Dating]:
    """Seconds after the boot by the true clock, and how that is known."""
    found = store.footage(SITE, "north", WRONG_MS - 10**9, OFFSET_MS + 10**9)
    return {(footage.start_ms - OFFSET_MS) // 1000: footage.dating for footage in found}


def starts(store: Store) -> list[int]:
    found = store.timeline_events(SITE, WRONG_MS - 10**9, OFFSET_MS + 10**9, [])
    return sorted((row.time_ms - OFFSET_MS) // 1000 for row in found)


def test_a_run_is_dated_by_the_synced_run_of_its_boot_whatever_arrives_first(made_tables: Path, tmp_path: Path) -> None:
    """Run 0 ended before the clock was right, run 1 was synced in its course: by each lane, in each order."""
    steps: list[Callable[[Store], object]] = [
        lambda store: store.add_items([segment(0, 10, UNSYNCED, WRONG_MS)], [event(0, 5, UNSYNCED, WRONG_MS)]),
        lambda store: store.add_events([event(1, 20, UNSYNCED, WRONG_MS)]),
        lambda store: store.add_items([segment(0, 14, UNSYNCED, WRONG_MS), segment(1, 24, UNSYNCED, WRONG_MS)], []),
        lambda store: store.add_items([segment(1, 28, SYNCED, OFFSET_MS)], []),
    ]
    for number, order in enumerate(permutations(steps)):
        copy = shutil.copy(made_tables, tmp_path / f"{number}.sqlite")
        store = Store(_engine(sa.make_url(f"sqlite:///{copy}")))
        for step in order:
            step(store)
        afterwards = dict.fromkeys((10, 14, 24), Dating.AFTERWARDS)
        assert shown(store) == afterwards | {28: Dating.CLOCK}
        assert starts(store) == [5, 20]
        store.close()


def test_footage_comes_with_a_neighbour_whose_time_is_sure(store: Store) -> None:
    island = [segment(1, second, UNSYNCED, OFFSET_MS) for second in (50_000, 50_004, 90_000, 90_004)]
    store.add_items([segment(0, 0, SYNCED, OFFSET_MS), *island, segment(2, 150_000, SYNCED, OFFSET_MS)], [])
    found = store.footage(SITE, "north", OFFSET_MS + 70_000_000, OFFSET_MS + 80_000_000)
    assert [footage.sequence for footage in found] == [50_004, 0, 90_000, 150_000]
    found = store.footage(SITE, "north", OFFSET_MS + 110_000_000, OFFSET_MS + 120_000_000)
    assert [footage.sequence for footage in found] == [90_004, 0, 150_000]


def test_an_event_alone_proves_the_clock(store: Store) -> None:
    store.add_items([segment(0, 10, UNSYNCED, WRONG_MS)], [event(0, 5, UNSYNCED, WRONG_MS)])
    assert shown(store) == {10 - 200 * 86_400: Dating.UNSYNCED}
    store.add_events([event(0, 30, SYNCED, OFFSET_MS, EventType.CLOCK_CHANGED)])
    assert shown(store) == {10: Dating.AFTERWARDS}
    assert starts(store) == [5]
    row = store.item(SITE, RUNS[0], 10)
    assert row is not None
    assert row.label_ms == 10_000 + WRONG_MS, "what the name says is kept"


def test_another_boot_proves_nothing(store: Store) -> None:
    store.add_items([segment(0, 10, UNSYNCED, WRONG_MS)], [event(0, 5, UNSYNCED, WRONG_MS)])
    store.add_items([segment(1, 10, SYNCED, OFFSET_MS)], [event(1, 5, SYNCED, OFFSET_MS, boot=OTHER_BOOT)])
    store.add_items([segment(2, 10, SYNCED, OFFSET_MS + 90_000)], [event(2, 5, SYNCED, OFFSET_MS, boot=None)])
    assert shown(store)[10 - 200 * 86_400] is Dating.UNSYNCED


def test_a_clock_that_was_set_back_while_it_held_over_is_mended_and_drift_is_left_alone(store: Store) -> None:
    back_ms = OFFSET_MS - 5_400_000
    store.add_items(
        [
            segment(0, 10, SYNCED, OFFSET_MS),
            segment(0, 14, HOLDOVER, back_ms),
            segment(0, 18, HOLDOVER, OFFSET_MS + 3000),
        ],
        [],
    )
    assert shown(store) == {10: Dating.CLOCK, 14: Dating.AFTERWARDS, 21: Dating.CLOCK}


def test_a_clock_that_is_ahead_of_ours_proves_nothing(store: Store) -> None:
    ahead_ms = OFFSET_MS + 10 * 365 * 86_400_000
    store.add_items([segment(0, 10, UNSYNCED, WRONG_MS), segment(0, 14, SYNCED, ahead_ms)], [])
    store.add_events([event(0, 30, SYNCED, ahead_ms, EventType.CLOCK_CHANGED)])
    assert shown(store)[10 - 200 * 86_400] is Dating.UNSYNCED


def test_what_was_evicted_of_an_unsynced_run_is_missing_where_it_was(store: Store) -> None:
    store.add_events(
        [
            event(0, 5, UNSYNCED, WRONG_MS),
            event(
                1,
                100,
                SYNCED,
                OFFSET_MS,
                EventType.SPOOL_EVICTED,
                camera="north",
                cause=LossCause.EVICTED,
                from_at=instant(WRONG_MS + 10_000),
                to_at=instant(WRONG_MS + 14_000),
                items_run=RUNS[0],
                items_clock=UNSYNCED,
            ),
        ]
    )
    (evicted,) = (e for e in store.timeline_events(SITE, 0, 10**15, []) if e.type is EventType.SPOOL_EVICTED)
    assert (evicted.time_ms, evicted.from_ms, evicted.to_ms) == tuple(
        OFFSET_MS + second * 1000 for second in (100, 10, 14)
    )


def test_an_outage_moves_with_the_event_that_tells_of_it(store: Store) -> None:
    lost = event(0, 30, UNSYNCED, WRONG_MS, EventType.CAMERA_LOST, camera="north", from_at=instant(WRONG_MS + 28_000))
    store.add_events([lost, event(0, 40, SYNCED, OFFSET_MS)])
    (found,) = (e for e in store.timeline_events(SITE, 0, 10**15, []) if e.type is EventType.CAMERA_LOST)
    assert (found.time_ms - OFFSET_MS, (found.from_ms or 0) - OFFSET_MS) == (30_000, 28_000)


def test_a_run_takes_its_own_proof_then_the_next_then_the_last() -> None:
    assert proven_offset("2", {"1": 10, "2": 20, "3": 30}) == 20
    assert proven_offset("2", {"1": 10, "3": 30, "4": 40}) == 30
    assert proven_offset("2", {"0": 5, "1": 10}) == 10
    assert proven_offset("2", {}) is None
    assert HOLDOVER_ERROR_MS > 20e-6 * 30 * 86_400_000, "20 ppm for a month"
