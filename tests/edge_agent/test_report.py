"""What is told, when, and where it is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.board import Board
from edge_agent.contract import (
    ClockQuality,
    Event,
    EventData,
    EventType,
    Host,
    ItemKind,
    ItemName,
    LossCause,
    PaceLimit,
    Power,
    Supply,
    Telemetry,
    instant,
)
from edge_agent.core.drain import Flow
from edge_agent.core.pace import Allowance
from edge_agent.core.report import PACES, Pace, camera_state, is_due, spool_state, words
from edge_agent.core.status import CameraStatus, Proof, Room, SpoolStats
from edge_agent.errors import SpoolFull
from edge_agent.jobs.report import Report
from edge_agent.journal import Journal
from tests.fakes import FakeClock

RUN = "000001aaaa"


def power(volts: float | None = 13.6, supply: Supply = Supply.MAINS, at_ms: int = 0) -> Power:
    return Power(supply=supply, voltage_v=volts, source="gpio", since=instant(0), at=instant(at_ms))


@dataclass
class Kept:
    """Where items and messages end up; full when told so."""

    run: str = RUN
    full: bool = False
    items: list[tuple[ItemKind, str | None, int, int, bytes]] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    qualities: list[ClockQuality] = field(default_factory=list)

    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName:
        if self.full:
            raise SpoolFull("no room")
        self.items.append((kind, camera, start_ms, duration_ms, data))
        self.qualities.append(clock)
        return ItemName(RUN, len(self.items), kind, camera or "site", start_ms, duration_ms, clock, "0" * 64)

    def event(self, body: bytes) -> None:
        self.told.append(body)


# --- core ---


def test_numbers_and_times_are_no_news_but_words_and_what_is_known_are() -> None:
    assert words(power(13.6, at_ms=0)) == words(power(13.5, at_ms=5000))
    assert words(power(13.6)) != words(power(None))
    assert words(power(13.6)) != words(power(13.6, Supply.BATTERY))


@given(st.lists(st.tuples(st.integers(0, 30_000), st.floats(10, 14), st.sampled_from(Supply)), max_size=60))
def test_news_goes_at_once_numbers_at_their_floor_and_silence_ends_at_the_ceiling(
    steps: list[tuple[int, float, Supply]],
) -> None:
    pace, now_ms = Pace(2, 60), 0
    sent: list[tuple[Power, int]] = []
    for passed_ms, volts, supply in steps:
        now_ms += passed_ms
        fact = power(volts, supply, now_ms)
        last, last_ms = sent[-1] if sent else (None, 0)
        due = is_due(pace, last, last_ms, fact, now_ms)
        if last is None or last.supply is not supply or now_ms - last_ms >= 60_000:
            assert due
        elif now_ms - last_ms < 2000 or last.voltage_v == volts:
            assert not due
        if due:
            sent.append((fact, now_ms))
    for (before, before_ms), (after, after_ms) in pairwise(sent):
        assert after_ms - before_ms >= 2000 or before.supply is not after.supply


def test_what_the_spool_says_is_what_was_measured_and_what_holds_it_back() -> None:
    stats = SpoolStats(3, 12_000, 6_000_000, 1_800_000_000_000, 7, 8, 1, 2, 9, 10)
    free = Allowance(None, PaceLimit.NONE)
    state = spool_state(
        Room(stats, 3600), Proof(1_800_000_000_000, "stepped back"), Flow(400_000, 1_000_000, 10.04), free, 0
    )
    assert (state.drain_eta_s, state.full_in_s, state.backlog_s) == (10, 3600, 12)
    assert (state.sent_bytes_per_s, state.taken_bytes_per_s, state.pace_bytes_per_s) == (1_000_000, 400_000, None)
    state = spool_state(Room(stats, None), Proof(), Flow(400_000, 300_000, None), Allowance(5, PaceLimit.GRANT), 0)
    assert (state.drain_eta_s, state.pace_bytes_per_s, state.pace_limit) == (None, 5, PaceLimit.GRANT)


def test_a_camera_that_never_gave_a_picture_has_no_times() -> None:
    state = camera_state(CameraStatus("north", since_ms=0, cause=LossCause.CAMERA, detail="mute"), 5)
    assert (state.last_frame_at, state.recorded_until, state.recording, state.detail) == (None, None, False, "mute")


def test_every_group_has_its_pace() -> None:
    assert set(PACES) == {"info", "power", "battery", "link", "spool", "camera", "host"}


# --- journal ---


def test_an_event_is_the_same_bytes_in_the_spool_and_on_the_bus() -> None:
    kept = Kept()
    journal = Journal("kota-lama", kept, kept, FakeClock())
    journal.announce(EventType.CAMERA_LOST, EventData(run=RUN, camera="north", cause=LossCause.CAMERA))
    journal.announce(EventType.CAMERA_BACK, EventData(run=RUN, camera="north"))
    assert [body for *_, body in kept.items] == kept.told
    events = [Event.model_validate_json(body) for body in kept.told]
    assert [event.id for event in events] == [f"{RUN}-1", f"{RUN}-2"]
    assert [(kind, camera) for kind, camera, *_ in kept.items] == [(ItemKind.EVENT, "north")] * 2


def test_an_event_says_by_which_clock_it_is_dated() -> None:
    kept, clock = Kept(), FakeClock(quality=ClockQuality.HOLDOVER)
    Journal("kota-lama", kept, kept, clock).announce(EventType.CAMERA_BACK, EventData(run=RUN, camera="north"))
    (event,) = map(Event.model_validate_json, kept.told)
    assert (event.data.boot, event.data.clock) == (clock.boot, "holdover")
    assert event.time == instant(clock.monotonic_ms() + (event.data.wall_minus_monotonic_ms or 0))


def test_an_event_on_a_full_disk_is_still_told() -> None:
    kept = Kept(full=True)
    Journal("kota-lama", kept, kept, FakeClock()).announce(EventType.CAMERA_BACK, EventData(run=RUN, camera="north"))
    assert len(kept.told) == 1


# --- board and job ---


def test_the_board_calls_at_news_only() -> None:
    board = Board()
    board.post("power", power(13.6))
    assert board.changed.is_set()
    board.changed.clear()
    board.post("power", power(13.5))
    assert not board.changed.is_set()
    assert board.facts() == {"power": power(13.5)}
    board.post("power", power(12.5, Supply.BATTERY))
    assert board.changed.is_set()


class Reported:
    """A report with a fake host."""

    def __init__(self) -> None:
        self.clock, self.board, self.kept = FakeClock(), Board(), Kept()
        self.published: list[tuple[str, bytes]] = []
        self.events: list[EventData] = []
        self.report = Report(
            self.board,
            lambda group, body: self.published.append((group, body)),
            self._host,
            self.kept,
            self._announce,
            RUN,
            60,
            self.clock,
        )

    def _announce(self, kind: EventType, data: EventData) -> None:
        assert kind is EventType.CLOCK_CHANGED
        self.events.append(data)

    def _host(self) -> Host:
        return Host(clock=self.clock.quality(), at=instant(self.clock.now_ms()))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            assert self.report.run_once() == 0

    def groups(self) -> list[str]:
        return [group for group, _ in self.published]


def test_what_is_told_is_the_history_too() -> None:
    reported = Reported()
    start_ms = reported.clock.now_ms()
    reported.board.post("power", power(13.6))
    reported.run(30)
    reported.board.post("power", power(12.5, Supply.BATTERY))
    reported.run(35)
    ((kind, camera, item_start_ms, duration_ms, body),) = reported.kept.items
    assert (kind, camera, item_start_ms, duration_ms) == (ItemKind.TELEMETRY, None, start_ms, 60_000)
    samples = Telemetry.model_validate_json(body).samples
    assert [sample.body["supply"] for sample in samples if sample.group == "power"] == ["mains", "battery"]
    told = [json.loads(body) for group, body in reported.published if group == "power"]
    assert [sample.body for sample in samples if sample.group == "power"] == told[: len(samples)]


def test_a_batch_is_dated_by_one_clock() -> None:
    """What is told after the clock was set right is another item, which says so."""
    reported = Reported()
    reported.clock.trust(ClockQuality.UNSYNCED)
    wrong_ms = reported.clock.now_ms() - reported.clock.monotonic_ms()
    reported.run(10)
    reported.clock.step(86_400)
    reported.clock.trust(ClockQuality.SYNCED)
    reported.run(70)
    batches = [Telemetry.model_validate_json(body) for *_, body in reported.kept.items]
    assert [batch.wall_minus_monotonic_ms for batch in batches] == [wrong_ms, wrong_ms + 86_400_000]
    assert reported.kept.qualities == [ClockQuality.UNSYNCED, ClockQuality.SYNCED]


def test_all_groups_are_told_on_the_first_turn_and_again_within_the_ceiling() -> None:
    reported = Reported()
    reported.board.post("power", power())
    reported.run(1)
    assert set(reported.groups()) == {"power", "host"}
    reported.run(62)
    assert reported.groups().count("power") == 2


@pytest.mark.parametrize("full", [True, False])
def test_the_last_batch_is_kept_at_the_end_or_lost_on_a_full_disk(*, full: bool) -> None:
    reported = Reported()
    reported.kept.full = full
    reported.run(3)
    reported.report.flush()
    reported.report.flush()
    assert len(reported.kept.items) == (not full)


def test_a_clock_that_becomes_true_is_an_event() -> None:
    reported = Reported()
    reported.clock.trust(ClockQuality.UNSYNCED)
    reported.run(20)
    reported.clock.trust(ClockQuality.SYNCED)
    reported.run(20)
    assert [(event.before, event.after) for event in reported.events] == [("unsynced", "synced")]
