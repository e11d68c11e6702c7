"""The database: which sites, items, events and states there are. Home of the SQL.

SQLite (WAL, synchronous=FULL) and PostgreSQL behave alike here: what a method has written when it returns is durable.
Every method raises StoreDown when the database does not answer. The rows come to date in `dating.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)

from central import telemetry
from central.core.dating import Dating, Loose, Sure
from central.core.timeline import FUTURE_MS, Footage, SiteEvent, unix_ms
from central.core.wishing import WishKind, WishRow
from central.dating import RunClock, bring_to_date, learn
from central.engine import open_engine, values_of
from central.errors import SettingsError, StoreDown
from central.schema import adrift, events, items, sites, states, wishes
from central.telemetry import Point, SampleRow
from edge_agent.contract import ClockQuality, Event, EventType, LossCause, Range

_MIGRATION_LOCK: Final = 7_467_726
_FILING_LOCK: Final = 7_467_727
"""Any numbers; on one PostgreSQL those who make tables take turns, and those who file rows that date each other."""
_LONGEST_SEGMENT_MS: Final = 3_600_000
"""A segment that starts earlier than this before an interval does not reach into it."""

_LOSSES_THAT_REACH_BACK: Final = 64
"""What one camera lost does not overlap: of what ended after an interval only the next of each camera began in it."""

_REMEMBERED: Final = 10_000
_LOOK_BEYOND: Final = 10_000

_LIVES: Final = (EventType.AGENT_STARTED, EventType.AGENT_STOPPING)
_GONE: Final = (EventType.SPOOL_EVICTED, EventType.SPOOL_QUARANTINED)
"""What tells of footage long after it was recorded."""

_EARLIEST_MS: Final = 1_767_225_600_000
"""2026: a label before there was an agent is a wrong clock's, and no neighbour."""


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site as enrolled."""

    site: str
    name: str
    latitude: float | None
    longitude: float | None
    token_sha256: str
    broker_hash: str
    enrolled_ms: int


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A stored item: its name, where its bytes are, and the facts of a segment."""

    site: str
    run: str
    sequence: int
    kind: str
    camera: str
    start_ms: int
    duration_ms: int
    clock: str
    sha256: str
    size_bytes: int
    stored_ms: int
    object: str
    offset: int
    length: int
    lost_ms: int | None = None
    session: int | None = None
    media_start_ms: int | None = None
    init_bytes: int | None = None
    media_bytes: int | None = None
    gap_before_ms: int | None = None
    gap_cause: str | None = None
    gap_detail: str | None = None
    holes: str | None = None
    monotonic_ms: int | None = None
    label_ms: int | None = None
    """What the name says, once another clock of the boot has had its say on `start_ms`."""

    @property
    def is_dated(self) -> bool:
        """Whether its time is sure."""
        sure = self.clock != ClockQuality.UNSYNCED or self.label_ms is not None
        return sure and self.start_ms <= self.stored_ms + FUTURE_MS

    @property
    def told(self) -> RunClock | None:
        """What it tells of the clock of its run, if anything."""
        if self.monotonic_ms is None or self.clock != ClockQuality.SYNCED or self.start_ms > self.stored_ms + FUTURE_MS:
            return None
        return RunClock(self.site, self.run, offset_ms=self.start_ms - self.monotonic_ms)

    @property
    def loose(self) -> Loose | None:
        """What it tells of a run that may be adrift."""
        at_ms, length_ms = self.monotonic_ms, self.duration_ms
        return Loose.of(self.site, self.run, self.clock, at_ms, length_ms, self.start_ms, self.stored_ms)

    @property
    def sure(self) -> Sure | None:
        """Between which moments others of its site cannot be."""
        if self.monotonic_ms is None or self.clock == ClockQuality.UNSYNCED:
            return None
        return Sure(self.site, self.run, self.start_ms, self.start_ms + self.duration_ms)


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of a site; `body` is its CloudEvents JSON."""

    site: str
    event: str
    type: str
    time_ms: int
    run: str
    camera: str | None
    received_ms: int
    body: str
    boot: str | None = None
    clock: str | None = None
    monotonic_ms: int | None = None
    label_ms: int | None = None
    """When it says it was, once another clock of the boot has had its say on `time_ms`."""
    until_ms: int | None = None
    """Where the footage ended that it says is gone, unless the clock that labelled it was wrong."""

    @classmethod
    def of(cls, site: str, event: Event, received_ms: int) -> Self:
        """The row of an event; ValueError when its id cannot be one."""
        if not (0 < len(event.id) <= 200 and event.id.isprintable()):
            raise ValueError("the id of an event has 1 to 200 printable characters")
        time_ms, offset_ms = unix_ms(event.time), event.data.wall_minus_monotonic_ms
        return cls(
            site=site,
            event=event.id,
            type=event.type,
            time_ms=time_ms,
            run=event.data.run,
            camera=event.data.camera,
            received_ms=received_ms,
            body=event.to_json().decode(),
            boot=event.data.boot,
            clock=event.data.clock,
            monotonic_ms=None if offset_ms is None else time_ms - offset_ms,
            until_ms=_until_ms(event),
        )

    @property
    def told(self) -> RunClock | None:
        """What it tells of the clock of its run, if anything."""
        proves = self.clock == ClockQuality.SYNCED and self.time_ms <= self.received_ms + FUTURE_MS
        if proves and self.monotonic_ms is not None:
            return RunClock(self.site, self.run, self.boot, self.time_ms - self.monotonic_ms)
        return RunClock(self.site, self.run, self.boot) if self.boot else None

    @property
    def loose(self) -> Loose | None:
        """What it tells of a run that may be adrift."""
        return Loose.of(self.site, self.run, self.clock, self.monotonic_ms, 0, self.time_ms, self.received_ms)


def _until_ms(event: Event) -> int | None:
    told = event.type in _GONE and event.data.items_clock is not ClockQuality.UNSYNCED
    return unix_ms(event.data.to_at) if told and event.data.to_at else None


@dataclass(frozen=True, slots=True)
class StateRow:
    """The latest state message of one topic; `camera` is empty where the topic has none."""

    site: str
    topic: str
    camera: str
    received_ms: int
    body: str


class Store:
    """A connection pool to one database with our tables."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._old_news: set[tuple[str, str, bool, bool]] = set()
        self._insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
        self._add_items = _adding_items(self._insert)

    @classmethod
    def open(cls, url: str) -> Self:
        """The store at `url`, its tables made or brought up to date; SettingsError, StoreDown."""
        try:
            address = sa.make_url(url)
            if address.drivername == "postgresql":
                address = address.set(drivername="postgresql+psycopg")
            if address.get_backend_name() not in {"sqlite", "postgresql"}:
                raise SettingsError(f"database_url: {address.drivername} is not supported", "use sqlite or postgresql")
            store = cls(open_engine(address))
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise SettingsError("database_url is not an address of a database", "write postgresql://…") from error
        store._migrate()
        return store

    def close(self) -> None:
        """Hang up."""
        self._engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._in_turn(_MIGRATION_LOCK) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _connection(self, *, write: bool) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(simpang_write=write) as connection, connection.begin():
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StoreDown(
                f"the database {self._engine.url.render_as_string(hide_password=True)} does not answer: {reason}"
            ) from error

    def _read(self) -> Any:
        return self._connection(write=False)

    def _write(self) -> Any:
        return self._connection(write=True)

    @contextmanager
    def _in_turn(self, lock: int) -> Iterator[sa.Connection]:
        """As `_write`, one transaction after the other. On SQLite all that write are."""
        with self._write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
            yield connection

    # --- sites ---

    def add_site(self, row: SiteRow, *, renew: bool) -> bool:
        """Make the site known, or with `renew` replace what is known; false when it is there and `renew` is not."""
        with self._write() as connection:
            statement = self._insert(sites).values(values_of(row))
            if renew:
                statement = statement.on_conflict_do_update(index_elements=["site"], set_=values_of(row))
            else:
                statement = statement.on_conflict_do_nothing(index_elements=["site"])
            return bool(connection.execute(statement.returning(sites.c.site)).first())

    def sites(self) -> list[SiteRow]:
        """All sites, by name of their id."""
        with self._read() as connection:
            return [SiteRow(**row) for row in connection.execute(sa.select(sites).order_by(sites.c.site)).mappings()]

    def site(self, site: str) -> SiteRow | None:
        """The site of that id."""
        with self._read() as connection:
            row = connection.execute(sa.select(sites).where(sites.c.site == site)).mappings().first()
            return SiteRow(**row) if row else None

    def cameras(self, site: str) -> list[str]:
        """The cameras that have footage."""
        found: list[str] = []
        column = items.c.camera
        with self._read() as connection:
            # One index seek per camera; DISTINCT would read the whole index.
            while camera := connection.scalar(
                sa.select(sa.func.min(column)).where(
                    items.c.site == site, items.c.kind == "segment", column > (found[-1] if found else "")
                )
            ):
                found.append(camera)
        return found

    # --- items ---

    def add_items(
        self, rows: Sequence[ItemRow], with_events: Sequence[EventRow], with_samples: Sequence[SampleRow] = ()
    ) -> list[tuple[ItemRow, bool]]:
        """What stands under the identity of each row, and whether it is that row, new. Durable on return.

        A row that was lost is replaced by the one with the same bytes. The events and samples are added too, where they
        are new.
        """
        if not rows:
            return []
        first = {(row.site, row.run, row.sequence): row for row in reversed(rows)}
        with self._in_turn(_FILING_LOCK) as connection:
            added = connection.execute(self._add_items, [values_of(row) for row in first.values()])
            new = {tuple(identity) for identity in added}
            for site, run, sequence in first.keys() - new:
                there = _item(connection.execute(_BY_IDENTITY, {"site": site, "run": run, "sequence": sequence}))
                if there is not None:
                    first[site, run, sequence] = there
            self._add_events(connection, with_events)
            telemetry.add(connection, self._insert, with_samples)
            new_items = [row for key, row in first.items() if key in new]
            self._bring_to_date(connection, [*new_items, *with_events], with_samples)
        stand = [first[row.site, row.run, row.sequence] for row in rows]
        return [(there, there is row) for there, row in zip(stand, rows, strict=True)]

    def item(self, site: str, run: str, sequence: int) -> ItemRow | None:
        """The item with that identity."""
        with self._read() as connection:
            return _item(connection.execute(_BY_IDENTITY, {"site": site, "run": run, "sequence": sequence}))

    def held(self, site: str, ranges: Iterable[Range]) -> Iterator[list[tuple[int, str]]]:
        """Sequence and hash of the items of each range that are there, in order; at most one more than it counts."""
        with self._read() as connection:
            for part in ranges:
                query = (
                    sa.select(items.c.sequence, items.c.sha256)
                    .where(
                        items.c.site == site,
                        items.c.run == part.run,
                        items.c.sequence >= part.from_sequence,
                        items.c.sequence < part.to_sequence,
                        items.c.lost_ms.is_(None),
                    )
                    .order_by(items.c.sequence)
                    .limit(part.count + 1)
                )
                yield [(sequence, sha256) for sequence, sha256 in connection.execute(query)]

    def extent(self) -> tuple[int, int]:
        """How many items there are, without the lost ones, and the highest number of a row."""
        with self._read() as connection:
            there = sa.func.count().filter(items.c.lost_ms.is_(None))
            count, highest = connection.execute(sa.select(there, sa.func.max(items.c.id))).one()
            return count, highest or 0

    def rows(self, above: int, limit: int) -> list[tuple[int, ItemRow]]:
        """The items whose rows have the next higher numbers, with those."""
        query = sa.select(items.c.id, *_item_columns()).where(items.c.id > above).order_by(items.c.id).limit(limit)
        return self._numbered(query)

    def rows_of(self, site: str, run: str, sequences: Iterable[int]) -> list[tuple[int, ItemRow]]:
        """Those items of a run, with the numbers of their rows."""
        query = sa.select(items.c.id, *_item_columns()).where(
            items.c.site == site, items.c.run == run, items.c.sequence.in_(list(sequences))
        )
        return self._numbered(query)

    def _numbered(self, query: sa.Select[Any]) -> list[tuple[int, ItemRow]]:
        with self._read() as connection:
            return [(row.pop("id"), ItemRow(**row)) for row in map(dict, connection.execute(query).mappings())]

    def mark_lost(self, identities: Iterable[tuple[str, str, int]], now_ms: int) -> None:
        """The bytes of those items are gone since `now_ms`, or since before; their sites are asked for them again."""
        marks = (
            sa.update(items)
            .where(items.c.site == sa.bindparam("of_site"), items.c.run == sa.bindparam("of_run"))
            .where(items.c.sequence == sa.bindparam("of_sequence"), items.c.lost_ms.is_(None))
            .values(lost_ms=now_ms)
        )
        gone = [{"of_site": site, "of_run": run, "of_sequence": sequence} for site, run, sequence in identities]
        if gone:
            with self._write() as connection:
                connection.execute(marks, gone)

    def newest(self, site: str, but_run: str) -> tuple[str, int] | None:
        """Run and sequence of the site's newest item of any run but that one."""
        order = (items.c.run.desc(), items.c.sequence.desc())
        query = sa.select(items.c.run, items.c.sequence).where(items.c.site == site).order_by(*order).limit(1)
        with self._read() as connection:
            for others in (items.c.run > but_run, items.c.run < but_run):
                if row := connection.execute(query.where(others)).first():
                    return row.run, row.sequence
        return None

    def latest_snapshot(self, site: str, camera: str) -> ItemRow | None:
        """The newest snapshot: by its time where that is sure, else by order of recording.

        The order alone is not enough: after a new disk the runs count from the start for one life.
        """
        of_camera = (
            sa.select(*_item_columns())
            .where(items.c.site == site, items.c.camera == camera, items.c.kind == "snapshot")
            .where(items.c.lost_ms.is_(None))
            .limit(1)
        )
        in_order = of_camera.order_by(items.c.run.desc(), items.c.sequence.desc())
        in_time = of_camera.where(_is_sure(items.c), items.c.start_ms <= items.c.stored_ms + FUTURE_MS).order_by(
            items.c.start_ms.desc(), items.c.run.desc(), items.c.sequence.desc()
        )
        with self._read() as connection:
            last = _item(connection.execute(in_order))
            return _item(connection.execute(in_time)) if last and last.is_dated else last

    def footage(self, site: str, camera: str, from_ms: int, to_ms: int, *, also_lost: bool = False) -> list[Footage]:
        """The segments that reach into the interval by their labels, with one neighbour on each side.

        Where nobody vouched for the time of a neighbour, also with the next one whose time is sure.
        """
        drifts = sa.and_(adrift.c.site == items.c.site, adrift.c.run == items.c.run)
        of_camera = sa.select(*_footage_columns()).select_from(items.outerjoin(adrift, drifts))
        of_camera = of_camera.where(items.c.site == site, items.c.camera == camera, items.c.kind == "segment")
        if not also_lost:
            of_camera = of_camera.where(items.c.lost_ms.is_(None))
        start = items.c.start_ms
        earliest = from_ms - _LONGEST_SEGMENT_MS
        within = of_camera.where(start >= earliest, start < to_ms)
        before = of_camera.where(start < earliest, start >= _EARLIEST_MS)
        after = of_camera.where(start >= to_ms)
        with self._read() as connection:
            found = [_footage(row) for row in connection.execute(within).mappings()]
            for beyond, order in ((before, sa.desc), (after, sa.asc)):
                found += _neighbours(connection, beyond, order)
        return found

    # --- events ---

    def add_events(self, rows: Sequence[EventRow]) -> None:
        """Add those events that are new."""
        if not rows:
            return
        with self._in_turn(_FILING_LOCK) as connection:
            self._add_events(connection, rows)
            self._bring_to_date(connection, rows, [])

    def _add_events(self, connection: sa.Connection, rows: Sequence[EventRow]) -> None:
        if rows:
            connection.execute(
                self._insert(events).on_conflict_do_nothing(index_elements=["site", "event"]),
                [values_of(row) for row in rows],
            )

    def _bring_to_date(
        self, connection: sa.Connection, rows: Sequence[ItemRow | EventRow], with_samples: Sequence[SampleRow]
    ) -> None:
        """What the rows tell of clocks is known, and what was labelled by a wrong one has its true time."""
        told = [clock for row in rows if (clock := row.told) and clock.kind not in self._old_news]
        news = learn(connection, self._insert, told)
        if told and not news:  # so it stands in the database, and need not be said again
            if len(self._old_news) > _REMEMBERED:
                self._old_news.clear()
            self._old_news.update(clock.kind for clock in told)
        undated = {
            (row.site, row.run)
            for row in (*rows, *with_samples)
            if row.run is not None and row.monotonic_ms is not None and row.clock != ClockQuality.SYNCED
        }
        loose = [one for row in (*rows, *with_samples) if (one := row.loose)]
        sure = [span for row in rows if isinstance(row, ItemRow) and (span := row.sure)]
        bring_to_date(connection, self._insert, news, undated, loose, sure)

    def events(self, site: str | None, limit: int, before: int | None = None) -> list[tuple[int, EventRow]]:
        """The events that came last, newest first, with their numbers; those below `before` if given."""
        query = sa.select(events).order_by(events.c.id.desc()).limit(limit)
        if site is not None:
            query = query.where(events.c.site == site)
        if before is not None:
            query = query.where(events.c.id < before)
        with self._read() as connection:
            return [(row.pop("id"), EventRow(**row)) for row in map(dict, connection.execute(query).mappings())]

    def timeline_events(self, site: str, from_ms: int, to_ms: int, runs: Iterable[str]) -> list[SiteEvent]:
        """The events that explain holes: those of the interval, and start and end of those runs whenever they were.

        Of footage that is gone, those that tell of the interval.
        """
        kind, time, until = events.c.type, events.c.time_ms, events.c.until_ms
        of_site = sa.select(time, events.c.body).where(events.c.site == site)
        gone = of_site.where(kind.in_(_GONE))
        queries = (
            of_site.where(kind.in_((*_LIVES, EventType.CAMERA_LOST, EventType.CAMERA_BACK)), _within(from_ms, to_ms)),
            of_site.where(kind.in_(_LIVES), events.c.run.in_(list(runs)), ~_within(from_ms, to_ms)),
            gone.where(until.between(from_ms, to_ms)),
            gone.where(until > to_ms).order_by(until).limit(_LOSSES_THAT_REACH_BACK),
            gone.where(until.is_(None), time >= from_ms),
        )
        with self._read() as connection:
            found = [SiteEvent.parse(row.body, row.time_ms) for query in queries for row in connection.execute(query)]
            owners = {event.unsynced_run for event in found if event.unsynced_run}
            if not owners:
                return found
            starts = sa.select(events.c.run, events.c.time_ms - events.c.label_ms).where(
                events.c.site == site, events.c.type == EventType.AGENT_STARTED, events.c.run.in_(owners)
            )
            late_ms = {run: late_ms for run, late_ms in connection.execute(starts) if late_ms is not None}
            return [event.shifted(late_ms.get(event.unsynced_run or "", 0)) for event in found]

    # --- states ---

    def put_states(self, rows: Sequence[StateRow], with_samples: Sequence[SampleRow] = ()) -> None:
        """Each row is now the latest of its topic; the samples are in the history."""
        if not rows:
            return
        statement = self._insert(states)
        update = {"received_ms": statement.excluded.received_ms, "body": statement.excluded.body}
        with self._write() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["site", "topic", "camera"], set_=update),
                [values_of(row) for row in rows],
            )
            telemetry.add(connection, self._insert, with_samples)

    def states(self, site: str | None = None, topics: Iterable[str] | None = None) -> list[StateRow]:
        """The latest state messages, of one site or of all, of some topics or of all."""
        query = sa.select(states).order_by(states.c.site, states.c.topic, states.c.camera)
        if site is not None:
            query = query.where(states.c.site == site)
        if topics is not None:
            query = query.where(states.c.topic.in_(list(topics)))
        with self._read() as connection:
            return [StateRow(**row) for row in connection.execute(query).mappings()]

    # --- wishes ---

    def add_wish(self, row: WishRow) -> None:
        """It stands; where it stood already, with its new dates. Of the kind COMPARED a site has one, the latest."""
        with self._write() as connection:
            if row.kind is WishKind.COMPARED:
                connection.execute(sa.delete(wishes).where(wishes.c.site == row.site, wishes.c.kind == row.kind))
            statement = self._insert(wishes).values(values_of(row))
            update = {"made_ms": row.made_ms, "expires_ms": row.expires_ms}
            identity = ["site", "kind", "camera", "from_ms", "to_ms"]
            connection.execute(statement.on_conflict_do_update(index_elements=identity, set_=update))

    def drop_wishes(self, rows: Iterable[WishRow]) -> int:
        """They stand no more; how many of them did."""
        dropped = 0
        with self._write() as connection:
            for row in rows:
                same = (wishes.c[name] == getattr(row, name) for name in ("site", "kind", "camera", "from_ms", "to_ms"))
                dropped += connection.execute(sa.delete(wishes).where(*same)).rowcount
        return dropped

    def wishes(self) -> list[WishRow]:
        """All that stand, the oldest first."""
        query = sa.select(wishes).order_by(wishes.c.id)
        with self._read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [
            WishRow(kind=WishKind(row.pop("kind")), **{key: value for key, value in row.items() if key != "id"})
            for row in rows
        ]

    # --- samples ---

    def points(self, site: str, topic: str, camera: str, from_ms: int, to_ms: int, most: int) -> list[Point]:
        """What the site told of that group in the interval, thinned to so many points."""
        with self._read() as connection:
            return telemetry.points(connection, site, topic, camera, from_ms, to_ms, most)

    def forget_samples(self, before_ms: int) -> int:
        """Some of what came before that moment is gone from the history; how many rows, 0 when nothing is left."""
        with self._read() as connection:
            rows = telemetry.expired(connection, before_ms)
        if rows:
            with self._write() as connection:
                telemetry.forget(connection, rows)
        return len(rows)


def _within(from_ms: int, to_ms: int) -> sa.ColumnElement[bool]:
    return events.c.time_ms.between(from_ms, to_ms)


def _adding_items(insert: Callable[[sa.Table], Any]) -> Any:
    """Items are added, and the identities of those that were new or lost told."""
    statement = insert(items)
    found_again = {column: statement.excluded[column] for column in ("object", "offset", "length", "stored_ms")}
    return statement.on_conflict_do_update(
        index_elements=["site", "run", "sequence"],
        set_=found_again | {"lost_ms": None},
        where=sa.and_(items.c.lost_ms.is_not(None), items.c.sha256 == statement.excluded.sha256),
    ).returning(items.c.site, items.c.run, items.c.sequence)


def _item(found: sa.Result[Any]) -> ItemRow | None:
    row = found.mappings().first()
    return ItemRow(**row) if row else None


def _item_columns() -> list[sa.Column[Any]]:
    return [column for column in items.c if column.name != "id"]


_BY_IDENTITY: Final = sa.select(*_item_columns()).where(
    *(items.c[name] == sa.bindparam(name) for name in ("site", "run", "sequence"))
)


def _footage_columns() -> list[sa.Column[Any]]:
    names = (
        *("run", "sequence", "session", "start_ms", "duration_ms", "media_start_ms", "init_bytes", "media_bytes"),
        *("gap_before_ms", "gap_cause", "gap_detail", "holes", "stored_ms", "lost_ms", "clock", "label_ms"),
    )
    return [*(items.c[name] for name in names), adrift.c.placed_ms, adrift.c.error_ms]


def _is_sure(columns: Any) -> sa.ColumnElement[bool]:
    """The time of the row is; as `Dating.of` has it."""
    return sa.or_(columns.clock != ClockQuality.UNSYNCED, columns.label_ms.is_not(None))


def _neighbours(
    connection: sa.Connection, beyond: sa.Select[Any], order: Callable[[Any], sa.UnaryExpression[Any]]
) -> Iterator[Footage]:
    """The first of the segments beyond an interval, and the first whose time is sure, if that is another."""
    ordered = beyond.order_by(order(items.c.start_ms))
    for row in connection.execute(ordered.limit(1)).mappings().all():
        yield (nearest := _footage(row))
        if nearest.dating is Dating.UNSYNCED:
            near = ordered.limit(_LOOK_BEYOND).subquery()
            first = sa.select(near).where(_is_sure(near.c)).order_by(order(near.c.start_ms)).limit(1)
            yield from map(_footage, connection.execute(first).mappings())


def _footage(row: sa.RowMapping) -> Footage:
    values = dict(row)
    cause, holes, lost_ms = values.pop("gap_cause"), values.pop("holes"), values.pop("lost_ms")
    placed_ms, error_ms = values.pop("placed_ms"), values.pop("error_ms")
    clock, label_ms = values.pop("clock"), values.pop("label_ms")
    dating = Dating.of(clock, values["start_ms"], label_ms, adrift=placed_ms is not None)
    return Footage(
        **values,
        dating=dating,
        error_ms=error_ms if dating is Dating.BOUNDED else None,
        gap_cause=LossCause(cause) if cause else None,
        holes=tuple((offset, duration) for offset, duration in json.loads(holes)) if holes else (),
        lost=lost_ms is not None,
    )
