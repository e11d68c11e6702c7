"""Rows that were labelled by a wrong clock get their true time, in whatever order they and the proof arrive."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from pathlib import Path
from threading import Event as Signal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central.core.dating import DRIFT, HOLDOVER_ERROR_MS, STEP_MS, Adrift, Dating, bounds, proven_offset
from central.engine import open_engine
from central.schema import adrift, items, runs
from central.store import EventRow, ItemRow, Store
from edge_agent.contract import ClockQuality, Event, EventData, EventType, LossCause, instant
from tests.central.test_store import item_row
from tests.rig.processes import until

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
        store = Store(open_engine(sa.make_url(f"sqlite:///{copy}")))
        for step in order:
            step(store)
        afterwards = dict.fromkeys((10, 14, 24), Dating.AFTERWARDS)
        assert shown(store) == afterwards | {28: Dating.CLOCK}
        assert starts(store) == [5, 20]
        store.close()


def test_footage_comes_with_a_neighbour_whose_time_is_sure(store: Store) -> None:
    late = {"stored_ms": OFFSET_MS + 200_000_000}
    island = [segment(1, second, UNSYNCED, OFFSET_MS, **late) for second in (50_000, 50_004, 90_000, 90_004)]
    store.add_items([segment(0, 0, SYNCED, OFFSET_MS), *island, segment(2, 150_000, SYNCED, OFFSET_MS, **late)], [])
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


# --- a boot in which the clock never was right ---

HOUR_S = 3600
BOOTS = {run: f"{run:08x}" for run in range(5)}


def told(store: Store) -> list[tuple[str, float, Dating, float | None]]:
    """Run, seconds after OFFSET_MS, and how that is known and how well, in the order of the timeline."""
    found = store.footage(SITE, "north", WRONG_MS - 10**9, OFFSET_MS + 10**9)
    return [
        (f.run[5], (f.start_ms - OFFSET_MS) / 1000, f.dating, None if f.error_ms is None else round(f.error_ms / 1000))
        for f in sorted(found, key=lambda f: (f.start_ms, f.run))
    ]


def life(run: int, began_s: int, clock: ClockQuality, wrong_s: int = 0, ships_s: int | None = None) -> list[ItemRow]:
    """Two segments of a boot that began then, labelled by a clock that was so much behind, and shipped that late."""
    offset_ms = OFFSET_MS + (began_s - wrong_s) * 1000
    return [
        segment(
            run, at_s, clock, offset_ms, stored_ms=OFFSET_MS + 1000 * (100 * HOUR_S if ships_s is None else ships_s)
        )
        for at_s in (20, 24)
    ]


def starts_of(run: int, clock: ClockQuality, offset_ms: int) -> EventRow:
    return replace(event(run, 5, clock, offset_ms, boot=BOOTS[run]), received_ms=OFFSET_MS + 100 * HOUR_S * 1000)


def test_a_boot_that_was_never_synced_lies_between_its_neighbours_whatever_arrives_first(
    made_tables: Path, tmp_path: Path
) -> None:
    """As late as possible where its label cannot be; the bounds become tight when the neighbours are there."""
    steps: list[Callable[[Store], object]] = [
        lambda store: store.add_items(life(1, 0, SYNCED), []),
        lambda store: store.add_items(life(2, HOUR_S, UNSYNCED, wrong_s=10**7), []),
        lambda store: store.add_events([starts_of(2, UNSYNCED, WRONG_MS)]),
        lambda store: store.add_items(life(3, 2 * HOUR_S, SYNCED)[1:], []),
        lambda store: store.add_items(life(3, 2 * HOUR_S, SYNCED)[:1], []),
    ]
    for number, order in enumerate(permutations(steps)):
        copy = shutil.copy(made_tables, tmp_path / f"{number}.sqlite")
        store = Store(open_engine(sa.make_url(f"sqlite:///{copy}")))
        for step in order:
            step(store)
        # Between 28 s and 2 h 20 s there is room for 23 s, from its start to its last picture.
        error_s = 2 * HOUR_S + 20 - 28 - 23
        assert told(store) == [
            ("1", 20, Dating.CLOCK, None),
            ("1", 24, Dating.CLOCK, None),
            ("2", 2 * HOUR_S + 20 - 8, Dating.BOUNDED, error_s),
            ("2", 2 * HOUR_S + 20 - 4, Dating.BOUNDED, error_s),
            ("3", 2 * HOUR_S + 20, Dating.CLOCK, None),
            ("3", 2 * HOUR_S + 24, Dating.CLOCK, None),
        ]
        row = store.item(SITE, RUNS[2], 20)
        assert row is not None
        assert row.label_ms == OFFSET_MS + (HOUR_S - 10**7 + 20) * 1000, "what the name says is kept"
        store.close()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_filed_at_the_same_time_is_placed_as_if_one_came_after_the_other(database_url: str, first: int) -> None:
    """One has not committed yet while the other looks: footage of a run, and a neighbour that leaves it less room."""
    stores = [Store.open(database_url) for _ in range(2)]
    stores[0].add_items([*life(1, 0, SYNCED), *life(3, 2 * HOUR_S, SYNCED)[1:]], [])
    late, tight = life(2, HOUR_S, UNSYNCED, wrong_s=10**7), life(3, 2 * HOUR_S, SYNCED)[:1]
    may_commit, is_done = Signal(), Signal()

    def hold(_connection: sa.Connection) -> None:
        is_done.set()
        may_commit.wait(30)

    sa.event.listen(stores[0]._engine, "commit", hold)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(stores[0].add_items, (late, tight)[first], [])
        assert is_done.wait(30)
        quick = pool.submit(stores[1].add_items, (tight, late)[first], [])
        until(lambda: quick.done() or _waits_for_its_turn(stores[1]), 30, "the second has done what it can")
        may_commit.set()
        slow.result()
        quick.result()
    found = stores[0].footage(SITE, "north", OFFSET_MS - 10**11, OFFSET_MS + 10**11)
    for store in stores:
        store.close()
    assert [footage.run for footage in found] == [RUNS[1], RUNS[1], RUNS[2], RUNS[2], RUNS[3], RUNS[3]]
    for earlier, later in pairwise(found):
        assert earlier.end_ms <= later.start_ms, "nothing lies on top of another"


def _waits_for_its_turn(store: Store) -> bool:
    with store._engine.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_a_label_that_may_be_true_stands(store: Store) -> None:
    store.add_items(life(1, 0, SYNCED) + life(3, 2 * HOUR_S, SYNCED), [])
    store.add_items(life(2, HOUR_S, UNSYNCED, wrong_s=60), [])
    assert [row for row in told(store) if row[0] == "2"] == [
        ("2", HOUR_S - 40, Dating.BOUNDED, HOUR_S + 60 - 8),
        ("2", HOUR_S - 36, Dating.BOUNDED, HOUR_S + 60 - 8),
    ]


def test_what_a_boot_without_a_time_server_ships_was_just_now(store: Store) -> None:
    """There is nothing after it yet; each item came two seconds after its last picture."""
    store.add_items(life(1, 0, SYNCED), [])
    for row in life(2, 5 * HOUR_S, UNSYNCED, wrong_s=10**7):
        assert row.monotonic_ms is not None
        arrived_ms = OFFSET_MS + 5 * HOUR_S * 1000 + row.monotonic_ms + row.duration_ms + 2000
        store.add_items([replace(row, stored_ms=arrived_ms)], [])
    assert [row[:3] for row in told(store) if row[0] == "2"] == [
        ("2", 5 * HOUR_S + 22, Dating.BOUNDED),
        ("2", 5 * HOUR_S + 26, Dating.BOUNDED),
    ]


def test_a_clock_that_is_years_ahead_hides_nothing(store: Store) -> None:
    """Nothing is known before it, so nobody can tell how far it may be off."""
    store.add_items(life(2, HOUR_S, UNSYNCED, wrong_s=-(10**8), ships_s=HOUR_S + 30), [])
    assert told(store) == [("2", HOUR_S + 22, Dating.BOUNDED, None), ("2", HOUR_S + 26, Dating.BOUNDED, None)]


def test_who_sets_the_clock_by_hand_is_heeded_for_the_whole_run(store: Store) -> None:
    store.add_items(life(1, 0, SYNCED) + life(3, 2 * HOUR_S, SYNCED), [])
    first, second = life(2, HOUR_S, UNSYNCED)
    store.add_items([replace(first, start_ms=first.start_ms - 10**10)], [])
    store.add_items([second], [])
    assert [row[:3] for row in told(store) if row[0] == "2"] == [
        ("2", HOUR_S + 20, Dating.BOUNDED),
        ("2", HOUR_S + 24, Dating.BOUNDED),
    ]


def test_a_proof_of_its_own_ends_the_guess(store: Store) -> None:
    starts = [starts_of(2, UNSYNCED, WRONG_MS)]
    store.add_items(life(1, 0, SYNCED) + life(2, HOUR_S, UNSYNCED, wrong_s=10**7) + life(4, 9 * HOUR_S, SYNCED), starts)
    assert {row[2] for row in told(store) if row[0] == "2"} == {Dating.BOUNDED}
    proof = event(3, 90, SYNCED, OFFSET_MS + HOUR_S * 1000, EventType.CLOCK_CHANGED, boot=BOOTS[2])
    store.add_events([replace(proof, received_ms=OFFSET_MS + 10**9)])
    assert [row for row in told(store) if row[0] == "2"] == [
        ("2", HOUR_S + 20, Dating.AFTERWARDS, None),
        ("2", HOUR_S + 24, Dating.AFTERWARDS, None),
    ]


def test_two_such_boots_follow_on_each_other_and_their_events_come_along(store: Store) -> None:
    first, second = (life(run, run * HOUR_S, UNSYNCED, wrong_s=10**7) for run in (2, 3))
    started = [starts_of(run, UNSYNCED, WRONG_MS) for run in (2, 3)]
    store.add_items(life(1, 0, SYNCED) + second + first + life(4, 9 * HOUR_S, SYNCED), started)
    at_s = [row[1] for row in told(store)]
    end_s = 9 * HOUR_S + 20
    assert at_s == [20, 24, end_s - 31, end_s - 27, end_s - 8, end_s - 4, end_s, end_s + 4]
    assert starts(store) == [end_s - 46, end_s - 23]


def test_neighbours_that_contradict_each_other_leave_a_run_where_its_labels_are(store: Store) -> None:
    """And what was bounded goes back there, when late footage of a neighbour shows that it cannot be so."""
    store.add_items(life(1, 0, SYNCED) + life(2, HOUR_S, UNSYNCED, wrong_s=10**7) + life(3, 2 * HOUR_S, SYNCED), [])
    assert {row[2] for row in told(store) if row[0] == "2"} == {Dating.BOUNDED}
    store.add_items([segment(1, 3 * HOUR_S, SYNCED, OFFSET_MS, stored_ms=OFFSET_MS + 10**9)], [])
    assert [row for row in told(store) if row[0] == "2"] == [
        ("2", HOUR_S + 20 - 10**7, Dating.UNSYNCED, None),
        ("2", HOUR_S + 24 - 10**7, Dating.UNSYNCED, None),
    ]


def test_lives_whose_place_in_the_order_is_not_known_are_left_alone(store: Store) -> None:
    """One that began without a disk, and those that count anew on another disk."""
    twin = RUNS[2][:6] + "bbbb"
    nobody = life(0, HOUR_S, UNSYNCED, wrong_s=10**7)
    again = [replace(row, run=twin) for row in life(2, HOUR_S, UNSYNCED, wrong_s=10**7)]
    store.add_items(life(1, 0, SYNCED) + life(2, 2 * HOUR_S, SYNCED) + life(3, 9 * HOUR_S, SYNCED), [])
    store.add_items(nobody + again, [])
    unsynced = [row for row in told(store) if row[2] is not Dating.CLOCK]
    assert [(run, dating) for run, _, dating, _ in unsynced] == [("0", Dating.UNSYNCED), ("2", Dating.UNSYNCED)] * 2


@given(
    lengths=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=5),
    pauses=st.lists(st.integers(0, 10**6), min_size=6, max_size=6),
    wrong=st.lists(st.integers(-(10**7), 10**7), min_size=5, max_size=5),
    delays=st.lists(st.integers(0, 10**7), min_size=5, max_size=5),
    known=st.tuples(st.booleans(), st.booleans()),
)
def test_the_truth_is_never_out_of_bounds(
    lengths: list[tuple[int, int]], pauses: list[int], wrong: list[int], delays: list[int], known: tuple[bool, bool]
) -> None:
    now_ms, boots, truth = OFFSET_MS, [], []
    for (first_ms, length_ms), pause_ms, wrong_ms, delay_ms in zip(lengths, pauses, wrong, delays, strict=False):
        offset_ms = now_ms + pause_ms - first_ms
        now_ms += pause_ms + length_ms
        truth.append(offset_ms)
        boots.append(Adrift(first_ms, first_ms + length_ms, offset_ms + wrong_ms, offset_ms + delay_ms))
    after_ms, before_ms = OFFSET_MS if known[0] else None, now_ms + pauses[-1] if known[1] else None
    found = bounds(after_ms, boots, before_ms)
    assert len(found) == len(boots)
    end_ms = after_ms
    for boot, offset_ms, where in zip(boots, truth, found, strict=True):
        assert where.earliest_ms is None or where.earliest_ms <= offset_ms
        assert where.latest_ms >= offset_ms
        assert where.error_ms is None or abs(where.placed_ms - offset_ms) <= where.error_ms
        assert where.placed_ms <= boot.arrived_ms + STEP_MS + (boot.last_ms - boot.first_ms) // DRIFT
        assert end_ms is None or where.placed_ms + boot.first_ms >= end_ms, "nothing lies on top of another"
        end_ms = where.placed_ms + boot.last_ms
    assert before_ms is None or end_ms is None or end_ms <= before_ms
    placed = [replace(boot, placed_ms=where.placed_ms) for boot, where in zip(boots, found, strict=True)]
    assert bounds(after_ms, placed, before_ms) == found, "what is placed stays"


@dataclass(frozen=True)
class Lived:
    """A boot as it was: how long after the one before it, how many segments, and from which on it was synced."""

    pause_s: int
    segments: int
    synced_from: int
    wrong_s: int


LIVES = st.builds(
    Lived,
    st.integers(5, 500),
    st.integers(1, 3),
    st.sampled_from((0, 9, 0, 1)),
    st.sampled_from((10**6, 300, -300, -(10**6))),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(LIVES, min_size=2, max_size=4), draw=st.data())
def test_whatever_arrives_when_nothing_overlaps_and_no_error_is_understated(
    sqlite_store: Store, lives: list[Lived], draw: st.DataObject
) -> None:
    with sqlite_store._write() as connection:
        for table in (items, runs, adrift):
            connection.execute(sa.delete(table))
    sqlite_store._old_news.clear()
    now_s, rows, truth = 0, [], {}
    for run, lived in enumerate(lives, 1):
        boot_s = now_s + lived.pause_s
        for number in range(lived.segments):
            clock = SYNCED if number >= lived.synced_from else UNSYNCED
            at_s = 20 + 4 * number
            wrong_s = lived.wrong_s if clock is UNSYNCED else 0
            arrived_ms = OFFSET_MS + 1000 * (boot_s + at_s + 4 + draw.draw(st.sampled_from((0, 10**6))))
            rows.append(segment(run, at_s, clock, OFFSET_MS + 1000 * (boot_s - wrong_s), stored_ms=arrived_ms))
            truth[RUNS[run], at_s] = OFFSET_MS + 1000 * (boot_s + at_s)
        now_s = boot_s + 20 + 4 * lived.segments
    for row in draw.draw(st.permutations(rows)):
        sqlite_store.add_items([row], [])
        found = sqlite_store.footage(SITE, "north", OFFSET_MS - 10**11, OFFSET_MS + 10**11)
        for earlier, later in pairwise(sorted(found, key=lambda footage: (footage.run, footage.sequence))):
            assert earlier.end_ms <= later.start_ms, "in order, and nothing on top of another"
        for footage in found:
            off_ms = abs(footage.start_ms - truth[footage.run, footage.sequence])
            match footage.dating:
                case Dating.CLOCK | Dating.AFTERWARDS:
                    assert off_ms == 0
                case Dating.BOUNDED:
                    assert footage.error_ms is None or off_ms <= footage.error_ms


def test_a_boot_for_which_there_is_no_room_has_no_place() -> None:
    assert bounds(1000, [Adrift(0, 500, 0, 10**6)], 1400) == []
    assert bounds(1000, [Adrift(0, 500, 0, 900)], None) == [], "it arrived before it can have been"


def test_a_monotonic_clock_that_nothing_keeps_right_moves_nothing_in_a_hundred_days() -> None:
    """It is 50 ppm too fast: what arrives at once seems to arrive ever earlier, at last before the boot began."""
    boot = Adrift(0, 0, said_ms=0, arrived_ms=OFFSET_MS)
    for day in range(1, 101):
        length_ms = day * 86_400_000
        boot = replace(boot, last_ms=length_ms, arrived_ms=OFFSET_MS - length_ms // 20_000)
        (where,) = bounds(OFFSET_MS - 10_000, [boot], None)
        assert boot.placed_ms in (None, where.placed_ms)
        assert where.error_ms is not None
        assert where.error_ms >= length_ms // 20_000
        boot = replace(boot, placed_ms=where.placed_ms)
