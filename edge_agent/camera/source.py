"""One session with a camera, through libav."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import av
from av.error import (
    ExitError,
    FFmpegError,
    HTTPForbiddenError,
    HTTPNotFoundError,
    HTTPUnauthorizedError,
    InvalidDataError,
)

from edge_agent.camera.segment import Segment
from edge_agent.camera.sound import sound_of
from edge_agent.core.cutting import backdate
from edge_agent.errors import CameraError, CameraRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from edge_agent.camera.segment import Sink
    from edge_agent.clock import Clock

_LIVE_MS: Final = 5
"""A packet that took longer to come was not waiting for us."""
_HEAD: Final = 1000
"""More packets than this are never held back at the start of a session."""


class Source:
    """The streams and packets of one session; a context manager that hangs up.

    `width` and `height` are in pixels, `frame_ms` is the usual distance of two pictures, `tick_ms` the unit of times.
    `remark` is a word for the operator about what is not recorded.
    """

    def __init__(
        self,
        container: InputContainer,
        name: str,
        clock: Clock,
        *,
        sound: bool,
        demux: Callable[[list[Stream]], Iterator[Packet[Any]]] | None = None,
        rest: Callable[[float], None] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._container, self._name, self._clock = container, name, clock
        self._on_close = on_close or (lambda: None)
        self.rest = rest or (lambda _seconds: None)
        """Called with the seconds for which no picture is wanted: a live one may let them gather."""
        self._demux = demux or (lambda streams: container.demux(*streams))
        try:
            self._video = _pick_video(container, name)
        except CameraError:
            self.close()
            raise
        context, time_base = self._video.codec_context, self._video.time_base
        self.codec: Literal["h264", "hevc"] = "h264" if context.name == "h264" else "hevc"
        self.width, self.height = context.width, context.height
        self.video_index = self._video.index
        self.tick_ms = float((time_base or 0) * 1000)
        self.frame_ms = float(1000 / (self._video.average_rate or self._video.guessed_rate or 25))
        self.sound, self.remark = sound_of(container) if sound else (None, "")
        self.sound_codec = "aac" if self.sound else None
        self._live_dts: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The session is over."""
        self._container.close()
        self._on_close()

    @property
    def extradata(self) -> bytes:
        """The parameter sets, as a decoder needs them."""
        return self._video.codec_context.extradata or b""

    def age_ms(self, packet: Packet[Any]) -> int:
        """How long the picture had waited for us: the first ones come in while the session is set up."""
        return round((self._live_dts - (packet.dts or 0)) * self.tick_ms) if self._live_dts is not None else 0

    def camera_time_ms(self, packet: Packet[Any]) -> int | None:
        """The camera's own clock at this picture, Unix milliseconds, as its RTCP sender reports tell it."""
        for data in packet.iter_sidedata():
            if data.data_type == "prft":
                return int.from_bytes(bytes(data)[:8], "little") // 1000
        return None

    def segment(self, sink: Sink, base: int, fragment_s: float, draft: bytes) -> Segment:
        """A segment file of this session's packets, written to `sink`; decode times count from `base`.

        A power cut costs `fragment_s` of it at most. `draft` is a box that says what is known from the start, for
        whoever must recover the file.
        """
        return Segment(self._video, self.sound, sink, base, fragment_s, draft)

    def packets(self) -> Iterator[Packet[Any]]:
        """Each packet as it comes; pictures always have their times. CameraError when the camera stops sending."""
        streams: list[Stream] = [self._video, self.sound.stream] if self.sound else [self._video]
        with camera_trouble(self._name):
            packets = (packet for packet in self._demux(streams) if packet.size)
            yield from self._head(packets)
            frame, last, self._live_dts = max(1, round(self.frame_ms / self.tick_ms)), self._live_dts or 0, None
            for packet in packets:
                if packet.stream_index == self.video_index:
                    if packet.dts is None:
                        packet.dts = last + frame
                    if packet.pts is None:
                        packet.pts = packet.dts
                    last = packet.dts
                yield packet
        raise CameraError(f"{self._name} has hung up", "look whether somebody restarted the camera")

    def _head(self, packets: Iterator[Packet[Any]]) -> list[Packet[Any]]:
        """What had come in while the session was set up, up to the first packet that was waited for.

        libav cannot date the first pictures of a session, those are dated backwards from the first that it can.
        """
        head: list[Packet[Any]] = []
        pictures: list[Packet[Any]] = []
        dated = False
        before_ms = self._clock.monotonic_ms()
        for packet in packets:
            head.append(packet)
            if packet.stream_index == self.video_index:
                pictures.append(packet)
                dated = packet.dts is not None
            now_ms = self._clock.monotonic_ms()
            if dated and now_ms - before_ms > _LIVE_MS:
                break
            if len(head) > _HEAD:
                raise CameraError(f"{self._name} sends pictures without times", "update the camera's firmware")
            before_ms = now_ms
        times = backdate([(p.dts, p.pts) for p in pictures], max(1, round(self.frame_ms / self.tick_ms)))
        for picture, (dts, pts) in zip(pictures, times, strict=True):
            picture.dts, picture.pts = dts, pts
            self._live_dts = dts
        return head


def open_container(
    url: str,
    name: str,
    *,
    kind: str | None = None,
    options: dict[str, str] | None = None,
    timeout: tuple[float, float | None] | None = None,
) -> InputContainer:
    """What libav finds at `url`; CameraError speaks of it as `name`, since the URL may hold credentials.

    `kind` and `options` are libav's format and its options; `timeout` the longest silence at the start and later, in s.
    """
    with camera_trouble(name):
        return av.open(url, "r", format=kind, options=options, timeout=timeout)


def _pick_video(container: InputContainer, name: str) -> av.VideoStream:
    if not container.streams.video:
        raise CameraError(f"{name} sends no video", "choose another stream of the camera in its url")
    video = container.streams.video[0]
    context = video.codec_context
    if context.name not in {"h264", "hevc"}:
        raise CameraError(f"{name} sends {context.name}", "set the camera to H.264 or H.265")
    if not context.width:
        raise CameraError(f"{name} sends no picture that can be read", "look at the stream settings of the camera")
    return video


@contextmanager
def camera_trouble(name: str) -> Iterator[None]:
    """What libav complains of becomes a CameraError in words for whoever looks after the camera.

    libav's own text is not used: it holds the URL with the credentials.
    """
    try:
        yield
    except HTTPUnauthorizedError:
        raise CameraRefused(f"{name} refuses the credentials", "set this camera's username and password") from None
    except HTTPForbiddenError:
        raise CameraRefused(f"{name} forbids this user to look", "give the user the right to view") from None
    except HTTPNotFoundError:
        raise CameraError(f"{name}: no such stream", "look at the path in its url") from None
    except ConnectionRefusedError:
        raise CameraError(f"{name} refuses the connection", "look at the port, and whether RTSP is on") from None
    except (ExitError, TimeoutError):
        raise CameraError(f"{name} does not answer", "look at its power, its cable and its address") from None
    except InvalidDataError:
        raise CameraError(f"{name} does not answer as a camera does", "look at its power and its url") from None
    except FFmpegError as error:
        if error.errno == errno.EIO:  # what libav makes of an unknown name, too
            raise CameraError(f"{name} cannot be reached", "look at its name, its cable and the network") from None
        raise CameraError(f"{name} gives no video: {error.strerror}", "look at its power, cable and url") from None
