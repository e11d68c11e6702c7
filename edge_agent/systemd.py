"""The service manager's three questions: ready, alive, how are you. Silent where nobody asks."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*lines: str) -> None:
    """Tell systemd, as sd_notify(3) does: `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            door.send("\n".join(lines).encode())
