"""What crosses the road as a message: the state of a site, its events, and the wishes of the centre."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_agent.contract.words import (
    CONTRACT_VERSION,
    Boot,
    CameraId,
    ClockQuality,
    Instant,
    LossCause,
    Message,
    OffsetMs,
    Picture,
    Reach,
    RunId,
    Step,
    Supply,
)


class PresenceState(StrEnum):
    """Who is there now."""

    ONLINE = "online"
    OFFLINE = "offline"
    ASLEEP = "asleep"
    STOPPING = "stopping"


class Presence(Message):
    """Whether the agent is there; also its will. The run lets a reader ignore the late will of an old run."""

    state: PresenceState
    run: RunId
    reason: str = ""
    """Why it ended; once it is online, the first breath in words; then, what keeps it from being so all the time, or
    from recording."""
    at: Instant


class Info(Message):
    """What stands at the site."""

    version: str
    contract: str = CONTRACT_VERSION
    run: RunId
    name: str
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    cameras: tuple[CameraId, ...]
    started_at: Instant
    detail: str = ""
    """What is wrong with the settings file, so that older settings are in force; empty when nothing is."""


class Power(Message):
    """What feeds the site and for how long. Values that are not known are null, never stale."""

    supply: Supply
    charge_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    runtime_s: Annotated[float, Field(ge=0)] | None = None
    runtime_low_s: Annotated[float, Field(ge=0)] | None = None
    runtime_high_s: Annotated[float, Field(ge=0)] | None = None
    temperature_c: float | None = None
    source: str
    """The sources that the site is set up with, joined by `+`; `none` for none."""
    sources: tuple[str, ...] = ()
    """Each of them with its state, such as `nut ok`."""
    step: Step = Step.FULL
    """What is given up to spare the battery."""
    reaches_target: bool | None = None
    """Whether the battery lasts as long as the site is to survive; null without such a target, and while not known."""
    detail: str = ""
    since: Instant
    at: Instant


MOST_LESSONS: Final = 8
_Lessons = Annotated[tuple[Annotated[str, Field(max_length=1500)], ...], Field(max_length=MOST_LESSONS)]


class Battery(Message):
    """What the discharges of a site have taught of its battery. The centre holds it for a card that is new."""

    known: bool
    """Whether the pack has shown its end."""
    replace_before: Instant | None = None
    """When it will have lost a fifth of its energy, as it ages now; or when it failed a test, if that is sooner."""
    full_runtime_s: Annotated[float, Field(ge=0)] | None = None
    """How long it lasts from full at the site's usual load until the agent stops; null while no discharge has shown."""
    full_runtime_low_s: Annotated[float, Field(ge=0)] | None = None
    full_runtime_high_s: Annotated[float, Field(ge=0)] | None = None
    stop_percent: Annotated[float, Field(ge=0, le=100)] = 0
    """The charge at which the agent stops."""
    lessons: _Lessons = ()
    """One for each discharge, for the agent that wrote it; a reader hands it back as it is."""
    at: Instant


class LinkPart(StrEnum):
    """The first broken part on the way from the agent to the centre."""

    NONE = "none"
    PORT = "port"
    UPLINK = "uplink"
    CENTRE = "centre"
    BROKER = "broker"


class Link(Message):
    """The chain port → uplink → centre → broker, and which part of it is broken."""

    broken: LinkPart
    port: Reach
    uplink: Reach
    centre: Reach
    broker: Reach
    interface: str = ""
    rtt_ms: Annotated[float, Field(ge=0)] | None = None
    since: Instant
    at: Instant


class PaceLimit(StrEnum):
    """What holds the backlog back, beside live footage: the cap or the hours in the site's settings, the centre, or the
    site's battery."""

    NONE = "none"
    CAP = "cap"
    WINDOW = "window"
    GRANT = "grant"
    ENERGY = "energy"


class SpoolState(Message):
    """What waits at the site, and how much room it has."""

    backlog_items: Annotated[int, Field(ge=0)]
    backlog_s: Annotated[float, Field(ge=0)]
    backlog_bytes: Annotated[int, Field(ge=0)]
    oldest_unsent_at: Instant | None = None
    quarantined_items: Annotated[int, Field(ge=0)] = 0
    evicted_items: Annotated[int, Field(ge=0)] = 0
    used_bytes: Annotated[int, Field(ge=0)]
    free_bytes: Annotated[int, Field(ge=0)]
    full_in_s: Annotated[float, Field(ge=0)] | None = None
    sent_bytes_per_s: Annotated[float, Field(ge=0)] = 0
    taken_bytes_per_s: Annotated[float, Field(ge=0)] = 0
    """How fast new items come; like what is sent, over the last minute."""
    drain_eta_s: Annotated[float, Field(ge=0)] | None = None
    """When the backlog is gone if all goes on as in the last minute; null when it does not shrink."""
    pace_bytes_per_s: Annotated[float, Field(ge=0)] | None = None
    """What the backlog may take; null when nothing but live footage limits it."""
    pace_limit: PaceLimit = PaceLimit.NONE
    compared_at: Instant | None = None
    """When the site last began to make sure that what it sent is at the centre, and came to the end."""
    detail: str = ""
    at: Instant


class CameraState(Message):
    """What one camera gives."""

    camera: CameraId
    recording: bool
    cause: LossCause | None = None
    detail: str = ""
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    bitrate_bps: float | None = None
    last_frame_at: Instant | None = None
    recorded_until: Instant | None = None
    picture: Picture = Picture.UNKNOWN
    since: Instant
    at: Instant


class Host(Message):
    """How the mini PC is."""

    temperature_c: float | None = None
    load_1m: float | None = None
    memory_percent: float | None = None
    agent_rss_bytes: int | None = None
    disk_percent: float | None = None
    uptime_s: float | None = None
    clock: ClockQuality
    at: Instant


class EventType(StrEnum):
    """What may happen at a site. All are told by the site; `site.doubled` by the centre, too, which finds it out."""

    AGENT_STARTED = "simpang.agent.started"
    AGENT_STOPPING = "simpang.agent.stopping"
    CAMERA_LOST = "simpang.camera.lost"
    CAMERA_BACK = "simpang.camera.back"
    PICTURE_CHANGED = "simpang.picture.changed"
    SUPPLY_CHANGED = "simpang.supply.changed"
    SOURCE_CHANGED = "simpang.source.changed"
    ENERGY_CHANGED = "simpang.energy.changed"
    BATTERY_TESTED = "simpang.battery.tested"
    LINK_CHANGED = "simpang.link.changed"
    CLOCK_CHANGED = "simpang.clock.changed"
    SPOOL_EVICTED = "simpang.spool.evicted"
    SPOOL_QUARANTINED = "simpang.spool.quarantined"
    SPOOL_COMPARED = "simpang.spool.compared"
    SPOOL_STEPPED_BACK = "simpang.spool.stepped-back"
    SPOOL_FILLING = "simpang.spool.filling"
    SPOOL_TROUBLE = "simpang.spool.trouble"
    SPOOL_BACK = "simpang.spool.back"
    SITE_DOUBLED = "simpang.site.doubled"
    SETTINGS_TROUBLE = "simpang.settings.trouble"


class EventData(Message):
    """The facts of an event; each type fills those that belong to it.

    `agent.started`, the first message of a run: `cause` says how the previous run ended (null on the very first),
    `previous_run` which it was, `slept_s` how long ago that is, `backlog_*` what waits to be sent; each null where
    that cannot be told. `detail` says why the run starts without cameras, if it does.
    `agent.stopping`, the last before an ordered stop: `cause` and `detail`, `charge_percent` and `runtime_*` as the
    site last knew them, `newest_sequence` of the items of this run, `recorded_until` of its footage, `backlog_*`.
    `camera.lost`: `camera`, `cause`, `detail`, `from_at`. `camera.back`: `camera`.
    `spool.evicted`, `spool.quarantined`: `camera`, `from_at`, `to_at`, `cause`, `items`.
    `spool.compared`: `items` that were compared, `returned` of them that the centre lacked and that are sent again.
    `spool.stepped-back`: `previous_run` and `detail`, what the centre knows and the disk of the site does not; `items`
    how many those are, where it can be told.
    `spool.filling`: `detail`; unsent footage is dropped from `from_at` on if the link stays as it is.
    `spool.trouble`: `detail`, what is wrong with the disk. `spool.back`: none.
    `site.doubled`: `run` and `previous_run`, the lives of two boxes that speak for the site in turns; `detail`. A box
    that notices by itself tells its own `run` only.
    `settings.trouble`: `detail`, what is wrong with the settings file; the last good settings are in force.
    `*.changed`: `before`, `after`, and `camera` where it is a picture.
    `energy.changed`: the step before and after, and in `detail` what led to it.
    `source.changed`: also `source`, which source of power readings it is, and `detail`, what is wrong with it.
    `battery.tested`: `after`, how the UPS's test of its battery ended, `passed`, `failed`, `unknown` where it tells no
    result, or `refused` where none was begun; `source`, and `detail` in the words of the UPS or with what to do.
    `items_run` and `items_clock`: whose items they are, and how good the labels are that `from_at` and `to_at` repeat.
    `boot`, `clock` and `wall_minus_monotonic_ms` say by which clock the event itself is dated, in all of them.
    """

    run: RunId
    camera: CameraId | None = None
    cause: LossCause | None = None
    previous_run: RunId | None = None
    detail: str = ""
    from_at: Instant | None = None
    to_at: Instant | None = None
    items: int | None = None
    returned: int | None = None
    slept_s: Annotated[float, Field(ge=0)] | None = None
    charge_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    runtime_s: Annotated[float, Field(ge=0)] | None = None
    runtime_low_s: Annotated[float, Field(ge=0)] | None = None
    runtime_high_s: Annotated[float, Field(ge=0)] | None = None
    newest_sequence: Annotated[int, Field(ge=0)] | None = None
    recorded_until: Instant | None = None
    backlog_items: Annotated[int, Field(ge=0)] | None = None
    backlog_bytes: Annotated[int, Field(ge=0)] | None = None
    backlog_s: Annotated[float, Field(ge=0)] | None = None
    source: str | None = None
    items_run: RunId | None = None
    items_clock: ClockQuality | None = None
    before: str | None = None
    after: str | None = None
    boot: Boot | None = None
    clock: ClockQuality | None = None
    wall_minus_monotonic_ms: OffsetMs | None = None


class Event(Message):
    """Something that happened: CloudEvents 1.0, structured JSON. The same bytes are an item of the spool."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: EventType
    time: Instant
    datacontenttype: Literal["application/json"] = "application/json"
    data: EventData


class Stretch(Message):
    """A stretch of one camera's time."""

    camera: CameraId
    from_at: Instant
    to_at: Instant


MOST_STRETCHES: Final = 200
_Stretches = Annotated[tuple[Stretch, ...], Field(max_length=MOST_STRETCHES)]


class Wish(Message):
    """What the centre would like of a site: a state to be in, never a command. The whole of it, each time anew."""

    pace_bytes_per_s: Annotated[float, Field(ge=0)] | None = None
    """What the backlog may take of the way to the centre, until the next; after that the site's own settings hold."""
    pace_until: Instant | None = None
    wanted: _Stretches = ()
    """Footage that goes ahead of the rest of the backlog."""
    locked: _Stretches = ()
    """Footage that goes last when room is short. Below: since when both ends shall have compared what they hold."""
    compared_since: Instant | None = None
    lessons: _Lessons = ()
    """What the site told last of its battery, for a card that does not know it."""
    at: Instant
