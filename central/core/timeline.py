"""What became of each moment of a camera: recorded, still to come, lost with its cause, or not known.

Footage covers; what it does not cover are holes. A hole is first put down to what the site said last (pending, silent),
then overpainted by explanations, the most certain one last:

    the start of a later run says how the run before it ended, unless that run had said so itself
    a camera reported lost, until its footage goes on
    footage that the spool dropped or could not read
    the hole that a segment says it ended
    the holes inside of a segment, and the whole of one that the centre lost
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self

from central.core.dating import Dating
from edge_agent.contract import ClockQuality, Event, EventType, LossCause, PresenceState

FRAME_MS: Final = 200
"""What is shorter than a frame of a slow camera is no hole."""
LABEL_ERROR_MS: Final = 2000
"""How far the label of a segment may be from where its media time puts it before the label is given up."""
FUTURE_MS: Final = 300_000
"""A label further ahead of our clock than this is not believed."""
LIVE_MS: Final = 60_000
"""A site that never spoke over MQTT is taken to be recording while its footage is not older than this."""


def unix_ms(moment: datetime) -> int:
    """The moment in Unix milliseconds."""
    return round(moment.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Footage:
    """One stored segment: where it is in its run, what its label says, and which holes it knows of."""

    run: str
    sequence: int
    session: int
    start_ms: int
    duration_ms: int
    media_start_ms: int
    init_bytes: int = 0
    media_bytes: int = 0
    gap_before_ms: int = 0
    gap_cause: LossCause | None = None
    gap_detail: str = ""
    holes: tuple[tuple[int, int], ...] = ()
    stored_ms: int = 0
    lost: bool = False
    """The centre had it and lost its bytes."""
    dating: Dating = Dating.CLOCK
    error_ms: int | None = None
    """How far its time may be off, where it is bounded and that is known."""

    @property
    def end_ms(self) -> int:
        """Where it ends by its label."""
        return self.start_ms + self.duration_ms

    def continues(self, earlier: Footage) -> bool:
        """Whether no frame is missing between the end of `earlier` and this, whatever the labels say."""
        media_end_ms = earlier.media_start_ms + earlier.duration_ms
        return (self.run, self.session) == (earlier.run, earlier.session) and (
            abs(self.media_start_ms - media_end_ms) <= FRAME_MS
        )


@dataclass(frozen=True, slots=True)
class SiteEvent:
    """An event that may explain a hole."""

    type: EventType
    time_ms: int
    run: str
    camera: str | None = None
    cause: LossCause | None = None
    detail: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    previous_run: str | None = None
    """Of a start: the run whose end `cause` is."""
    unsynced_run: str | None = None
    """The run whose unsynced labels `from_ms` and `to_ms` are."""

    @classmethod
    def parse(cls, body: str, time_ms: int) -> Self:
        """The event in a CloudEvents body, which was at `time_ms`, whatever it says."""
        event = Event.model_validate_json(body)
        data = event.data
        foreign = data.items_run is not None
        late_ms = 0 if foreign else time_ms - unix_ms(event.time)
        return cls(
            type=event.type,
            time_ms=time_ms,
            run=data.run,
            camera=data.camera,
            cause=data.cause,
            detail=data.detail,
            from_ms=unix_ms(data.from_at) + late_ms if data.from_at else None,
            to_ms=unix_ms(data.to_at) + late_ms if data.to_at else None,
            previous_run=data.previous_run,
            unsynced_run=data.items_run if data.items_clock is ClockQuality.UNSYNCED else None,
        )

    def shifted(self, late_ms: int) -> Self:
        """The same with its interval that much later."""
        if self.from_ms is None or self.to_ms is None:
            return self
        return replace(self, from_ms=self.from_ms + late_ms, to_ms=self.to_ms + late_ms)


@dataclass(frozen=True, slots=True)
class LastWord:
    """What a site said last over MQTT about itself and one camera."""

    presence: PresenceState | None = None
    presence_ms: int = 0
    """Since when: by the site's clock, or by ours where it went without a word."""
    spool_ms: int | None = None
    """When it told of its backlog."""
    backlog: bool = False
    oldest_unsent_ms: int | None = None
    camera_lost_ms: int | None = None
    """Since when the camera gives nothing; none while it records."""
    camera_cause: LossCause | None = None
    camera_detail: str = ""

    def may_still_send(self, before_ms: int) -> bool:
        """Whether footage from before that moment may be waiting at the site."""
        if self.spool_ms is None:
            return False
        if self.spool_ms < before_ms:
            return True
        return self.backlog and (self.oldest_unsent_ms is None or self.oldest_unsent_ms < before_ms)


class State(StrEnum):
    """What became of a stretch of time."""

    RECORDED = "recorded"
    PENDING = "pending"
    LOST = "lost"
    SILENT = "silent"
    """The site is silent: nobody knows."""
    UNEXPLAINED = "unexplained"
    """A hole without a cause."""
    BEFORE = "before"
    """Before the first footage there ever was."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time with one fate."""

    from_ms: int
    to_ms: int
    state: State
    cause: LossCause | None = None
    detail: str = ""
    dating: Dating | None = None
    """How the time of what is recorded is known."""
    error_ms: int | None = None
    """How far it may be off, where it is bounded and that is known."""


class Placed(NamedTuple):
    """A segment with the stretch of time that it covers, labels mended."""

    start_ms: int
    end_ms: int
    footage: Footage


def place(footage: Iterable[Footage]) -> list[Placed]:
    """Each segment where it belongs in time, in order of time.

    In continuous footage a label that contradicts the one after it is replaced by media time, counted back from
    there: clocks get better during a run.
    """
    placed: list[Placed] = []
    later: Placed | None = None
    for segment in sorted(footage, key=lambda s: (s.run, s.sequence), reverse=True):
        start_ms, end_ms = segment.start_ms, segment.end_ms
        if later is not None and later.footage.continues(segment):
            by_media_ms = later.start_ms - (later.footage.media_start_ms - segment.media_start_ms)
            if abs(start_ms - by_media_ms) > LABEL_ERROR_MS or start_ms > later.start_ms:
                start_ms = by_media_ms
            end_ms = max(later.start_ms, start_ms)
        later = Placed(start_ms, end_ms, segment)
        placed.append(later)
    return sorted(placed, key=lambda p: (p.start_ms, p.footage.run, p.footage.sequence))


def played(placed: Iterable[Placed]) -> list[Placed]:
    """Placed segments as they are played: runs that claim the same time one after the other, in their true order.

    Their order is known even where a clock that nobody vouched for has labelled them as if they were one.
    """
    order: list[Placed] = []
    cluster: list[Placed] = []
    until_ms = 0
    for segment in placed:
        if segment.start_ms >= until_ms:
            order += sorted(cluster, key=_by_run)
            cluster = []
        cluster.append(segment)
        until_ms = max(until_ms, segment.end_ms)
    return order + sorted(cluster, key=_by_run)


def _by_run(placed: Placed) -> tuple[str, int]:
    return placed.footage.run, placed.start_ms


def timeline(
    camera: str,
    from_ms: int,
    to_ms: int,
    now_ms: int,
    footage: Iterable[Footage],
    events: Sequence[SiteEvent],
    word: LastWord,
) -> list[Interval]:
    """Intervals that follow on each other from `from_ms` to `to_ms`, at most until now, without overlap.

    `footage` holds the segments that reach into the interval and one neighbour on each side.
    """
    end_ms = min(to_ms, now_ms)
    if end_ms <= from_ms:
        return []
    placed = [p for p in place(footage) if p.start_ms <= now_ms + FUTURE_MS]
    stretches = list(_stretches(placed, from_ms, end_ms))
    starts = sorted((e for e in events if e.type is EventType.AGENT_STARTED), key=lambda e: (e.time_ms, e.run))
    ends = {e.run: e for e in events if e.type is EventType.AGENT_STOPPING}
    sure = _apportion(stretches, _sure(camera, placed, events))
    lost = _apportion(stretches, _camera_lost(camera, placed, events, word))
    begin_ms = _begin_ms(placed)
    pieces: list[Interval] = []
    for number, stretch in enumerate(stretches):
        if stretch.state is State.RECORDED:
            pieces.extend(_paint([stretch], (coat for coat in sure[number] if coat.detail in _OF_FOOTAGE)))
        else:
            hole = _base(stretch, placed, begin_ms, starts, now_ms, word)
            if stretch.to_ms > begin_ms:
                hole = _paint(hole, _run_boundaries(stretch, placed, starts, ends, word))
            hole = _paint(hole, _until(lost[number], stretch, placed, word))
            pieces.extend(_paint(hole, sure[number]))
    return _tidy(pieces, from_ms, end_ms)


_INSIDE: Final = "the camera sent no picture for a while"
_GONE: Final = "it had reached the centre, which lost it"
_OF_FOOTAGE: Final = (_INSIDE, _GONE)
_OPEN_MS: Final = 2**62
"""The end of what has not ended."""


def _stretches(placed: Sequence[Placed], from_ms: int, end_ms: int) -> Iterator[Interval]:
    """Covered and uncovered in turns, from the first footage or `from_ms` to the last or `end_ms`."""
    at_ms = min([from_ms, *(p.start_ms for p in placed[:1])])
    covered: list[Interval] = []
    for start_ms, stop_ms, segment in placed:
        known = Interval(start_ms, stop_ms, State.RECORDED, dating=segment.dating, error_ms=segment.error_ms)
        last = covered[-1] if covered else None
        # Where the site itself says that something is missing, it is, however short.
        reach_ms = 0 if segment.gap_before_ms and segment.gap_cause else FRAME_MS
        if last is None or start_ms > last.to_ms + reach_ms:
            covered.append(known)
        elif _fate(last) == _fate(known):
            covered[-1] = replace(last, to_ms=max(last.to_ms, stop_ms))
        elif stop_ms > last.to_ms:
            covered.append(replace(known, from_ms=last.to_ms))
    for stretch in covered:
        if stretch.from_ms > at_ms:
            yield Interval(at_ms, stretch.from_ms, State.UNEXPLAINED)
        if stretch.to_ms > stretch.from_ms:
            yield stretch
        at_ms = max(at_ms, stretch.to_ms)
    if end_ms > at_ms:
        yield Interval(at_ms, end_ms, State.UNEXPLAINED)


def _begin_ms(placed: Sequence[Placed]) -> int:
    """Since when footage is expected: since the first whose time is sure, if there is any."""
    sure = (p.start_ms for p in placed if p.footage.dating is not Dating.UNSYNCED)
    return next(sure, placed[0].start_ms if placed else 0)


def _base(
    hole: Interval,
    placed: Sequence[Placed],
    begin_ms: int,
    starts: Sequence[SiteEvent],
    now_ms: int,
    word: LastWord,
) -> list[Interval]:
    """What the hole is when nothing explains it."""
    if not placed and word.presence is None:
        return [replace(hole, state=State.BEFORE)]
    if placed and hole.to_ms <= begin_ms:
        return [replace(hole, state=State.BEFORE)]
    if placed and hole.from_ms < placed[-1].start_ms:
        return [replace(hole, state=State.PENDING if word.may_still_send(hole.to_ms) else State.UNEXPLAINED)]
    pending = replace(hole, state=State.PENDING)
    silent = replace(hole, state=State.SILENT, detail="the site is silent")
    tail = [pending if placed else replace(hole, state=State.BEFORE)]
    match word.presence:
        case PresenceState.OFFLINE:
            tail = [silent]
        case PresenceState.ASLEEP | PresenceState.STOPPING as state:
            cause = LossCause.POWER if state is PresenceState.ASLEEP else LossCause.STOPPED
            tail = _paint(
                tail, [replace(hole, from_ms=word.presence_ms, to_ms=_OPEN_MS, state=State.LOST, cause=cause)]
            )
        case None if now_ms - max(p.footage.stored_ms for p in placed) > LIVE_MS:
            tail = [silent]
    life_ms = max((start.time_ms for start in starts if start.time_ms < hole.to_ms), default=hole.from_ms)
    past = State.PENDING if word.may_still_send(life_ms) else State.UNEXPLAINED
    return _paint(tail, [Interval(hole.from_ms, life_ms, past)]) if placed else tail


def _run_boundaries(
    hole: Interval,
    placed: Sequence[Placed],
    starts: Sequence[SiteEvent],
    ends: Mapping[str, SiteEvent],
    word: LastWord,
) -> Iterator[Interval]:
    """How each run that ended in this hole ended, as it said itself by `ends`, or as the run after it told."""
    before = bisect_left(placed, hole.to_ms, key=lambda p: p.start_ms)
    if before == 0:
        return
    earlier = placed[before - 1].footage.run
    later = placed[before].footage.run if before < len(placed) else None
    inside = [start for start in starts if start.run != earlier and hole.from_ms <= start.time_ms < hole.to_ms]
    if later != earlier and all(start.run != later for start in inside):
        inside += [start for start in starts if start.run == later][:1]
    since_ms, before_it = {earlier: hole.from_ms}, earlier
    for start in inside:
        to_ms = hole.to_ms if start.run == later else start.time_ms
        # Two boxes with one identity take turns: each goes on from its own life.
        run = start.previous_run if start.previous_run in since_ms else before_it
        end = ends.get(run)
        cause = end.cause if end and end.time_ms <= start.time_ms else start.cause
        if cause and not word.may_still_send(to_ms):
            yield Interval(since_ms[run], to_ms, State.LOST, cause, start.detail)
        since_ms[start.run], before_it = start.time_ms, start.run


def _camera_lost(
    camera: str, placed: Sequence[Placed], events: Sequence[SiteEvent], word: LastWord
) -> Iterator[Interval]:
    """The stretches of a camera reported lost, each until the next sign of life; open ones far into the future."""
    ends = sorted(
        [p.start_ms for p in placed]
        + [e.time_ms for e in events if e.type is EventType.AGENT_STARTED]
        + [e.time_ms for e in events if e.type is EventType.CAMERA_BACK and e.camera == camera]
    )
    reports = [
        (e.from_ms if e.from_ms is not None else e.time_ms, e.cause, e.detail)
        for e in events
        if e.type is EventType.CAMERA_LOST and e.camera == camera
    ]
    if word.camera_lost_ms is not None:
        reports.append((word.camera_lost_ms, word.camera_cause, word.camera_detail))
    for from_ms, cause, detail in sorted(reports, key=lambda report: report[0]):
        following = bisect_right(ends, from_ms)
        to_ms = ends[following] if following < len(ends) else _OPEN_MS
        yield Interval(from_ms, to_ms, State.LOST, cause or LossCause.CAMERA, detail)


def _until(lost: Iterable[Interval], hole: Interval, placed: Sequence[Placed], word: LastWord) -> Iterator[Interval]:
    """Open reports end where the site fell silent or asleep: what came after, they cannot know."""
    is_tail = not placed or hole.from_ms >= placed[-1].start_ms
    gone = word.presence not in (None, PresenceState.ONLINE)
    for report in lost:
        if is_tail and gone and report.to_ms == _OPEN_MS:
            yield replace(report, to_ms=max(report.from_ms, word.presence_ms))
        else:
            yield report


def _sure(camera: str, placed: Sequence[Placed], events: Sequence[SiteEvent]) -> Iterator[Interval]:
    """What is known for certain to be lost."""
    for event in events:
        if (
            event.type in (EventType.SPOOL_EVICTED, EventType.SPOOL_QUARANTINED)
            and event.camera in (camera, None)
            and event.from_ms is not None
            and event.to_ms is not None
        ):
            evicted = event.type is EventType.SPOOL_EVICTED
            cause = event.cause or (LossCause.EVICTED if evicted else LossCause.DAMAGED)
            yield Interval(event.from_ms, event.to_ms, State.LOST, cause, event.detail)
    for start_ms, _, segment in placed:
        if segment.gap_before_ms and segment.gap_cause:
            from_ms = start_ms - segment.gap_before_ms
            yield Interval(from_ms, start_ms, State.LOST, segment.gap_cause, segment.gap_detail)
    for start_ms, end_ms, segment in placed:
        for offset_ms, duration_ms in segment.holes:
            from_ms = min(start_ms + offset_ms, end_ms)
            yield Interval(from_ms, min(from_ms + duration_ms, end_ms), State.LOST, LossCause.CAMERA, _INSIDE)
        if segment.lost:
            yield Interval(start_ms, end_ms, State.LOST, LossCause.CENTRE, _GONE)


def _apportion(stretches: Sequence[Interval], coats: Iterable[Interval]) -> list[list[Interval]]:
    """To each stretch the coats that reach into it, in their order."""
    shares: list[list[Interval]] = [[] for _ in stretches]
    for coat in coats:
        number = bisect_right(stretches, coat.from_ms, key=lambda stretch: stretch.to_ms)
        while number < len(stretches) and stretches[number].from_ms < coat.to_ms:
            shares[number].append(coat)
            number += 1
    return shares


def _paint(ground: Sequence[Interval], coats: Iterable[Interval]) -> list[Interval]:
    """The ground with each coat over it, where it reaches into the ground."""
    pieces = list(ground)
    for coat in coats:
        if not pieces or coat.to_ms <= pieces[0].from_ms or coat.from_ms >= pieces[-1].to_ms:
            continue
        painted: list[Interval] = []
        for piece in pieces:
            from_ms, to_ms = max(piece.from_ms, coat.from_ms), min(piece.to_ms, coat.to_ms)
            if from_ms >= to_ms:
                painted.append(piece)
                continue
            if piece.from_ms < from_ms:
                painted.append(replace(piece, to_ms=from_ms))
            painted.append(replace(coat, from_ms=from_ms, to_ms=to_ms))
            if to_ms < piece.to_ms:
                painted.append(replace(piece, from_ms=to_ms))
        pieces = painted
    return pieces


def _fate(piece: Interval) -> tuple[object, ...]:
    return piece.state, piece.cause, piece.detail, piece.dating, piece.error_ms


def _tidy(pieces: Iterable[Interval], from_ms: int, end_ms: int) -> list[Interval]:
    """Cut to the interval asked for; slivers without a cause join their neighbour, equal neighbours each other."""
    tidy: list[Interval] = []
    sliver_from_ms: int | None = None
    for piece in pieces:
        if piece.to_ms <= from_ms or piece.from_ms >= end_ms:
            continue
        whole = piece
        piece = replace(piece, from_ms=max(piece.from_ms, from_ms), to_ms=min(piece.to_ms, end_ms))
        if sliver_from_ms is not None:
            piece, sliver_from_ms = replace(piece, from_ms=sliver_from_ms), None
        if whole.state is State.UNEXPLAINED and whole.to_ms - whole.from_ms <= FRAME_MS:
            if tidy:
                tidy[-1] = replace(tidy[-1], to_ms=piece.to_ms)
            else:
                sliver_from_ms = piece.from_ms
            continue
        if tidy and _fate(tidy[-1]) == _fate(piece):
            tidy[-1] = replace(tidy[-1], to_ms=piece.to_ms)
        else:
            tidy.append(piece)
    if sliver_from_ms is not None:
        tidy.append(Interval(sliver_from_ms, end_ms, State.UNEXPLAINED))
    return tidy
