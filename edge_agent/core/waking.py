"""A start after a deep discharge: light, until there is charge for one more ordered stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_agent.core.energy import Rung
    from edge_agent.core.supply import PowerReading

_MARGIN_PERCENT: Final = 5
"""So much above its mark there is charge for one more ordered stop."""
_PATIENCE_MS: Final = 600_000
"""So long mains must hold until a gauge that shows too little is not waited for."""
_STEADY_MS: Final = 120_000
"""So long mains must hold where nothing measures the battery that was empty."""
_SURE_MS: Final = 10_000
"""So long there must be charge enough before that is believed: a gauge errs now and then."""
_GRACE_MS: Final = 60_000
"""So long mains must be away until the board is switched off again: it boots each time that mains comes back."""


@dataclass(frozen=True, slots=True)
class Waking:
    """A start on what charge there is. Times are of the monotonic clock, in milliseconds.

    Too little for one more ordered stop, and the site starts light: it says that it is there, and how its battery is,
    but records and sends nothing. `was_empty` says that the life before stopped because the battery was empty, which
    still holds where nothing measures it now. `since_ms` is when mains came or went, `short_ms` when there last was too
    little.
    """

    stop: Rung
    was_empty: bool
    reading: PowerReading
    now_ms: int
    since_ms: int
    short_ms: int | None = None

    def see(self, reading: PowerReading, now_ms: int) -> Waking:
        """With the reading of that moment."""
        same = (reading.mains is False) is (self.reading.mains is False)
        short_ms = self.now_ms if self._is_low(_MARGIN_PERCENT) else self.short_ms
        return Waking(self.stop, self.was_empty, reading, now_ms, self.since_ms if same else now_ms, short_ms)

    @property
    def is_light(self) -> bool:
        """Whether to wait on: on battery as long as it takes, on mains so long as that is worth it."""
        if not self._is_low(_MARGIN_PERCENT):
            return self.short_ms is not None and self.now_ms - self.short_ms < _SURE_MS
        return self._on_battery or self._held_ms < (_STEADY_MS if self._is_unmeasured else _PATIENCE_MS)

    @property
    def must_stop(self) -> bool:
        """Whether the battery is to be spared even that, because mains is away for good."""
        return self._on_battery and self._is_low(0) and self._held_ms >= _GRACE_MS

    @property
    def why(self) -> str:
        """Why it waits, in words; empty when it does not."""
        if not self.is_light:
            return ""
        return f"{self.known}: no cameras and no shipping until there is charge for one more ordered stop"

    @property
    def known(self) -> str:
        """What is known of the battery, in words."""
        charge = self.reading.charge_percent
        return "empty battery" if charge is None else f"battery at {charge:.0f} %"

    @property
    def _on_battery(self) -> bool:
        return self.reading.mains is False

    @property
    def _held_ms(self) -> int:
        return self.now_ms - self.since_ms

    @property
    def _is_unmeasured(self) -> bool:
        """Whether nothing tells the charge; the voltage under a charger is the charger's."""
        reading = self.reading
        return (
            reading.charge_percent is None
            and reading.low is None
            and (reading.voltage_v is None or not self._on_battery)
        )

    def _is_low(self, margin_percent: float) -> bool:
        return self.stop.reached(self.reading, None, margin_percent) or (self.was_empty and self._is_unmeasured)
