"""The power of single cameras: a relay on a pin of the board, or a command that switches a port."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.settings import OutletSettings

_COMMAND_S: Final = 10


class PinOutlet:
    """A relay on a pin, opened at the first use. Whoever wires it sees to it that a pin nobody drives means power."""

    def __init__(self, settings: OutletSettings) -> None:
        self._settings = settings
        self._drive: Callable[[bool], None] | None = None
        self._close: Callable[[], None] = lambda: None

    def switch(self, *, on: bool) -> None:
        """The pin is driven so."""
        from gpiozero import OutputDevice
        from gpiozero.exc import GPIOZeroError

        trouble = (GPIOZeroError, OSError, RuntimeError)  # gpiozero's own, and of the pin libraries beneath it
        try:
            if self._drive is None:
                device = OutputDevice(self._settings.pin, active_high=self._settings.active_high)
                self._drive = lambda cut: device.on() if cut else device.off()
                self._close = device.close
            self._drive(not on)
        except trouble as error:
            raise PowerError(
                f"outlet of camera {self._settings.camera}: pin {self._settings.pin}: {error}",
                "check the pin in [[power.ladder.outlets]], that no other program holds it, and the group gpio",
            ) from error

    def close(self) -> None:
        """The pin is no longer driven."""
        self._close()


class CommandOutlet:
    """A command of the operator's that switches the port of a PoE switch, or whatever feeds the camera."""

    def __init__(self, settings: OutletSettings) -> None:
        self._settings = settings

    def switch(self, *, on: bool) -> None:
        """The command was run with `on` or `off` as its last word, and succeeded."""
        command = [*self._settings.command, "on" if on else "off"]
        try:
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_COMMAND_S)
        except (OSError, subprocess.SubprocessError) as error:
            why = f"exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise PowerError(
                f"outlet of camera {self._settings.camera}: {command[0]}: {why}",
                "run the command in [[power.ladder.outlets]] by hand, as the user of the agent",
            ) from error

    def close(self) -> None:
        """Nothing is held."""


def open_outlet(settings: OutletSettings) -> PinOutlet | CommandOutlet:
    """The outlet that the settings describe; as it is made, nothing is known of how it stands."""
    return CommandOutlet(settings) if settings.command else PinOutlet(settings)
