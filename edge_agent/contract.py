"""The wire contract: everything that crosses the road between an agent and the centre.

Item names, HTTP paths and the receipt of the history lane; topics and messages of the now lane; the facts that
each segment file carries about itself. Both ends import this module and nothing else of each other. It touches
nothing: no clock, no file, no socket.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

CONTRACT_VERSION: Final = "1.0"

# --- words ------------------------------------------------------------------------------------------------------

_ID = r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
_RUN = r"[0-9]{6}[a-z0-9]{4}"
RESERVED_SITES: Final = frozenset({"city"})

SiteId = Annotated[str, StringConstraints(pattern=rf"^{_ID}$")]
CameraId = Annotated[str, StringConstraints(pattern=rf"^{_ID}$")]
RunId = Annotated[str, StringConstraints(pattern=rf"^{_RUN}$")]


def run_id(counter: int, tag: str) -> str:
    """The name of the agent's `counter`-th life; names sort in the order of lives.

    `tag` is four random characters of [a-z0-9], so that two boxes with a copied counter still differ.
    """
    run = f"{counter:06d}{tag}"
    if not re.fullmatch(_RUN, run):
        raise ValueError(f"not a run: counter {counter}, tag {tag!r}")
    return run


def run_counter(run: str) -> int:
    """The counter within a run's name."""
    return int(run[:6])


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # a moment of the year 1 or 9999, of which UTC has none
        raise ValueError("out of range") from None


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(_rfc3339, when_used="json")]
"""A moment: RFC 3339, UTC, milliseconds on the wire."""


def instant(unix_ms: int) -> datetime:
    """The moment `unix_ms` milliseconds after 1970-01-01T00:00:00Z."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)


class ClockQuality(StrEnum):
    """How far a wall-clock time of the agent can be trusted."""

    SYNCED = "synced"
    HOLDOVER = "holdover"
    UNSYNCED = "unsynced"


Boot = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
"""A tag of one boot of the host: the runs that have it share a monotonic clock."""


OffsetMs = Annotated[int, Field(ge=-(10**15), le=10**15)]
"""The time of day minus the monotonic clock of a host."""


class LossCause(StrEnum):
    """Why footage of an interval does not exist."""

    CAMERA = "camera"
    """The camera gave no video: unreachable, refused, stalled, no video stream."""
    POWER = "power"
    """The site had no power, or stopped in good order because its battery was empty."""
    AGENT = "agent"
    """The agent process died and was started again while the host lived on."""
    STOPPED = "stopped"
    """Somebody stopped the agent in good order."""
    DISK = "disk"
    """The spool could not store it."""
    EVICTED = "evicted"
    """It was recorded and dropped unsent, because the spool had no room."""
    DAMAGED = "damaged"
    """It was recorded, but its file could not be read back, or the centre refused it for good."""
    CENTRE = "centre"
    """It had reached the centre, which lost it."""


class Supply(StrEnum):
    """What feeds the site; NUT's OL, OB and LB in words."""

    MAINS = "mains"
    BATTERY = "battery"
    LOW = "low"
    UNKNOWN = "unknown"


class Reach(StrEnum):
    """Whether one part of the link answers."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class Picture(StrEnum):
    """What OpenCV thinks of the last key frame."""

    OK = "ok"
    BLACK = "black"
    FROZEN = "frozen"
    BLURRED = "blurred"
    UNKNOWN = "unknown"


# --- items (history lane) ---------------------------------------------------------------------------------------


class ItemKind(StrEnum):
    """The kinds of immutable things that must reach the centre."""

    SEGMENT = "segment"
    SNAPSHOT = "snapshot"
    EVENT = "event"
    TELEMETRY = "telemetry"

    @property
    def extension(self) -> str:
        """The ending of a file of this kind."""
        return {"segment": "mp4", "snapshot": "jpg"}.get(self.value, "json")

    @property
    def media_type(self) -> str:
        """The HTTP content type of a file of this kind."""
        return {"segment": "video/mp4", "snapshot": "image/jpeg"}.get(self.value, "application/json")


_ITEM_NAME = re.compile(
    rf"(?P<run>{_RUN})_(?P<sequence>[0-9]{{8}})_(?P<kind>segment|snapshot|event|telemetry)_(?P<camera>{_ID}|site)"
    r"_(?P<start_ms>[0-9]{1,15})_(?P<duration_ms>[0-9]{1,9})_(?P<clock>synced|holdover|unsynced)"
    r"_(?P<sha256>[0-9a-f]{64})\.(?P<extension>mp4|jpg|json)"
)


@dataclass(frozen=True, order=True, slots=True)
class ItemName:
    """The full name of an item; its text is the file name at the edge and the last part of the upload path.

    Identity is (site, run, sequence); the rest are labels that the queue needs without opening the file. `start_ms`
    is Unix time in milliseconds by the clock of the agent, only as good as `clock` says. `camera` is `site` for
    items that belong to no camera. Names order by run, then sequence.
    """

    run: str
    sequence: int
    kind: ItemKind
    camera: str
    start_ms: int
    duration_ms: int
    clock: ClockQuality
    sha256: str

    def __str__(self) -> str:
        return (
            f"{self.run}_{self.sequence:08d}_{self.kind}_{self.camera}_{self.start_ms}_{self.duration_ms}"
            f"_{self.clock}_{self.sha256}.{self.kind.extension}"
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The name that `text` spells; ValueError when it is not the one spelling of an item's name."""
        match = _ITEM_NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"not an item name: {text[:200]!r}")
        part = match.groupdict()
        name = cls(
            run=part["run"],
            sequence=int(part["sequence"]),
            kind=ItemKind(part["kind"]),
            camera=part["camera"],
            start_ms=int(part["start_ms"]),
            duration_ms=int(part["duration_ms"]),
            clock=ClockQuality(part["clock"]),
            sha256=part["sha256"],
        )
        if str(name) != text:
            raise ValueError(f"not an item name: {text[:200]!r}")
        return name

    @property
    def end_ms(self) -> int:
        """Where the item ends, Unix time in milliseconds."""
        return self.start_ms + self.duration_ms


NO_CAMERA: Final = "site"
"""Stands for the camera in the name of an item that belongs to none; no camera may be called so."""

ITEM_PATH: Final = "/agent/v1/items/"
"""PUT here plus the item's name, with `Authorization: Bearer` and `Content-Digest` (RFC 9530)."""
HELLO_PATH: Final = "/agent/v1/hello"
"""GET: who the centre takes the caller for; with `?run=` also the newest item of the site's other runs."""
INVENTORY_PATH: Final = "/agent/v1/inventory"
"""POST an inventory here: which of its ranges the centre holds otherwise."""
MAX_ITEM_BYTES: Final = 64 * 1024 * 1024


def content_digest(sha256_hex: str) -> str:
    """The `Content-Digest` header of a body with that hash (RFC 9530)."""

    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"


class Message(BaseModel):
    """Base of everything with a body: flat JSON, unknown keys ignored, immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """The body on the wire, UTF-8."""
        return self.model_dump_json().encode()


class Receipt(Message):
    """The centre's word that an item is stored durably. Only this lets an agent drop its copy."""

    site: SiteId
    run: RunId
    sequence: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    stored_at: Instant

    def covers(self, site: str, name: ItemName) -> bool:
        """Whether this receipt is for that very item of that site, down to its hash."""
        return (self.site, self.run, self.sequence, self.sha256) == (
            site,
            name.run,
            name.sequence,
            name.sha256,
        )


class Problem(Message):
    """Why a request failed (RFC 9457)."""

    title: str
    status: int
    detail: str = ""


class Hello(Message):
    """Who the centre takes the caller for, and the centre's time.

    To a caller who told its run also the newest item that the centre knows of the site's other runs.
    """

    site: SiteId
    at: Instant
    contract: str = CONTRACT_VERSION
    newest_run: RunId | None = None
    newest_sequence: Annotated[int, Field(ge=0)] | None = None


# --- what both ends hold ----------------------------------------------------------------------------------------

MAX_SEQUENCE: Final = 10**8 - 1
MAX_RANGES: Final = 256
MAX_COMPARED: Final = 65_536
"""Items that the ranges of one inventory may hold together, so that the centre answers within a second."""


def range_digest(items: Iterable[tuple[int, str]]) -> str:
    """What both ends must agree on: 16 bytes of SHA-256 in hex, over sequence and hash of each item in order."""
    digest = hashlib.sha256()
    for sequence, sha256 in items:
        digest.update(b"%d %s\n" % (sequence, sha256.encode()))
    return digest.hexdigest()[:32]


class Range(Message):
    """What one end holds of a run from one sequence up to, not including, another."""

    run: RunId
    from_sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]
    to_sequence: Annotated[int, Field(ge=1, le=MAX_SEQUENCE + 1)]
    count: Annotated[int, Field(ge=1, le=MAX_COMPARED)]
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Inventory(Message):
    """What the agent holds and believes delivered, in ranges that follow on each other."""

    ranges: Annotated[tuple[Range, ...], Field(min_length=1, max_length=MAX_RANGES)]

    @model_validator(mode="after")
    def _is_orderly(self) -> Self:
        end = ("", 0)
        for part in self.ranges:
            if (part.run, part.from_sequence) < end or part.count > part.to_sequence - part.from_sequence:
                raise ValueError("ranges follow on each other and hold at most one item per sequence")
            end = part.run, part.to_sequence
        if sum(part.count for part in self.ranges) > MAX_COMPARED:
            raise ValueError(f"the ranges of an inventory hold at most {MAX_COMPARED} items together")
        return self


class Differences(Message):
    """Which ranges of an inventory the centre holds otherwise, by their place in it from 0."""

    differ: tuple[Annotated[int, Field(ge=0, lt=MAX_RANGES)], ...]


# --- what a segment file says of itself -------------------------------------------------------------------------

FACTS_UUID: Final = bytes.fromhex("53494d50414e4700a1c04f2e9d7b4c11")
"""User type of the `uuid` box (ISO/IEC 14496-12, 4.2) that ends each segment file."""


class Hole(Message):
    """A stretch inside a segment in which the camera sent no picture."""

    offset_ms: Annotated[int, Field(ge=0)]
    duration_ms: Annotated[int, Field(ge=0)]


class SegmentFacts(Message):
    """What the recorder knows of a segment beyond its name; stored in the file, as its last box.

    Two segments of the same run and session are continuous when the later one's `media_start_ms` is where the
    earlier one's media ended. `gap_before_ms` with `gap_cause` names the hole that this segment ends; in the first
    segment of a run it reaches back to the start of the run.
    """

    codec: Literal["h264", "hevc"]
    width: int
    height: int
    audio_codec: str | None = None
    session: Annotated[int, Field(ge=1)]
    """Counts the connections to this camera within the run."""
    media_start_ms: Annotated[int, Field(ge=0)]
    """Decode time of the first picture, from the start of the session."""
    monotonic_ms: Annotated[int, Field(ge=0)]
    """Monotonic clock of the host at the first picture."""
    packets: Annotated[int, Field(ge=0)]
    """Video packets in the file."""
    init_bytes: Annotated[int, Field(ge=0)]
    """Length of `ftyp` and `moov` at the head of the file."""
    media_bytes: Annotated[int, Field(ge=0)]
    """Length of the fragments that follow."""
    gap_before_ms: Annotated[int, Field(ge=0)] = 0
    gap_cause: LossCause | None = None
    gap_detail: str = ""
    holes: tuple[Hole, ...] = ()
    nudged: int = 0
    """Packets whose decode time stepped back a little and was moved to keep order."""
    camera_time: Instant | None = None
    """The camera's own clock at the first picture, from its RTCP sender report."""
    recovered: bool = False
    """Cut back to its last whole fragment after the agent died."""


@dataclass(frozen=True, slots=True)
class Box:
    """A top-level box of an ISO base media file: its four-letter type and where it lies, in bytes."""

    type: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Offset of the byte after the box."""
        return self.offset + self.size


def whole_boxes(data: bytes | bytearray | memoryview) -> Iterator[Box]:
    """Each top-level box that lies in `data` whole, in order; stops at the first torn or senseless one."""
    offset, total = 0, len(data)
    while offset + 8 <= total:
        size = int.from_bytes(data[offset : offset + 4])
        header = 8
        if size == 1 and offset + 16 <= total:
            size, header = int.from_bytes(data[offset + 8 : offset + 16]), 16
        kind = bytes(data[offset + 4 : offset + 8])
        if size < header or offset + size > total or not all(32 <= c < 127 for c in kind):
            return
        yield Box(kind.decode("ascii"), offset, size)
        offset += size


def facts_box(facts: SegmentFacts) -> bytes:
    """The box that ends a segment file."""
    body = FACTS_UUID + facts.model_dump_json(exclude_defaults=True).encode()
    return (len(body) + 8).to_bytes(4) + b"uuid" + body


def read_facts(data: bytes | memoryview) -> SegmentFacts:
    """The facts of a whole segment file; ValueError when it is not one, with the reason."""
    boxes = list(whole_boxes(data))
    if not boxes or boxes[-1].end != len(data):
        raise ValueError("the file is torn: its boxes do not add up to its length")
    if boxes[0].type != "ftyp" or not any(box.type == "moof" for box in boxes):
        raise ValueError("not a fragmented MP4 file")
    last = boxes[-1]
    if last.type != "uuid" or bytes(data[last.offset + 8 : last.offset + 24]) != FACTS_UUID:
        raise ValueError("the file does not end with the facts of a segment")
    facts = SegmentFacts.model_validate_json(bytes(data[last.offset + 24 : last.end]))
    if facts.init_bytes + facts.media_bytes != last.offset:
        raise ValueError("the facts of the segment do not fit its file")
    return facts


# --- messages of the now lane -----------------------------------------------------------------------------------


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


class Power(Message):
    """What feeds the site and for how long. Values that are not known are null, never stale."""

    supply: Supply
    charge_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    runtime_s: Annotated[float, Field(ge=0)] | None = None
    runtime_low_s: Annotated[float, Field(ge=0)] | None = None
    runtime_high_s: Annotated[float, Field(ge=0)] | None = None
    source: str
    detail: str = ""
    since: Instant
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
    """What holds the backlog back, beside live footage: the cap or the hours in the site's settings, or the centre."""

    NONE = "none"
    CAP = "cap"
    WINDOW = "window"
    GRANT = "grant"


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
    """What may happen at a site."""

    AGENT_STARTED = "simpang.agent.started"
    AGENT_STOPPING = "simpang.agent.stopping"
    CAMERA_LOST = "simpang.camera.lost"
    CAMERA_BACK = "simpang.camera.back"
    PICTURE_CHANGED = "simpang.picture.changed"
    SUPPLY_CHANGED = "simpang.supply.changed"
    LINK_CHANGED = "simpang.link.changed"
    CLOCK_CHANGED = "simpang.clock.changed"
    SPOOL_EVICTED = "simpang.spool.evicted"
    SPOOL_QUARANTINED = "simpang.spool.quarantined"
    SPOOL_COMPARED = "simpang.spool.compared"
    SPOOL_STEPPED_BACK = "simpang.spool.stepped-back"
    SPOOL_FILLING = "simpang.spool.filling"
    SPOOL_TROUBLE = "simpang.spool.trouble"
    SPOOL_BACK = "simpang.spool.back"


class EventData(Message):
    """The facts of an event; each type fills those that belong to it.

    `agent.started`: `cause` says how the previous run ended (null on the very first), `previous_run` which it was.
    `camera.lost`: `camera`, `cause`, `detail`, `from_at`. `camera.back`: `camera`.
    `spool.evicted`, `spool.quarantined`: `camera`, `from_at`, `to_at`, `cause`, `items`.
    `spool.compared`: `items` that were compared, `returned` of them that the centre lacked and that are sent again.
    `spool.stepped-back`: `previous_run` and `detail`, what the centre knows and the disk of the site does not; `items`
    how many those are, where it can be told.
    `spool.filling`: `detail`; unsent footage is dropped from `from_at` on if the link stays as it is.
    `spool.trouble`: `detail`, what is wrong with the disk. `spool.back`: none.
    `*.changed`: `before`, `after`, and `camera` where it is a picture.
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


# --- wishes -----------------------------------------------------------------------------------------------------


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
    at: Instant


# --- topics -----------------------------------------------------------------------------------------------------

DEFAULT_PREFIX: Final = "simpang/v1"


@dataclass(frozen=True, slots=True)
class Topic:
    """One fact group of the now lane: `<prefix>/<site>/<group>`, `camera` with the camera's id behind it."""

    group: str
    model: type[Message]
    retained: bool
    qos: Literal[0, 1]
    per_camera: bool = False
    summary: str = ""

    def path(self, prefix: str, site: str, camera: str | None = None) -> str:
        """The topic of that site, and camera where the group has one per camera."""
        base = f"{prefix}/{site}/{self.group}"
        return f"{base}/{camera}" if self.per_camera else base


PRESENCE: Final = Topic("presence", Presence, retained=True, qos=1, summary="Who is there now; also the will")
INFO: Final = Topic("info", Info, retained=True, qos=1, summary="What stands at the site")
POWER: Final = Topic("power", Power, retained=True, qos=1, summary="What feeds the site and for how long")
LINK: Final = Topic("link", Link, retained=True, qos=1, summary="Which part of the way to the centre is broken")
SPOOL: Final = Topic("spool", SpoolState, retained=True, qos=1, summary="What waits at the site")
CAMERA: Final = Topic("camera", CameraState, retained=True, qos=1, per_camera=True, summary="What one camera gives")
HOST: Final = Topic("host", Host, retained=True, qos=1, summary="How the mini PC is")
EVENT: Final = Topic("event", Event, retained=False, qos=1, summary="What happened, as it happens")

TOPICS: Final = (PRESENCE, INFO, POWER, LINK, SPOOL, CAMERA, HOST, EVENT)
WISH: Final = Topic("wish", Wish, retained=True, qos=1, summary="What the centre would like of a site")
"""What a site is told. It writes none of it."""
MAX_MESSAGE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Whose fact a topic carries."""

    site: str
    topic: Topic
    camera: str | None


def parse_topic(prefix: str, text: str) -> Address:
    """Whose fact the topic `text` carries; ValueError when it is none of ours."""
    site, _, rest = text.removeprefix(f"{prefix}/").partition("/")
    group, _, camera = rest.partition("/")
    topic = next((t for t in TOPICS if t.group == group), None)
    if (
        topic is None
        or not text.startswith(f"{prefix}/")
        or site in RESERVED_SITES
        or re.fullmatch(_ID, site) is None
        or topic.per_camera != bool(re.fullmatch(_ID, camera))
        or (rest != group and not topic.per_camera)
    ):
        raise ValueError(f"not a topic of a site: {text[:200]!r}")
    return Address(site, topic, camera or None)


# --- telemetry --------------------------------------------------------------------------------------------------


class Sample(Message):
    """One state message as it was published, with the last part of its topic (`power`, `camera/north`)."""

    group: str
    body: dict[str, str | int | float | bool | list[str] | None]


class Telemetry(Message):
    """A batch of state messages, so that the history has no hole where MQTT had one; all are dated by one clock."""

    samples: tuple[Sample, ...]
    wall_minus_monotonic_ms: OffsetMs | None = None
