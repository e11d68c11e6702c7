"""Every kind of power source with what stands behind it, so that one suite judges them all, the simulated one too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

from edge_agent.power import PowerSource
from edge_agent.power.gpio import GpioSource
from edge_agent.power.i2c import I2cSource
from edge_agent.power.nut import NutSource
from edge_agent.power.simulated import SimulatedSource
from edge_agent.power.sysfs import SysfsSource
from edge_agent.settings import GpioSettings, I2cSettings, NutSettings, SimulatedSettings, SysfsSettings
from tests.fakes import FakeClock
from tests.rig.nut import UPS, Upsd


class Stand(Protocol):
    """A source that can be opened, and the hand that moves what it measures: at first full, and on mains."""

    tells: frozenset[str]
    """Which fields of a reading it fills."""

    def open(self) -> PowerSource: ...

    def mains(self, *, on: bool) -> None: ...

    def drain(self) -> None:
        """Some of the battery is used up."""

    def garble(self) -> None:
        """It gives no numbers, or impossible ones."""

    def take_away(self) -> None:
        """It cannot be read any more."""

    def bring_back(self) -> None: ...

    def close(self) -> None: ...


class SimulatedStand:
    tells = frozenset({"mains", "voltage_v", "charge_percent"})

    def __init__(self, folder: Path) -> None:
        self._state, self._clock, self._on = folder / "mains.json", FakeClock(), True

    def open(self) -> PowerSource:
        return SimulatedSource(SimulatedSettings(state_file=self._state, capacity_s=100, recharge_s=100), self._clock)

    def mains(self, *, on: bool) -> None:
        self._on = on
        self._state.write_text(json.dumps({"mains": on}))

    def drain(self) -> None:
        self._clock.advance(20)

    def garble(self) -> None:
        self._state.write_text("[]")

    take_away = garble

    def bring_back(self) -> None:
        self.mains(on=self._on)

    def close(self) -> None: ...


class SysfsStand:
    tells = frozenset({"mains", "voltage_v", "current_a", "charge_percent", "temperature_c"})

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "power_supply"
        self.supply("AC", type="Mains", online="1")
        self.supply("BAT0", type="Battery", present="1", status="Full", capacity="97", voltage_now="13600000")
        self.supply("BAT0", current_now="0", temp="314")
        self.supply("mouse", type="Battery", scope="Device", capacity="3")

    def supply(self, name: str, **values: str) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            (self.folder / name / key).write_text(f"{value}\n")

    def open(self) -> PowerSource:
        return SysfsSource(SysfsSettings(directory=self.folder))

    def mains(self, *, on: bool) -> None:
        self.supply("AC", online="1" if on else "0")
        self.supply("BAT0", status="Full" if on else "Discharging", current_now="0" if on else "1500000")

    def drain(self) -> None:
        self.supply("BAT0", capacity="80", voltage_now="12500000")

    def garble(self) -> None:
        self.supply("BAT0", capacity="n/a", voltage_now="-5000000000", temp="")

    def take_away(self) -> None:
        self.folder.rename(self.folder.with_name("gone"))

    def bring_back(self) -> None:
        self.folder.with_name("gone").rename(self.folder)

    def close(self) -> None: ...


class NutStand:
    tells = frozenset({"mains", "voltage_v", "charge_percent", "temperature_c", "low"})

    def __init__(self, folder: Path) -> None:
        self._values = {"ups.status": "OL", "battery.charge": "97", "battery.voltage": "13.6"}
        self._values["battery.temperature"] = "31.5"
        self.upsd = Upsd(folder)
        self.upsd.tell(self._values)
        self.upsd.start()

    def open(self) -> PowerSource:
        return NutSource(NutSettings(port=self.upsd.port, ups=UPS))

    def _tell(self, **values: str) -> None:
        self._values |= {name.replace("_", "."): value for name, value in values.items()}
        self.upsd.tell(self._values)

    def mains(self, *, on: bool) -> None:
        self._tell(ups_status="OL" if on else "OB DISCHRG")

    def drain(self) -> None:
        self._tell(battery_charge="80", battery_voltage="12.5")

    def garble(self) -> None:
        self._tell(battery_charge="n/a", battery_voltage="-5000", battery_temperature="9e99")

    def take_away(self) -> None:
        self.upsd.upsd.kill()

    def bring_back(self) -> None:
        self.upsd.start()

    def close(self) -> None:
        self.upsd.__exit__()


class _Pin(MockPin):  # type: ignore[misc] # gpiozero has no types
    gone: ClassVar[bool] = False

    def _get_state(self) -> Any:
        if type(self).gone:
            raise OSError(5, "Input/output error")
        return super()._get_state()


class _Converter:
    """gpiozero's own stand-in for the MCP3008 knows only zero."""

    volts = 13.6

    def __init__(self, channel: int) -> None: ...

    @property
    def value(self) -> float:
        return self.volts / 18

    def close(self) -> None: ...


PIN: Final = 6


class GpioStand:
    tells = frozenset({"mains", "voltage_v"})

    def __init__(self, patch: Callable[..., None]) -> None:
        class Pin(_Pin):
            pass

        class Converter(_Converter):
            pass

        self._pin, self._converter = Pin, Converter
        patch("edge_agent.power.gpio.MCP3008", Converter)
        Device.pin_factory = MockFactory(pin_class=Pin)
        self.pins = Device.pin_factory

    def open(self) -> PowerSource:
        return GpioSource(GpioSettings(mains_lost_pin=PIN, bounce_s=0.02, mcp3008_channel=0, volts_per_unit=18))

    def mains(self, *, on: bool) -> None:
        (self.pins.pin(PIN).drive_low if on else self.pins.pin(PIN).drive_high)()

    def drain(self) -> None:
        self._converter.volts = 12.5

    def garble(self) -> None:
        self._converter.volts = float("nan")

    def take_away(self) -> None:
        self._pin.gone = True

    def bring_back(self) -> None:
        self._pin.gone = False

    def close(self) -> None:
        self.pins.reset()
        Device.pin_factory = None


class FakeBus:
    """An I2C bus with chips on it: register contents by address, high byte first, as data sheets print them."""

    def __init__(self, chips: dict[int, dict[int, int]]) -> None:
        self.chips = chips
        self.trouble: OSError | None = None

    def __call__(self, number: int) -> FakeBus:
        if self.trouble and self.trouble.errno == 2:
            raise self.trouble
        return self

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        if self.trouble:
            raise self.trouble
        if i2c_addr not in self.chips:
            raise OSError(121, "Remote I/O error")
        word = self.chips[i2c_addr].get(register, 0xFFFF)
        return (word & 0xFF) << 8 | word >> 8

    def close(self) -> None: ...


class GaugeStand:
    """A MAX17048."""

    tells = frozenset({"voltage_v", "charge_percent"})

    def __init__(self) -> None:
        self.bus = FakeBus({0x36: {0x02: 52_480, 0x04: 97 << 8, 0x08: 0x0012}})

    def open(self) -> PowerSource:
        return I2cSource(I2cSettings(chip="max17048"), self.bus)

    def mains(self, *, on: bool) -> None: ...

    def drain(self) -> None:
        self.bus.chips[0x36] |= {0x02: 48_640, 0x04: 80 << 8}

    def garble(self) -> None:
        self.bus.chips[0x36] |= {0x04: 0xFFFF}

    def take_away(self) -> None:
        self.bus.trouble = OSError(121, "Remote I/O error")

    def bring_back(self) -> None:
        self.bus.trouble = None

    def close(self) -> None: ...


class MonitorStand(GaugeStand):
    """An INA219."""

    tells = frozenset({"voltage_v", "current_a"})

    def __init__(self) -> None:
        self.bus = FakeBus({0x40: {0x00: 0x399F, 0x01: 1000, 0x02: 3400 << 3}})

    def open(self) -> PowerSource:
        return I2cSource(I2cSettings(chip="ina219"), self.bus)

    def drain(self) -> None:
        self.bus.chips[0x40] |= {0x02: 3125 << 3}

    def garble(self) -> None:
        self.bus.chips[0x40] |= {0x02: 0xFFFF}
