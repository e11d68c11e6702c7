"""A UPS that Network UPS Tools look after: what `upsd` says over TCP."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aionut import AIONUTClient, NUTError, NUTLoginError, NUTTimeoutError
from aionut.client import connected_operation

from edge_agent.core.supply import PowerReading
from edge_agent.errors import PowerError
from edge_agent.power import number

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from edge_agent.power.self_test import SelfTest
    from edge_agent.settings import NutSettings

_TROUBLE: Final = (NUTError, OSError, EOFError, ValueError, LookupError, asyncio.LimitOverrunError)
"""aionut's own, and what it lets through when something else than upsd answers."""
_REMEDIES: Final = {
    "UNKNOWN-UPS": "set ups in [power.nut] to a name of its ups.conf; upsc -l HOST lists them",
    "DATA-STALE": "its driver has lost the UPS: check the cable, and the driver's log",
    "DRIVER-NOT-CONNECTED": "start the driver of that UPS: upsdrvctl start",
    "ACCESS-DENIED": "let it answer this host; if [power.nut] names a user, then as upsd.users has it, with "
    "`upsmon secondary`. Reading needs none",
    "INSTCMD": "let the user that [power.nut] names begin it: `instcmds = ALL` in upsd.users",
}
_NO_UPSD: Final = "check host and port in [power.nut], and that upsd runs there"
_LOW: Final = frozenset({"LB", "FSD"})


class _Client(AIONUTClient):
    """aionut's client, which cannot log in and leaves a connection open that was refused."""

    @connected_operation
    async def login(self, ups: str) -> None:
        await self._write_command_or_raise(f"LOGIN {ups}\n", "OK")

    def disconnect(self) -> None:
        self._connected = self._writer is not None
        super().disconnect()


class NutSource:
    """One UPS. A connection that breaks is made anew; each answer is waited for as long as the settings allow."""

    every_s = 1.0

    def __init__(self, settings: NutSettings, self_test: SelfTest | None = None) -> None:
        self._settings = settings
        self._self_test = self_test
        self._where = f"upsd at {settings.host}:{settings.port}"
        # Looked up here: an event loop would leave that to a thread, for which the end of the process waits.
        self._address = self._crossing(self._look_up)
        self._runner = asyncio.Runner()
        self._client = self._new_client()
        try:
            if settings.username:
                self._run(self._prove_login)
        except PowerError:
            self.close()
            raise

    def read(self) -> PowerReading:
        """What the UPS says, as its driver measured it last; a test of its battery that is wanted begins."""
        told = self._run(lambda: self._client.list_vars(self._settings.ups))
        found, test = reading(told), self._self_test
        if test is None:
            return found
        if test.begin(told):  # before it is asked for: the UPS may discharge its battery before it has answered
            self._begin(test)
        if not test.see(told):
            return found
        return replace(found, mains=found.mains or None, testing=True)

    def close(self) -> None:
        """The connection is closed."""
        self._client.shutdown()
        self._runner.close()

    def _begin(self, test: SelfTest) -> None:
        ups, command = self._settings.ups, test.command
        try:
            offered = self._run(lambda: self._client.list_commands(ups))
            if command not in offered:
                tests = ", ".join(sorted(each for each in offered if each.startswith("test.battery.start")))
                test.refuse(
                    f"{self._where}: {ups} does not offer {command}; set test_command in [power.nut] to what it "
                    f"offers, {tests}"
                    if tests
                    else f"{self._where}: {ups} offers no test of its battery"
                )
                return
            self._run(lambda: self._client.run_command(ups, command))
        except PowerError as error:
            if not isinstance(error.__cause__, NUTTimeoutError | TimeoutError):  # else it may have begun
                test.refuse(str(error))

    def _look_up(self) -> str:
        found = socket.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_STREAM)
        return str(found[0][4][0])

    def _new_client(self) -> _Client:
        username, password = self._settings.username, self._settings.password.get_secret_value()
        return _Client(
            self._address,
            self._settings.port,
            _quoted(username) if username else None,
            _quoted(password) if username else None,
            self._settings.timeout_s,
        )

    async def _prove_login(self) -> None:
        """upsd takes any password, and judges it at a LOGIN.

        That is given up again at once: a primary would wait at its shutdown for whoever is logged in.
        """
        client = self._new_client()
        try:
            await client.login(self._settings.ups)
        finally:
            client.shutdown()

    def _run(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self._crossing(lambda: self._runner.run(ask()))

    def _crossing(self, deed: Callable[[], Any]) -> Any:
        try:
            return deed()
        except NUTLoginError as error:
            told = _told(error)
            remedy = _REMEDIES["INSTCMD" if told.startswith("INSTCMD") else "ACCESS-DENIED"]
            raise PowerError(f"{self._where} refuses us: {told}", remedy) from error
        except _TROUBLE as error:
            told = _told(error)
            remedy = next((remedy for code, remedy in _REMEDIES.items() if code in told), _NO_UPSD)
            raise PowerError(f"{self._where}: {told}", remedy) from error


def reading(told: Mapping[str, str]) -> PowerReading:
    """What variables of NUT mean: OL or OB is mains, LB or FSD is low, the rest is of the battery."""
    words = set(told.get("ups.status", "").split())
    online, on_battery = "OL" in words, "OB" in words

    def value(name: str) -> float | None:
        return number(told[name]) if name in told else None

    return PowerReading(
        mains=None if online is on_battery else online,
        voltage_v=value("battery.voltage"),
        current_a=value("battery.current"),
        charge_percent=value("battery.charge"),
        temperature_c=value("battery.temperature"),
        low=bool(words & _LOW) if words else None,
    )


def _told(error: Exception) -> str:
    if isinstance(error, NUTTimeoutError | TimeoutError):
        return "no answer in time"
    return str(error).removeprefix("Error running: ") or type(error).__name__


def _quoted(word: str) -> str:
    """As upsd reads a word that may hold anything."""
    return '"' + re.sub(r'(["\\#])', r"\\\1", word) + '"'
