"""Small but real segment files, encoded and boxed as the recorder does, for tests that need no camera."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np

from edge_agent.contract import ClockQuality, ItemKind, ItemName, SegmentFacts, facts_box, run_id, whole_boxes

RUN = run_id(1, "test")
FPS = 10
_MOVFLAGS = "cmaf+frag_keyframe+frag_discont+skip_trailer"


@cache
def encode(
    duration_ms: int, media_start_ms: int = 0, size: tuple[int, int] = (64, 48), *, noisy: bool = False
) -> bytes:
    """A fragmented MP4 of H.264 at 10 frames/s, one key frame a second, decode times from `media_start_ms`.

    Its pictures are plain, and so a few bytes each, or `noisy`.
    """
    dice = np.random.default_rng(seed=1)
    file = io.BytesIO()
    options = {"movflags": _MOVFLAGS, "avoid_negative_ts": "disabled"}
    with av.open(file, "w", format="mp4", options=options) as container:
        codec = {"preset": "ultrafast", "tune": "zerolatency", "keyint": str(FPS), "x264-params": "log-level=none"}
        stream = container.add_stream("libx264", rate=FPS, options=codec)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = FPS
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number in range(max(1, duration_ms * FPS // 1000)):
            picture = np.full((size[1], size[0], 3), (media_start_ms // 100 + number) % 256, dtype=np.uint8)
            if noisy:
                picture = dice.integers(256, size=picture.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = media_start_ms + number * 1000 // FPS, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.duration = 1000 // FPS
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def make_segment(
    *,
    run: str = RUN,
    sequence: int = 0,
    camera: str = "north",
    start_ms: int = 1_795_000_000_000,
    duration_ms: int = 4000,
    media_start_ms: int = 0,
    session: int = 1,
    clock: ClockQuality = ClockQuality.SYNCED,
    size: tuple[int, int] = (64, 48),
    **facts: Any,
) -> tuple[ItemName, bytes]:
    """A whole segment file and its name; `facts` are further fields of SegmentFacts."""
    media = encode(duration_ms, media_start_ms, size)
    init_bytes = sum(box.size for box in whole_boxes(media) if box.type in {"ftyp", "moov"})
    data = media + facts_box(
        SegmentFacts(
            codec="h264",
            width=size[0],
            height=size[1],
            session=session,
            media_start_ms=media_start_ms,
            monotonic_ms=media_start_ms,
            packets=duration_ms * FPS // 1000,
            init_bytes=init_bytes,
            media_bytes=len(media) - init_bytes,
            **facts,
        )
    )
    return make_item(ItemKind.SEGMENT, data, run, sequence, camera, start_ms, duration_ms, clock), data


def make_item(
    kind: ItemKind,
    data: bytes,
    run: str = RUN,
    sequence: int = 0,
    camera: str = "site",
    start_ms: int = 1_795_000_000_000,
    duration_ms: int = 0,
    clock: ClockQuality = ClockQuality.SYNCED,
) -> ItemName:
    """The name of an item with these bytes."""
    return ItemName(run, sequence, kind, camera, start_ms, duration_ms, clock, hashlib.sha256(data).hexdigest())
