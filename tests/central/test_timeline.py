"""What became of each moment: by example, and by properties that hold for any footage."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from central.core.completeness import tally
from central.core.dating import Dating
from central.core.timeline import FRAME_MS, Footage, Interval, LastWord, SiteEvent, State, place, timeline
from edge_agent.contract import EventType, LossCause, PresenceState

T = 1_795_000_000_000
NOW = T + 3_600_000
ONLINE = LastWord(PresenceState.ONLINE, spool_ms=NOW)
RUN_1, RUN_2, RUN_3 = "000001aaaa", "000002aaaa", "000003aaaa"


def footage(at_s: float, length_s: float = 4, *, run: str = RUN_1, session: int = 1, **more: Any) -> Footage:
    """A segment `at_s` seconds after T, by its label and by its media time unless told otherwise."""
    values: dict[str, Any] = {"sequence": int(at_s * 10), "media_start_ms": int(at_s * 1000)} | more
    return Footage(run=run, session=session, start_ms=T + int(at_s * 1000), duration_ms=int(length_s * 1000), **values)


def started(run: str, at_s: float, cause: LossCause | None, *, after: str | None = None) -> SiteEvent:
    return SiteEvent(EventType.AGENT_STARTED, T + int(at_s * 1000), run, cause=cause, previous_run=after)


def stopping(run: str, at_s: float) -> SiteEvent:
    return SiteEvent(EventType.AGENT_STOPPING, T + int(at_s * 1000), run, cause=LossCause.STOPPED)


def fates(
    segments: list[Footage],
    to_s: float,
    *,
    events: list[SiteEvent] | None = None,
    word: LastWord = ONLINE,
    from_s: float = 0,
    now_ms: int = NOW,
) -> list[tuple[float, float, str]]:
    """The timeline as (from second, to second, state and cause)."""
    found = timeline("north", T + int(from_s * 1000), T + int(to_s * 1000), now_ms, segments, events or [], word)
    return [
        ((i.from_ms - T) / 1000, (i.to_ms - T) / 1000, f"{i.state}:{i.cause}" if i.cause else i.state.value)
        for i in found
    ]


def test_continuous_footage_is_one_stretch() -> None:
    assert fates([footage(0), footage(4), footage(8)], 12) == [(0, 12, "recorded")]


def test_a_hole_without_a_word_is_unexplained() -> None:
    assert fates([footage(0), footage(10, session=2)], 14) == [
        (0, 4, "recorded"),
        (4, 10, "unexplained"),
        (10, 14, "recorded"),
    ]


def test_consecutive_media_is_continuous_whatever_the_labels_say() -> None:
    """The clock was set forward by 40 s after the second segment: what was before is moved, nothing is missing."""
    late = [footage(0), footage(4), footage(48, media_start_ms=8000), footage(52, media_start_ms=12000)]
    assert fates(late, 56, from_s=40) == [(40, 56, "recorded")]


def test_jitter_of_labels_makes_no_hole() -> None:
    assert fates([footage(0), footage(4.9, media_start_ms=4000), footage(8)], 12) == [(0, 12, "recorded")]


def test_a_hole_that_the_site_names_is_one_however_short() -> None:
    """Two pictures of ten a second went with the disk; nobody may say that they are there."""
    later = footage(4.2, session=2, gap_before_ms=1000, gap_cause=LossCause.DISK)
    assert fates([footage(0), later], 8.2) == [(0, 4, "recorded"), (4, 4.2, "lost:disk"), (4.2, 8.2, "recorded")]


def test_how_the_time_is_known_goes_with_the_footage() -> None:
    segments = [
        footage(0, dating=Dating.UNSYNCED),
        footage(4, dating=Dating.AFTERWARDS),
        footage(8.1, dating=Dating.AFTERWARDS, session=2),
        footage(12),
    ]
    found = timeline("north", T, T + 20_000, T + 16_000, segments, [], ONLINE)
    assert [((i.from_ms - T) / 1000, (i.to_ms - T) / 1000, i.dating) for i in found] == [
        (0, 4, Dating.UNSYNCED),
        (4, 12.1, Dating.AFTERWARDS),
        (12.1, 16, Dating.CLOCK),
    ]


def test_nothing_is_missing_between_footage_of_an_unproven_clock_and_the_first_whose_time_is_sure() -> None:
    """A board that woke up before its own installation, and never heard of the true time."""
    island = footage(0, run=RUN_2, dating=Dating.UNSYNCED)
    segments = [island, footage(1000), footage(1004), footage(1020, run=RUN_3)]
    events = [started(RUN_1, 999, LossCause.STOPPED), started(RUN_3, 1019, LossCause.POWER)]
    assert fates(segments, 1024, events=events) == [
        (0, 4, "recorded"),
        (4, 1000, "before"),
        (1000, 1008, "recorded"),
        (1008, 1020, "lost:power"),
        (1020, 1024, "recorded"),
    ]
    assert fates([island, footage(8, run=RUN_3, dating=Dating.UNSYNCED)], 8)[1] == (4, 8, "unexplained")


def test_a_missing_segment_of_a_session_is_a_hole() -> None:
    assert fates([footage(0), footage(8)], 12)[1] == (4, 8, "unexplained")


def test_a_segment_explains_the_hole_that_it_ends() -> None:
    later = footage(14, session=2, gap_before_ms=10_000, gap_cause=LossCause.CAMERA)
    assert fates([footage(0), later], 18) == [(0, 4, "recorded"), (4, 14, "lost:camera"), (14, 18, "recorded")]


def test_a_hole_inside_a_segment_is_the_cameras() -> None:
    assert fates([footage(0, 20, holes=((5000, 3000),))], 20) == [
        (0, 5, "recorded"),
        (5, 8, "lost:camera"),
        (8, 20, "recorded"),
    ]


def test_the_next_run_tells_how_the_last_one_ended() -> None:
    """The second run began at 100 s and had its first picture 2 s later, which its first segment explains."""
    first = footage(102, run=RUN_2, media_start_ms=0, gap_before_ms=2000, gap_cause=LossCause.CAMERA)
    events = [started(RUN_1, -1, None), started(RUN_2, 100, LossCause.POWER)]
    assert fates([footage(0), first], 106, events=events) == [
        (0, 4, "recorded"),
        (4, 100, "lost:power"),
        (100, 102, "lost:camera"),
        (102, 106, "recorded"),
    ]


def test_the_cause_holds_though_the_start_was_stamped_by_a_wrong_clock() -> None:
    first = footage(100, run=RUN_2, media_start_ms=0)
    events = [started(RUN_2, -1_000_000, LossCause.POWER)]
    assert fates([footage(0), first], 104, events=events)[1] == (4, 100, "lost:power")


def test_a_run_without_footage_between_two_others_has_its_own_cause() -> None:
    events = [started(RUN_2, 50, LossCause.POWER), started(RUN_3, 60, LossCause.AGENT)]
    segments = [footage(0), footage(62, run=RUN_3, media_start_ms=0)]
    assert fates(segments, 66, events=events)[1:3] == [(4, 50, "lost:power"), (50, 62, "lost:agent")]


def test_another_box_with_the_same_identity_hides_no_cause() -> None:
    """Its first life starts between the one that tells how the last one ended and the footage of that one."""
    segments = [footage(0), footage(50, run=RUN_2, media_start_ms=0, gap_before_ms=30_000, gap_cause=LossCause.CAMERA)]
    for twin_s in (15, 40):
        events = [started(RUN_2, 20, LossCause.AGENT, after=RUN_1), started("000001zzzz", twin_s, None)]
        assert fates(segments, 54, events=events)[1:3] == [(4, 20, "lost:agent"), (20, 50, "lost:camera")]


def test_a_run_that_was_told_to_stop_ended_by_that() -> None:
    """The one after it began without its disk and cannot know; a stop long after is no cause."""
    segments = [footage(0), footage(50, run=RUN_2, media_start_ms=0)]
    without_disk = started(RUN_2, 49, LossCause.DISK)
    assert fates(segments, 54, events=[stopping(RUN_1, 4), without_disk])[1] == (4, 50, "lost:stopped")
    assert fates(segments, 54, events=[stopping(RUN_2, 60), without_disk])[1] == (4, 50, "lost:disk")


def test_a_run_boundary_stays_pending_while_older_footage_waits() -> None:
    waiting = LastWord(PresenceState.ONLINE, spool_ms=NOW, backlog=True, oldest_unsent_ms=T + 4000)
    segments = [footage(0), footage(100, run=RUN_2, media_start_ms=0)]
    events = [started(RUN_2, 99, LossCause.POWER)]
    assert fates(segments, 104, events=events, word=waiting)[1] == (4, 100, "pending")
    drained = LastWord(PresenceState.ONLINE, spool_ms=NOW, backlog=True, oldest_unsent_ms=T + 101_000)
    assert fates(segments, 104, events=events, word=drained)[1] == (4, 100, "lost:power")


def test_a_hole_that_the_backlog_may_fill_is_pending() -> None:
    waiting = LastWord(PresenceState.ONLINE, spool_ms=NOW, backlog=True, oldest_unsent_ms=T + 5000)
    segments = [footage(0), footage(8)]
    assert fates(segments, 12, word=waiting)[1] == (4, 8, "pending")
    younger = LastWord(PresenceState.ONLINE, spool_ms=NOW, backlog=True, oldest_unsent_ms=T + 9000)
    assert fates(segments, 12, word=younger)[1] == (4, 8, "unexplained")


def test_a_hole_is_pending_while_the_word_on_the_backlog_is_older() -> None:
    """After a break the fresh footage comes first, and before the site has told of its backlog."""
    before_the_break = LastWord(PresenceState.ONLINE, spool_ms=T + 3000)
    assert fates([footage(0), footage(8)], 12, word=before_the_break)[1] == (4, 8, "pending")


def test_what_the_spool_dropped_is_lost_with_its_cause() -> None:
    evicted = SiteEvent(EventType.SPOOL_EVICTED, T, RUN_1, "north", LossCause.EVICTED, from_ms=T + 4000, to_ms=T + 8000)
    other = SiteEvent(EventType.SPOOL_EVICTED, T, RUN_1, "south", from_ms=T + 8000, to_ms=T + 12_000)
    damaged = SiteEvent(EventType.SPOOL_QUARANTINED, T, RUN_1, "north", from_ms=T + 8000, to_ms=T + 12_000)
    segments = [footage(0), footage(12)]
    assert fates(segments, 16, events=[evicted, other])[1:3] == [(4, 8, "lost:evicted"), (8, 12, "unexplained")]
    assert fates(segments, 16, events=[evicted, damaged])[1:3] == [(4, 8, "lost:evicted"), (8, 12, "lost:damaged")]


def test_the_tail_of_a_site_that_records_is_pending() -> None:
    assert fates([footage(0)], 10) == [(0, 4, "recorded"), (4, 10, "pending")]


def test_the_tail_of_a_lost_camera_is_the_cameras() -> None:
    lost = SiteEvent(EventType.CAMERA_LOST, T + 15_000, RUN_1, "north", LossCause.CAMERA, from_ms=T + 4000)
    assert fates([footage(0)], 30, events=[lost]) == [(0, 4, "recorded"), (4, 30, "lost:camera")]
    word = LastWord(PresenceState.ONLINE, camera_lost_ms=T + 6000, camera_cause=LossCause.DISK)
    assert fates([footage(0)], 30, word=word)[1:] == [(4, 6, "pending"), (6, 30, "lost:disk")]


def test_a_lost_camera_that_is_back_is_pending_again() -> None:
    lost = SiteEvent(EventType.CAMERA_LOST, T + 15_000, RUN_1, "north", from_ms=T + 4000)
    back = SiteEvent(EventType.CAMERA_BACK, T + 20_000, RUN_1, "north")
    assert fates([footage(0)], 30, events=[lost, back])[1:] == [(4, 20, "lost:camera"), (20, 30, "pending")]


def test_a_silent_site_is_not_known_of() -> None:
    silent = LastWord(PresenceState.OFFLINE, presence_ms=T + 20_000)
    assert fates([footage(0)], 30, word=silent)[1:] == [(4, 30, "silent")]
    lost = SiteEvent(EventType.CAMERA_LOST, T + 15_000, RUN_1, "north", from_ms=T + 4000)
    assert fates([footage(0)], 30, events=[lost], word=silent)[1:] == [(4, 20, "lost:camera"), (20, 30, "silent")]


def test_a_site_that_said_goodbye_is_known_of() -> None:
    asleep = LastWord(PresenceState.ASLEEP, presence_ms=T + 8000)
    assert fates([footage(0)], 30, word=asleep)[1:] == [(4, 8, "pending"), (8, 30, "lost:power")]
    stopped = LastWord(PresenceState.STOPPING, presence_ms=T + 8000)
    assert fates([footage(0)], 30, word=stopped)[1:] == [(4, 8, "pending"), (8, 30, "lost:stopped")]


def test_a_new_run_without_footage_yet_explains_what_was_before_it() -> None:
    assert fates([footage(0)], 30, events=[started(RUN_2, 20, LossCause.POWER)])[1:] == [
        (4, 20, "lost:power"),
        (20, 30, "pending"),
    ]


def test_without_mqtt_fresh_footage_shows_that_the_site_lives() -> None:
    assert fates([footage(0, stored_ms=NOW - 1000)], 10, word=LastWord())[1:] == [(4, 10, "pending")]
    assert fates([footage(0, stored_ms=NOW - 100_000)], 10, word=LastWord())[1:] == [(4, 10, "silent")]


def test_before_the_first_footage_nothing_was_expected() -> None:
    found = timeline("north", T, T + 14_000, NOW, [footage(10)], [], ONLINE)
    assert [i.state for i in found] == [State.BEFORE, State.RECORDED]
    assert tally(found).expected_ms == 4000
    assert fates([], 10, word=LastWord()) == [(0, 10, "before")]
    assert fates([], 10) == [(0, 10, "before")]


def test_a_camera_that_never_gave_a_picture_is_lost_since_it_was_said_to_be() -> None:
    word = LastWord(PresenceState.ONLINE, camera_lost_ms=T + 3000, camera_cause=LossCause.CAMERA)
    assert fates([], 10, word=word) == [(0, 3, "before"), (3, 10, "lost:camera")]


def test_the_future_is_not_told() -> None:
    assert fates([footage(0)], 30, now_ms=T + 10_000) == [(0, 4, "recorded"), (4, 10, "pending")]
    assert fates([footage(0)], 30, now_ms=T - 1) == []


def test_footage_from_the_far_future_moves_nothing() -> None:
    absurd = footage(999_999_999, run=RUN_2)
    assert fates([footage(0), absurd], 10) == [(0, 4, "recorded"), (4, 10, "pending")]


def test_neighbours_outside_of_the_interval_explain_it() -> None:
    later = footage(100, session=2, gap_before_ms=96_000, gap_cause=LossCause.CAMERA)
    assert fates([footage(0), later], 60, from_s=50) == [(50, 60, "lost:camera")]


_causes = st.sampled_from([None, *LossCause])


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[Footage], list[SiteEvent], LastWord]:
    """Runs and sessions with honest and dishonest labels, events and last words of all kinds."""
    segments: list[Footage] = []
    events: list[SiteEvent] = []
    at_ms = T
    for life in range(draw(st.integers(0, 3))):
        run = f"{life + 1:06d}aaaa"
        media_ms, session = 0, 1
        events.append(SiteEvent(EventType.AGENT_STARTED, at_ms, run, cause=draw(_causes)))
        for sequence in range(draw(st.integers(0, 6))):
            if draw(st.booleans()):
                session, media_ms = session + 1, 0
                at_ms += draw(st.integers(0, 60_000))
            length_ms = draw(st.integers(1, 12_000))
            segments.append(
                Footage(
                    run=run,
                    sequence=sequence,
                    session=session,
                    start_ms=at_ms + draw(st.integers(-5000, 5000)),
                    duration_ms=length_ms,
                    media_start_ms=media_ms,
                    gap_before_ms=draw(st.integers(0, 20_000)),
                    gap_cause=draw(_causes),
                    holes=tuple(draw(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9000)), max_size=2))),
                )
            )
            media_ms += length_ms
            at_ms += length_ms
    moment = st.integers(T - 10_000, T + 200_000)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from([EventType.CAMERA_LOST, EventType.CAMERA_BACK, EventType.SPOOL_EVICTED]))
        events.append(
            SiteEvent(
                kind, draw(moment), "000001aaaa", "north", draw(_causes), from_ms=draw(moment), to_ms=draw(moment)
            )
        )
    word = LastWord(
        presence=draw(st.sampled_from([None, *PresenceState])),
        presence_ms=draw(moment),
        spool_ms=draw(st.none() | moment),
        backlog=draw(st.booleans()),
        oldest_unsent_ms=draw(st.none() | moment),
        camera_lost_ms=draw(st.none() | moment),
    )
    return draw(st.permutations(segments)), events, word


@settings(max_examples=300, deadline=None)
@given(_worlds(), st.integers(T - 5000, T + 150_000), st.integers(1, 200_000), st.integers(T, T + 300_000))
def test_the_fates_partition_the_interval(
    world: tuple[list[Footage], list[SiteEvent], LastWord], from_ms: int, length_ms: int, now_ms: int
) -> None:
    segments, events, word = world
    found = timeline("north", from_ms, from_ms + length_ms, now_ms, segments, events, word)
    end_ms = min(from_ms + length_ms, now_ms)
    if end_ms <= from_ms:
        assert found == []
        return
    assert (found[0].from_ms, found[-1].to_ms) == (from_ms, end_ms)
    for one, next_one in pairwise(found):
        assert one.to_ms == next_one.from_ms
        assert (one.state, one.cause, one.detail) != (next_one.state, next_one.cause, next_one.detail)
    assert all(i.from_ms < i.to_ms for i in found)
    assert all((i.cause is not None) == (i.state is State.LOST) for i in found)
    before_ms = sum(i.to_ms - i.from_ms for i in found if i.state is State.BEFORE)
    assert tally(found).expected_ms + before_ms == end_ms - from_ms


@settings(max_examples=200, deadline=None)
@given(_worlds(), st.integers(T - 5000, T + 100_000), st.integers(1, 60_000), st.integers(1, 60_000))
def test_two_halves_say_the_same_as_the_whole(
    world: tuple[list[Footage], list[SiteEvent], LastWord], from_ms: int, first_ms: int, second_ms: int
) -> None:
    segments, events, word = world

    def of(start_ms: int, end_ms: int) -> list[Interval]:
        return timeline("north", start_ms, end_ms, NOW, segments, events, word)

    middle_ms, end_ms = from_ms + first_ms, from_ms + first_ms + second_ms
    whole, halves = tally(of(from_ms, end_ms)), (tally(of(from_ms, middle_ms)), tally(of(middle_ms, end_ms)))
    assert abs(whole.recorded_ms - sum(half.recorded_ms for half in halves)) <= FRAME_MS
    assert abs(whole.expected_ms - sum(half.expected_ms for half in halves)) <= FRAME_MS


@given(
    st.lists(st.integers(500, 9000), min_size=1, max_size=20), st.integers(-10_000_000, 10_000_000), st.integers(0, 20)
)
@example([500, 500, 2002], -1001, 1)
def test_a_step_of_the_clock_costs_no_footage(lengths: list[int], step_ms: int, at: int) -> None:
    """Wherever the wall clock steps within a session, the session is as long as its media."""
    segments, media_ms = [], 0
    for number, length_ms in enumerate(lengths):
        label_ms = T + media_ms + (step_ms if number >= at else 0)
        segments.append(Footage(RUN_1, number, 1, label_ms, length_ms, media_ms))
        media_ms += length_ms
    placed = place(segments)
    assert placed[-1].end_ms - placed[0].start_ms == media_ms or abs(step_ms) <= 2000
    assert all(abs(one.end_ms - two.start_ms) <= 2000 for one, two in pairwise(placed))
