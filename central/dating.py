"""What is known of the clock of each run, and the rows that are dated by it; within transactions of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from central.core.dating import proven_offset, true_ms
from central.schema import UNDATED, events, items, runs, samples

_LOCK: Final = 7_467_727
"""Any number; on PostgreSQL, who learns of a clock and who brings rows to date take turns."""

_TIMES: Final = ((items, items.c.start_ms), (events, events.c.time_ms), (samples, samples.c.at_ms))


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
    rows = [asdict(known[key]) for key in sorted(known)]
    news = connection.execute(statement.returning(*runs.c), rows)
    return {RunClock(**row) for row in news.mappings()}


def bring_to_date(connection: sa.Connection, news: Iterable[RunClock], undated: Iterable[tuple[str, str]]) -> None:
    """The rows of the runs of which there is news, of all that share their boot, and of the undated runs are dated.

    As far as their clock is known; the others wait for it.
    """
    new, waiting = {(clock.site, clock.run) for clock in news}, set(undated)
    if not new and not waiting:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    for site, run in sorted(new | waiting):
        mates = _mates(connection, site, run)
        proofs = {mate.run: mate.offset_ms for mate in mates if mate.offset_ms is not None}
        for mate in mates if (site, run) in new else [RunClock(site, run)]:
            offset_ms = proven_offset(mate.run, proofs)
            if offset_ms is not None:
                _date(connection, site, mate.run, offset_ms)


def _mates(connection: sa.Connection, site: str, run: str) -> list[RunClock]:
    """What is known of the run and of all that share its boot."""
    boot = sa.select(runs.c.boot).where(runs.c.site == site, runs.c.run == run).scalar_subquery()
    query = sa.select(runs).where(runs.c.site == site, sa.or_(runs.c.run == run, runs.c.boot == boot))
    return [RunClock(**row) for row in connection.execute(query).mappings()]


def _taken(row: sa.BindParameter[int], at_ms: sa.BindParameter[int]) -> sa.Exists:
    """Whether another sample of that group is at the moment to which the row is to move."""
    mine, other = samples.alias("mine"), samples.alias("other")
    same = [mine.c[name] == other.c[name] for name in ("site", "topic", "camera")]
    return sa.exists().where(mine.c.id == row, *same, other.c.at_ms == at_ms, other.c.id != row)


def _date(connection: sa.Connection, site: str, run: str, offset_ms: int) -> None:
    for table, time in _TIMES:
        undated = sa.select(table.c.id, time, table.c.monotonic_ms, table.c.clock).where(
            table.c.site == site, table.c.run == run, UNDATED
        )
        dated = [
            {"row": row, "at": true_ms(label_ms, monotonic_ms, clock, offset_ms), "label": label_ms}
            for row, label_ms, monotonic_ms, clock in connection.execute(undated)
        ]
        if dated:
            update = sa.update(table).where(table.c.id == sa.bindparam("row"))
            if table is samples:
                update = update.where(~_taken(sa.bindparam("row"), sa.bindparam("at")))
            connection.execute(
                update.values({time: sa.bindparam("at"), table.c.label_ms: sa.bindparam("label")}), dated
            )
