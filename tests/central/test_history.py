"""What sites told of themselves: each message one row, at its own time, whichever way it came."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central.core.dating import Dating
from central.store import ItemRow, StateRow, Store
from central.telemetry import SampleRow, rows_of
from edge_agent.contract import ClockQuality, Host, ItemKind, Sample, Telemetry, instant
from tests.central.test_dating import OFFSET_MS, RUNS, SITE, SYNCED, UNSYNCED, WRONG_MS, event
from tests.central.test_store import item_row
from tests.rig.segments import make_item

EVERY = 10**13
"""Points enough for all."""


def host(at_ms: int, load: float = 0.5) -> Host:
    return Host(load_1m=load, clock=SYNCED, at=instant(at_ms))


def live(at_ms: int) -> SampleRow:
    return SampleRow.of(SITE, "host", "", host(at_ms), at_ms + 5)


def batch(*at_ms: int, clock: ClockQuality = SYNCED, offset_ms: int = OFFSET_MS) -> list[SampleRow]:
    """The rows of an item of the spool."""
    samples = (Sample(group="host", body=host(at).model_dump(mode="json")) for at in at_ms)
    told = Telemetry(samples=tuple(samples), wall_minus_monotonic_ms=offset_ms)
    name = make_item(ItemKind.TELEMETRY, told.to_json(), run=RUNS[0], start_ms=at_ms[0], clock=clock)
    return list(rows_of(SITE, name, told, OFFSET_MS + 10**6))


def telemetry_item(sequence: int) -> ItemRow:
    return item_row(sequence, run=RUNS[0], kind="telemetry", camera="site", monotonic_ms=None)


def shown(store: Store) -> list[tuple[int, Dating]]:
    """Seconds after the boot by the true clock, and how that is known."""
    found = store.points(SITE, "host", "", WRONG_MS - 10**9, OFFSET_MS + 10**9, EVERY)
    return [((point.at_ms - OFFSET_MS) // 1000, point.dating) for point in found]


@pytest.mark.parametrize("live_first", [True, False])
def test_the_live_copy_and_the_one_from_the_spool_are_one_row(store: Store, live_first: bool) -> None:
    def tell() -> None:
        store.put_states([StateRow(SITE, "host", "", OFFSET_MS, "{}")], [live(OFFSET_MS), live(OFFSET_MS + 9000)])

    if live_first:
        tell()
    store.add_items([telemetry_item(1)], [], batch(OFFSET_MS, OFFSET_MS + 3000))
    if not live_first:
        tell()
    assert shown(store) == [(second, Dating.CLOCK) for second in (0, 3, 9)]


@pytest.mark.parametrize("live_first", [True, False])
@pytest.mark.parametrize("proof_first", [True, False])
def test_samples_of_a_wrong_clock_move_to_their_true_time(store: Store, live_first: bool, proof_first: bool) -> None:
    """Both copies, as one; what another moment has taken already stays where it is."""

    def tell() -> None:
        store.put_states([StateRow(SITE, "host", "", OFFSET_MS, "{}")], [live(WRONG_MS)])

    def prove() -> None:
        store.add_events([event(0, 30, SYNCED, OFFSET_MS)])

    if live_first:
        tell()
    if proof_first:
        prove()
    store.add_items([telemetry_item(1)], [], batch(WRONG_MS, clock=UNSYNCED, offset_ms=WRONG_MS))
    if not proof_first:
        prove()
    assert shown(store) == [(0, Dating.AFTERWARDS)]
    store.add_items([telemetry_item(2)], [], batch(WRONG_MS, clock=UNSYNCED, offset_ms=WRONG_MS))
    assert (0, Dating.AFTERWARDS) in shown(store)


def test_a_message_of_a_kind_that_is_not_known_here_is_passed_over() -> None:
    told = Telemetry(
        samples=(
            Sample(group="weather", body={"at": "2026-11-24T05:40:00.000Z"}),
            Sample(group="host", body={"nonsense": True}),
            Sample(group="camera", body={}),
            Sample(group="host", body=host(OFFSET_MS).model_dump(mode="json")),
        )
    )
    name = make_item(ItemKind.TELEMETRY, told.to_json())
    (row,) = rows_of(SITE, name, told, OFFSET_MS)
    assert (row.topic, row.at_ms, row.run) == ("host", OFFSET_MS, None)


def test_a_late_sample_leaves_the_newest_state_alone(store: Store) -> None:
    newest = StateRow(SITE, "host", "", OFFSET_MS, host(OFFSET_MS).to_json().decode())
    store.put_states([newest], [live(OFFSET_MS)])
    store.add_items([telemetry_item(1)], [], batch(OFFSET_MS - 60_000))
    assert store.states(SITE) == [newest]
    assert shown(store) == [(-60, Dating.CLOCK), (0, Dating.CLOCK)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.sets(st.integers(0, 5000), max_size=60),
    from_ms=st.integers(0, 3000),
    length_ms=st.integers(1, 3000),
    most=st.integers(1, 40),
)
def test_thinned_to_the_first_of_each_part(
    sqlite_store: Store, times: set[int], from_ms: int, length_ms: int, most: int
) -> None:
    to_ms = from_ms + length_ms
    with sqlite_store._write() as connection:
        connection.exec_driver_sql("DELETE FROM samples")
    sqlite_store.put_states([StateRow(SITE, "host", "", 0, "{}")], [live(at_ms) for at_ms in times])
    found = [point.at_ms for point in sqlite_store.points(SITE, "host", "", from_ms, to_ms, most)]
    part_ms = -(-length_ms // most)
    parts: dict[int, int] = {}
    for at_ms in sorted(time for time in times if from_ms <= time < to_ms):
        parts.setdefault((at_ms - from_ms) // part_ms, at_ms)
    assert found == list(parts.values())
    assert len(found) <= most


def test_the_history_is_forgotten_in_steps_by_the_time_of_arrival(store: Store) -> None:
    """A site whose clock says that it is long ago loses nothing."""
    rows = [live(OFFSET_MS + number) for number in range(2500)]
    store.add_items([telemetry_item(1)], [], rows)
    store.add_items([telemetry_item(2)], [], batch(WRONG_MS, clock=UNSYNCED, offset_ms=WRONG_MS))
    before_ms = OFFSET_MS + 2000 + 5
    steps = []
    while forgotten := store.forget_samples(before_ms):
        steps.append(forgotten)
    assert steps == [1000, 1000]
    left = store.points(SITE, "host", "", 0, OFFSET_MS + 10**6, EVERY)
    assert len(left) == 501
    assert left[0].at_ms == WRONG_MS
