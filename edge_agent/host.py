"""How the mini PC is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from edge_agent.contract import Host, instant

if TYPE_CHECKING:
    from edge_agent.clock import Clock

_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")


class HostProbe:
    """Looks at this host. `thermal` holds thousandths of a degree; on most boards zone 0 is the processor."""

    def __init__(self, clock: Clock, spool: Path, thermal: Path = _THERMAL) -> None:
        self._clock, self._spool, self._thermal = clock, spool, thermal
        self._process = psutil.Process()

    def read(self) -> Host:
        """Temperature, load, memory, the disk of the spool, and the agent's own size; null what this host hides."""
        return Host(
            temperature_c=self._temperature_c(),
            load_1m=round(psutil.getloadavg()[0], 2),
            memory_percent=psutil.virtual_memory().percent,
            agent_rss_bytes=self._process.memory_info().rss,
            disk_percent=self._disk_percent(),
            uptime_s=round(time.clock_gettime(time.CLOCK_BOOTTIME)),
            clock=self._clock.quality(),
            at=instant(self._clock.now_ms()),
        )

    def _temperature_c(self) -> float | None:
        try:
            return int(self._thermal.read_text()) / 1000
        except (OSError, ValueError):
            return None

    def _disk_percent(self) -> float | None:
        try:
            return psutil.disk_usage(str(self._spool)).percent
        except OSError:
            return None
