"""Time, handed to everything that needs it."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, ClassVar, Protocol

from edge_agent.contract import ClockQuality

if TYPE_CHECKING:
    from threading import Event


class Clock(Protocol):
    """The time of day for labels, the monotonic clock for durations, and patience."""

    def now_ms(self) -> int:
        """Unix time in milliseconds, as far as `quality` can be trusted."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment of this boot; never steps."""
        ...

    def quality(self) -> ClockQuality:
        """How far `now_ms` can be trusted."""
        ...

    def wait(self, stop: Event, seconds: float) -> bool:
        """Return after `seconds`, or at once when `stop` is set; true when it is."""
        ...


class SystemClock:
    """The clocks of this host, with the kernel's word whether something keeps its time of day right."""

    def __init__(self) -> None:
        self._was_synced = False

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment of this boot."""
        return time.monotonic_ns() // 1_000_000

    def quality(self) -> ClockQuality:
        """Synced while the kernel says so, holdover after that, unsynced until the first time in this run."""
        if kernel_is_synced():
            self._was_synced = True
            return ClockQuality.SYNCED
        return ClockQuality.HOLDOVER if self._was_synced else ClockQuality.UNSYNCED

    def wait(self, stop: Event, seconds: float) -> bool:
        """Return after `seconds`, or at once when `stop` is set; true when it is."""
        return stop.wait(seconds)


class _Timex(ctypes.Structure):
    """The head of `struct timex` of adjtimex(2), and room for the rest of it."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


_STA_UNSYNC = 0x0040
_LIBC = ctypes.CDLL(None)


def kernel_is_synced() -> bool:
    """Whether NTP or the like disciplines the kernel clock, by adjtimex(2)."""
    timex = _Timex(modes=0)
    return _LIBC.adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & _STA_UNSYNC
