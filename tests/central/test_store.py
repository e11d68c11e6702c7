"""One suite for every database: SQLite and a real PostgreSQL server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from central.errors import SettingsError, StoreDown
from central.schema import metadata
from central.store import EventRow, ItemRow, SiteRow, StateRow, Store
from edge_agent.contract import ClockQuality, Event, EventData, EventType, LossCause, Range, instant
from tests.rig.postgres import Postgres

T = 1_795_000_000_000
RUN = "000001aaaa"


def site_row(site: str = "aloha", token: str = "a" * 64) -> SiteRow:
    return SiteRow(site, site.title(), -6.99, 110.42, token, "$7$101$aa$bb", T)


def item_row(sequence: int = 0, **more: Any) -> ItemRow:
    values: dict[str, Any] = {
        "site": "aloha",
        "run": RUN,
        "sequence": sequence,
        "kind": "segment",
        "camera": "north",
        "start_ms": T + sequence * 4000,
        "duration_ms": 4000,
        "clock": "synced",
        "sha256": f"{sequence:064x}",
        "size_bytes": 100,
        "stored_ms": T + 5,
        "object": f"2026/11/18/{sequence}",
        "offset": 0,
        "length": 100,
        "session": 1,
        "media_start_ms": sequence * 4000,
        "init_bytes": 10,
        "media_bytes": 80,
        "gap_before_ms": 0,
    } | more
    return ItemRow(**values)


def event_row(number: int, kind: EventType = EventType.LINK_CHANGED, at_ms: int = T, **data: Any) -> EventRow:
    event = Event(
        id=f"{RUN}/{number}", source="/aloha", type=kind, time=instant(at_ms), data=EventData(run=RUN, **data)
    )
    return EventRow.of("aloha", event, T)


def test_tables_are_made_once_and_are_what_the_schema_says(store: Store, database_url: str) -> None:
    Store.open(database_url).close()
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_several_centres_may_make_the_tables_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        for opened in pool.map(Store.open, [database_url] * 3):
            opened.close()


def test_a_site_is_known_once_and_renewed_on_request(store: Store) -> None:
    assert store.add_site(site_row(), renew=False)
    assert not store.add_site(site_row(token="b" * 64), renew=False)
    assert store.sites() == [site_row()]
    assert store.add_site(site_row(token="b" * 64), renew=True)
    assert store.site("aloha") == site_row(token="b" * 64)
    assert store.site("nobody") is None


def test_an_identity_is_stored_once_whoever_comes_second(store: Store) -> None:
    first, other = item_row(1), replace(item_row(1), sha256="f" * 64, stored_ms=T + 99)
    assert store.add_items([first, other, item_row(2)], []) == [(first, True), (first, False), (item_row(2), True)]
    assert store.add_items([other], []) == [(first, False)]
    assert store.item("aloha", RUN, 1) == first
    assert store.item("aloha", RUN, 7) is None


def test_parallel_writers_agree_on_who_was_first(store: Store) -> None:
    rows = [replace(item_row(1), sha256=f"{number:064x}", stored_ms=T + number) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        answers = [answer for (answer,) in pool.map(lambda row: store.add_items([row], []), rows)]
    assert len({row for row, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1


def test_what_is_held_is_told_range_by_range_without_what_is_lost(store: Store) -> None:
    store.add_items([item_row(number) for number in range(8)] + [replace(item_row(3), run="000009zzzz")], [])
    store.mark_lost([("aloha", RUN, 5), ("aloha", "000009zzzz", 4)], T)

    def held(run: str, from_sequence: int, to_sequence: int, count: int) -> list[int]:
        part = Range(run=run, from_sequence=from_sequence, to_sequence=to_sequence, count=count, digest="0" * 32)
        (items,) = store.held("aloha", [part])
        assert all(sha256 == item_row(sequence).sha256 for sequence, sha256 in items)
        return [sequence for sequence, _ in items]

    assert held(RUN, 2, 8, 6) == [2, 3, 4, 6, 7]
    assert held(RUN, 2, 8, 2) == [2, 3, 4], "one more than it counts is enough to differ"
    assert held("000009zzzz", 0, 99, 9) == [3]
    assert held("000005aaaa", 0, 99, 9) == []
    assert store.newest("aloha", "000005aaaa") == ("000009zzzz", 3)
    assert store.newest("aloha", "000009zzzz") == (RUN, 7)
    assert store.newest("batu", RUN) is None


def test_rows_can_be_walked_and_looked_up_with_their_numbers(store: Store) -> None:
    assert store.extent() == (0, 0)
    store.add_items([item_row(number) for number in range(5)], [])
    store.mark_lost([("aloha", RUN, 2)], T)
    count, highest = store.extent()
    first = store.rows(0, 3)
    walked = first + store.rows(first[-1][0], 3)
    assert walked == sorted(store.rows_of("aloha", RUN, range(9)), key=lambda numbered: numbered[0])
    assert {row.sequence: row.lost_ms for _, row in walked} == {0: None, 1: None, 2: T, 3: None, 4: None}
    assert (count, highest) == (4, walked[-1][0])
    assert store.rows(highest, 3) == []
    assert {f.sequence for f in store.footage("aloha", "north", T, T + 60_000)} == {0, 1, 3, 4}
    with_lost = store.footage("aloha", "north", T, T + 60_000, also_lost=True)
    assert [f.sequence for f in with_lost if f.lost] == [2]


def test_absurd_times_are_stored(store: Store) -> None:
    rows = [item_row(1, start_ms=0), item_row(2, start_ms=999_999_999_999_999, duration_ms=999_999_999), item_row(3)]
    store.add_items(rows, [])
    assert [f.sequence for f in store.footage("aloha", "north", T, T + 60_000)] == [3, 2]
    assert [f.sequence for f in store.footage("aloha", "north", 0, 60_000)] == [1, 3]


def test_footage_comes_with_its_neighbours_and_its_facts(store: Store) -> None:
    told = {"gap_before_ms": 500, "gap_cause": "camera", "gap_detail": "stalled", "holes": "[[100, 200]]"}
    hour_ms = 3_600_000
    store.add_items(
        [
            item_row(1, start_ms=T - 3 * hour_ms),
            item_row(2, start_ms=T - 2 * hour_ms),
            item_row(3, **told),
            item_row(4, start_ms=T + 2 * hour_ms),
            item_row(5, start_ms=T + 3 * hour_ms),
            item_row(6, camera="south"),
            item_row(7, kind="snapshot"),
        ],
        [],
    )
    found = {f.sequence: f for f in store.footage("aloha", "north", T, T + hour_ms)}
    assert sorted(found) == [2, 3, 4]
    assert (found[3].gap_cause, found[3].gap_detail, found[3].holes) == (LossCause.CAMERA, "stalled", ((100, 200),))
    assert store.cameras("aloha") == ["north", "south"]
    assert store.cameras("nobody") == []


def test_the_latest_snapshot_is_the_last_recorded_not_the_one_with_the_latest_label(store: Store) -> None:
    later = item_row(9, kind="snapshot", start_ms=5)
    store.add_items([item_row(8, kind="snapshot", start_ms=999_999_999_999_999), later], [])
    assert store.latest_snapshot("aloha", "north") == later
    assert store.latest_snapshot("aloha", "south") is None


def test_after_a_new_disk_the_latest_snapshot_is_that_of_the_run_with_the_lower_number(store: Store) -> None:
    old = item_row(9, run="000057aaaa", kind="snapshot", start_ms=T)
    new = item_row(1, run="000001bbbb", kind="snapshot", start_ms=T + 1000)
    store.add_items([old, new], [])
    assert store.latest_snapshot("aloha", "north") == new
    undated = item_row(2, run="000001bbbb", kind="snapshot", start_ms=T + 2000, clock=ClockQuality.UNSYNCED)
    store.add_items([undated], [])
    assert store.latest_snapshot("aloha", "north") == new
    later = item_row(1, run="000058cccc", kind="snapshot", start_ms=5, clock=ClockQuality.UNSYNCED)
    store.add_items([later], [])
    assert store.latest_snapshot("aloha", "north") == later, "nobody vouches for its time, but the order is known"


def test_an_event_is_known_once_though_it_comes_by_both_lanes(store: Store) -> None:
    store.add_events([event_row(1), event_row(2)])
    store.add_items([item_row(1, kind="event")], [event_row(2), event_row(3)])
    assert [row.event for _, row in store.events(None, 10)] == [f"{RUN}/3", f"{RUN}/2", f"{RUN}/1"]
    (number, newest), *_ = store.events("aloha", 1)
    assert newest.event == f"{RUN}/3"
    assert [row.event for _, row in store.events("aloha", 10, before=number)] == [f"{RUN}/2", f"{RUN}/1"]
    assert store.events("nobody", 10) == []


def test_start_and_end_of_a_run_are_found_whenever_its_clock_says_they_were(store: Store) -> None:
    store.add_events(
        [
            event_row(1, EventType.AGENT_STARTED, at_ms=0, cause=LossCause.POWER),
            event_row(2, EventType.CAMERA_LOST, at_ms=T + 10, camera="north", from_at=instant(T)),
            event_row(3, EventType.CAMERA_LOST, at_ms=T + 10_000),
            event_row(4, EventType.SUPPLY_CHANGED),
            event_row(5, EventType.AGENT_STOPPING, at_ms=1, cause=LossCause.STOPPED),
        ]
    )
    found = sorted(store.timeline_events("aloha", T, T + 1000, [RUN]), key=lambda e: e.time_ms)
    assert [(e.type, e.cause, e.from_ms) for e in found] == [
        (EventType.AGENT_STARTED, LossCause.POWER, None),
        (EventType.AGENT_STOPPING, LossCause.STOPPED, None),
        (EventType.CAMERA_LOST, None, T),
    ]


def test_an_eviction_explains_a_hole_however_late_it_happened(store: Store) -> None:
    """A spool that fills up during a long break drops footage of long ago."""
    gone = {"camera": "north", "cause": LossCause.EVICTED, "from_at": instant(T), "to_at": instant(T + 4000)}
    week_ms = 7 * 86_400_000
    store.add_events([event_row(1, EventType.SPOOL_EVICTED, at_ms=T + week_ms, **gone)])
    (found,) = store.timeline_events("aloha", T - 1000, T + 10_000, [])
    assert (found.from_ms, found.to_ms) == (T, T + 4000)
    assert store.timeline_events("aloha", T + 60_000, T + 90_000, []) == []
    (found,) = store.timeline_events("aloha", T + 1000, T + 2000, [])
    assert found.to_ms == T + 4000


def test_the_latest_state_wins(store: Store) -> None:
    store.put_states([StateRow("aloha", "power", "", T, "1"), StateRow("aloha", "camera", "north", T, "2")])
    store.put_states([StateRow("aloha", "power", "", T + 1, "3"), StateRow("batu", "power", "", T, "4")])
    store.put_states([])
    assert [(row.topic, row.body) for row in store.states("aloha")] == [("camera", "2"), ("power", "3")]
    assert len(store.states()) == 3


def test_sqlite_flushes_every_commit(sqlite_store: Store) -> None:
    with sqlite_store._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


def test_a_database_that_is_down_is_said_in_one_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreDown) as down:
        Store.open(f"postgresql://simpang:geheim@/none?host={tmp_path}")
    assert "\n" not in str(down.value)
    assert "geheim" not in str(down.value)
    with pytest.raises(StoreDown):
        Store.open(f"sqlite:///{tmp_path}/missing/store.sqlite")


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "postgresql://host:port/x"])
def test_what_is_no_database_is_a_setting_to_mend(url: str) -> None:
    with pytest.raises(SettingsError):
        Store.open(url)


def test_a_database_that_comes_back_is_used_again() -> None:
    with Postgres() as server:
        store = Store.open(server.database("back"))
        store.add_site(site_row(), renew=False)
        server.stop()
        with pytest.raises(StoreDown):
            store.sites()
        server.start()
        assert store.sites() == [site_row()]
        store.close()
