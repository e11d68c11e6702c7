"""What the JSON API answers with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from central.core.dating import Dating
from central.core.readiness import HOURS, Lasts, Outlook, Why, outlook
from central.core.timeline import Interval as CoreInterval
from central.core.timeline import State, unix_ms
from central.core.wishing import WishKind
from central.core.wishing import WishRow as CoreWishRow
from central.history import Day
from central.store import EventRow, SiteRow, StateRow
from central.telemetry import Point
from edge_agent.contract import (
    BATTERY,
    CAMERA,
    HOST,
    INFO,
    LINK,
    POWER,
    PRESENCE,
    SPOOL,
    Battery,
    CameraState,
    ClockQuality,
    Host,
    Info,
    Instant,
    Link,
    LossCause,
    Power,
    Presence,
    SpoolState,
    Topic,
    instant,
)
from edge_agent.contract import (
    Event as WireEvent,
)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


_FARTHEST_S: Final = 30 * 86_400
"""A dark that is further away is no date worth telling."""


class Readiness(_Answer):
    """When a site on battery goes dark, and whether a site would survive the next hours without mains."""

    why: Why
    reason: str = Field(description="The same in words")
    lasts_s: float | None = Field(description="From now: on battery until it is empty, on mains if that were lost now")
    lasts_low_s: float | None
    lasts_high_s: float | None
    dark_at: Instant | None = Field(
        description="When the battery will be empty, by the centre's clock, also after contact is lost;"
        " null while on mains and while not known"
    )
    dark_earliest_at: Instant | None
    dark_latest_at: Instant | None
    survives: dict[str, bool | None] = Field(description="By hours: 1, 2 and 4; null where it cannot be said")

    @classmethod
    def of(cls, found: Outlook, now_ms: int) -> Readiness:
        """The outlook in the words of the API."""
        lasts = found.lasts
        return cls(
            why=found.why,
            reason=found.reason,
            lasts_s=lasts.s,
            lasts_low_s=lasts.low_s,
            lasts_high_s=lasts.high_s,
            dark_at=_dark_at(found, found.told.s, now_ms),
            dark_earliest_at=_dark_at(found, found.told.low_s, now_ms),
            dark_latest_at=_dark_at(found, found.told.high_s, now_ms),
            survives={str(hours): found.survives(hours) for hours in HOURS},
        )

    def falls_short_of(self, hours: float) -> bool:
        """Whether the site would not survive that."""
        return Lasts(self.lasts_s, self.lasts_low_s, self.lasts_high_s).reaches(hours * 3600) is False


def _dark_at(found: Outlook, told_s: float | None, now_ms: int) -> Instant | None:
    if found.passed_s is None or told_s is None or told_s > _FARTHEST_S:
        return None
    return instant(now_ms + round((told_s - found.passed_s) * 1000))


class Site(_Answer):
    """A site and what it said last; null where it has not said anything yet."""

    site: str
    name: str
    latitude: float | None
    longitude: float | None
    presence: Presence | None
    power: Power | None
    link: Link | None
    spool: SpoolState | None
    host: Host | None
    readiness: Readiness
    cameras: tuple[CameraState, ...]
    detail: str = Field(description="What is wrong with the settings file of the site; empty when nothing is")
    seen_at: Instant | None = Field(description="When its last state message came, by the centre's clock")
    enrolled_at: Instant

    @classmethod
    def of(cls, row: SiteRow, states: Iterable[StateRow], now_ms: int) -> Site:
        """The site with its latest state messages, and what they mean now."""
        told = {(state.topic, state.camera): state for state in states}
        info = _latest(told, INFO, Info)
        return cls(
            site=row.site,
            name=row.name or (info.name if info else "") or row.site,
            latitude=row.latitude if row.latitude is not None or info is None else info.latitude,
            longitude=row.longitude if row.longitude is not None or info is None else info.longitude,
            presence=_latest(told, PRESENCE, Presence),
            power=_latest(told, POWER, Power),
            link=_latest(told, LINK, Link),
            spool=_latest(told, SPOOL, SpoolState),
            host=_latest(told, HOST, Host),
            readiness=Readiness.of(_outlook(told, now_ms), now_ms),
            cameras=tuple(
                CameraState.model_validate_json(state.body)
                for (topic, _), state in sorted(told.items())
                if topic == CAMERA.group
            ),
            detail=info.detail if info else "",
            seen_at=instant(max(state.received_ms for state in told.values())) if told else None,
            enrolled_at=instant(row.enrolled_ms),
        )


def _outlook(told: dict[tuple[str, str], StateRow], now_ms: int) -> Outlook:
    presence, power = _latest(told, PRESENCE, Presence), _latest(told, POWER, Power)
    host = _latest(told, HOST, Host)
    told_ms = now_ms
    if power:
        told_ms = told[POWER.group, ""].received_ms
        # What a broker kept for us while we were away is older than its arrival; a clock that was not set is no help.
        if host is None or host.clock is not ClockQuality.UNSYNCED:
            told_ms = min(told_ms, unix_ms(power.at))
    return outlook(presence.state if presence else None, power, told_ms, _latest(told, BATTERY, Battery), now_ms)


_M = TypeVar("_M", bound=BaseModel)


def _latest(told: dict[tuple[str, str], StateRow], topic: Topic, model: type[_M]) -> _M | None:
    state = told.get((topic.group, ""))
    return model.model_validate_json(state.body) if state else None


class Sites(_Answer):
    """All sites."""

    sites: tuple[Site, ...]

    @classmethod
    def of(cls, rows: Iterable[SiteRow], states: Iterable[StateRow], now_ms: int) -> Sites:
        """The sites with their latest state messages, and what they mean now."""
        told: defaultdict[str, list[StateRow]] = defaultdict(list)
        for state in states:
            told[state.site].append(state)
        return cls(sites=tuple(Site.of(row, told[row.site], now_ms) for row in rows))


_ERROR = "How far the time may be off, where it is bounded by what was before and after and that is known"


class Interval(_Answer):
    """A stretch of time with one fate."""

    from_at: Instant = Field(alias="from")
    to_at: Instant = Field(alias="to")
    state: Literal["recorded", "pending", "lost", "unknown"]
    cause: LossCause | None
    detail: str
    dating: Dating | None = Field(
        description="How the time of what is recorded is known: by a clock that was right, counted back once the clock"
        " of the site was right again, by what was before and after it, or by a clock that nobody vouched for"
    )
    error_s: float | None = Field(description=_ERROR)

    @classmethod
    def of(cls, interval: CoreInterval) -> Interval:
        """The interval in the words of the API."""
        state, detail = _SHOWN.get(interval.state, (interval.state.value, ""))
        return cls(
            from_at=instant(interval.from_ms),
            to_at=instant(interval.to_ms),
            state=state,
            cause=interval.cause,
            detail=interval.detail or detail,
            dating=interval.dating,
            error_s=None if interval.error_ms is None else interval.error_ms / 1000,
        )


_SHOWN = {
    State.SILENT: ("unknown", "the site is silent"),
    State.UNEXPLAINED: ("unknown", "a hole without a known cause"),
    State.BEFORE: ("unknown", "before the first footage"),
}


class Timeline(_Answer):
    """What became of each moment of a camera, from `from` to `to` or now, without holes."""

    site: str
    camera: str
    from_at: Instant = Field(alias="from")
    to_at: Instant = Field(alias="to")
    intervals: tuple[Interval, ...]


class CompletenessRow(_Answer):
    """One camera and day, in seconds; the fates add up to what was expected."""

    site: str
    camera: str
    day: date
    expected_s: float
    recorded_s: float
    pending_s: float
    unknown_s: float = Field(description="The site is silent, so nobody knows")
    lost_s: dict[LossCause, float]
    unexplained_s: float

    @classmethod
    def of(cls, row: Day) -> CompletenessRow:
        """The row of a day."""
        tally = row.tally
        return cls(
            site=row.site,
            camera=row.camera,
            day=row.day,
            expected_s=tally.expected_ms / 1000,
            recorded_s=tally.recorded_ms / 1000,
            pending_s=tally.pending_ms / 1000,
            unknown_s=tally.unknown_ms / 1000,
            lost_s={cause: ms / 1000 for cause, ms in tally.lost_ms},
            unexplained_s=tally.unexplained_ms / 1000,
        )


class Waiting(_Answer):
    """What a site last told of what is still to come; null where it has not told."""

    site: str
    backlog_items: int | None
    backlog_s: float | None
    drain_eta_s: float | None = Field(description="In how many seconds all of it is at the centre")
    compared_at: Instant | None = Field(description="When the site last made sure that what it sent is at the centre")

    @classmethod
    def of(cls, site: Site) -> Waiting:
        """What the site told of its spool."""
        spool = site.spool
        return cls(
            site=site.site,
            backlog_items=spool.backlog_items if spool else None,
            backlog_s=spool.backlog_s if spool else None,
            drain_eta_s=spool.drain_eta_s if spool else None,
            compared_at=spool.compared_at if spool else None,
        )


class HistoryPoint(_Answer):
    """What a site told of itself at one moment."""

    at: Instant
    dating: Dating
    error_s: float | None = Field(description=_ERROR)
    values: dict[str, Any] = Field(description="The message as in the contract, without `at` and what was not known")

    @classmethod
    def of(cls, point: Point) -> HistoryPoint:
        """The point in the words of the API."""
        error_s = None if point.error_ms is None else point.error_ms / 1000
        return cls(at=instant(point.at_ms), dating=point.dating, error_s=error_s, values=point.values)


class History(_Answer):
    """What a site told of one group, in order of time."""

    site: str
    group: str
    camera: str | None
    from_at: Instant = Field(alias="from")
    to_at: Instant = Field(alias="to")
    points: tuple[HistoryPoint, ...]


class Completeness(_Answer):
    """How complete the footage is, per camera and day, and what each site still has."""

    rows: tuple[CompletenessRow, ...]
    sites: tuple[Waiting, ...]


class WishRow(_Answer):
    """What is wished of a site: about a stretch of one camera's time or, if `compared`, about the whole site."""

    site: str
    kind: WishKind
    camera: str | None
    from_at: Instant = Field(alias="from")
    to_at: Instant = Field(alias="to")
    made_at: Instant
    expires_at: Instant | None

    @classmethod
    def of(cls, row: CoreWishRow) -> WishRow:
        """The wish in the words of the API."""
        return cls(
            site=row.site,
            kind=row.kind,
            camera=row.camera or None,
            from_at=instant(row.from_ms),
            to_at=instant(row.to_ms),
            made_at=instant(row.made_ms),
            expires_at=None if row.expires_ms is None else instant(row.expires_ms),
        )


class Wishes(_Answer):
    """All wishes, the oldest first."""

    wishes: tuple[WishRow, ...]

    @classmethod
    def of(cls, rows: Iterable[CoreWishRow]) -> Wishes:
        """The wishes in the words of the API."""
        return cls(wishes=tuple(map(WishRow.of, rows)))


class Event(_Answer):
    """An event of a site, with its number at the centre."""

    number: int = Field(description="Give it as `before` to read on")
    site: str
    received_at: Instant
    event: WireEvent

    @classmethod
    def of(cls, number: int, row: EventRow) -> Event:
        """The event of a row."""
        return cls(
            number=number,
            site=row.site,
            received_at=instant(row.received_ms),
            event=WireEvent.model_validate_json(row.body),
        )


class Events(_Answer):
    """Events, those that came last first."""

    events: tuple[Event, ...]
