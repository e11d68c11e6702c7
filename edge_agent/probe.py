"""Looks at the way to the centre: the port, the gateway, the centre's door."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from icmplib import ICMPLibError, ping

from edge_agent.contract import Reach

_NET: Final = Path("/sys/class/net")
_ROUTES: Final = Path("/proc/net/route")
_DOOR_S: Final = 3.0
"""Long enough for a second SYN, should the first be lost."""
_GATEWAY_S: Final = 0.4
"""It is one cable away, and whoever waits for it waits for the word on the link, which is due within 2 s."""
_GATEWAY_PORT: Final = 80
"""Tried where the kernel lets us send no echo request (net.ipv4.ping_group_range)."""


class WayProbe:
    """Looks at each part of the way. `interface` empty stands for that of the default route, remembered once seen."""

    def __init__(
        self, centre: tuple[str, int], interface: str = "", *, net: Path = _NET, routes: Path = _ROUTES
    ) -> None:
        self._centre = centre
        self._configured = interface
        self._net, self._routes = net, routes
        self.interface = interface
        self._gateway = ""

    def port(self) -> Reach:
        """Whether the network port has a carrier; a port that is switched off or gone is down."""
        if not self.interface:
            self._look_up_route()
        if not self.interface:
            return Reach.UNKNOWN
        try:
            return Reach.UP if (self._net / self.interface / "carrier").read_text().strip() == "1" else Reach.DOWN
        except OSError:
            return Reach.DOWN

    def uplink(self) -> Reach:
        """Whether the gateway of the default route answers."""
        if not self._gateway:
            return Reach.UNKNOWN
        try:
            answers = ping(self._gateway, count=1, timeout=_GATEWAY_S, privileged=False).is_alive
        except ICMPLibError:
            answers = _connect_ms((self._gateway, _GATEWAY_PORT), _GATEWAY_S, refused_is_fine=True) is not None
        return Reach.UP if answers else Reach.DOWN

    def centre_ms(self) -> float | None:
        """How long the centre's door took to open, in milliseconds; None when it did not."""
        self._look_up_route()
        return _connect_ms(self._centre, _DOOR_S)

    def _look_up_route(self) -> None:
        """Interface and gateway of the default route, as /proc/net/route has them: see route(8), proc(5)."""
        try:
            lines = self._routes.read_text().splitlines()[1:]
        except OSError:
            return
        for name, destination, gateway, *_ in map(str.split, lines):
            if destination == "00000000" and self._configured in {"", name}:
                self.interface = name
                self._gateway = socket.inet_ntoa(int(gateway, 16).to_bytes(4, "little"))
                return


def _connect_ms(address: tuple[str, int], patience_s: float, *, refused_is_fine: bool = False) -> float | None:
    begun = time.monotonic()
    try:
        socket.create_connection(address, patience_s).close()
    except ConnectionRefusedError:
        if not refused_is_fine:
            return None
    except OSError:
        return None
    return round((time.monotonic() - begun) * 1000, 1)
