"""What is known of the clock of each run, and the rows that are dated by it; within transactions of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from central.core.dating import STEP_MS, Adrift, Bounds, Loose, Sure, bounds, proven_offset, true_ms
from central.engine import values_of
from central.schema import PLACED, UNDATED, adrift, events, items, runs, samples
from edge_agent.contract import ClockQuality, EventType, run_counter

_TIMES: Final = ((items, items.c.start_ms), (events, events.c.time_ms), (samples, samples.c.at_ms))

_LOOK: Final = 1000
"""Of the first or last segments of a run; its cameras begin and end together, so its edge is among them."""

_LEFT: Final = sa.select(adrift.c.site, adrift.c.run, adrift.c.after_ms, adrift.c.before_ms).where(
    adrift.c.site.in_(sa.bindparam("sites", expanding=True))
)
"""What is left to the runs that are adrift, of these sites."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """What one row tells of the clock of its run."""

    site: str
    run: str
    boot: str | None = None
    offset_ms: int | None = None
    """The time of day minus the monotonic clock, where somebody vouched for the former."""

    @property
    def kind(self) -> tuple[str, str, bool, bool]:
        """What it tells, whatever the values: the first that is told of a run stands."""
        return self.site, self.run, self.boot is not None, self.offset_ms is not None


def learn(connection: sa.Connection, insert: Callable[[sa.Table], Any], told: Iterable[RunClock]) -> set[RunClock]:
    """What is told is known; the runs of which it was news."""
    known: dict[tuple[str, str], RunClock] = {}
    for clock in told:
        before = known.get((clock.site, clock.run), clock)
        offset_ms = clock.offset_ms if before.offset_ms is None else before.offset_ms
        known[clock.site, clock.run] = replace(before, boot=before.boot or clock.boot, offset_ms=offset_ms)
    if not known:
        return set()
    statement = insert(runs)
    boot, offset_ms = statement.excluded.boot, statement.excluded.offset_ms
    statement = statement.on_conflict_do_update(
        index_elements=["site", "run"],
        set_={"boot": sa.func.coalesce(runs.c.boot, boot), "offset_ms": sa.func.coalesce(runs.c.offset_ms, offset_ms)},
        where=sa.or_(
            sa.and_(runs.c.boot.is_(None), boot.is_not(None)),
            sa.and_(runs.c.offset_ms.is_(None), offset_ms.is_not(None)),
        ),
    )
    rows = [values_of(known[key]) for key in sorted(known)]
    news = connection.execute(statement.returning(*runs.c), rows)
    return {RunClock(**row) for row in news.mappings()}


def bring_to_date(
    connection: sa.Connection,
    insert: Callable[[sa.Table], Any],
    news: Iterable[RunClock],
    undated: Iterable[tuple[str, str]],
    loose: Iterable[Loose],
    sure: Iterable[Sure],
) -> None:
    """The rows of the runs of which there is news, of all that share their boot, and of the undated runs are dated.

    As far as their clock is known. The others wait for it, and lie as long between what is `sure`. Nobody else may
    file rows meanwhile, or this transaction and that would not know of each other's.
    """
    new, waiting = {(clock.site, clock.run) for clock in news}, set(undated)
    sites = _tightened(connection, sure)
    if not new and not waiting and not sites:
        return
    proven: set[tuple[str, str]] = set()
    for site, run in sorted(new | waiting):
        mates = _mates(connection, site, run)
        proofs = {mate.run: mate.offset_ms for mate in mates if mate.offset_ms is not None}
        for mate in mates if (site, run) in new else [RunClock(site, run)]:
            offset_ms = proven_offset(mate.run, proofs)
            if offset_ms is not None:
                proven.add((site, mate.run))
                _date(connection, site, mate.run, offset_ms, again=_moored(connection, site, mate.run))
    _cast_off(connection, insert, [one for one in loose if (one.site, one.run) not in proven])
    for site in sorted(sites | {site for site, _ in new | waiting}):
        _place(connection, site)


def _mates(connection: sa.Connection, site: str, run: str) -> list[RunClock]:
    """What is known of the run and of all that share its boot."""
    boot = sa.select(runs.c.boot).where(runs.c.site == site, runs.c.run == run).scalar_subquery()
    query = sa.select(runs).where(runs.c.site == site, sa.or_(runs.c.run == run, runs.c.boot == boot))
    return [RunClock(**row) for row in connection.execute(query).mappings()]


def _moored(connection: sa.Connection, site: str, run: str) -> bool:
    """The run is adrift no more; whether it was."""
    gone = sa.delete(adrift).where(adrift.c.site == site, adrift.c.run == run)
    return bool(connection.execute(gone).rowcount)


def _cast_off(connection: sa.Connection, insert: Callable[[sa.Table], Any], loose: Iterable[Loose]) -> None:
    """What nothing has proven is known to be adrift, from its first moment to its last."""
    rows: dict[tuple[str, str], Loose] = {}
    for one in sorted(loose, key=lambda one: one.last_ms):
        other = rows.get((one.site, one.run), one)
        first_ms, arrived_ms = min(one.first_ms, other.first_ms), min(one.arrived_ms, other.arrived_ms)
        rows[one.site, one.run] = one._replace(first_ms=first_ms, arrived_ms=arrived_ms)
    if not rows:
        return
    statement = insert(adrift)
    there, more = adrift.c, statement.excluded
    widened = {
        "first_ms": sa.case((more.first_ms < there.first_ms, more.first_ms), else_=there.first_ms),
        "last_ms": sa.case((more.last_ms > there.last_ms, more.last_ms), else_=there.last_ms),
        # Clocks get better in the course of a run; but no label is to the millisecond.
        "said_ms": sa.case(
            (sa.and_(more.last_ms > there.last_ms, sa.func.abs(more.said_ms - there.said_ms) > STEP_MS), more.said_ms),
            else_=there.said_ms,
        ),
        "arrived_ms": sa.case((more.arrived_ms < there.arrived_ms, more.arrived_ms), else_=there.arrived_ms),
    }
    statement = statement.on_conflict_do_update(index_elements=["site", "run"], set_=widened)
    connection.execute(statement, [rows[key]._asdict() for key in sorted(rows)])


def _tightened(connection: sa.Connection, sure: Iterable[Sure]) -> set[str]:
    """The sites where one of these reaches into what was left to a run that is adrift."""
    spans = list(sure)
    if not spans:
        return set()
    return {
        site
        for site, run, after_ms, before_ms in connection.execute(_LEFT, {"sites": {span.site for span in spans}})
        for span in spans
        if span.site == site
        and (
            (span.run < run and (after_ms is None or span.end_ms > after_ms))
            or (span.run > run and before_ms is not None and span.start_ms < before_ms)
        )
    }


def _place(connection: sa.Connection, site: str) -> None:
    """The runs of the site that are adrift lie between their neighbours."""
    query = sa.select(adrift).where(adrift.c.site == site)
    loose = {row["run"]: row for row in connection.execute(query).mappings()}
    if not loose:
        return
    told = connection.execute(sa.select(runs).where(runs.c.site == site)).mappings()
    clocks = {row["run"]: RunClock(**row) for row in told}
    proven = {clock.boot for clock in clocks.values() if clock.boot and clock.offset_ms is not None}
    numbers = Counter(run_counter(run) for run in clocks.keys() | loose.keys())
    before: str | None = None
    between: list[list[str]] = []
    for run in sorted(clocks.keys() | loose.keys()):
        if run_counter(run) == 0 or numbers[run_counter(run)] > 1:
            # A life without a disk, or after it was replaced: where it is in the order is not known.
            if run in loose:
                _put(connection, loose[run], {})
            continue
        clock = clocks.get(run, RunClock(site, run))
        if clock.offset_ms is not None or clock.boot in proven:
            _settle(connection, site, before, between, run, loose)
            before, between = run, []
        elif run in loose:
            last = clocks.get(between[-1][-1]) if between else None
            if last and last.boot and last.boot == clock.boot:
                between[-1].append(run)
            else:
                between.append([run])
    _settle(connection, site, before, between, None, loose)


def _settle(
    connection: sa.Connection,
    site: str,
    before: str | None,
    between: list[list[str]],
    after: str | None,
    loose: dict[str, sa.RowMapping],
) -> None:
    """The boots between those two dated runs have their place."""
    if not between:
        return
    boots = []
    for mates in between:
        rows = [loose[run] for run in mates]
        placed = [row["placed_ms"] for row in rows if row["placed_ms"] is not None]
        boots.append(
            Adrift(
                min(row["first_ms"] for row in rows),
                max(row["last_ms"] for row in rows),
                rows[-1]["said_ms"],
                min(row["arrived_ms"] for row in rows),
                placed[-1] if placed else None,
            )
        )
    ended_ms = _edge(connection, site, before, first=False) if before else None
    began_ms = _edge(connection, site, after, first=True) if after else None
    found = bounds(ended_ms, boots, began_ms)
    for number, (mates, boot) in enumerate(zip(between, boots, strict=True)):
        place = _columns(boot, found[number]) if found else {}
        for run in mates:
            _put(connection, loose[run], place)


def _columns(boot: Adrift, where: Bounds) -> dict[str, int]:
    """What the table says of a boot; a label that nothing before it bounds, and nothing contradicts, is left alone."""
    columns = {"before_ms": where.latest_ms + boot.last_ms}
    if where.earliest_ms is not None and where.error_ms is not None:
        columns |= {"after_ms": where.earliest_ms + boot.first_ms, "error_ms": where.error_ms}
    if where.earliest_ms is not None or where.placed_ms != boot.said_ms:
        columns |= {"placed_ms": where.placed_ms}
    return columns


def _put(connection: sa.Connection, row: sa.RowMapping, place: dict[str, int]) -> None:
    """The run is in that place, or where its labels say."""
    values = {name: place.get(name) for name in ("placed_ms", "error_ms", "after_ms", "before_ms")}
    if any(row[name] != value for name, value in values.items()):
        mine = adrift.c.site == row["site"], adrift.c.run == row["run"]
        connection.execute(sa.update(adrift).where(*mine).values(values))
    placed_ms = values["placed_ms"]
    if placed_ms is not None:
        again = row["placed_ms"] not in (None, placed_ms)
        _date(connection, row["site"], row["run"], placed_ms, again=again, unsynced=True)
    elif row["placed_ms"] is not None:
        _as_labelled(connection, row["site"], row["run"])


def _edge(connection: sa.Connection, site: str, run: str, *, first: bool) -> int | None:
    """When the first or the last of that run was of which the time is known."""
    order = items.c.sequence.asc() if first else items.c.sequence.desc()
    mine = items.c.site == site, items.c.run == run, items.c.kind == "segment", _dated(items)
    ends = items.c.start_ms if first else items.c.start_ms + items.c.duration_ms
    near = sa.select(ends.label("ms")).where(*mine).order_by(order).limit(_LOOK).subquery()
    of_run = events.c.site == site, events.c.run == run, events.c.type == EventType.AGENT_STARTED, _dated(events)
    started = sa.select(events.c.time_ms.label("ms")).where(*of_run)
    both = sa.union_all(sa.select(near.c.ms), started).subquery()
    edge: int | None = connection.scalar(sa.select(sa.func.min(both.c.ms) if first else sa.func.max(both.c.ms)))
    return edge


def _dated(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.clock != ClockQuality.UNSYNCED, table.c.label_ms.is_not(None))


def _taken(row: sa.BindParameter[int], at_ms: sa.BindParameter[int]) -> sa.Exists:
    """Whether another sample of that group is at the moment to which the row is to move."""
    mine, other = samples.alias("mine"), samples.alias("other")
    same = [mine.c[name] == other.c[name] for name in ("site", "topic", "camera")]
    return sa.exists().where(mine.c.id == row, *same, other.c.at_ms == at_ms, other.c.id != row)


def _date(
    connection: sa.Connection, site: str, run: str, offset_ms: int, *, again: bool, unsynced: bool = False
) -> None:
    """The rows of the run that wait for it are dated, or only the `unsynced`; `again` those too that were placed."""
    for table, time in _TIMES:
        label = sa.func.coalesce(table.c.label_ms, time)
        of_run = sa.select(table.c.id, label, table.c.monotonic_ms, table.c.clock).where(
            table.c.site == site, table.c.run == run
        )
        if unsynced:
            of_run = of_run.where(table.c.clock == ClockQuality.UNSYNCED)
        dated = [
            {"row": row, "at": true_ms(label_ms, monotonic_ms, clock, offset_ms), "label": label_ms}
            for which in ((UNDATED, PLACED) if again else (UNDATED,))
            for row, label_ms, monotonic_ms, clock in connection.execute(of_run.where(which))
        ]
        _move(connection, table, time, dated)


def _as_labelled(connection: sa.Connection, site: str, run: str) -> None:
    """What was placed is where its labels say, and waits again."""
    for table, time in _TIMES:
        mine = table.c.site == site, table.c.run == run, PLACED
        placed = connection.execute(sa.select(table.c.id, table.c.label_ms).where(*mine))
        _move(connection, table, time, [{"row": row, "at": label_ms, "label": None} for row, label_ms in placed])


def _move(connection: sa.Connection, table: sa.Table, time: sa.Column[int], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    update = sa.update(table).where(table.c.id == sa.bindparam("row"))
    if table is samples:
        update = update.where(~_taken(sa.bindparam("row"), sa.bindparam("at")))
    connection.execute(update.values({time: sa.bindparam("at"), table.c.label_ms: sa.bindparam("label")}), rows)
