"""Files that play the camera, and devices at this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.camera.source import Source, open_container

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from edge_agent.clock import Clock


def open_file(path: str, clock: Clock, stop: Event, *, sound: bool) -> Source:
    """A session with a file, looped and in real time; or with a V4L2 device that gives H.264 by itself."""
    if path.startswith("/dev/video"):
        device = open_container(path, path, kind="v4l2", options={"input_format": "h264"})
        return Source(device, path, clock, sound=False)
    container = open_container(path, path)

    def play(streams: list[Stream]) -> Iterator[Packet[Any]]:
        return _play(container, streams, clock, stop)

    return Source(container, path, clock, sound=sound, demux=play)


def _play(container: InputContainer, streams: list[Stream], clock: Clock, stop: Event) -> Iterator[Packet[Any]]:
    start_ms = clock.monotonic_ms()
    loop_s = end_s = 0.0
    begin_s: float | None = None
    while not stop.is_set():
        for packet in container.demux(*streams):
            if packet.size == 0:
                continue
            tick_s = float(packet.time_base)
            if packet.dts is not None:
                if begin_s is None:
                    begin_s = packet.dts * tick_s
                end_s = max(end_s, loop_s + (packet.dts + (packet.duration or 0)) * tick_s)
                packet.dts += round(loop_s / tick_s)
                early_ms = start_ms + packet.dts * tick_s * 1000 - clock.monotonic_ms()
                if early_ms > 0 and clock.wait(stop, early_ms / 1000):
                    return
            if packet.pts is not None:
                packet.pts += round(loop_s / tick_s)
            yield packet
        loop_s = end_s - (begin_s or 0)
        container.seek(0)
