"""What both ends hold, compared: every difference is found, nothing else is, and what is equal costs a few bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import (
    MAX_COMPARED,
    MAX_RANGES,
    ClockQuality,
    EventData,
    EventType,
    Hello,
    Inventory,
    ItemKind,
    ItemName,
    LossCause,
    range_digest,
)
from edge_agent.core.inventory import Search, step_back
from edge_agent.core.status import Proof
from edge_agent.errors import SpoolError, Unreachable
from edge_agent.jobs.compare import Compare
from edge_agent.spool import Spool
from tests.fakes import FakeClock

RUN, LATER = "000001aaaa", "000002bbbb"


def item(sequence: int, run: str = RUN, sha256: str = "0" * 64) -> ItemName:
    return ItemName(run, sequence, ItemKind.EVENT, "site", 1_800_000_000_000, 0, ClockQuality.SYNCED, sha256)


class Index:
    """The other end: what it has, and what it was asked."""

    def __init__(self, names: Iterable[ItemName]) -> None:
        self.has = {(name.run, name.sequence): name.sha256 for name in names}
        self.asked: list[Inventory] = []
        self.known: tuple[str, int] | None = None
        self.down = False
        self.closed = 0
        self.work: Callable[[], None] = lambda: None

    def close(self) -> None:
        self.closed += 1

    def hello(self, run: str | None = None) -> Hello:
        assert run is not None
        newest_run, newest_sequence = self.known or (None, None)
        return Hello(site="a", at=datetime.now(UTC), newest_run=newest_run, newest_sequence=newest_sequence)

    def differing(self, inventory: Inventory) -> list[int]:
        if self.down:
            raise Unreachable("nobody answers")
        self.work()
        self.asked.append(Inventory.model_validate_json(inventory.to_json()))
        return [number for number, part in enumerate(inventory.ranges) if not self._agrees(part)]

    def _agrees(self, part: object) -> bool:
        run, begin, end = part.run, part.from_sequence, part.to_sequence  # type: ignore[attr-defined]
        held = sorted((s, sha256) for (r, s), sha256 in self.has.items() if r == run and begin <= s < end)
        return (len(held), range_digest(held)) == (part.count, part.digest)  # type: ignore[attr-defined]


def places(names: Iterable[ItemName]) -> list[tuple[str, int]]:
    return [(name.run, name.sequence) for name in names]


def missing(held: Iterable[ItemName], centre: Index) -> list[tuple[str, int]]:
    search = Search(held)
    found: list[tuple[str, int]] = []
    while inventory := search.ask():
        found += search.learn(centre.differing(inventory))
    return found


_items = st.sets(st.tuples(st.integers(1, 3), st.integers(0, 400), st.integers(0, 1)), max_size=300)


@given(_items, _items)
def test_what_the_centre_lacks_is_found_and_nothing_else(
    here: set[tuple[int, int, int]], there: set[tuple[int, int, int]]
) -> None:
    """Whatever either end holds beside it, and whatever other bytes it holds under the same name."""
    mine, theirs = (
        {(run, sequence): item(sequence, f"{run:06d}aaaa", str(shade) * 64) for run, sequence, shade in sorted(names)}
        for names in (here, there)
    )
    found = missing(mine.values(), Index(theirs.values()))
    assert sorted(found) == sorted(places(set(mine.values()) - set(theirs.values())))
    assert len(found) == len(set(found))


def test_a_hundred_thousand_equal_items_cost_a_few_hundred_bytes() -> None:
    """And one that is missing a few kilobytes."""
    held = [item(sequence) for sequence in range(100_000)]
    centre = Index(held)
    assert missing(held, centre) == []
    assert len(centre.asked) == 2
    assert sum(len(asked.to_json()) for asked in centre.asked) < 400
    centre = Index(held[:70_000] + held[70_001:])
    assert missing(held, centre) == [(RUN, 70_000)]
    assert sum(len(asked.to_json()) for asked in centre.asked) < 10_000


def test_no_question_is_larger_than_the_centre_takes() -> None:
    """A centre that lost everything is asked in many small questions."""
    held = [item(sequence, f"{run:06d}aaaa") for run in range(1, 400) for sequence in range(3)]
    held += [item(sequence, "000400aaaa") for sequence in range(3000)]
    centre = Index([])
    assert missing(held, centre) == places(held)
    assert max(len(asked.ranges) for asked in centre.asked) == MAX_RANGES
    assert all(sum(part.count for part in asked.ranges) <= MAX_COMPARED for asked in centre.asked)


def test_two_files_under_one_sequence_are_no_reason_to_stop() -> None:
    """Somebody copied a file of another box into the spool."""
    held = [item(0), item(1, sha256="1" * 64), item(1), item(2)]
    assert missing(held, Index([item(0), item(1, sha256="1" * 64)])) == [(RUN, 2)]


@pytest.mark.parametrize(
    ("known", "last", "items", "said"),
    [
        (("000004aaaa", 9), ("000004aaaa", 9), None, None),
        (("000004aaaa", 7), ("000004aaaa", 9), None, None),
        (("000003aaaa", 99), ("000004aaaa", 9), None, None),
        (("000004aaaa", 9), None, None, None),
        (("000004aaaa", 12), ("000004aaaa", 9), 3, "3 later items"),
        (("000004aaaa", 1), ("000003aaaa", 9), None, "stepped back"),
        (("000005cccc", 1), ("000004aaaa", 9), None, "another box"),
        (("000007cccc", 1), None, None, "old image"),
    ],
)
def test_a_disk_that_stepped_back_is_told_from_one_that_did_not(
    known: tuple[str, int], last: tuple[str, int] | None, items: int | None, said: str | None
) -> None:
    """It is the centre that remembers."""
    found = step_back(known, "000005aaaa", last)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == items
        assert said in found[1]


class Life:
    """A spool with items that were sent, and the job that compares it with an index."""

    def __init__(self, directory: Path, items: int = 5, memory: Path | None = None) -> None:
        self.clock = FakeClock()
        self.spool = Spool(
            directory, quota_bytes=1 << 30, reserve_bytes=0, clock=self.clock, memory=memory, memory_bytes=1 << 20
        )
        self.names = [self.add() for _ in range(items)]
        for name in self.names:
            self.spool.mark_sent(name)
        self.centre = Index(self.names)
        self.events: list[tuple[EventType, EventData]] = []
        self.job = Compare(self.spool, self.centre, lambda kind, data: self.events.append((kind, data)), self.clock)

    def add(self) -> ItemName:
        return self.spool.add(ItemKind.EVENT, None, 0, 0, ClockQuality.SYNCED, b"{}")

    def compare(self) -> None:
        """Turns until nothing is due."""
        while self.job.run_once() == 0:
            pass

    def stepped_back(self) -> int:
        """How often that was told."""
        return [kind for kind, _ in self.events].count(EventType.SPOOL_STEPPED_BACK)

    def waiting(self) -> list[ItemName]:
        return sorted(name for name, _ in self.spool._stock.line.items())


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    life = Life(tmp_path / "spool")
    yield life
    life.spool.close()


def test_what_the_centre_lacks_waits_again_and_the_rest_does_not(life: Life) -> None:
    del life.centre.has[life.names[2].run, 2]
    used_bytes = life.spool.stats().used_bytes
    life.compare()
    assert life.waiting() == [life.names[2]]
    assert sorted(life.spool.sent(("", -1), 99)) == [*life.names[:2], *life.names[3:]]
    with life.spool.open(life.names[2]) as file:
        assert file.read() == b"{}"
    ((kind, data),) = life.events
    assert (kind, data.items, data.returned) == (EventType.SPOOL_COMPARED, 5, 1)
    life.spool.mark_sent(life.names[2])
    assert life.spool.stats().used_bytes == used_bytes


def test_the_end_of_a_comparison_is_kept_and_one_without_a_difference_makes_no_event(life: Life) -> None:
    assert life.job.proof == Proof()
    life.centre.work = lambda: life.clock.advance(3)
    begun_ms = life.clock.now_ms()
    life.compare()
    assert life.job.proof == Proof(begun_ms)
    assert life.events == []
    assert (len(life.centre.asked), life.centre.closed) == (1, 1)


def test_it_compares_again_when_asked_and_within_a_day(life: Life) -> None:
    life.compare()
    life.compare()
    assert len(life.centre.asked) == 1
    life.job.ask()
    life.compare()
    assert len(life.centre.asked) == 2
    life.clock.advance(86_400)
    life.compare()
    assert len(life.centre.asked) == 3


def test_trouble_of_the_disk_puts_the_comparison_off(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    life.centre.has.clear()
    with monkeypatch.context() as patch:
        patch.setattr(life.spool, "unsend", _raises)
        life.compare()
    assert life.waiting() == []
    assert life.job.proof == Proof()
    life.compare()
    assert life.waiting() == life.names


def _raises(*_: object) -> bool:
    raise SpoolError("input/output error")


def test_a_link_that_comes_and_goes_does_not_keep_it_busy(life: Life) -> None:
    """A comparison of a second is followed by most of a minute without one."""
    life.centre.work = lambda: life.clock.advance(1)
    for _ in range(120):
        life.job.ask()
        life.compare()
        life.clock.advance(1)
    assert len(life.centre.asked) == 3


def test_a_backlog_goes_first_but_not_for_more_than_an_hour(life: Life) -> None:
    for _ in range(20):
        life.add()
    life.compare()
    assert life.centre.asked == []
    life.clock.advance(3601)
    life.compare()
    assert len(life.centre.asked) == 1


def test_a_comparison_goes_on_where_the_link_broke(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    life.centre.has.clear()
    assert life.job.run_once() == 0
    life.centre.down = True
    waits = [life.job.run_once() for _ in range(20)]
    assert all(2 < wait <= 300 for wait in waits)
    assert len(caplog.records) < 8
    life.centre.down = False
    life.compare()
    assert life.waiting() == life.names
    assert [len(asked.ranges) for asked in life.centre.asked] == [1, 5]


def test_what_was_dropped_or_taken_away_meanwhile_is_left_out(life: Life) -> None:
    life.centre.has.clear()
    gone = life.spool._directory / "sent" / str(life.names[1])
    gone.unlink()
    life.compare()
    assert life.waiting() == [life.names[0], *life.names[2:]]
    assert not life.spool.unsend(life.spool.run, 1)
    ((_, data),) = life.events
    assert data.returned == 4


def test_a_later_item_at_the_centre_is_said_once_and_not_hidden(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.centre.known = ("000009zzzz", 3)
    life.compare()
    life.job.ask()
    life.compare()
    ((kind, data),) = life.events
    assert kind is EventType.SPOOL_STEPPED_BACK
    assert data.previous_run == "000009zzzz"
    assert "another box" in life.job.proof.detail
    assert len(caplog.records) == 1


def test_after_a_new_disk_the_next_life_begins_above_all_that_the_centre_knows_and_says_nothing(tmp_path: Path) -> None:
    known = ("000057zzzz", 3)
    for counter, told in (("000001", 1), ("000058", 0), ("000059", 0)):
        life = Life(tmp_path / "spool")
        assert life.spool.run[:6] == counter
        life.centre.known = known
        life.compare()
        assert life.stepped_back() == told
        life.spool.end(LossCause.STOPPED)
        life.spool.tend()
        life.spool.close()
        known = max(known, (life.spool.run, 4))
    last = Life(tmp_path / "spool", items=0)
    assert last.spool.previous is not None
    assert last.spool.previous.cause is LossCause.STOPPED, "what is learned late does not undo the end"
    last.spool.close()


def test_a_centre_that_knows_the_last_run_there_can_be_is_no_reason_to_stop(tmp_path: Path) -> None:
    for counter in ("000001", "999999", "999999"):
        life = Life(tmp_path / "spool", items=1)
        assert life.spool.run[:6] == counter
        life.centre.known = ("999999zzzz", 1)
        life.compare()
        life.spool.tend()
        life.spool.close()


def test_what_is_no_longer_kept_is_not_taken_for_lost_by_the_disk(tmp_path: Path) -> None:
    """The newest was sent and gave way, and then older items of the backlog were sent."""
    first = Life(tmp_path / "spool", items=0)
    backlog, newest = first.add(), first.add()
    first.spool.mark_sent(newest)
    first.spool._stock._quota_bytes = 3
    assert first.spool.make_room() == []
    first.spool.mark_sent(backlog)
    first.spool.tend()
    first.spool.close()
    second = Life(tmp_path / "spool", items=0)
    assert second.spool.last is not None
    second.centre.known = (newest.run, newest.sequence)
    second.compare()
    assert second.stepped_back() == 0
    second.spool.close()


@pytest.mark.parametrize("is_back", [True, False])
def test_what_went_from_memory_is_not_taken_for_lost_by_the_disk(tmp_path: Path, *, is_back: bool) -> None:
    """The newest never lay on the disk, which was back in the same life, or in the next one, of the same boot."""
    first = Life(tmp_path / "spool", items=2, memory=tmp_path / "memory")
    first.spool.trouble = "it is away"
    name = first.add()
    first.spool.mark_sent(name)
    if is_back:
        first.spool.tend()
    else:
        first.spool._keep_note()
    first.spool.close()
    second = Life(tmp_path / "spool", items=0, memory=tmp_path / "memory")
    second.centre.known = (name.run, name.sequence)
    second.compare()
    assert second.stepped_back() == 0
    second.spool.close()


def test_a_run_that_began_without_its_disk_does_not_know() -> None:
    assert step_back(("000007cccc", 1), "000000aaaa", None) is None


def test_a_disk_that_lost_its_last_items_is_found_out_by_the_next_run(tmp_path: Path) -> None:
    first = Life(tmp_path / "spool")
    first.spool.close()
    (tmp_path / "spool" / "sent" / str(first.names[-1])).unlink()
    second = Life(tmp_path / "spool", items=0)
    assert second.spool.last == (first.spool.run, 3)
    second.centre.known = (first.spool.run, 4)
    second.compare()
    assert second.events[0][1].items == 1
    second.spool.close()
