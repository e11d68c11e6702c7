"""Whether this site is fit to record: each part is tried as the agent uses it, and a live agent is not disturbed."""

from __future__ import annotations

import tempfile
import textwrap
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from edge_agent.bus import Door, connect
from edge_agent.camera import open_source
from edge_agent.errors import AgentError, SpoolError
from edge_agent.jobs.guard import look
from edge_agent.power import PatientSource
from edge_agent.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.settings import CameraSettings, Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part, and what to do about it where it is not fit."""

    part: str
    fit: bool
    found: str
    remedy: str = ""


def check(settings: Settings, clock: Clock) -> list[Finding]:
    """A finding for each part of the site; takes as long as the slowest timeouts of those that do not answer."""
    tries: list[tuple[str, Callable[[], str]]] = [
        ("spool", lambda: _spool(settings)),
        *((f"camera {camera.id}", _camera_try(camera, clock)) for camera in settings.cameras),
        ("centre", lambda: _centre(settings)),
        ("broker", lambda: _broker(settings)),
        ("power", lambda: _power(settings, clock)),
    ]
    findings = [Finding("settings", fit=True, found=f"site {settings.site}, {len(settings.cameras)} cameras")]
    for part, attempt in tries:
        try:
            findings.append(Finding(part, fit=True, found=attempt()))
        except AgentError as error:
            findings.append(Finding(part, fit=False, found=error.message, remedy=error.remedy))
    return findings


def table(findings: list[Finding]) -> str:
    """The findings for people: one line each, what to do about it beneath."""
    width = max(len(finding.part) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'ok ' if finding.fit else 'BAD'}  {finding.part:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(textwrap.indent(f"do: {finding.remedy}", " " * (width + 7)))
    unfit = sum(not finding.fit for finding in findings)
    return "\n".join([*lines, f"{unfit} of {len(findings)} need attention" if unfit else "the site is fit"])


def _spool(settings: Settings) -> str:
    directory, reserve_bytes = settings.spool.directory, settings.spool.reserve_bytes
    if (mount := settings.spool.mount) and not mount.is_mount():
        raise SpoolError(f"no disk is mounted at {mount}", "mount it, or mend it")
    # The agent makes the directory itself, not what should hold it: that may be a disk that is not mounted.
    place = directory if directory.exists() else directory.parent
    if not place.is_dir():
        raise SpoolError(f"{place} is not a directory", "create it, or mount the disk that should hold it")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
        free_bytes = psutil.disk_usage(str(place)).free
    except OSError as error:
        raise SpoolError(
            f"{directory}: {error.strerror}", "let the user of the agent write to it, and check the disk"
        ) from error
    if free_bytes < reserve_bytes:
        raise SpoolError(
            f"{directory}: {free_bytes >> 20} MiB free, less than reserve_bytes", "free room, or lower reserve_bytes"
        )
    return f"{directory}: {free_bytes >> 20} MiB free"


def _camera_try(camera: CameraSettings, clock: Clock) -> Callable[[], str]:
    def attempt() -> str:
        with open_source(camera, clock, threading.Event()) as source:
            packets = source.packets()
            next(packets)
            return f"{source.codec} {source.width}×{source.height}, {1000 / source.frame_ms:.3g} pictures a second"

    return attempt


def _centre(settings: Settings) -> str:
    uplink = Uplink(settings.centre, settings.site)
    try:
        hello = uplink.hello()
    finally:
        uplink.close()
    if hello.site != settings.site:
        raise AgentError(
            f"centre {settings.centre.url}: takes this token for site {hello.site}", "use the token of this site"
        )
    return f"{settings.centre.url} knows us as {hello.site}"


def _broker(settings: Settings) -> str:
    door = Door(settings.broker, settings.site, settings.centre.token.get_secret_value())
    # A client id of its own, so that the session of a running agent is not taken over.
    session, version = connect(door, f"simpang-{settings.site}-check")
    session.close()
    return f"{door.where} takes us, {version.name}"


def _power(settings: Settings, clock: Clock) -> str:
    source = PatientSource(settings.power, clock)
    try:
        reading, detail = look(source, settings.power)
    finally:
        source.close()
    if detail:
        raise AgentError(detail, "check [power]")
    if reading.mains is None:
        return "no source configured"
    charge = "" if reading.charge_percent is None else f", charge {reading.charge_percent:.0f} %"
    volts = "" if reading.voltage_v is None else f", {reading.voltage_v:.1f} V"
    return f"{'on mains' if reading.mains else 'on battery'}{charge}{volts}"
