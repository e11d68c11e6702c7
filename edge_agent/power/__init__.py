"""Sources of power readings behind one Protocol; each is imported only where it is configured."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.supply import PowerReading
    from edge_agent.power.self_test import SelfTest
    from edge_agent.settings import (
        GpioSettings,
        I2cSettings,
        NutSettings,
        PowerSettings,
        SimulatedSettings,
        SysfsSettings,
    )


class PowerSource(Protocol):
    """Whatever knows of mains and battery. Made by what raises PowerError when it is not there."""

    every_s: float
    """How often it is worth asking."""

    def read(self) -> PowerReading:
        """What it says now, NaN where it says no number; PowerError when it cannot be read."""
        ...

    def close(self) -> None:
        """Pins, files and connections are given back; raises nothing."""
        ...


def number(text: str) -> float:
    """The number that the text is, NaN when it is none: such a value is then left out and reported."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def openers(
    settings: PowerSettings, clock: Clock, self_test: SelfTest | None = None
) -> dict[str, Callable[[], PowerSource]]:
    """What opens each source of the settings, by its name; each raises PowerError when its source is not there.

    `self_test` is what the UPS's test of its battery is asked through; None where nobody asks for one.
    """
    found: dict[str, Callable[[], PowerSource]] = {}
    if settings.gpio:
        found["gpio"] = partial(_gpio, settings.gpio)
    if settings.nut:
        found["nut"] = partial(_nut, settings.nut, self_test)
    if settings.sysfs:
        found["sysfs"] = partial(_sysfs, settings.sysfs)
    if settings.i2c:
        found["i2c"] = partial(_i2c, settings.i2c)
    if settings.simulated:
        found["simulated"] = partial(_simulated, settings.simulated, clock)
    return found


def _gpio(settings: GpioSettings) -> PowerSource:
    from edge_agent.power.gpio import GpioSource

    return GpioSource(settings)


def _nut(settings: NutSettings, self_test: SelfTest | None) -> PowerSource:
    from edge_agent.power.nut import NutSource

    return NutSource(settings, self_test)


def _sysfs(settings: SysfsSettings) -> PowerSource:
    from edge_agent.power.sysfs import SysfsSource

    return SysfsSource(settings)


def _i2c(settings: I2cSettings) -> PowerSource:
    from edge_agent.power.i2c import I2cSource

    return I2cSource(settings)


def _simulated(settings: SimulatedSettings, clock: Clock) -> PowerSource:
    from edge_agent.power.simulated import SimulatedSource

    return SimulatedSource(settings, clock)
