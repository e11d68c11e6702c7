"""What the kernel's own drivers know of mains and battery: its class `power_supply`.

Attributes and units: Documentation/ABI/testing/sysfs-class-power of the kernel.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError
from edge_agent.power import number

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.settings import SysfsSettings

_ABSENT: Final = {errno.ENOENT, errno.ENODATA, errno.EINVAL, errno.EOPNOTSUPP}
"""How drivers say that they do not know a value."""
_BATTERIES: Final = {"Battery", "UPS"}
_ONLINE: Final = {"0": False, "1": True, "2": True}
"""2 is a USB supply whose voltage is negotiated."""
_MICRO: Final = 1e-6
_TENTH: Final = 0.1


class SysfsSource:
    """The supplies of the host, looked for at each reading: drivers come and go."""

    every_s = 1.0

    def __init__(self, settings: SysfsSettings) -> None:
        self._settings = settings

    def read(self) -> PowerReading:
        """Mains as any charger or adapter is online, None where there is none; and what the battery's driver gives."""
        supplies = self._supplies()
        online = [_online(path) for path, kind in supplies.items() if kind not in _BATTERIES]
        told = [one for one in online if one is not None]
        mains = any(told) if told else None
        battery = self._battery([path for path, kind in supplies.items() if kind in _BATTERIES])
        if battery is None:
            if mains is None:
                raise PowerError(
                    f"sysfs: neither battery nor mains in {self._settings.directory}",
                    "load the driver of the board's gauge, or remove [power.sysfs]",
                )
            return PowerReading(mains=mains)
        if _text(battery / "present") == "0":
            raise PowerError(f"sysfs: {battery.name} is not in its place", "put the battery in, and check its plug")
        current_a = _value(battery / "current_now", _MICRO)
        if current_a is not None and _text(battery / "status") == "Discharging":
            current_a = -abs(current_a)  # some drivers give it without a sign
        return PowerReading(
            mains=mains,
            voltage_v=_value(battery / "voltage_now", _MICRO),
            current_a=current_a,
            charge_percent=_value(battery / "capacity", 1),
            temperature_c=_value(battery / "temp", _TENTH),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _supplies(self) -> dict[Path, str]:
        """Each supply of this host, not of what is plugged into it, with its type."""
        directory = self._settings.directory
        try:
            paths = sorted(directory.iterdir())
        except OSError as error:
            raise PowerError(
                f"sysfs: {directory}: {error.strerror}", "check directory in [power.sysfs], and the kernel's drivers"
            ) from error
        found = {path: _text(path / "type") for path in paths if _text(path / "scope") != "Device"}
        return {path: kind for path, kind in found.items() if kind is not None}

    def _battery(self, batteries: list[Path]) -> Path | None:
        wanted = self._settings.battery
        if not wanted and len(batteries) <= 1:
            return batteries[0] if batteries else None
        there = ", ".join(path.name for path in batteries) or "none"
        for path in batteries:
            if path.name == wanted:
                return path
        what = f"no battery {wanted}" if wanted else "more than one battery"
        raise PowerError(
            f"sysfs: {what} in {self._settings.directory}", f"set battery in [power.sysfs]; there is: {there}"
        )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise PowerError(f"sysfs: {path}: {error.strerror}", "check the battery's driver, dmesg may tell") from error


def _online(supply: Path) -> bool | None:
    text = _text(supply / "online")
    if text is not None and text not in _ONLINE:
        raise PowerError(f"sysfs: {supply / 'online'}: neither 0 nor 1", "check the driver of that supply")
    return None if text is None else _ONLINE[text]


def _value(path: Path, unit: float) -> float | None:
    text = _text(path)
    return None if text is None else round(number(text) * unit, 4)
