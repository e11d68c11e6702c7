"""What goes first: to the centre, and when room is short."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import ClockQuality, ItemKind, ItemName
from edge_agent.core.eviction import Dropped, WhenFull, dropped, full_in_s, plan
from edge_agent.core.shipping import FRESH_MS, Line


def item(sequence: int, kind: ItemKind = ItemKind.SEGMENT, camera: str = "north") -> ItemName:
    start_ms = sequence * 4000
    return ItemName("000001test", sequence, kind, camera, start_ms, 4000, ClockQuality.SYNCED, "0" * 64)


def test_what_is_fresh_goes_before_the_backlog_each_oldest_first() -> None:
    line = Line()
    line.join_backlog(item(1), 10)
    line.join_backlog(item(2), 10)
    line.join(item(3), 10, 1000)
    line.join(item(4), 10, 2000)
    sent = []
    while name := line.next(3000):
        sent.append(name.sequence)
        line.leave(name)
    assert sent == [3, 4, 1, 2]


def test_what_missed_its_moment_joins_the_backlog_at_its_end() -> None:
    line = Line()
    line.join_backlog(item(1), 10)
    line.join(item(2), 10, 0)
    assert line.next(FRESH_MS - 1) == item(2)
    assert line.next(FRESH_MS) == item(1)
    assert [name.sequence for name, _ in line.items()] == [1, 2]


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "next"]), st.integers(0, 20_000)), max_size=60))
def test_the_line_counts_right_whatever_happens(deeds: list[tuple[str, int]]) -> None:
    line, now_ms, waiting = Line(), 0, {}
    for number, (deed, value) in enumerate(deeds):
        now_ms += value
        if deed == "join":
            line.join(item(number), value, now_ms)
            waiting[item(number)] = value
        elif (name := line.next(now_ms)) and deed == "leave":
            assert line.leave(name) == waiting.pop(name)
            assert line.leave(name) is None
    assert dict(line.items()) == waiting
    assert (len(line), line.bytes, line.duration_ms) == (len(waiting), sum(waiting.values()), 4000 * len(waiting))
    assert line.oldest_start_ms() == min((name.start_ms for name in waiting), default=None)
    assert (line.next(now_ms) is None) == (not waiting)


sizes = st.lists(st.integers(1, 100), max_size=12)


@given(st.integers(-50, 2000), sizes, sizes, sizes, st.sampled_from(WhenFull))
def test_eviction_takes_the_least_that_is_enough_and_the_centres_first(
    excess: int, sent: list[int], refused: list[int], unsent: list[int], when_full: WhenFull
) -> None:
    shelves = [[(item(n), size) for n, size in enumerate(shelf)] for shelf in (sent, unsent)]
    quarantined = [(f"file{n}", size) for n, size in enumerate(refused)]
    doomed = plan(excess, sent=shelves[0], quarantined=quarantined, unsent=shelves[1], when_full=when_full)
    freed = [*sent[: len(doomed.sent)], *refused[: len(doomed.quarantined)], *unsent[: len(doomed.unsent)]]
    assert doomed.sent == [name for name, _ in shelves[0]][: len(doomed.sent)], "not the oldest"
    assert doomed.unsent == [name for name, _ in shelves[1]][: len(doomed.unsent)], "not the oldest"
    assert not doomed.quarantined or len(doomed.sent) == len(sent)
    assert not doomed.unsent or len(doomed.quarantined) == len(refused)
    assert not freed or sum(freed[:-1]) < excess, "more than needed"
    enough = [*sent, *refused, *(unsent if when_full is WhenFull.DROP_OLDEST else [])]
    assert sum(freed) >= min(excess, sum(enough))


def test_events_stay_and_nothing_unsent_goes_if_the_operator_says_so() -> None:
    unsent = [(item(1, ItemKind.EVENT), 10), (item(2), 10)]
    doomed = plan(15, sent=[], quarantined=[], unsent=unsent, when_full=WhenFull.DROP_OLDEST)
    assert doomed.unsent == [item(2)]
    doomed = plan(15, sent=[], quarantined=[], unsent=unsent, when_full=WhenFull.STOP_RECORDING)
    assert doomed.unsent == []


def test_losses_are_told_per_camera_and_interval() -> None:
    names = [item(1), item(2), item(3, camera="south"), item(4, ItemKind.SNAPSHOT)]
    names.append(replace(item(1_000_000), clock=ClockQuality.UNSYNCED))
    run, synced, unsynced = names[0].run, names[0].clock, ClockQuality.UNSYNCED
    assert dropped(names) == [
        Dropped(run, "north", synced, 4000, 12_000, 2),
        Dropped(run, "south", synced, 12_000, 16_000, 1),
        Dropped(run, "north", unsynced, 4_000_000_000, 4_000_004_000, 1),
    ]


def test_the_forecast_says_when_the_spool_is_full() -> None:
    assert full_in_s(6000, 100, 10) == 600
    assert full_in_s(6000, 0, 10) is None
    assert full_in_s(6000, -100, 10) is None
    assert full_in_s(0, 0, 10) == 0
