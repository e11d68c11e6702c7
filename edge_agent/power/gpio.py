"""A mains-lost line, and a battery voltage on an MCP3008, through gpiozero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpiozero import MCP3008, DigitalInputDevice
from gpiozero.exc import GPIOZeroError

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from edge_agent.settings import PowerSettings

_PULL: Final = {"none": None, "up": True, "down": False}
_TROUBLE: Final = (GPIOZeroError, OSError, RuntimeError)
"""gpiozero's own, and what the pin libraries beneath it raise."""


class GpioSource:
    """The two, as the settings wire them. GPIOZERO_PIN_FACTORY chooses the pin library, as everywhere."""

    def __init__(self, settings: PowerSettings) -> None:
        self._volts_per_unit = settings.volts_per_unit
        pull_up = _PULL[settings.pull]
        try:
            self._mains_lost = DigitalInputDevice(
                settings.mains_lost_pin,
                pull_up=pull_up,
                # gpiozero derives it from the resistor, and takes it only where there is none.
                active_state=settings.active_high if pull_up is None else None,
            )
            self._battery = None if settings.mcp3008_channel is None else MCP3008(channel=settings.mcp3008_channel)
        except _TROUBLE as error:
            raise PowerError(
                f"gpio: {error}",
                "check the pins in [power], that no other program holds them, the group gpio, and that lgpio is there",
            ) from error
        self._lost_when = 1 if pull_up is None or settings.active_high is not pull_up else 0

    def read(self) -> PowerReading:
        """Mains as the line says; volts as the converter says, if there is one."""
        try:
            return PowerReading(
                mains=self._mains_lost.value != self._lost_when,
                voltage_v=None if self._battery is None else round(self._battery.value * self._volts_per_unit, 2),
            )
        except _TROUBLE as error:
            raise PowerError(f"gpio: {error}", "check the wires of the mains line and the MCP3008") from error

    def close(self) -> None:
        """The pins are given back."""
        self._mains_lost.close()
        if self._battery is not None:
            self._battery.close()
