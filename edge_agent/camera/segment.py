"""A segment file: self-contained fragmented MP4, made by copying packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import av
from av.error import FFmpegError

from edge_agent.errors import CameraError

if TYPE_CHECKING:
    from av.packet import Packet

    from edge_agent.camera.sound import Sound

_MUXER: Final = {
    "movflags": "cmaf+frag_discont+skip_trailer",
    "avoid_negative_ts": "disabled",
    "flush_packets": "1",
    "max_interleave_delta": "100000",  # µs: sound that does not come must not hold the pictures back
}
_BUFFER_BYTES: Final = 256 * 1024


class Sink(Protocol):
    """Where the file goes."""

    @property
    def size_bytes(self) -> int:
        """How much was written."""
        ...

    def write(self, data: bytes) -> int:
        """All of `data` is handed on."""
        ...

    def sync(self) -> None:
        """What was written survives a power cut."""
        ...


class Segment:
    """One segment file. Each fragment is synced as soon as it is whole; nothing but the open one is in memory.

    `init_bytes` is the length of `ftyp` and `moov`, which are the same in each segment of a session.
    """

    def __init__(
        self, video: av.VideoStream, sound: Sound | None, sink: Sink, base: int, fragment_s: float, draft: bytes
    ) -> None:
        self._sink = sink
        self._base = base
        options = _MUXER | {"frag_duration": str(round(fragment_s * 1_000_000))}
        self._container = av.open(sink, "w", format="mp4", options=options, buffer_size=_BUFFER_BYTES)
        self._video = self._container.add_stream_from_template(video)
        if video.codec_context.name == "hevc":
            self._video.codec_context.codec_tag = "hvc1"  # Safari plays no other
        self._sound = sound
        if sound:
            self._sound_stream = sound.add_to(self._container)
            self._sound_base = base * float(video.time_base or 1)
            self._sound_last = -1
        self._container.start_encoding()
        self.init_bytes = sink.size_bytes
        sink.write(draft)  # of no use without a fragment, so that it is synced with the first
        self._synced_bytes = sink.size_bytes

    def add(self, packet: Packet[Any]) -> bool:
        """The picture is in the open fragment; true when that is a new one and all before it is on the disk."""
        synced_bytes = self._synced_bytes
        packet.dts = (packet.dts or 0) - self._base
        packet.pts = (packet.pts or 0) - self._base
        packet.stream = self._video
        self._mux(packet)
        return self._synced_bytes != synced_bytes

    def add_sound(self, packet: Packet[Any]) -> None:
        """So is the sound; what does not fit into the order of times is left out."""
        if self._sound is None:
            return
        for part in self._sound.aac(packet):
            if part.dts is None:
                continue
            offset = round(self._sound_base / float(part.time_base))
            if part.dts - offset <= self._sound_last:
                continue
            self._sound_last = part.dts - offset
            part.dts = part.pts = self._sound_last
            part.stream = self._sound_stream
            self._mux(part)

    def close(self) -> None:
        """All of it is in the sink."""
        self._container.close()

    def _mux(self, packet: Packet[Any]) -> None:
        try:
            self._container.mux_one(packet)
        except FFmpegError as error:
            raise CameraError(f"a packet cannot be stored: {error.strerror}", "update the camera's firmware") from None
        if self._sink.size_bytes != self._synced_bytes:
            self._sink.sync()
            self._synced_bytes = self._sink.size_bytes
