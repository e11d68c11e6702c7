"""What goes first: to the centre, and when room is short."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import ClockQuality, ItemKind, ItemName
from edge_agent.core.eviction import Alarm, Dropped, Excess, Locks, Span, WhenFull, dropped, full_in_s, plan
from edge_agent.core.index import Index
from edge_agent.core.shipping import FRESH_MS, Line, Order, Want
from edge_agent.core.stock import Stock


def item(sequence: int, kind: ItemKind = ItemKind.SEGMENT, camera: str = "north", run: str = "000001test") -> ItemName:
    start_ms = sequence * 4000
    return ItemName(run, sequence, kind, camera, start_ms, 4000, ClockQuality.SYNCED, "0" * 64)


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


def test_an_event_goes_ahead_of_footage_that_was_there_before_and_each_grows_old_by_itself() -> None:
    line = Line()
    line.join(item(1), 10, 0)
    line.join(item(2, ItemKind.SNAPSHOT), 10, 0)
    late = item(3, ItemKind.EVENT)
    line.join(late, 10, 1000)
    assert line.next(1000) == late
    assert [line.take_fresh(1000) for _ in range(4)] == [late, item(1), item(2, ItemKind.SNAPSHOT), None]
    for name in (late, item(1), item(2, ItemKind.SNAPSHOT)):
        line.release(name)
    assert line.take_fresh(FRESH_MS) == late
    assert line.take_fresh(FRESH_MS) is None, "the footage has missed its moment, the event has not"
    line.release(late)
    assert line.take_fresh(FRESH_MS + 1000) is None
    assert line.leave(late) == 10
    assert (len(line), line.bytes, line.duration_ms) == (2, 20, 4000)


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
    doomed = plan(
        Excess(excess), sent=shelves[0], quarantined=quarantined, unsent=shelves[1], when_full=when_full, most=100
    )
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
    doomed = plan(Excess(15), sent=[], quarantined=[], unsent=unsent, when_full=WhenFull.DROP_OLDEST, most=9)
    assert doomed.unsent == [item(2)]
    doomed = plan(Excess(15), sent=[], quarantined=[], unsent=unsent, when_full=WhenFull.STOP_RECORDING, most=9)
    assert doomed.unsent == []


def test_what_is_locked_goes_after_all_else_and_nothing_goes_in_one_big_step() -> None:
    for most in range(6):
        doomed = plan(
            Excess(1000),
            sent=[(item(1), 10)],
            quarantined=[],
            unsent=[(item(2), 10)],
            locked_sent=[(item(3), 10)],
            locked_unsent=[(item(9, ItemKind.EVENT), 10), (item(4), 10)],
            when_full=WhenFull.DROP_OLDEST,
            most=most,
        )
        assert sorted(doomed.sent + doomed.unsent) == [item(n) for n in range(1, min(most, 4) + 1)]


def test_files_may_be_short_though_bytes_are_not() -> None:
    sent = [(item(n), 0) for n in range(9)]
    doomed = plan(Excess(files=2), sent=sent, quarantined=[], unsent=[], when_full=WhenFull.DROP_OLDEST, most=9)
    assert doomed.sent == [item(0), item(1)]


spans = st.lists(st.builds(Span, st.sampled_from(["north", "south"]), st.integers(0, 40_000), st.integers(0, 40_000)))


@given(spans, st.integers(0, 10), st.sampled_from(["north", "south"]))
def test_a_lock_holds_what_reaches_into_it(spans: list[Span], number: int, camera: str) -> None:
    name = item(number, camera=camera)
    reaches = any(
        span.camera == camera
        and span.from_ms < name.end_ms
        and span.to_ms > name.start_ms
        and span.from_ms < span.to_ms
        for span in spans
    )
    assert Locks(spans).hold(name) == reaches


names = st.builds(
    item,
    st.integers(0, 20),
    st.sampled_from(ItemKind),
    st.sampled_from(["north", "a"]),
    st.sampled_from(["000001test", "000000zzzz", "000002aaaa"]),
)


@given(st.lists(st.tuples(st.sampled_from(["add", "pop", "walk", "reconsider"]), names, st.integers(0, 1 << 40))))
def test_the_index_is_a_dictionary_in_order_whatever_happens(deeds: list[tuple[str, ItemName, int]]) -> None:
    index, model = Index(), {}
    for deed, name, size in deeds:
        if deed == "add":
            index[name] = model[name] = size
        elif deed == "pop":
            assert index.pop(name) == model.pop(name, None)
        elif deed == "reconsider":
            index.reconsider()
        else:  # what stays is looked at once; what goes is found wherever it came since
            doomed = list(index.candidates(lambda name: name.kind is ItemKind.EVENT))
            assert {name for name, _ in doomed} == {name for name in model if name.kind is not ItemKind.EVENT}
            for going, its_size in doomed:
                assert index.pop(going) == model.pop(going) == its_size
    assert dict(index.items()) == model
    assert len(index) == len(model)
    order = [(name.run, name.sequence) for name in index]
    assert order == sorted(order)
    assert list(reversed(index)) == list(index)[::-1]
    assert all((name in index) == (name in model) for _, name, _ in deeds)
    for _, name, size in deeds:
        place, most = (name.run, name.sequence), size % 4
        assert index.after(*place, most) == [other for other in index if (other.run, other.sequence) > place][:most]
        assert index.at(*place) == next((other for other in index if (other.run, other.sequence) == place), None)


def test_what_left_the_index_takes_no_room() -> None:
    index = Index()
    for number in range(5000):
        index[item(number)] = number
    for number in range(1, 4999):
        assert index.pop(item(number)) == number
    assert list(index.items()) == [(item(0), 0), (item(4999), 4999)]
    assert len(index._runs["000001test"]._sizes) < 2100


moves = st.sampled_from(["join", "shelve", "deliver", "refuse", "send again", "unshelve", "make room", "lose the disk"])


@given(st.lists(st.tuples(moves, st.integers(1, 100)), max_size=60))
def test_the_stock_counts_right_wherever_things_go(deeds: list[tuple[str, int]]) -> None:
    stock = Stock(
        quota_bytes=500, reserve_bytes=0, memory_bytes=150, order=Order.OLDEST, when_full=WhenFull.DROP_OLDEST
    )
    waiting: dict[ItemName, int] = {}
    shelved: dict[ItemName, int] = {}
    sent: dict[ItemName, int] = {}
    refused: dict[str, int] = {}
    lost: list[ItemName] = []
    for number, (deed, size) in enumerate(deeds):
        name = next(iter([*waiting, *shelved]), None)
        if deed in ("join", "shelve"):
            stock.join(item(number), size, number, shelved=deed == "shelve")
            (shelved if deed == "shelve" else waiting)[item(number)] = size
            for doomed in stock.bound_shelf(1 << 30):
                del shelved[doomed]
                lost.append(doomed)
        elif deed in ("deliver", "refuse") and name:
            on_disk = not stock.is_shelved(name)
            assert on_disk == (name in waiting)
            its_size = stock.deliver(name) if deed == "deliver" else stock.leave(name)
            assert its_size == (waiting if on_disk else shelved).pop(name)
            if on_disk and deed == "deliver":
                stock.keep_sent(name, its_size)
                sent[name] = its_size
            elif on_disk:
                stock.put_aside(str(name), its_size)
                stock.put_aside(str(name), its_size)
                refused[str(name)] = its_size
        elif deed == "send again" and sent:
            name = next(iter(sent))
            assert stock.drop_sent(name) == sent[name]
            stock.join_backlog(name, sent[name])
            waiting[name] = sent.pop(name)
        elif deed == "unshelve" and shelved:
            (name,) = stock.shelved(1)
            stock.unshelve(name)
            waiting[name] = shelved.pop(name)
        elif deed == "make room":
            excess = stock.excess(1 << 30, None, is_denied=False)
            plan = stock.give_way(excess, is_all_known=True, most=100)
            assert bool(excess) == bool(plan.sent or plan.quarantined or plan.unsent)
            for going in plan.sent:
                del sent[going]
            for file in plan.quarantined:
                del refused[file]
            for going in plan.unsent:
                del waiting[going]
            lost += plan.unsent
            assert not stock.excess(1 << 30, None, is_denied=False)
        elif deed == "lose the disk":
            stock.forget_disk()
            waiting, sent, refused = {}, {}, {}
        assert len(lost) == stock.stats(None).evicted
    stats = stock.stats(1 << 30)
    disk_bytes = sum((*waiting.values(), *sent.values(), *refused.values()))
    assert stats.used_bytes == disk_bytes + sum(shelved.values())
    assert stats.free_bytes == max(0, 500 - disk_bytes + sum(sent.values()))
    assert dict(stock.line.items()) == waiting | shelved
    assert stats.quarantined == len(refused)
    assert stock.tell_lost() == lost
    assert stock.tell_lost() == []


def test_the_alarm_is_given_once_until_there_is_much_time_again() -> None:
    alarm, given = Alarm(100), []
    for full_s, waits in ((500, True), (90, True), (80, True), (110, True), (90, True), (None, True), (90, True)):
        before, alarm = alarm, alarm.after(full_s, waits=waits)
        given.append(alarm.is_on and not before.is_on)
    assert given == [False, True, False, False, False, False, False]
    for full_s, waits in ((126, True), (None, False)):
        assert not alarm.after(full_s, waits=waits).is_on


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


# --- two lanes and what is wanted ---


def taken(line: Line, now_ms: int = 0) -> list[int]:
    """The backlog in the order in which it goes."""
    order = []
    while name := line.take_late(now_ms):
        order.append(name.sequence)
        line.leave(name)
    return order


def backlog(order: Order = Order.OLDEST) -> Line:
    line = Line(order)
    for number in range(1, 7):
        line.join_backlog(item(number, camera="north" if number % 2 else "south"), 10)
    return line


def look_through(line: Line) -> None:
    place: tuple[str, int] | None = ("", -1)
    while place:
        place = line.look_for_wanted(place, 2)


def test_the_backlog_goes_from_the_end_that_the_operator_chose() -> None:
    assert taken(backlog()) == [1, 2, 3, 4, 5, 6]
    assert taken(backlog(Order.NEWEST)) == [6, 5, 4, 3, 2, 1]
    assert [name.sequence for name, _ in backlog(Order.NEWEST).items()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("order", "rest"), [(Order.OLDEST, [1, 2, 4, 6]), (Order.NEWEST, [6, 4, 2, 1])])
def test_what_is_wanted_goes_ahead_of_both(order: Order, rest: list[int]) -> None:
    """Also what reaches into the stretch by a little, and not what another camera saw."""
    line = backlog(order)
    line.want([Want("north", 15_999, 20_001)])
    look_through(line)
    assert taken(line) == [3, 5, *rest]


def test_what_is_wanted_no_more_goes_in_its_turn() -> None:
    line = backlog()
    line.want([Want("south", 0, 100_000)])
    look_through(line)
    line.want([])
    assert taken(line) == [1, 2, 3, 4, 5, 6]


def test_what_joins_the_backlog_later_is_wanted_too() -> None:
    line = backlog()
    line.want([Want("north", 36_000, 40_000)])
    line.join(item(9), 10, 0)
    assert line.take_fresh(FRESH_MS) is None
    assert taken(line) == [9, 1, 2, 3, 4, 5, 6]


def test_what_one_has_taken_is_nobody_elses_until_it_is_released() -> None:
    line = backlog()
    line.join(item(9), 10, 0)
    fresh, one, two = line.take_fresh(0), line.take_late(0), line.take_late(0)
    assert (fresh, one, two) == (item(9), item(1), item(2, camera="south"))
    assert line.take_fresh(FRESH_MS) is None, "it is on its way, however long that takes"
    assert line.take_late(FRESH_MS) == item(3)
    assert one is not None
    line.release(one)
    assert line.take_late(FRESH_MS) == one
    assert one in line
    assert line.leave(one) == 10
    assert one not in line
