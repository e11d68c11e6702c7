"""A backlog without having to wait for it: segment files as the recorder leaves them, put where a spool finds them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from edge_agent.contract import ClockQuality, ItemKind, ItemName, SegmentFacts, facts_box, run_id, whole_boxes
from tests.rig.segments import FPS, encode

RUN: Final = run_id(1, "past")
SEGMENT_MS: Final = 4000
BEGAN_MS: Final = 1_795_000_000_000


def lay_down(ready: Path, count: int, size_bytes: int, camera: str = "north") -> list[ItemName]:
    """So many segments of four seconds lie in `ready`, each of about that size and no two alike."""
    ready.mkdir(parents=True, exist_ok=True)
    padding = os.urandom(size_bytes)
    names = []
    for sequence in range(count):
        data = b"".join(_segment(sequence, padding))
        start_ms = BEGAN_MS + sequence * SEGMENT_MS
        sha256 = hashlib.sha256(data).hexdigest()
        name = ItemName(RUN, sequence, ItemKind.SEGMENT, camera, start_ms, SEGMENT_MS, ClockQuality.SYNCED, sha256)
        (ready / str(name)).write_bytes(data)
        names.append(name)
    return names


def _segment(sequence: int, padding: bytes) -> Iterator[bytes]:
    """A file that plays, with a box that players skip to make it large."""
    media, init_bytes = _media()
    free = sequence.to_bytes(8) + padding
    yield media
    yield (8 + len(free)).to_bytes(4) + b"free" + free
    yield facts_box(
        SegmentFacts(
            codec="h264",
            width=64,
            height=48,
            session=1,
            media_start_ms=sequence * SEGMENT_MS,
            monotonic_ms=sequence * SEGMENT_MS,
            packets=SEGMENT_MS * FPS // 1000,
            init_bytes=init_bytes,
            media_bytes=len(media) + 8 + len(free) - init_bytes,
        )
    )


@cache
def _media() -> tuple[bytes, int]:
    media = encode(SEGMENT_MS)
    return media, sum(box.size for box in whole_boxes(media) if box.type in {"ftyp", "moov"})
