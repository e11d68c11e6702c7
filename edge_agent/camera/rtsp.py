"""Cameras in the network: RTSP over TCP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from edge_agent.camera.source import Source, open_container

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from av.container import InputContainer

    from edge_agent.camera.lines import Lines
    from edge_agent.clock import Clock

_PORT: Final = 554
"""Of RTSP: RFC 2326, 9.2."""
OPEN_S: Final = 8.0
"""Longest silence of a camera while the session is set up."""

_LITTLE: Final = 0.15
"""Of what was fetched for the last two fragments, of which one may be short: a few pictures of the next."""
_FIRST_REST_S: Final = 0.05
"""Rests grow from here, because the kernel's socket buffer grows with what is fetched from it."""


class Rest:
    """Lets pictures gather in the socket instead of waking up for each one, but only once all was fetched before.

    What is in the socket is lost with the power, so it must not fill up, however slow disk and processor are.
    """

    def __init__(self, clock: Clock, stop: Event, behind: Callable[[], float]) -> None:
        self._clock, self._stop, self._behind = clock, stop, behind
        self._rest_s = _FIRST_REST_S

    def take(self, seconds: float) -> None:
        """Wait until the pictures of the next `seconds` have come, unless they are ahead of us or the agent stops.

        To be called once in each fragment, which lasts about as long.
        """
        behind = self._behind()
        if behind <= _LITTLE:
            self._clock.wait(self._stop, min(seconds * (1 - 2 * behind), self._rest_s))
            self._rest_s = min(seconds, 2 * self._rest_s)


def open_rtsp(
    url: str,
    username: str,
    password: str,
    clock: Clock,
    stop: Event,
    *,
    sound: bool,
    stall_s: float,
    lines: Lines | None,
) -> Source:
    """A session with the camera at `url`; the credentials go to libav and nowhere else.

    A camera that sends nothing for `stall_s` seconds ends the session with CameraError: by `lines`, which somebody
    watches, or without them by libav, which costs more.
    """
    parts = urlsplit(url)
    user = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username else ""
    options = {"rtsp_transport": "tcp", "allowed_media_types": "video+audio" if sound else "video"}
    full_url = parts._replace(netloc=user + parts.netloc).geturl()

    def connect(wait_s: float | None) -> InputContainer:
        return open_container(full_url, url, options=options, timeout=(OPEN_S, wait_s))

    if lines:
        address = parts.hostname or "", parts.port or _PORT
        container, line = lines.dial(address, partial(connect, None), stall_s)
        if line:
            return Source(
                container,
                url,
                clock,
                sound=sound,
                demux=lambda streams: line.listen(container.demux(*streams)),
                rest=Rest(clock, stop, line.behind).take,
                on_close=partial(lines.hang_up, line),
            )
        container.close()
    # At the first timeout libav hands out the picture that its parser kept back, at the second it gives up.
    return Source(connect(stall_s / 2), url, clock, sound=sound)
