"""How long to wait after a failure, and which failures to tell."""

from __future__ import annotations


def delay_s(failures: int, chance: float, *, first_s: float = 1, most_s: float = 60) -> float:
    """Seconds to wait after that many failures in a row.

    Doubles from `first_s` to `most_s`; `chance` in [0, 1) spreads it between half and full, so that sites which lost
    the same cable do not return in step.
    """
    full = min(most_s, first_s * 2.0 ** min(max(0, failures - 1), 30))
    return full * (0.5 + chance / 2)


def is_told(failures: int) -> bool:
    """Whether the nth failure in a row deserves a log line: 1, 2, 4, 8, … then every 256th. Tens for a long break."""
    return failures & (failures - 1) == 0 if failures < 256 else failures % 256 == 0
