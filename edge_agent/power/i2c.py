"""A gauge at the battery, read over I2C through smbus2. Nothing is ever written to it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, Protocol

from smbus2 import SMBus

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError
from edge_agent.power.gauges import GAUGES, Quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.settings import I2cSettings

_FULL_PERCENT: Final = 110
"""A gauge that learns may say a little more than full."""


class Bus(Protocol):
    """What we use of smbus2."""

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """Two bytes of a register, the first in the low half; OSError when nobody answers."""
        ...

    def close(self) -> None:
        """The bus is given back."""
        ...


class I2cSource:
    """One gauge of the table."""

    every_s = 1.0

    def __init__(self, settings: I2cSettings, open_bus: Callable[[int], Bus] = SMBus) -> None:
        self._settings = settings
        self._gauge = GAUGES[settings.chip]
        self._address = self._gauge.address if settings.address is None else settings.address
        self._where = f"i2c: {settings.chip} at 0x{self._address:02x} of bus {settings.bus}"
        try:
            self._bus = open_bus(settings.bus)
        except OSError as error:
            raise PowerError(
                f"i2c: bus {settings.bus}: {error.strerror}",
                f"enable I2C on the board, let the agent's user open /dev/i2c-{settings.bus}, check [power.i2c] bus",
            ) from error
        try:
            for mark in self._gauge.marks:
                word = self._word(mark.register)
                if word & mark.mask != mark.value:
                    raise PowerError(
                        f"{self._where}: register 0x{mark.register:02x} holds 0x{word:04x}, as that chip does not",
                        "check chip and address in [power.i2c]; i2cdetect shows who answers",
                    )
            self.read()
        except PowerError:
            self._bus.close()
            raise

    def read(self) -> PowerReading:
        """Volts, and charge or current, as the chip measures them; it knows nothing of mains."""
        gauge = self._gauge
        volts = self._value(gauge.voltage)
        if not gauge.least_v <= volts <= gauge.most_v:
            raise PowerError(
                f"{self._where}: {volts:.2f} V, which that chip cannot measure",
                "check chip and address in [power.i2c], and the wires to the battery",
            )
        charge = None if gauge.charge is None else self._value(gauge.charge)
        if charge is not None and charge <= _FULL_PERCENT:
            charge = min(charge, 100.0)
        return PowerReading(
            voltage_v=round(volts, 4),
            current_a=None if gauge.shunt is None else round(self._value(gauge.shunt) / self._settings.shunt_ohms, 4),
            charge_percent=None if charge is None else round(charge, 3),
        )

    def close(self) -> None:
        """The bus is given back."""
        self._bus.close()

    def _value(self, quantity: Quantity) -> float:
        return quantity.value(self._word(quantity.register))

    def _word(self, register: int) -> int:
        try:
            swapped = self._bus.read_word_data(self._address, register)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise PowerError(
                    f"{self._where}: a driver of the kernel has it", "use [power.sysfs] instead, or unload the driver"
                ) from error
            raise PowerError(
                f"{self._where}: no answer, {error.strerror}", "check its wires; i2cdetect shows who answers"
            ) from error
        # SMBus sends the low byte of a word first, these chips the high byte.
        return (swapped & 0xFF) << 8 | swapped >> 8
