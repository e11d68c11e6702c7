"""Whether this site is fit to record: each part is tried as the agent uses it, and a live agent is not disturbed."""

from __future__ import annotations

import tempfile
import textwrap
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil

from edge_agent.bus import Door, connect
from edge_agent.camera import open_source
from edge_agent.core.fusion import Fusion
from edge_agent.errors import AgentError, SpoolError
from edge_agent.power import openers
from edge_agent.power.panel import Panel
from edge_agent.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.supply import PowerReading
    from edge_agent.settings import CameraSettings, PowerSettings, Settings

_SOURCE_S: Final = 8.0
"""A power source that has not answered by then hangs."""


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
    ]
    findings = [Finding("settings", fit=True, found=f"site {settings.site}, {len(settings.cameras)} cameras")]
    for part, attempt in tries:
        try:
            findings.append(Finding(part, fit=True, found=attempt()))
        except AgentError as error:
            findings.append(Finding(part, fit=False, found=error.message, remedy=error.remedy))
    return [*findings, *_power(settings.power, clock)]


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


def _power(settings: PowerSettings, clock: Clock) -> list[Finding]:
    """One finding for each source, and one for what they say together."""
    panel = Panel(openers(settings, clock), clock)
    if not panel.meters:
        return [Finding("power", fit=True, found="no source configured")]
    panel.hear_all(_SOURCE_S)
    fusion = Fusion().see(panel.heard(), clock.monotonic_ms())
    findings = []
    for meter in panel.meters:
        source, trouble = meter.heard.source, meter.trouble
        track = fusion.tracks[source]
        if trouble:
            findings.append(Finding(f"power {source}", fit=False, found=trouble.message, remedy=trouble.remedy))
        elif not meter.answered.is_set():
            found = f"it has not answered for {_SOURCE_S:.0f} s"
            findings.append(Finding(f"power {source}", fit=False, found=found, remedy=f"check [power.{source}]"))
        elif track.reason:
            remedy = f"check what [power.{source}] reads; the agent goes on without those values"
            findings.append(Finding(f"power {source}", fit=False, found=track.reason, remedy=remedy))
        else:
            findings.append(Finding(f"power {source}", fit=True, found=_reading(track.usable)))
    panel.close()
    if fusion.reading.mains is not None:
        return [*findings, Finding("power", fit=True, found=_reading(fusion.reading))]
    remedy = "mend the source that does, or add one: [power.gpio], [power.nut], or a driver for [power.sysfs]"
    return [*findings, Finding("power", fit=False, found="no source says whether mains is there", remedy=remedy)]


def _reading(reading: PowerReading) -> str:
    mains = {None: "", True: "on mains", False: "on battery"}[reading.mains]
    charge = "" if reading.charge_percent is None else f"charge {reading.charge_percent:.0f} %"
    volts = "" if reading.voltage_v is None else f"{reading.voltage_v:.2f} V"
    current = "" if reading.current_a is None else f"{reading.current_a:.2f} A"
    celsius = "" if reading.temperature_c is None else f"{reading.temperature_c:.0f} °C"
    return ", ".join(filter(None, (mains, charge, volts, current, celsius))) or "it answers, and says nothing of mains"
