"""Where messages go in the now lane, and how they become history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from edge_agent.contract.messages import (
    Battery,
    CameraState,
    Event,
    Host,
    Info,
    Link,
    Power,
    Presence,
    SpoolState,
    Wish,
)
from edge_agent.contract.words import ID, RESERVED_SITES, Message, OffsetMs

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
BATTERY: Final = Topic("battery", Battery, retained=True, qos=1, summary="What its discharges taught of the battery")
LINK: Final = Topic("link", Link, retained=True, qos=1, summary="Which part of the way to the centre is broken")
SPOOL: Final = Topic("spool", SpoolState, retained=True, qos=1, summary="What waits at the site")
CAMERA: Final = Topic("camera", CameraState, retained=True, qos=1, per_camera=True, summary="What one camera gives")
HOST: Final = Topic("host", Host, retained=True, qos=1, summary="How the mini PC is")
EVENT: Final = Topic("event", Event, retained=False, qos=1, summary="What happened, as it happens")

TOPICS: Final = (PRESENCE, INFO, POWER, BATTERY, LINK, SPOOL, CAMERA, HOST, EVENT)
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
        or re.fullmatch(ID, site) is None
        or topic.per_camera != bool(re.fullmatch(ID, camera))
        or (rest != group and not topic.per_camera)
    ):
        raise ValueError(f"not a topic of a site: {text[:200]!r}")
    return Address(site, topic, camera or None)


class Sample(Message):
    """One state message as it was published, with the last part of its topic (`power`, `camera/north`)."""

    group: str
    body: dict[str, str | int | float | bool | list[str] | None]


class Telemetry(Message):
    """A batch of state messages, so that the history has no hole where MQTT had one; all are dated by one clock."""

    samples: tuple[Sample, ...]
    wall_minus_monotonic_ms: OffsetMs | None = None
