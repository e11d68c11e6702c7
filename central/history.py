"""What became of a camera's time: asks the store, and lets the core decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, tzinfo

from central.core.completeness import Tally, days, tally
from central.core.timeline import Interval, LastWord, timeline, unix_ms
from central.store import StateRow, Store
from edge_agent.contract import (
    CAMERA,
    INFO,
    PRESENCE,
    SPOOL,
    CameraState,
    Info,
    Presence,
    PresenceState,
    SpoolState,
)

_DAY_MS = 86_400_000


def last_word(states: list[StateRow], camera: str) -> LastWord:
    """What the site said last about itself and that camera."""
    told = {(state.topic, state.camera): state for state in states}
    word: dict[str, object] = {}
    if row := told.get((PRESENCE.group, "")):
        presence = Presence.model_validate_json(row.body)
        # A will was written when the agent connected; it came when the site fell silent.
        gone = presence.state is PresenceState.OFFLINE
        word |= {"presence": presence.state, "presence_ms": row.received_ms if gone else unix_ms(presence.at)}
    if row := told.get((SPOOL.group, "")):
        spool = SpoolState.model_validate_json(row.body)
        word |= {
            "spool_ms": unix_ms(spool.at),
            "backlog": spool.backlog_items > 0,
            "oldest_unsent_ms": unix_ms(spool.oldest_unsent_at) if spool.oldest_unsent_at else None,
        }
    if row := told.get((CAMERA.group, camera)):
        state = CameraState.model_validate_json(row.body)
        if not state.recording:
            word |= {
                "camera_lost_ms": unix_ms(state.since),
                "camera_cause": state.cause,
                "camera_detail": state.detail,
            }
    return LastWord(**word)  # type: ignore[arg-type]


def camera_timeline(store: Store, site: str, camera: str, from_ms: int, to_ms: int, now_ms: int) -> list[Interval]:
    """The fate of each moment of the interval. StoreDown."""
    footage = store.footage(site, camera, from_ms, to_ms, also_lost=True)
    edges = [from_ms, to_ms, *(f.start_ms for f in footage), *(f.end_ms for f in footage)]
    # A report of the day before may still be open.
    events = store.timeline_events(site, min(edges) - _DAY_MS, max(edges), {f.run for f in footage})
    return timeline(camera, from_ms, to_ms, now_ms, footage, events, last_word(store.states(site), camera))


def cameras(store: Store, site: str) -> list[str]:
    """Every camera that the site told of or that has footage. StoreDown."""
    found = set(store.cameras(site))
    for state in store.states(site):
        if state.topic == CAMERA.group:
            found.add(state.camera)
        elif state.topic == INFO.group:
            found.update(Info.model_validate_json(state.body).cameras)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Day:
    """One camera's day."""

    site: str
    camera: str
    day: date
    tally: Tally


def completeness(
    store: Store,
    from_ms: int,
    to_ms: int,
    now_ms: int,
    zone: tzinfo,
    only_site: str | None = None,
    only_camera: str | None = None,
) -> Iterator[Day]:
    """Each day of the interval, by site and camera, in which footage was expected. StoreDown."""
    for site in (row.site for row in store.sites() if only_site in (None, row.site)):
        for camera in (camera for camera in cameras(store, site) if only_camera in (None, camera)):
            for day, start_ms, end_ms in days(from_ms, min(to_ms, now_ms), zone):
                sums = tally(camera_timeline(store, site, camera, start_ms, end_ms, now_ms))
                if sums.expected_ms:
                    yield Day(site, camera, day, sums)
