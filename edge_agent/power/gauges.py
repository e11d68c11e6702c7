"""The gauges that are read over I2C, as data: which register holds what, in which unit, and how to know the chip.

All registers have 16 bits, high byte first. Sources, all by their makers:
    MAX17040, MAX17041   Maxim 19-5210, "Register Summary"; the MAX17043 and MAX17044 (19-4811) read alike
    MAX17048, MAX17049   Maxim 19-6171, "Register Summary"
    INA219               Texas Instruments SBOS448, "Register Maps"; the INA220 (SBOS459) reads alike
    INA226               Texas Instruments SBOS547, "Register Maps"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Quantity:
    """Where a measurement stands: register, bits to shift away, and what one of the rest is in volts or percent."""

    register: int
    lsb: float
    shift: int = 0
    signed: bool = False

    def value(self, word: int) -> float:
        """What the register's content means."""
        if self.signed and word & 0x8000:
            word -= 0x10000
        return (word >> self.shift) * self.lsb


@dataclass(frozen=True, slots=True)
class Mark:
    """What a register must hold, within the mask, if it is that chip and it measures by itself."""

    register: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Gauge:
    """One kind of chip; the volts that it can give at all tell another chip at its address."""

    address: int
    voltage: Quantity
    least_v: float
    most_v: float
    charge: Quantity | None = None
    shunt: Quantity | None = None
    marks: tuple[Mark, ...] = ()


_SOC: Final = Quantity(0x04, 1 / 256)
# A cell that feeds such a gauge has at least the 2.5 V that the chip needs; its converter ends at 5 V.
_CELL: Final = (2.4, 5.12)
_TWO_CELLS: Final = (4.8, 10.24)
_VERSION: Final = Mark(0x08, 0xFFF0, 0x0010)
_CONTINUOUS: Final = Mark(0x00, 0x8007, 0x0007)
"""Configuration of the INA2xx: no reset under way, shunt and bus measured over and over, as after power-on."""

GAUGES: Final = {
    "max17040": Gauge(0x36, Quantity(0x02, 1.25e-3, shift=4), *_CELL, charge=_SOC),
    "max17041": Gauge(0x36, Quantity(0x02, 2.5e-3, shift=4), *_TWO_CELLS, charge=_SOC),
    "max17048": Gauge(0x36, Quantity(0x02, 78.125e-6), *_CELL, charge=_SOC, marks=(_VERSION,)),
    "max17049": Gauge(0x36, Quantity(0x02, 2 * 78.125e-6), *_TWO_CELLS, charge=_SOC, marks=(_VERSION,)),
    "ina219": Gauge(
        0x40,
        Quantity(0x02, 4e-3, shift=3),
        0,
        26,
        shunt=Quantity(0x01, 10e-6, signed=True),
        marks=(_CONTINUOUS,),
    ),
    "ina226": Gauge(
        0x40,
        Quantity(0x02, 1.25e-3),
        0,
        36,
        shunt=Quantity(0x01, 2.5e-6, signed=True),
        marks=(Mark(0xFE, 0xFFFF, 0x5449), Mark(0xFF, 0xFFF0, 0x2260), _CONTINUOUS),
    ),
}
