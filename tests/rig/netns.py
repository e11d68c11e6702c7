"""A link of its own network: the site and the centre in network namespaces with one cable between them. Needs root.

Addresses and ports are the same in each pair of namespaces; only the names differ, so that rigs do not meet.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from pathlib import Path
from typing import Final, Self

CENTRE_ADDRESS: Final = "10.99.0.1"
SITE_ADDRESS: Final = "10.99.0.2"
_CABLE: Final = "fibre"
_SWALLOW: Final = f"""
table inet silence {{
  chain take {{ type filter hook input priority 0; iifname "{_CABLE}" drop; }}
}}
"""


class Cable:
    """Two namespaces and the cable between them, which can be unplugged, made to swallow all packets, and mended.

    `ip` and `nft` are the programs, as `require_network_namespaces` and `require_program` find them.
    """

    def __init__(self, ip: Path, nft: Path) -> None:
        self._ip, self._nft = ip, nft
        tag = secrets.token_hex(3)
        self._centre, self._site = f"simpang-centre-{tag}", f"simpang-site-{tag}"

    @property
    def at_centre(self) -> list[str | Path]:
        """What a command begins with to run at the centre."""
        return [self._ip, "netns", "exec", self._centre]

    @property
    def at_site(self) -> list[str | Path]:
        """What a command begins with to run at the site."""
        return [self._ip, "netns", "exec", self._site]

    def unplug(self) -> None:
        """The interface of the site is down."""
        self._run("-n", self._site, "link", "set", _CABLE, "down")

    def swallow(self) -> None:
        """Packets leave and never arrive, in both directions; nobody is told."""
        for namespace in (self._centre, self._site):
            self._nft_in(namespace, "-f", "-", rules=_SWALLOW)

    def shape(self, tc: Path, bytes_per_s: int) -> None:
        """The way from the site to the centre carries no more than that, all headers counted, and queues little."""
        rate, burst = f"{bytes_per_s * 8}bit", f"{max(5000, bytes_per_s // 250)}"
        queue = ("tbf", "rate", rate, "burst", burst, "latency", "50ms")
        command: list[str | Path] = [*self.at_site, tc, "qdisc", "replace", "dev", _CABLE, "root", *queue]
        subprocess.run(command, check=True, capture_output=True, timeout=10)

    def mend(self) -> None:
        """Packets flow again, whatever was broken."""
        self._run("-n", self._site, "link", "set", _CABLE, "up")
        self._run("-n", self._site, "route", "replace", "default", "via", CENTRE_ADDRESS)
        for namespace in (self._centre, self._site):
            self._nft_in(namespace, "flush", "ruleset")

    def __enter__(self) -> Self:
        try:
            for namespace in (self._centre, self._site):
                self._run("netns", "add", namespace)
                self._run("-n", namespace, "link", "set", "lo", "up")
            far_end = ("type", "veth", "peer", "name", _CABLE, "netns", self._centre)
            self._run("link", "add", _CABLE, "netns", self._site, *far_end)
            for namespace, address in ((self._centre, CENTRE_ADDRESS), (self._site, SITE_ADDRESS)):
                self._run("-n", namespace, "address", "add", f"{address}/24", "dev", _CABLE)
                self._run("-n", namespace, "link", "set", _CABLE, "up")
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self._site, self._centre):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run("netns", "delete", namespace)

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True, timeout=10)

    def _nft_in(self, namespace: str, *arguments: str, rules: str = "") -> None:
        command: list[str | Path] = [self._ip, "netns", "exec", namespace, self._nft, *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=10, input=rules, text=True)
