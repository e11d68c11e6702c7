"""The real parts that tests run against: finding them, and telling at the end which were there.

A part that is missing skips the test with the line that installs it; in continuous integration (CI=true) it fails
the test, so that a green run there means that everything ran for real.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

PACKAGES: Final = Path(__file__).parents[2] / "scripts" / "debian-packages.txt"
SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
"""Debian's own interpreter: the GStreamer bindings live there and not in the virtual environment."""

_VERSION_OPTION: Final = {
    "mosquitto": "-h",
    "ffmpeg": "-version",
    "ffprobe": "-version",
    "ip": "-V",
    "tc": "-V",
    "nginx": "-v",
    "mkfs.ext4": "-V",
}
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


@dataclass(slots=True)
class Ledger:
    """What the tests of this run used for real, and what they had to do without; kept by role."""

    used: dict[str, set[str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def note(self, role: str, part: str) -> None:
        """`part` (name and version) has played `role` for real."""
        self.used.setdefault(role, set()).add(part)

    def told(self) -> dict[str, Any]:
        """All of it, for another process."""
        return {"used": {role: sorted(parts) for role, parts in self.used.items()}, "missing": self.missing}

    def hear(self, told: Mapping[str, Any]) -> None:
        """What another process told is noted, too."""
        for role, parts in told.get("used", {}).items():
            self.used.setdefault(role, set()).update(parts)
        self.missing.update(told.get("missing", {}))

    def lines(self) -> Iterator[str]:
        """One line per role, for people."""
        width = max((len(role) for role in (*self.used, *self.missing)), default=0)
        for role, parts in sorted(self.used.items()):
            yield f"{role:<{width}}  {', '.join(sorted(parts))}"
        for role, reason in sorted(self.missing.items()):
            yield f"{role:<{width}}  NOT RUN: {reason}"


LEDGER: Final = Ledger()
"""The one ledger of this run; `tests/conftest.py` prints it."""


@cache
def packages() -> dict[str, tuple[str, str]]:
    """Program to (Debian package, what it is for), as scripts/debian-packages.txt tells."""
    found = {}
    for line in PACKAGES.read_text().splitlines():
        names, _, purpose = line.partition("#")
        package, *programs = names.split() or [""]
        found.update({program: (package, purpose.strip()) for program in programs})
    return found


def _without(role: str, reason: str) -> NoReturn:
    LEDGER.missing[role] = reason
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    match = _VERSION.search(done.stdout) or _VERSION.search(done.stderr)
    return match.group() if match else "of unknown version"


def require_program(name: str) -> Path:
    """Where the program is; its name is one of scripts/debian-packages.txt."""
    package, role = packages()[name]
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        _without(role, f"{name} is not installed: apt-get install {package}")
    LEDGER.note(role, f"{name} {_version(path, _VERSION_OPTION.get(name, '--version'))}")
    return Path(path)


def require_chromium() -> Path:
    """Where Debian's chromium is, for playwright's `executable_path`."""
    return require_program("chromium")


def require_postgresql() -> Path:
    """The folder of the newest installed server's programs: initdb, postgres, pg_ctl."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        _without("database server", "PostgreSQL is not installed: apt-get install postgresql")
    LEDGER.note("database server", f"PostgreSQL {_version(str(found[-1]), '--version')}")
    return found[-1].parent


def require_upsd() -> Path:
    """The folder of the programs of Network UPS Tools themselves: upsd, dummy-ups. What Debian has in the path asks
    first whether NUT is set up on this host."""
    package, role = packages()["upsd"]
    folder = next((path for path in (Path("/lib/nut"), Path("/usr/lib/nut")) if (path / "dummy-ups").exists()), None)
    if folder is None:
        _without(role, f"NUT is not installed: apt-get install {package}")
    LEDGER.note(role, f"NUT {_version(str(folder / 'upsd'), '-V')}")
    return folder


def require_rtsp_server() -> Path:
    """The interpreter that can import GStreamer's RTSP server."""
    probe = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; print(Gst.version_string())"
    )
    if not SYSTEM_PYTHON.exists() or "GStreamer" not in _output(str(SYSTEM_PYTHON), "-c", probe):
        _without(
            "RTSP server",
            "GStreamer's RTSP server is not installed: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0"
            " gstreamer1.0-rtsp gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad",
        )
    LEDGER.note("RTSP server", f"GStreamer RTSP server {_version(str(SYSTEM_PYTHON), '-c', probe)}")
    return SYSTEM_PYTHON


@cache
def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def require_root() -> None:
    """The test may mount, and act as another user."""
    if os.geteuid() != 0:
        _without("root", "this needs root: run make test as root")


def require_network_namespaces() -> Path:
    """The `ip` program, where this process may make network namespaces with it."""
    require_root()
    ip = require_program("ip")
    name = f"probe-{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, check=False)
    entered = subprocess.run([ip, "netns", "exec", name, ip, "link"], capture_output=True, check=False)
    subprocess.run([ip, "netns", "delete", name], capture_output=True, check=False)
    if made.returncode or entered.returncode:
        _without("network namespaces", "this system does not let root make network namespaces")
    return ip


def require_power_disk() -> None:
    """What `tests.rig.power_disk` stands on: root, FUSE, loop devices and the programs around them."""
    require_root()
    for program in ("fusermount3", "mkfs.ext4"):
        require_program(program)
    for device in (Path("/dev/fuse"), Path("/dev/loop-control")):
        if not device.exists():
            _without("disk that loses power", f"there is no {device}: run on a host, or pass the device in")
    try:
        version = importlib.metadata.version("mfusepy")
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as error:
        _without("disk that loses power", f"mfusepy cannot be used: {error}")
    LEDGER.note("disk that loses power", f"mfusepy {version}")
