"""The history lane: items with their names, paths and receipts, and what both ends say they hold."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from edge_agent.contract.words import CONTRACT_VERSION, ID, RUN, ClockQuality, Instant, Message, RunId, SiteId


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
    rf"(?P<run>{RUN})_(?P<sequence>[0-9]{{8}})_(?P<kind>segment|snapshot|event|telemetry)_(?P<camera>{ID}|site)"
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
