"""One suite for every source of power readings, then what is peculiar to each. NUT's own are in test_nut.py."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SystemClock
from edge_agent.core.supply import NOTHING, PowerReading, sane
from edge_agent.errors import PowerError
from edge_agent.power import PowerSource, openers
from edge_agent.power.gauges import GAUGES
from edge_agent.power.gpio import GpioSource
from edge_agent.power.i2c import I2cSource
from edge_agent.power.panel import Meter, Panel
from edge_agent.power.simulated import SimulatedSource
from edge_agent.power.sysfs import SysfsSource
from edge_agent.settings import GpioSettings, I2cSettings, PowerSettings, SimulatedSettings, SysfsSettings
from tests.fakes import FakeClock
from tests.rig.processes import until
from tests.rig.supplies import (
    PIN,
    FakeBus,
    GaugeStand,
    GpioStand,
    MonitorStand,
    NutStand,
    SimulatedStand,
    Stand,
    SysfsStand,
)

STANDS: dict[str, Callable[[Path, pytest.MonkeyPatch], Stand]] = {
    "nut": lambda folder, _: NutStand(folder),
    "sysfs": lambda folder, _: SysfsStand(folder),
    "gpio": lambda _, patch: GpioStand(patch.setattr),
    "i2c gauge": lambda *_: GaugeStand(),
    "i2c monitor": lambda *_: MonitorStand(),
    "simulated": lambda folder, _: SimulatedStand(folder),
}


# --- what holds for all ---


@pytest.fixture(params=STANDS)
def stand(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    made = STANDS[request.param](tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def source(stand: Stand) -> Iterator[PowerSource]:
    opened = stand.open()
    yield opened
    opened.close()


def sees(source: PowerSource, wanted: Callable[[PowerReading], object], what: str) -> PowerReading:
    """The reading that came to be so; NUT polls its driver, and that its file."""

    def so() -> PowerReading | None:
        reading = source.read()
        return reading if wanted(reading) else None

    return until(so, 15, what)


def test_it_fills_what_it_knows_and_nothing_else(stand: Stand, source: PowerSource) -> None:
    reading = sees(source, lambda reading: reading.voltage_v, "a first reading")
    assert {name for name, value in asdict(reading).items() if value is not None} == stand.tells
    assert sane(reading) == (reading, "")
    assert reading.mains in {True, None}
    assert source.every_s <= 1


def test_mains_that_goes_and_comes_is_seen(stand: Stand, source: PowerSource) -> None:
    if "mains" not in stand.tells:
        assert source.read().mains is None
        return
    for on in (True, False, True):
        stand.mains(on=on)
        sees(source, lambda reading, on=on: reading.mains is on, f"mains {on}")  # type: ignore[misc]


def test_a_battery_that_is_used_is_seen(stand: Stand, source: PowerSource) -> None:
    full = sees(source, lambda reading: reading.voltage_v, "a first reading")
    stand.mains(on=False)
    source.read()
    stand.drain()
    less = sees(source, lambda reading: (reading.voltage_v or 99) < (full.voltage_v or 0), "less volts")
    if "charge_percent" in stand.tells:
        assert (less.charge_percent or 100) < (full.charge_percent or 0)


def test_garbage_is_told_and_no_value_comes_of_it(stand: Stand, source: PowerSource) -> None:
    sees(source, lambda reading: reading.voltage_v, "a first reading")
    stand.garble()

    def told() -> str:
        try:
            return sane(source.read())[1]
        except PowerError as error:
            return str(error)

    assert until(told, 15, "garbage is told")


def test_what_is_gone_is_told_with_a_remedy_and_read_again_once_it_is_back(stand: Stand) -> None:
    clock = FakeClock()
    meter = Meter("it", stand.open, clock)
    meter.run_once()
    assert meter.heard.at_ms == clock.monotonic_ms()
    stand.take_away()
    for _ in range(4):
        clock.advance(meter.run_once())
    assert meter.trouble is not None
    assert meter.trouble.remedy
    assert "\n" not in meter.heard.trouble
    assert meter.heard.at_ms is not None
    assert clock.monotonic_ms() - meter.heard.at_ms > 3000
    stand.bring_back()
    until(lambda: meter.run_once() and not meter.heard.trouble, 15, "it is read again")
    meter.close()


def test_what_was_never_there_is_told_with_a_remedy(stand: Stand) -> None:
    stand.take_away()
    meter = Meter("it", stand.open, FakeClock())
    meter.run_once()
    assert meter.trouble is not None
    assert meter.trouble.remedy
    assert (meter.heard.reading, meter.heard.at_ms) == (NOTHING, None)
    meter.close()


def test_it_can_be_opened_again_after_it_was_closed(stand: Stand) -> None:
    for _ in range(2):
        source = stand.open()
        source.read()
        source.close()


# --- the panel ---


class Stuck:
    """A source that hangs until it is let go."""

    every_s = 0.01

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def read(self) -> PowerReading:
        self.let_go.wait(30)
        return PowerReading(mains=True)

    def close(self) -> None: ...


class Counting:
    every_s = 0.01

    def __init__(self) -> None:
        self.readings = 0

    def read(self) -> PowerReading:
        self.readings += 1
        return PowerReading(mains=False)

    def close(self) -> None:
        self.readings = -1


def test_a_source_that_hangs_delays_no_other_and_not_the_end() -> None:
    stuck, counting = Stuck(), Counting()
    panel = Panel({"nut": lambda: stuck, "gpio": lambda: counting}, SystemClock())
    heard = panel.hear_all(0.05)
    until(lambda: counting.readings > 5, 5, "the other is read on")
    assert [one.at_ms is None for one in heard] == [True, False]
    assert panel.heard()[0].at_ms is None
    panel.close()
    assert counting.readings == -1
    stuck.let_go.set()


class Saying:
    """A source that says one thing after the other."""

    every_s = 0.5

    def __init__(self, *readings: PowerReading) -> None:
        self._readings = iter(readings)

    def read(self) -> PowerReading:
        return next(self._readings)

    def close(self) -> None: ...


def test_mains_that_comes_or_goes_is_called_out_at_once_and_nothing_else() -> None:
    on, off = PowerReading(mains=True, voltage_v=13.6), PowerReading(mains=False, voltage_v=12.6)
    source = Saying(on, on, PowerReading(mains=True, voltage_v=13.5), off, on)
    meter, calls = Meter("gpio", lambda: source, FakeClock()), []
    meter.run_once()
    meter.on_news = lambda: calls.append(meter.heard.reading.mains)
    for _ in range(4):
        meter.run_once()
    assert calls == [False, True]


def test_the_settings_choose_any_number_of_sources(tmp_path: Path) -> None:
    assert openers(PowerSettings(), FakeClock()) == {}
    settings = PowerSettings.model_validate(
        {"nut": {}, "sysfs": {}, "gpio": {"mains_lost_pin": 6}, "i2c": {"chip": "ina219"}}
        | {"simulated": {"state_file": tmp_path / "mains.json"}}
    )
    assert set(openers(settings, FakeClock())) == {"nut", "sysfs", "gpio", "i2c", "simulated"}


# --- pins ---


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Iterator[GpioStand]:
    made = GpioStand(monkeypatch.setattr)
    yield made
    made.close()


@pytest.mark.parametrize("pull", ["none", "up", "down"])
@pytest.mark.parametrize("active_high", [True, False])
def test_the_mains_line_means_what_the_settings_say(pins: GpioStand, pull: str, active_high: bool) -> None:
    wires = {"mains_lost_pin": PIN, "pull": pull, "active_high": active_high, "bounce_s": 0}
    source = GpioSource(GpioSettings.model_validate(wires))
    pin = pins.pins.pin(PIN)
    for high in (True, False, True):
        (pin.drive_high if high else pin.drive_low)()
        assert source.read() == PowerReading(mains=high is not active_high)
    source.close()


def test_a_line_that_bounces_between_two_looks_is_believed_once_it_stood_still(pins: GpioStand) -> None:
    source = GpioSource(GpioSettings(mains_lost_pin=PIN, bounce_s=0.3))
    pin = pins.pins.pin(PIN)
    until(lambda: source.read().mains, 5, "the line stands")
    for _ in range(10):
        pin.drive_high()
        pin.drive_low()
    pin.drive_high()
    assert source.read().mains is True
    until(lambda: source.read().mains is False, 5, "it stood still")
    source.close()


def test_a_line_that_never_stands_still_says_so(pins: GpioStand) -> None:
    source = GpioSource(GpioSettings(mains_lost_pin=PIN, bounce_s=0.01))
    pin = pins.pins.pin(PIN)

    def trouble() -> str:
        pin.drive_high()
        pin.drive_low()
        try:
            source.read()
        except PowerError as error:
            return str(error)
        return ""

    assert "does not stand still" in until(trouble, 10, "it is told", every_s=0)
    source.close()


def test_edges_that_are_dated_by_another_clock_hold_up_nothing(pins: GpioStand) -> None:
    source = GpioSource(GpioSettings(mains_lost_pin=PIN, bounce_s=2))
    pins.pins.ticks = lambda: 0.0
    pins.pins.pin(PIN).drive_high()
    assert source.read().mains is False
    source.close()


def test_a_pin_that_is_taken_says_so_and_is_taken_over_when_it_is_free(pins: GpioStand) -> None:
    squatter = pins.open()
    clock = FakeClock()
    meter = Meter("gpio", pins.open, clock)
    meter.run_once()
    assert "[power.gpio]" in meter.heard.trouble
    squatter.close()
    meter.run_once()
    assert meter.heard.reading.mains is True
    meter.close()


# --- gauges, by their data sheets ---


@pytest.mark.parametrize(
    ("chip", "registers", "reading"),
    [
        # VCELL: 1.25 mV in the upper 12 bits; SOC: whole percents and 256ths.
        ("max17040", {0x02: 0xC000, 0x04: 0x3280}, PowerReading(voltage_v=3.84, charge_percent=50.5)),
        ("max17041", {0x02: 0xC000, 0x04: 0x3280}, PowerReading(voltage_v=7.68, charge_percent=50.5)),
        # VCELL: 78.125 µV a cell.
        ("max17048", {0x02: 0xC000, 0x04: 0x6480, 0x08: 0x0011}, PowerReading(voltage_v=3.84, charge_percent=100)),
        ("max17049", {0x02: 0xC000, 0x04: 0x0040, 0x08: 0x0012}, PowerReading(voltage_v=7.68, charge_percent=0.25)),
        # Bus: 4 mV in the upper 13 bits; shunt: 10 µV, signed. The sheet's own example: 0x8300 is -320 mV.
        ("ina219", {0x00: 0x399F, 0x01: 0x8300, 0x02: 0x5D98}, PowerReading(voltage_v=11.98, current_a=-3.2)),
        # Bus: 1.25 mV; shunt: 2.5 µV, signed.
        (
            "ina226",
            {0x00: 0x4127, 0x01: 0x8300, 0x02: 0x2570, 0xFE: 0x5449, 0xFF: 0x2260},
            PowerReading(voltage_v=11.98, current_a=-0.8),
        ),
    ],
)
def test_registers_mean_what_the_data_sheet_says(chip: Any, registers: dict[int, int], reading: PowerReading) -> None:
    bus = FakeBus({GAUGES[chip].address: registers})
    assert I2cSource(I2cSettings(chip=chip), bus).read() == reading


def test_a_resistor_that_is_wired_the_other_way_round_turns_the_sign() -> None:
    bus = FakeBus({0x41: {0x00: 0x399F, 0x01: 1000, 0x02: 0x5D98}})
    assert I2cSource(I2cSettings(chip="ina219", address=0x41, shunt_ohms=-0.01), bus).read().current_a == -1


INA219 = {0x00: 0x399F, 0x01: 0, 0x02: 0x5D98}
MAX17048 = {0x02: 0xC000, 0x04: 0x3200, 0x08: 0x0012}


@pytest.mark.parametrize(
    ("chip", "chips", "says"),
    [
        ("max17048", {}, r"no answer, Remote I/O error; check its wires"),
        ("max17048", {0x36: {}}, r"register 0x08 holds 0xffff, as that chip does not; check chip and address"),
        ("max17040", {0x36: INA219}, r"1\.8\d V, which that chip cannot measure"),
        ("ina219", {0x40: MAX17048}, r"register 0x00 holds 0xffff"),
        ("ina219", {0x40: {**INA219, 0x00: 0x3998}}, r"register 0x00 holds 0x3998"),
        ("ina219", {0x40: {**INA219, 0x02: 0xFFFF}}, r"32\.76 V, which that chip cannot measure"),
        ("ina226", {0x40: INA219}, r"register 0xfe holds 0xffff"),
    ],
)
def test_a_chip_that_is_absent_or_another_says_so(chip: Any, chips: dict[int, dict[int, int]], says: str) -> None:
    with pytest.raises(PowerError, match=says):
        I2cSource(I2cSettings(chip=chip), FakeBus(chips))


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (OSError(2, "No such file or directory"), r"bus 1: No such file.*enable I2C"),
        (OSError(16, "Device or resource busy"), r"a driver of the kernel has it; use \[power.sysfs\]"),
    ],
)
def test_a_bus_that_cannot_be_used_says_what_to_do(trouble: OSError, says: str) -> None:
    bus = FakeBus({0x36: MAX17048})
    bus.trouble = trouble
    with pytest.raises(PowerError, match=says):
        I2cSource(I2cSettings(chip="max17048"), bus)


def test_without_the_bus_the_real_library_says_so() -> None:
    with pytest.raises(PowerError, match=r"i2c: bus 255: No such file"):
        I2cSource(I2cSettings(chip="max17048", bus=255))


@given(st.sampled_from(sorted(GAUGES)), st.dictionaries(st.integers(0, 255), st.integers(0, 0xFFFF)))
def test_no_content_of_registers_gives_a_value_that_cannot_be(chip: Any, registers: dict[int, int]) -> None:
    gauge = GAUGES[chip]
    marks = {mark.register: mark.value for mark in gauge.marks}
    try:
        reading = I2cSource(I2cSettings(chip=chip), FakeBus({gauge.address: {**registers, **marks}})).read()
    except PowerError:
        return
    assert reading.voltage_v is not None
    assert gauge.least_v <= reading.voltage_v <= gauge.most_v
    clean, _ = sane(reading)
    assert clean.charge_percent is None or 0 <= clean.charge_percent <= 100


# --- the kernel's drivers ---


@pytest.fixture
def kernel(tmp_path: Path) -> SysfsStand:
    return SysfsStand(tmp_path)


def test_a_current_without_a_sign_gets_it_from_the_status(kernel: SysfsStand) -> None:
    kernel.mains(on=False)
    assert kernel.open().read() == PowerReading(
        mains=False, voltage_v=13.6, current_a=-1.5, charge_percent=97, temperature_c=31.4
    )


def test_a_gauge_alone_knows_nothing_of_mains(kernel: SysfsStand) -> None:
    """Some drivers say Discharging all the time."""
    (kernel.folder / "AC" / "type").unlink()
    kernel.supply("BAT0", status="Discharging")
    assert kernel.open().read().mains is None


def test_one_adapter_of_several_is_enough(kernel: SysfsStand) -> None:
    kernel.supply("usb", type="USB", online="0")
    assert kernel.open().read().mains is True
    kernel.supply("AC", online="0")
    assert kernel.open().read().mains is False
    kernel.supply("usb", online="1")
    assert kernel.open().read().mains is True


def test_an_adapter_that_says_neither_is_no_word_on_mains(kernel: SysfsStand) -> None:
    kernel.supply("AC", online="n/a")
    with pytest.raises(PowerError, match="AC/online: neither 0 nor 1"):
        kernel.open().read()


def test_a_host_without_a_battery_still_knows_mains(kernel: SysfsStand) -> None:
    (kernel.folder / "BAT0" / "type").unlink()
    assert kernel.open().read() == PowerReading(mains=True)


def test_two_batteries_need_a_name(kernel: SysfsStand) -> None:
    kernel.supply("BAT1", type="Battery", capacity="12")
    with pytest.raises(PowerError, match=r"more than one battery.*there is: BAT0, BAT1"):
        kernel.open().read()
    assert SysfsSource(SysfsSettings(directory=kernel.folder, battery="BAT1")).read().charge_percent == 12


def test_a_battery_that_is_named_and_not_there_says_which_are(kernel: SysfsStand) -> None:
    with pytest.raises(PowerError, match=r"no battery BAT7.*there is: BAT0"):
        SysfsSource(SysfsSettings(directory=kernel.folder, battery="BAT7")).read()


def test_a_battery_that_was_taken_out_says_so(kernel: SysfsStand) -> None:
    kernel.supply("BAT0", present="0")
    with pytest.raises(PowerError, match="BAT0 is not in its place"):
        kernel.open().read()


def test_an_empty_class_says_so(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match="neither battery nor mains"):
        SysfsSource(SysfsSettings(directory=tmp_path)).read()


def test_what_is_no_number_is_none(kernel: SysfsStand) -> None:
    kernel.garble()
    reading = kernel.open().read()
    assert math.isnan(reading.charge_percent or 0)
    clean, said = sane(reading)
    assert (clean.charge_percent, clean.voltage_v, clean.temperature_c) == (None, None, None)
    assert said == "impossible values, left out: voltage_v, charge_percent, temperature_c"
    assert clean.mains is True


# --- the simulated battery ---


def test_the_simulated_battery_drains_charges_and_survives_a_restart(tmp_path: Path) -> None:
    state, clock = tmp_path / "mains.json", FakeClock()
    settings = SimulatedSettings(state_file=state, capacity_s=100, recharge_s=50)
    source = SimulatedSource(settings, clock)
    assert source.read().charge_percent == 100
    state.write_text('{"mains": false}')
    clock.advance(40)
    assert source.read() == PowerReading(False, 12.12, None, 60.0)
    source.close()
    source = SimulatedSource(settings, clock)
    state.write_text('{"mains": true}')
    clock.advance(10)
    assert source.read() == PowerReading(True, 13.6, None, 80.0)
    clock.advance(1000)
    assert source.read().charge_percent == 100


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '"mains"', "{}", '{"mains": "off"}'])
def test_a_garbled_state_file_says_what_to_write(tmp_path: Path, text: str) -> None:
    state = tmp_path / "mains.json"
    state.write_text(text)
    source = SimulatedSource(SimulatedSettings(state_file=state), FakeClock())
    with pytest.raises(PowerError, match=r'\{"mains": true\}'):
        source.read()
