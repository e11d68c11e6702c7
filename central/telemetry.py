"""The history of what sites told: one row per state message, by whichever lane it came; in transactions of the store.

The live copy of a message and the one in an item of the spool say the same moment, and are one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import sqlalchemy as sa
from pydantic import ValidationError

from central.core.dating import Dating, Loose
from central.core.timeline import unix_ms
from central.engine import values_of
from central.schema import adrift, samples
from edge_agent.contract import ClockQuality, Event, Info, ItemName, Message, Presence, Telemetry, parse_topic

_PREFIX: Final = "site"
"""Stands for what a topic begins with where only its last part is told."""
_IDENTITY: Final = ("site", "topic", "camera", "at_ms")
_FORGET_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One state message; `body` is its JSON without `at` and without what is not known.

    `run`, `clock` and `monotonic_ms` say by which clock it is dated where nobody vouched for that clock.
    """

    site: str
    topic: str
    camera: str
    at_ms: int
    received_ms: int
    body: str
    run: str | None = None
    clock: str | None = None
    monotonic_ms: int | None = None
    label_ms: int | None = None
    """When it says it was, once another clock of the boot has had its say on `at_ms`."""

    @property
    def loose(self) -> Loose | None:
        """What it tells of a run that may be adrift."""
        return Loose.of(self.site, self.run, self.clock, self.monotonic_ms, 0, self.at_ms, self.received_ms)

    @classmethod
    def of(cls, site: str, topic: str, camera: str, message: Message, received_ms: int) -> Self:
        """The row of a message that came over the now lane."""
        body = message.model_dump_json(exclude={"at"}, exclude_none=True)
        return cls(site, topic, camera, said_at_ms(message), received_ms, body)


def said_at_ms(message: Message) -> int:
    """When the site says that it was so."""
    if isinstance(message, Event):
        return unix_ms(message.time)
    moment = message.started_at if isinstance(message, Info) else getattr(message, "at", None)
    return unix_ms(moment) if moment else 0


def rows_of(site: str, name: ItemName, batch: Telemetry, received_ms: int) -> Iterator[SampleRow]:
    """The rows of a batch; a message of a kind that this centre does not know yet stays in its item."""
    vouched = name.clock is ClockQuality.SYNCED or batch.wall_minus_monotonic_ms is None
    for sample in batch.samples:
        try:
            address = parse_topic(_PREFIX, f"{_PREFIX}/{site}/{sample.group}")
            message = address.topic.model.model_validate(sample.body)
        except (ValidationError, ValueError):
            continue
        if isinstance(message, Event | Presence):
            continue
        row = SampleRow.of(site, address.topic.group, address.camera or "", message, received_ms)
        if not vouched:
            monotonic_ms = row.at_ms - (batch.wall_minus_monotonic_ms or 0)
            row = replace(row, run=name.run, clock=name.clock, monotonic_ms=monotonic_ms)
        yield row


def add(connection: sa.Connection, insert: Callable[[sa.Table], Any], rows: Sequence[SampleRow]) -> None:
    """The rows are there, once; what is known of their clock is known whichever copy told it."""
    if not rows:
        return
    statement = insert(samples)
    clock = {name: statement.excluded[name] for name in ("run", "clock", "monotonic_ms")}
    statement = statement.on_conflict_do_update(
        index_elements=_IDENTITY, set_=clock, where=sa.and_(samples.c.run.is_(None), clock["run"].is_not(None))
    )
    once = {(row.site, row.topic, row.camera, row.at_ms): row for row in rows}
    in_order = [values_of(once[key]) for key in sorted(once)]  # both lanes in the same one: no deadlock
    connection.execute(statement, in_order)


@dataclass(frozen=True, slots=True)
class Point:
    """What a site told of itself at one moment."""

    at_ms: int
    values: dict[str, Any]
    dating: Dating
    error_ms: int | None = None


def points(
    connection: sa.Connection, site: str, topic: str, camera: str, from_ms: int, to_ms: int, most: int
) -> list[Point]:
    """What was told in the interval; of so many equal parts of it, the first message of each."""
    step_ms = max(1, -(-(to_ms - from_ms) // most))
    at, of_group = samples.c.at_ms, (samples.c.site == site, samples.c.topic == topic, samples.c.camera == camera)
    # One seek per part; the messages in between are never read.
    first = sa.select(sa.func.min(at).label("at_ms")).where(*of_group, at >= from_ms, at < to_ms)
    chosen = first.cte("chosen", recursive=True)
    next_part_ms = from_ms + ((chosen.c.at_ms - from_ms) // step_ms + 1) * step_ms
    following = sa.select(sa.func.min(at)).where(*of_group, at >= next_part_ms, at < to_ms)
    chosen = chosen.union_all(
        sa.select(following.correlate(chosen).scalar_subquery()).where(chosen.c.at_ms.is_not(None))
    )
    columns = (
        samples.c.at_ms,
        samples.c.body,
        samples.c.clock,
        samples.c.label_ms,
        adrift.c.placed_ms,
        adrift.c.error_ms,
    )
    drifts = sa.and_(adrift.c.site == samples.c.site, adrift.c.run == samples.c.run)
    told = samples.join(chosen, chosen.c.at_ms == at).outerjoin(adrift, drifts)
    query = sa.select(*columns).select_from(told).where(*of_group).order_by(at)
    found = []
    for at_ms, body, clock, label_ms, placed_ms, error_ms in connection.execute(query):
        dating = Dating.of(clock or ClockQuality.SYNCED, at_ms, label_ms, adrift=placed_ms is not None)
        found.append(Point(at_ms, json.loads(body), dating, error_ms if dating is Dating.BOUNDED else None))
    return found


def expired(connection: sa.Connection, before_ms: int) -> list[int]:
    """The next rows to forget: of those that came first, the ones that came before that moment, by our own clock."""
    oldest = sa.select(samples.c.id, samples.c.received_ms).order_by(samples.c.id).limit(_FORGET_AT_ONCE)
    return [row for row, received_ms in connection.execute(oldest) if received_ms < before_ms]


def forget(connection: sa.Connection, rows: Sequence[int]) -> None:
    """These rows are gone; the items that they came in stay."""
    connection.execute(sa.delete(samples).where(samples.c.id == sa.bindparam("row")), [{"row": row} for row in rows])
