"""A mains-lost line, and a battery voltage on an MCP3008, through gpiozero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpiozero import MCP3008, DigitalInputDevice
from gpiozero.exc import GPIOZeroError

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from edge_agent.settings import GpioSettings

_PULL: Final = {"none": None, "up": True, "down": False}
_TROUBLE: Final = (GPIOZeroError, OSError, RuntimeError)
"""gpiozero's own, and what the pin libraries beneath it raise."""
_FLUTTERS: Final = 20
"""A line that did not stand still at so many looks in a row says nothing."""


class GpioSource:
    """The two, as the settings wire them. GPIOZERO_PIN_FACTORY chooses the pin library, as everywhere."""

    every_s = 0.5

    def __init__(self, settings: GpioSettings) -> None:
        self._settings = settings
        pull_up = _PULL[settings.pull]
        try:
            self._mains_lost = DigitalInputDevice(
                settings.mains_lost_pin,
                pull_up=pull_up,
                # gpiozero derives it from the resistor, and takes it only where there is none.
                active_state=settings.active_high if pull_up is None else None,
            )
        except _TROUBLE as error:
            raise _not_there(error) from error
        try:
            self._line: int = self._mains_lost.value
            self._battery = None if settings.mcp3008_channel is None else MCP3008(channel=settings.mcp3008_channel)
        except _TROUBLE as error:
            self._mains_lost.close()
            raise _not_there(error) from error
        self._lost_when = 1 if pull_up is None or settings.active_high is not pull_up else 0
        self._flutters = 0

    def read(self) -> PowerReading:
        """Mains as the line says; volts as the converter says, if there is one."""
        try:
            return PowerReading(
                mains=self._stood() != self._lost_when,
                voltage_v=None
                if self._battery is None
                else round(self._battery.value * self._settings.volts_per_unit, 2),
            )
        except _TROUBLE as error:
            raise PowerError(f"gpio: {error}", "check the wires of the mains line and the MCP3008") from error

    def close(self) -> None:
        """The pins are given back."""
        self._mains_lost.close()
        if self._battery is not None:
            self._battery.close()

    def _stood(self) -> int:
        """The line as it last stood still, between our looks, too: gpiozero notes each edge.

        Not by its `bounce_time`: lgpio compares two clocks there, and holds nothing (joan2937/lg, issue 19).
        """
        value: int = self._mains_lost.value
        still_s = self._mains_lost.active_time if value else self._mains_lost.inactive_time
        # Negative where the pin library dates edges by another clock than gpiozero's; then only our looks count.
        if still_s is None or not 0 <= still_s < self._settings.bounce_s:
            self._line, self._flutters = value, 0
            return value
        self._flutters += 1
        if self._flutters > _FLUTTERS:
            raise PowerError(
                f"gpio: the mains line on pin {self._settings.mains_lost_pin} does not stand still",
                "check its wire and its resistor, or raise bounce_s in [power.gpio]",
            )
        return self._line


def _not_there(error: Exception) -> PowerError:
    return PowerError(
        f"gpio: {error}",
        "check the pins in [power.gpio], that no other program holds them, the group gpio, and that lgpio is there",
    )
