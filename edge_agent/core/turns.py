"""Which cameras have power when they take turns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turns:
    """Every `every_s` the next camera gets power, for `boot_s` until it gives pictures and `look_s` of recording."""

    every_s: float
    boot_s: float
    look_s: float

    @property
    def on_s(self) -> float:
        """How long one turn is."""
        return self.boot_s + self.look_s

    def powered(self, cameras: int, elapsed_s: float) -> tuple[bool, ...]:
        """Which of so many have power so long after the first turn began; turns may overlap."""
        round_s = cameras * self.every_s
        return tuple((elapsed_s - number * self.every_s) % round_s < self.on_s for number in range(cameras))

    def powered_at_once(self, cameras: int) -> float:
        """How many of so many have power, on average."""
        return min(cameras, self.on_s / self.every_s) if cameras else 0
