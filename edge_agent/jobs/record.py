"""Record one camera: sessions into segments, and every hole with its cause."""

from __future__ import annotations

import logging
import math
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from edge_agent.clock import stamp
from edge_agent.contract import EventData, EventType, ItemKind, LossCause, Picture, SegmentFacts, facts_box, instant
from edge_agent.core.backoff import delay_s, is_told
from edge_agent.core.cutting import LONG_GOP, RELABEL_MS, Labels, Leap, Order, catches_up, find_holes, is_full
from edge_agent.core.status import CameraStatus, Feed
from edge_agent.errors import CameraError, CameraRefused, FootageError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from threading import Event
    from typing import Literal

    from av.packet import Packet

    from edge_agent.clock import Clock
    from edge_agent.contract import ClockQuality, ItemName
    from edge_agent.settings import CameraSettings

log = logging.getLogger(__name__)

_RETRY_S: Final = (1.0, 3.0)
"""A camera that is back is found within 5 s, the first key frame and a slow start of the session included."""
_RETRY_REFUSED_S: Final = (60.0, 600.0)
"""Slower: a camera may lock out whoever tries a wrong password too often."""

_BEAT_MS: Final = 1000
_LIVE_MS: Final = 5
"""A packet that took longer to come was not waiting for us."""
_NAP_S: Final = 1.0
_BOOT_MS: Final = 120_000
"""A camera that got its power back and gives no picture for so long is lost."""

_CHANGED: Final = "changed over to another of its streams, to spare the battery"
_RARE_KEYS: Final = "its key frames are too rare: set its key frame interval to 2 s or less"


class _Sink(Protocol):
    """A file of the spool that is not committed yet."""

    @property
    def size_bytes(self) -> int: ...
    def write(self, data: bytes) -> int: ...
    def sync(self) -> None: ...
    def commit(self, duration_ms: int, facts: SegmentFacts) -> ItemName: ...
    def salvage(self) -> ItemName | None: ...
    def discard(self) -> None: ...


class _Shelf(Protocol):
    """Where footage is kept; SpoolError when it cannot be."""

    @property
    def run(self) -> str: ...
    def begin_segment(self, camera: str, start_ms: int, clock: ClockQuality) -> _Sink: ...
    def add(
        self, kind: ItemKind, camera: str | None, start_ms: int, duration_ms: int, clock: ClockQuality, data: bytes
    ) -> ItemName: ...


class _Segment(Protocol):
    """A segment file while packets go into it."""

    @property
    def init_bytes(self) -> int: ...
    def add(self, packet: Packet[Any]) -> bool: ...
    def add_sound(self, packet: Packet[Any]) -> None: ...
    def close(self) -> None: ...


class _Source(Protocol):
    """One session with a camera; CameraError when it ends."""

    codec: Literal["h264", "hevc"]
    width: int
    height: int
    frame_ms: float
    tick_ms: float
    video_index: int
    sound_codec: str | None
    remark: str

    @property
    def extradata(self) -> bytes: ...
    def packets(self) -> Iterator[Packet[Any]]: ...
    def rest(self, seconds: float, /) -> None: ...
    def segment(self, sink: _Sink, base: int, fragment_s: float, draft: bytes) -> _Segment: ...
    def age_ms(self, packet: Packet[Any]) -> int: ...
    def camera_time_ms(self, packet: Packet[Any]) -> int | None: ...


class _Look(Protocol):
    """What an eye saw."""

    @property
    def jpeg(self) -> bytes: ...
    @property
    def picture(self) -> Picture: ...


class _Eye(Protocol):
    """Looks at key frames; None when it cannot make out one."""

    def look(self, camera: str, codec: str, extradata: bytes, data: bytes) -> _Look | None: ...


@dataclass(slots=True)
class _Session:
    """A stretch of pictures on one time line; `base` is the decode time from which it counts."""

    number: int
    base: int
    order: Order
    labels: Labels


@dataclass(slots=True)
class _Take:
    """The segment that is being recorded.

    `times` are the decode times of its pictures, `lag_ms` the least time by which one came after its own, and
    `first_lag_ms` that of the first.
    """

    start_ms: int
    facts: SegmentFacts
    sink: _Sink
    file: _Segment
    times: list[int]
    first_lag_ms: float
    lag_ms: float
    nudged_before: int


class Record:
    """Keeps one camera on the record.

    `began` says what ended the time before this run, which is the cause of the hole until the first picture; None for
    the very first run, before which there was nothing to miss.
    """

    def __init__(
        self,
        settings: CameraSettings,
        connect: Callable[[Feed], AbstractContextManager[_Source]],
        shelf: _Shelf,
        eye: _Eye,
        clock: Clock,
        stop: Event,
        *,
        announce: Callable[[EventType, EventData], None],
        show: Callable[[CameraStatus], None],
        make_room: Callable[[], None],
        beat: Callable[[], None],
        began: LossCause | None,
        feed: Callable[[], Feed] = lambda: Feed.MAIN,
    ) -> None:
        self._feed = feed
        self._spurned = False
        """Whether the smaller stream failed, so that the main one is recorded although the other is wanted."""
        self._asleep = False
        self._woken_ms: int | None = None
        self._settings, self._connect, self._shelf, self._eye = settings, connect, shelf, eye
        self._clock, self._stop = clock, stop
        self._announce, self._tell, self._make_room, self._beat = announce, show, make_room, beat
        self._sessions = self._failures = 0
        self._refused = False
        self._excuse = (began, "the agent was starting") if began else None
        self._lost = False
        self._session: _Session | None = None
        self._take: _Take | None = None
        self._ended_ms = clock.monotonic_ms()
        self._look_due_ms: float = self._ended_ms if settings.snapshot_s else math.inf
        self._remarks: set[str] = set()
        self._status = CameraStatus(camera=settings.id, since_ms=clock.now_ms())

    def run_once(self) -> float:
        """One session with the camera, recorded until it ends; seconds until the next try."""
        self._beat()
        feed = self._wanted()
        if feed is Feed.OFF:
            return self._sleep()
        if self._asleep and self._woken_ms is None:
            self._woken_ms = self._clock.monotonic_ms()
        try:
            with self._connect(feed) as source:
                self._remark(source.remark)
                self._record(source, feed)
        except FootageError as error:
            if feed is Feed.SUB and isinstance(error, CameraError):
                self._spurned = True
            return 0 if self._stop.is_set() else self._lose(error)
        return 0

    def _wanted(self) -> Feed:
        feed = self._feed()
        if feed is not Feed.SUB:
            self._spurned = False
        return Feed.MAIN if feed is Feed.SUB and (self._spurned or not self._settings.sub_url) else feed

    # --- one session ---

    def _record(self, source: _Source, feed: Feed) -> None:
        """Returns when the agent stops or another feed is wanted; CameraError when the camera gives up.

        The disk may fail meanwhile.
        """
        self._session = None
        try:
            self._roll(source, feed)
        except CameraError:
            self._wind_up(source)
            raise
        self._wind_up(source)

    def _roll(self, source: _Source, feed: Feed) -> None:
        clock, stop, video, tick_ms = self._clock, self._stop, source.video_index, source.tick_ms
        segment_ms = self._settings.segment_s * 1000 - source.frame_ms / 2
        # The pictures of a fragment may as well wait in the socket: until the first of the next comes, it is not whole.
        rest_s = self._settings.fragment_s + source.frame_ms / 1000
        seen_ms = beat_ms = asked_ms = clock.monotonic_ms()
        for packet in source.packets():
            now_ms = clock.monotonic_ms()
            waited_ms, asked_ms = now_ms - asked_ms, now_ms
            if now_ms - beat_ms >= _BEAT_MS:
                beat_ms = now_ms
                self._beat()
            if stop.is_set() and waited_ms > _LIVE_MS:  # what had come before is recorded
                return
            wanted = self._wanted()
            if wanted is Feed.OFF:
                return
            try:
                take = self._take
                if packet.stream_index != video:
                    if take:
                        take.file.add_sound(packet)
                    if waited_ms > _BEAT_MS:  # nothing at all came: for that the line is watched
                        seen_ms += waited_ms
                    if now_ms - seen_ms > self._settings.stall_s * 1000:
                        raise CameraError("the camera sends sound, but no pictures any more", "restart the camera")
                    continue
                seen_ms, key, dts = now_ms, packet.is_keyframe, packet.dts or 0
                if self._session:
                    place = self._session.order.place(dts, now_ms)
                    if isinstance(place, Leap):
                        self._break_off(source, f"its clock jumped by {place.by_ms / 1000:.1f} s")
                        take = None
                    elif place != dts:
                        packet.dts, packet.pts, dts = place, max(place, packet.pts or 0), place
                if not self._session and not key:
                    continue
                if wanted is not feed and key and take:
                    self._cut(source, dts)
                    self._excuse = LossCause.POWER, _CHANGED
                    return
                if take is None or is_full(
                    key=key,
                    elapsed_ms=(dts - take.times[0]) * tick_ms,
                    size_bytes=take.sink.size_bytes,
                    segment_ms=segment_ms,
                ):
                    take = self._begin(source, packet, dts, now_ms)
                lag_ms = now_ms - source.age_ms(packet) - dts * tick_ms
                if not take.times:
                    take.first_lag_ms = lag_ms
                take.lag_ms = min(take.lag_ms, lag_ms)
                data = bytes(packet) if key and now_ms >= self._look_due_ms else b""
                begins_fragment = take.file.add(packet) or not take.times
                take.times.append(dts)
                if data:
                    self._look_due_ms = now_ms + round(self._settings.snapshot_s * 1000)
                    self._look(source, data)
                if begins_fragment:
                    source.rest(rest_s)
                    asked_ms = clock.monotonic_ms()
            except SpoolError as error:
                self._stumble(error)

    def _begin(self, source: _Source, packet: Packet[Any], dts: int, now_ms: int) -> _Take:
        """A new segment begins with this picture, and a new session where the time line broke."""
        session, take, at = self._session, self._take, stamp(self._clock)
        self._cut(source, dts)
        if session and take:
            lag_ms = round(take.lag_ms + session.base * source.tick_ms)
            hurries = catches_up(take.first_lag_ms, take.lag_ms, (dts - take.times[0]) * source.tick_ms)
            if stood_ms := session.labels.follow(lag_ms, at.offset_ms, catches_up=hurries):
                self._break_off(source, f"its clock stood still for {stood_ms / 1000:.1f} s")
        gap_ms = 0
        if self._session is None:
            self._session = self._begin_session(source, packet, dts, now_ms, at.offset_ms)
            gap_ms = max(0, self._session.labels.monotonic(0) - self._ended_ms) if self._excuse else 0
        session = self._session
        media_ms = round((dts - session.base) * source.tick_ms)
        start_ms = session.labels.wall(media_ms)
        camera_ms = source.camera_time_ms(packet)
        cause, detail = self._excuse if self._excuse and gap_ms else (None, "")
        draft = SegmentFacts(
            codec=source.codec,
            width=source.width,
            height=source.height,
            audio_codec=source.sound_codec,
            session=session.number,
            media_start_ms=media_ms,
            monotonic_ms=session.labels.monotonic(media_ms),
            packets=0,
            init_bytes=0,
            media_bytes=0,
            gap_before_ms=gap_ms,
            gap_cause=cause,
            gap_detail=detail,
            camera_time=instant(camera_ms) if camera_ms is not None else None,
        )
        sink = self._shelf.begin_segment(self._settings.id, start_ms, at.quality)
        try:
            file = source.segment(sink, session.base, self._settings.fragment_s, facts_box(draft))
        except SpoolError:
            sink.discard()
            raise
        self._take = _Take(start_ms, draft, sink, file, [], math.inf, math.inf, session.order.nudged)
        self._find(source)
        return self._take

    def _begin_session(self, source: _Source, packet: Packet[Any], dts: int, now_ms: int, offset_ms: int) -> _Session:
        self._sessions += 1
        order = Order(source.tick_ms)
        order.place(dts, now_ms)
        return _Session(self._sessions, dts, order, Labels(now_ms - source.age_ms(packet), offset_ms))

    def _wind_up(self, source: _Source) -> None:
        """The session is over, the open segment complete or saved as far as it goes."""
        try:
            self._cut(source)
        except SpoolError as error:
            self._stumble(error)

    def _stumble(self, error: SpoolError) -> None:
        """The spool did not take it: what is whole of the open segment is saved, the next key frame begins anew."""
        take, self._take = self._take, None
        self._session = None
        self._lose(error)
        if take:
            try:
                take.sink.salvage()
            except SpoolError as trouble:
                log.warning("camera %s: %s", self._settings.id, trouble)

    def _break_off(self, source: _Source, why: str) -> None:
        """The camera's time line cannot be followed; a new session begins with the next key frame."""
        self._cut(source)
        self._session = None
        log.warning("camera %s: %s", self._settings.id, why)
        self._miss(LossCause.CAMERA, why, why)

    def _cut(self, source: _Source, next_dts: int | None = None) -> None:
        """The open segment, if any, is complete and in the line; it ends where the next picture begins."""
        take, session = self._take, self._session
        if take is None or session is None:
            return
        take.file.close()
        if not take.times:
            self._take = None
            take.sink.discard()
            return
        end_dts = next_dts if next_dts is not None else take.times[-1] + round(source.frame_ms / source.tick_ms)
        duration_ms = round((end_dts - session.base) * source.tick_ms) - take.facts.media_start_ms
        media_bytes = take.sink.size_bytes - take.file.init_bytes
        facts = take.facts.model_copy(
            update={
                "packets": len(take.times),
                "init_bytes": take.file.init_bytes,
                "media_bytes": media_bytes,
                "holes": find_holes([round((dts - take.times[0]) * source.tick_ms) for dts in take.times]),
                "nudged": session.order.nudged - take.nudged_before,
            }
        )
        take.sink.commit(duration_ms, facts)
        self._take = None
        self._failures = 0
        self._ended_ms = facts.monotonic_ms + duration_ms
        until_ms = take.start_ms + duration_ms
        remark = _RARE_KEYS if duration_ms > LONG_GOP * self._settings.segment_s * 1000 else source.remark
        self._remark(remark)
        self._show(
            detail=remark,
            fps=round(len(take.times) * 1000 / duration_ms, 2),
            bitrate_bps=round(media_bytes * 8000 / duration_ms),
            last_frame_ms=until_ms,
            recorded_until_ms=until_ms,
        )

    def _look(self, source: _Source, data: bytes) -> None:
        """The key frame becomes a snapshot, and a word on the picture; not being able to is no trouble."""
        seen = self._eye.look(self._settings.id, source.codec, source.extradata, data)
        if seen is None or self._take is None:
            if self._status.picture is not Picture.UNKNOWN:
                self._show(picture=Picture.UNKNOWN)
            return
        before, at = self._status.picture, stamp(self._clock)
        with suppress(SpoolError):  # the segments will tell
            self._shelf.add(ItemKind.SNAPSHOT, self._settings.id, at.now_ms, 0, at.quality, seen.jpeg)
        if seen.picture is not before:
            self._show(picture=seen.picture)
            if (before, seen.picture) != (Picture.UNKNOWN, Picture.OK):
                self._event(EventType.PICTURE_CHANGED, before=before, after=seen.picture)

    # --- between sessions ---

    def _sleep(self) -> float:
        """The camera has no power because we cut it: no news of the camera, and a hole with its cause."""
        self._woken_ms = None
        if not self._asleep and not self._lost:
            self._asleep = True
            self._excuse = LossCause.POWER, "its power was cut to spare the battery"
            self._show(
                since_ms=self._lost_since_ms(), recording=False, cause=LossCause.POWER, detail="has power in turns"
            )
        return _NAP_S

    @property
    def _boots(self) -> bool:
        return self._woken_ms is not None and self._clock.monotonic_ms() - self._woken_ms < _BOOT_MS

    def _find(self, source: _Source) -> None:
        """There is footage again."""
        if self._status.recording:
            return
        self._asleep, self._woken_ms = False, None
        self._show(
            since_ms=self._clock.now_ms(),
            recording=True,
            cause=None,
            detail=source.remark,
            codec=source.codec,
            width=source.width,
            height=source.height,
        )
        if self._lost:
            self._lost = False
            self._event(EventType.CAMERA_BACK)

    def _lose(self, error: FootageError) -> float:
        """There is no footage just now; how long to wait before the next try."""
        refused = isinstance(error, CameraRefused)
        if refused != self._refused:  # another trouble than before: told, and waited for from its own beginning
            self._failures, self._refused = 0, refused
        self._failures += 1
        boots = self._boots and isinstance(error, CameraError)
        if not boots and is_told(self._failures):
            log.warning("camera %s: %s", self._settings.id, error)
        if isinstance(error, SpoolError):
            self._make_room()
        if not boots:
            self._miss(error.cause, error.message, str(error))
        first_s, most_s = _RETRY_REFUSED_S if refused else _RETRY_S
        chance = random.random()  # noqa: S311 - spreads retries, guards nothing
        return delay_s(self._failures, chance, first_s=first_s, most_s=most_s)

    def _miss(self, cause: LossCause, why: str, detail: str) -> None:
        """There is no footage from the end of the last one on: said at once, lest what ends the hole be lost, too."""
        since_ms = self._lost_since_ms()
        if self._lost:
            shown = since_ms, detail if cause is self._status.cause else self._status.detail
            if shown != (self._status.since_ms, self._status.detail):
                self._show(since_ms=since_ms, detail=shown[1])
        else:
            self._lost = True
            self._excuse = cause, why
            self._show(since_ms=since_ms, recording=False, cause=cause, detail=detail)
            self._event(EventType.CAMERA_LOST, cause=cause, detail=why, from_at=instant(since_ms))

    def _lost_since_ms(self) -> int:
        """When the last footage ended, by its label as long as nobody sets the clock."""
        label_ms = self._status.since_ms if self._lost else self._status.recorded_until_ms or self._status.since_ms
        now_ms = self._ended_ms + stamp(self._clock).offset_ms
        return now_ms if abs(now_ms - label_ms) > RELABEL_MS else label_ms

    def _remark(self, remark: str) -> None:
        if remark and remark not in self._remarks:
            self._remarks.add(remark)
            log.warning("camera %s: %s", self._settings.id, remark)

    def _show(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
        self._tell(self._status)

    def _event(self, kind: EventType, **data: Any) -> None:
        self._announce(kind, EventData(run=self._shelf.run, camera=self._settings.id, **data))
