"""A network port with its cable, for an agent that looks at it: a pair of virtual interfaces. Needs root.

Nothing is sent through it. Whoever takes it down cuts the way of the bytes beside it, see `tests.rig.link`.
"""

from __future__ import annotations

import secrets
import subprocess
from contextlib import suppress
from typing import Self

from tests.rig.parts import require_program, require_root


class Port:
    """The port `name`, with a carrier while it is up; gone when the context ends."""

    def __init__(self) -> None:
        require_root()
        self._ip = require_program("ip")
        tag = secrets.token_hex(4)
        self.name, self._peer = f"port-{tag}", f"peer-{tag}"

    def take_down(self) -> None:
        """Somebody has switched it off."""
        self._run("link", "set", self.name, "down")

    def bring_up(self) -> None:
        """It has a carrier."""
        self._run("link", "set", self.name, "up")

    def __enter__(self) -> Self:
        self._run("link", "add", self.name, "type", "veth", "peer", "name", self._peer)
        self._run("link", "set", self._peer, "up")
        self.bring_up()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self._run("link", "delete", self.name)

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True, timeout=10)
