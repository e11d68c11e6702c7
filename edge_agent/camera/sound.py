"""The sound of a camera: AAC is copied, the telephone codecs of most traffic cameras become AAC, MP4 holds no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import av
from av.error import FFmpegError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

_TELEPHONE: Final = {"pcm_alaw", "pcm_mulaw"}
_BIT_RATE: Final = 32_000


class Sound:
    """AAC of the camera, as it is."""

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream

    def add_to(self, container: OutputContainer) -> AudioStream:
        """A stream of the file to which the packets fit."""
        return container.add_stream_from_template(self.stream)

    def aac(self, packet: Packet[Any]) -> Iterable[Packet[Any]]:
        """What is to be stored of a packet of the camera."""
        return (packet,)


class Telephone(Sound):
    """A-law or µ-law of the camera, encoded as AAC in one channel."""

    def __init__(self, stream: AudioStream) -> None:
        super().__init__(stream)
        self._rate = stream.rate or 8000
        self._encoder = av.AudioCodecContext.create("aac", "w")
        self._encoder.rate, self._encoder.layout, self._encoder.format = self._rate, "mono", "fltp"
        self._encoder.bit_rate = _BIT_RATE
        self._encoder.open()
        self._resampler = av.AudioResampler("fltp", "mono", self._rate, self._encoder.frame_size)

    def add_to(self, container: OutputContainer) -> AudioStream:
        """A stream of the file to which the packets fit."""
        stream = container.add_stream("aac", rate=self._rate)
        stream.layout, stream.bit_rate = "mono", _BIT_RATE
        return stream

    def aac(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """What is to be stored of a packet of the camera."""
        try:
            for frame in self.stream.codec_context.decode(packet):
                for even in self._resampler.resample(frame):
                    yield from self._encoder.encode(even)
        except FFmpegError:
            return  # a moment of silence


def sound_of(container: InputContainer) -> tuple[Sound | None, str]:
    """What is recorded of the camera's sound, and a remark when something is not."""
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        return None, ""
    codec = stream.codec_context.name
    if codec == "aac":
        return Sound(stream), ""
    if codec in _TELEPHONE:
        return Telephone(stream), ""
    return None, f"sound is not recorded: {codec} does not fit into MP4; set the camera to AAC or G.711"
