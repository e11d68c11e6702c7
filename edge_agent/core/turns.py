"""Which cameras have power when they take turns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turns:
    """Every `every_s` the next camera gets power: until it recorded for `look_s`, which it can after `boot_s`."""

    every_s: float
    boot_s: float
    look_s: float

    @property
    def most_s(self) -> float:
        """No turn is longer."""
        return self.boot_s + self.look_s

    def into_s(self, number: int, cameras: int, elapsed_s: float) -> float | None:
        """How long the turn of camera `number` of so many has gone on, so long after the very first began.

        None while it is not its turn. Turns may overlap.
        """
        into_s = (elapsed_s - number * self.every_s) % (cameras * self.every_s)
        return into_s if into_s < self.most_s else None

    def powered_at_once(self, cameras: int) -> float:
        """How many of so many have power on average, if no turn ends early."""
        return min(cameras, self.most_s / self.every_s)
