"""Time, handed to everything that needs it."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from edge_agent.contract import ClockQuality

if TYPE_CHECKING:
    from threading import Event


_STEP_MS: Final = 1000


class Clock(Protocol):
    """The time of day for labels, the monotonic clock for durations, and patience."""

    @property
    def boot(self) -> str | None:
        """A tag of this boot, to which the monotonic clock belongs; None when the host hides it."""
        ...

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


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment by the time of day of the host, and how far that can be trusted."""

    now_ms: int
    offset_ms: int
    """The time of day minus the monotonic clock."""
    quality: ClockQuality

    @property
    def monotonic_ms(self) -> int:
        """The same moment by the monotonic clock."""
        return self.now_ms - self.offset_ms


def stamp(clock: Clock) -> Stamp:
    """Now. The quality is asked first: a clock that is set right meanwhile has not been vouched for."""
    quality, now_ms = clock.quality(), clock.now_ms()
    return Stamp(now_ms, now_ms - clock.monotonic_ms(), quality)


def same_clock(one: Stamp, other: Stamp) -> bool:
    """Whether nobody has set the time of day between the two, nor begun or ceased to keep it right."""
    return one.quality is other.quality and abs(one.offset_ms - other.offset_ms) <= _STEP_MS


class SystemClock:
    """The clocks of this host, with the kernel's word whether something keeps its time of day right."""

    def __init__(self) -> None:
        self._was_synced = False
        self.boot = _boot()

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


def _boot() -> str | None:
    try:
        return _BOOT_ID.read_text()[:8]
    except OSError:
        return None


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


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STA_UNSYNC = 0x0040
_LIBC = ctypes.CDLL(None)


def kernel_is_synced() -> bool:
    """Whether NTP or the like disciplines the kernel clock, by adjtimex(2)."""
    timex = _Timex(modes=0)
    return _LIBC.adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & _STA_UNSYNC
