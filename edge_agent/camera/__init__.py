"""Cameras: one source per session, whatever its kind, and segment files made of its packets without decoding them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.camera.player import open_file
from edge_agent.camera.rtsp import open_rtsp
from edge_agent.camera.scene import open_scene

if TYPE_CHECKING:
    from threading import Event

    from edge_agent.camera.lines import Lines
    from edge_agent.camera.source import Source
    from edge_agent.clock import Clock
    from edge_agent.settings import CameraSettings


def open_source(settings: CameraSettings, clock: Clock, stop: Event, lines: Lines | None = None) -> Source:
    """A session with the camera, its streams known and its packets waiting; use it as a context manager.

    Raises CameraError when there is none, CameraRefused when the camera does not accept the credentials. What is not
    live by itself is played in real time until `stop` is set. Whoever gives `lines` watches them.
    """
    if settings.source == "rtsp":
        password = settings.password.get_secret_value()
        return open_rtsp(
            settings.url,
            settings.username,
            password,
            clock,
            stop,
            sound=settings.audio,
            stall_s=settings.stall_s,
            lines=lines,
        )
    if settings.source == "scene":
        return open_scene(settings.id, clock, stop)
    return open_file(settings.url, clock, stop, sound=settings.audio)
