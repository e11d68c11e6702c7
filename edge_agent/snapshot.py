"""Key frames become JPEG pictures, and a word on what they show."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.packet import Packet

from edge_agent.core.picture import SIZE, Watch

if TYPE_CHECKING:
    from edge_agent.contract import Picture

_WIDTH: Final = 960
_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Look:
    """A picture as JPEG, and what is thought of the camera's pictures now."""

    jpeg: bytes
    picture: Picture


class Eye:
    """Looks at the key frames of all cameras, one at a time, so that memory holds one decoder at most.

    Pictures wider than `width_px` are scaled down; `quality_percent` is that of the JPEG.
    """

    def __init__(self, *, width_px: int = _WIDTH, quality_percent: int = _QUALITY) -> None:
        self._width_px, self._quality_percent = width_px, quality_percent
        self._watches: dict[str, Watch] = defaultdict(Watch)
        self._lock = Lock()
        self.shut = False
        """While it is, it makes out nothing."""

    def look(self, camera: str, codec: str, extradata: bytes, data: bytes) -> Look | None:
        """What a coded key frame of that camera shows; None when it cannot be decoded."""
        if self.shut:
            return None
        with self._lock:
            frame = _decode(codec, extradata, data)
            if frame is None:
                return None
            width = min(frame.width, self._width_px) & ~1
            height = frame.height * width // frame.width & ~1
            picture = frame.reformat(width, height, "bgr24").to_ndarray()
            _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality_percent])
            small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), SIZE, interpolation=cv2.INTER_AREA)
            return Look(jpeg.tobytes(), self._watches[camera].look(np.asarray(small, np.uint8)))


def _decode(codec: str, extradata: bytes, data: bytes) -> av.VideoFrame | None:
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)  # noqa: S101 - codec is H.264 or H.265
    decoder.thread_count = 1
    decoder.extradata = extradata
    try:
        frames = [*decoder.decode(Packet(data)), *decoder.decode(None)]
    except FFmpegError:
        return None
    return frames[0] if frames else None
