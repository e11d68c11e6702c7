"""The JSON API under `/api/v1`, and the footage itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event as Signal
from threading import Lock
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from central import history
from central.archive import Archive
from central.core.playlist import LiveWindow, recording
from central.core.timeline import Footage, unix_ms
from central.errors import CentralError, NothingThere
from central.store import ItemRow, SiteRow, Store
from central.web.models import (
    Completeness,
    CompletenessRow,
    Event,
    Events,
    History,
    HistoryPoint,
    Interval,
    Site,
    Sites,
    Timeline,
    Waiting,
)
from central.web.stream import Changes
from edge_agent.contract import CameraId, Problem, RunId, SiteId, instant

LONGEST: Final = timedelta(days=31)
_STREAM_TURN_S: Final = 0.5
_FORGET_LIVE_MS: Final = 300_000
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")

From = Annotated[AwareDatetime | None, Query(alias="from", description="RFC 3339; a day before `to` when not given")]
To = Annotated[AwareDatetime | None, Query(alias="to", description="RFC 3339; now when not given")]
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": text, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for status, text in {400: "Bad parameters", 404: "There is no such thing", 503: "Try again later"}.items()
}


@dataclass(slots=True)
class Console:
    """What the pages and the API are made of."""

    store: Store
    archive: Archive
    changes: Changes
    zone: ZoneInfo
    stopping: Signal = field(default_factory=Signal)
    _live: dict[tuple[str, str], tuple[int, LiveWindow]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def sites(self) -> Sites:
        """All sites with what they said last. StoreDown."""
        return Sites.of(self.store.sites(), self.store.states(), _now_ms())

    def site_row(self, site: str) -> SiteRow:
        """The site as enrolled; NothingThere, StoreDown."""
        row = self.store.site(site)
        if row is None:
            raise NothingThere(f"there is no site {site!r}")
        return row

    def site(self, site: str) -> Site:
        """One site with what it said last; NothingThere, StoreDown."""
        return Site.of(self.site_row(site), self.store.states(site), _now_ms())

    def live(self, site: str, camera: str) -> LiveWindow:
        """The camera's live window as of now. StoreDown."""
        now_ms = _now_ms()
        footage = self.store.footage(site, camera, now_ms, now_ms)
        with self._lock:
            watched = {key: entry for key, entry in self._live.items() if now_ms - entry[0] < _FORGET_LIVE_MS}
            _, window = watched.get((site, camera), (0, LiveWindow(number=now_ms // 1000)))
            window = window.advanced(footage, now_ms)
            self._live = watched | {(site, camera): (now_ms, window)}
        return window


def create_app(console: Console) -> FastAPI:
    """The console's application, without its pages."""
    app = FastAPI(
        title="Simpang",
        version="1",
        summary="Sites, timelines and footage of the city's crossings",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_router(console))
    app.add_middleware(_NoSniff)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(CentralError, _central_problem)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    return app


def _router(console: Console) -> APIRouter:
    api = APIRouter(prefix="/api/v1", responses=_PROBLEMS)

    @api.get("/sites")
    def sites() -> Sites:
        """All sites and what they said last."""
        return console.sites()

    @api.get("/sites/{site}")
    def site(site: SiteId) -> Site:
        """One site and what it said last."""
        return console.site(site)

    @api.get("/sites/{site}/cameras/{camera}/timeline")
    def timeline(site: SiteId, camera: CameraId, from_: From = None, to: To = None) -> Timeline:
        """What became of each moment of the camera."""
        console.site_row(site)
        from_ms, to_ms = _interval(from_, to)
        intervals = history.camera_timeline(console.store, site, camera, from_ms, to_ms, _now_ms())
        return Timeline(
            site=site,
            camera=camera,
            from_at=instant(from_ms),
            to_at=instant(to_ms),
            intervals=tuple(Interval.of(interval) for interval in intervals),
        )

    @api.get(
        "/sites/{site}/cameras/{camera}/playlist.m3u8",
        response_class=Response,
        responses={200: {"content": {"application/vnd.apple.mpegurl": {}}}},
    )
    def playlist(site: SiteId, camera: CameraId, from_: From = None, to: To = None) -> Response:
        """HLS of the interval, holes included; without `from` and `to` the newest minute, live."""
        console.site_row(site)
        if from_ is None and to is None:
            text = console.live(site, camera).playlist(lambda s: _media_path(site, s))
            return Response(text, headers={"Cache-Control": "no-store"}, media_type=_HLS)
        from_ms, to_ms = _interval(from_, to)
        text = recording(
            console.store.footage(site, camera, from_ms, to_ms),
            from_ms,
            to_ms,
            lambda s: _media_path(site, s),
            ended=to is not None and to_ms <= _now_ms(),
        )
        return Response(text, headers={"Cache-Control": "no-store"}, media_type=_HLS)

    @api.get(
        "/sites/{site}/cameras/{camera}/snapshot.jpg",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    def snapshot(site: SiteId, camera: CameraId, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """The newest picture."""
        row = console.store.latest_snapshot(site, camera)
        if row is None:
            raise NothingThere(f"there is no picture of {site}/{camera} yet")
        return _file(console.archive, row, "image/jpeg", "no-cache", if_none_match, None)

    @api.get(
        "/media/{site}/{run}/{sequence}.mp4",
        response_class=Response,
        responses={200: {"content": {"video/mp4": {}}}, 206: {"description": "The bytes asked for"}},
    )
    def media(
        site: SiteId,
        run: RunId,
        sequence: Annotated[int, Path(ge=0, lt=10**8)],
        byte_range: Annotated[str | None, Header(alias="range")] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """One segment."""
        row = console.store.item(site, run, sequence)
        if row is None or row.kind != "segment":
            raise NothingThere(f"there is no segment {site}/{run}/{sequence}")
        cache = "private, max-age=31536000, immutable"
        return _file(console.archive, row, "video/mp4", cache, if_none_match, byte_range)

    @api.get("/sites/{site}/history")
    def told(
        site: SiteId,
        group: Annotated[Literal["info", "power", "link", "spool", "camera", "host"], Query()],
        camera: Annotated[CameraId | None, Query(description="Which camera, in the group of that name")] = None,
        from_: From = None,
        to: To = None,
        points: Annotated[int, Query(ge=1, le=2000, description="At most so many, spread over the interval")] = 500,
    ) -> History:
        """What the site told of itself: of each equal part of the interval the first message, if there was one."""
        console.site_row(site)
        if (group == "camera") != (camera is not None):
            raise HTTPException(400, "the group `camera` needs a `camera`, and no other group has one")
        from_ms, to_ms = _interval(from_, to)
        found = console.store.points(site, group, camera or "", from_ms, to_ms, points)
        return History(
            site=site,
            group=group,
            camera=camera,
            from_at=instant(from_ms),
            to_at=instant(to_ms),
            points=tuple(map(HistoryPoint.of, found)),
        )

    @api.get("/completeness")
    def completeness(from_: From = None, to: To = None) -> Completeness:
        """How complete the footage of each camera is, day by day."""
        from_ms, to_ms = _interval(from_, to)
        found = history.completeness(console.store, from_ms, to_ms, _now_ms(), console.zone)
        sites = tuple(map(Waiting.of, console.sites().sites))
        return Completeness(rows=tuple(map(CompletenessRow.of, found)), sites=sites)

    @api.get("/events")
    def events(
        site: Annotated[SiteId | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=0, lt=2**63, description="Only events with a lower number")] = None,
    ) -> Events:
        """What happened, in the order in which the centre learned of it, newest first."""
        found = console.store.events(site, limit, before)
        return Events(events=tuple(Event.of(number, row) for number, row in found))

    @api.get("/stream", response_class=EventSourceResponse)
    async def stream() -> AsyncIterator[ServerSentEvent]:
        """Server-sent events: `site` with the site's state, for all sites first, then whenever one changes."""
        count, _ = console.changes.since(0)
        for told in (await run_in_threadpool(console.sites)).sites:
            yield ServerSentEvent(event="site", data=told)
        while not console.stopping.is_set():
            await asyncio.sleep(_STREAM_TURN_S)
            count, changed = console.changes.since(count)
            for name in changed:
                yield ServerSentEvent(event="site", data=await run_in_threadpool(console.site, name))

    return api


_HLS: Final = "application/vnd.apple.mpegurl"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _media_path(site: str, segment: Footage) -> str:
    return f"/api/v1/media/{site}/{segment.run}/{segment.sequence}.mp4"


def _interval(from_: datetime | None, to: datetime | None) -> tuple[int, int]:
    try:
        end = to.astimezone(UTC) if to else datetime.now(UTC)
        start = from_.astimezone(UTC) if from_ else end - timedelta(days=1)
    except OverflowError as error:
        raise HTTPException(400, "the interval is out of range") from error
    length = end - start
    if not timedelta() < length <= LONGEST:
        raise HTTPException(400, f"`to` must be after `from`, by at most {LONGEST.days} days")
    return unix_ms(start), unix_ms(end)


def _file(
    archive: Archive, row: ItemRow, media_type: str, cache: str, if_none_match: str | None, byte_range: str | None
) -> Response:
    """The bytes of an item, or the part that is asked for, unless the reader has them."""
    made = instant(min(row.start_ms, row.stored_ms))  # a clock that was ahead makes nothing newer than its arrival
    headers = {
        "ETag": f'"{row.sha256}"',
        "Last-Modified": format_datetime(made, usegmt=True),
        "Cache-Control": cache,
        "Accept-Ranges": "bytes",
    }
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    start, stop = 0, row.length
    match = _RANGE.fullmatch(byte_range.replace(" ", "")) if byte_range else None
    if match and any(match.groups()):
        first, last = match.groups()
        start = int(first) if first else max(0, row.length - int(last))
        stop = min(int(last) + 1, row.length) if first and last else row.length
        if start >= stop:
            headers["Content-Range"] = f"bytes */{row.length}"
            raise HTTPException(416, "the file is not that long", headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{row.length}"
    data = archive.read(row.object, row.offset + start, stop - start)
    return Response(data, 206 if "Content-Range" in headers else 200, headers, media_type=media_type)


class _NoSniff:
    """Says on every answer that its type is meant."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, marked)


def _problem(status: int, title: str, detail: str = "", headers: dict[str, str] | None = None) -> Response:
    body = Problem(title=title, status=status, detail=detail).to_json()
    return Response(body, status, headers, media_type="application/problem+json")


async def _bad_parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what this handler is registered for
    wrong = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    return _problem(400, "bad parameters", wrong)


async def _http_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _central_problem(_request: Request, error: Exception) -> Response:
    if isinstance(error, NothingThere):
        return _problem(404, "there is no such thing", str(error))
    return _problem(503, "the centre cannot answer just now", str(error), {"Retry-After": "5"})
