"""What a segment file says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_agent.contract.words import Instant, LossCause, Message

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
