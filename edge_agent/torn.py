"""A segment file that was never finished: how far it is whole, and what that part of it is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import av
from av.error import FFmpegError

from edge_agent.contract import FACTS_UUID, Box, SegmentFacts, facts_box, read_facts, whole_boxes
from edge_agent.core.cutting import find_holes

_SECTOR: Final = 512


class Damaged(ValueError):  # noqa: N818 - it says what the file is
    """The file is not torn, but damaged, or none of ours."""


@dataclass(frozen=True, slots=True)
class Rescued:
    """The first `length` bytes are whole fragments; with `tail` behind them they are a segment."""

    length: int
    duration_ms: int
    tail: bytes


def rescue(data: bytes) -> Rescued | None:
    """What a torn segment file still is; None when it holds no whole fragment. Raises Damaged."""
    boxes = list(whole_boxes(data))
    length = _whole_bytes(data, boxes)
    if not length:
        return None
    kept = [box for box in boxes if box.end <= length]
    facts = (box for box in kept if box.type == "uuid" and data[box.offset + 8 : box.offset + 24] == FACTS_UUID)
    draft = next(facts, None)
    if draft is None:
        raise Damaged("it does not say what it is")
    try:
        return _measure(data[:length], kept, SegmentFacts.model_validate_json(data[draft.offset + 24 : draft.end]))
    except (ValueError, FFmpegError) as error:
        raise Damaged(str(error)) from error


def _whole_bytes(data: bytes, boxes: list[Box]) -> int:
    """Where the last whole fragment ends, of those that come before the first that is not.

    A power cut may leave a file with its new length, and sectors of zeros where the bytes were on their way. Whole
    fragments have none: their last byte is no zero, and nowhere in them are so many in a row. Where the first is lost,
    so is the size of the first box.
    """
    length = 0
    for end in (box.end for box in boxes if box.type == "mdat"):
        for sector in range(-(-length // _SECTOR) * _SECTOR, end, _SECTOR):
            if not data[sector : min(sector + _SECTOR, end)].strip(b"\0"):
                return length
        length = end
    return length


def _measure(data: bytes, boxes: list[Box], draft: SegmentFacts) -> Rescued:
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise Damaged("it holds no video")
        ms = float((stream.time_base or 0) * 1000)
        packets = [(packet.dts or 0, packet.duration or 0) for packet in container.demux(stream) if packet.size]
    if not packets:
        raise Damaged("its fragments hold no pictures")
    times_ms = [round((dts - packets[0][0]) * ms) for dts, _ in packets]
    init_bytes = sum(box.size for box in boxes if box.type in {"ftyp", "moov"})
    facts = draft.model_copy(
        update={
            "packets": len(packets),
            "init_bytes": init_bytes,
            "media_bytes": len(data) - init_bytes,
            "holes": find_holes(times_ms),
            "recovered": True,
        }
    )
    tail = facts_box(facts)
    read_facts(data + tail)  # what the demuxer forgives, the centre would refuse
    return Rescued(len(data), times_ms[-1] + round(packets[-1][1] * ms), tail)
