"""A UPS by a real `upsd`: a discharge that its driver plays, and everything that can be wrong with it."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from edge_agent.clock import SystemClock
from edge_agent.contract import EventData, EventType, Power, Supply
from edge_agent.core.supply import sane
from edge_agent.errors import PowerError
from edge_agent.jobs.guard import Guard
from edge_agent.place import Kept
from edge_agent.power import openers
from edge_agent.power.nut import NutSource, reading
from edge_agent.power.panel import Panel
from edge_agent.settings import NutSettings, PowerSettings
from tests.rig.link import free_port
from tests.rig.nut import UPS, USER, Upsd
from tests.rig.processes import until

DISCHARGE = """\
ups.status: OL
battery.charge: 100
battery.voltage: 13.6
TIMER 10
ups.status: OB DISCHRG
battery.charge: 88
battery.voltage: 12.6
TIMER 3
battery.charge: 62
battery.voltage: 12.2
TIMER 3
ups.status: OB DISCHRG LB
battery.charge: 35
battery.voltage: 11.8
TIMER 3
battery.charge: 8
battery.voltage: 11.2
TIMER 60
"""


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[Upsd]:
    made = Upsd(tmp_path)
    made.tell({"ups.status": "OL", "battery.charge": "100"})
    with made:
        yield made


def opened(upsd: Upsd, **settings: Any) -> NutSource:
    return NutSource(NutSettings(port=upsd.port, **{"ups": UPS, **settings}))


def test_a_discharge_is_followed_to_the_ordered_stop(tmp_path: Path) -> None:
    """Mains, battery, low, by LB though there is charge left; then the stop, by the charge."""
    with Upsd(tmp_path, DISCHARGE) as ups:
        clock = SystemClock()
        settings = PowerSettings(nut=NutSettings(port=ups.port, ups=UPS))
        panel = Panel(openers(settings, clock), clock)
        shown: list[Power] = []
        told: list[EventData] = []
        stops: list[str] = []

        steps: list[EventData] = []

        def announce(kind: EventType, data: EventData) -> None:
            {EventType.SUPPLY_CHANGED: told, EventType.ENERGY_CHANGED: steps}[kind].append(data)

        guard = Guard(
            panel,
            settings,
            settings.plan(1),
            shown.append,
            announce,
            lambda _: None,
            stops.append,
            "000001aaaa",
            clock,
            Kept("battery.json"),
            lambda _: None,
        )
        until(lambda: guard.run_once() and stops, 40, "the stop", every_s=0.5)
        panel.close()
    assert [data.after for data in told] == ["mains", "battery", "low"]
    assert "8 %" in stops[0]
    assert [data.after for data in steps] == [rung.step for rung in settings.plan(1).rungs]
    assert any(power.supply is Supply.LOW and power.charge_percent == 35 for power in shown)
    assert shown[-1].sources == ("nut ok",)
    assert all(json.loads(power.to_json())["source"] == "nut" for power in shown)


@pytest.mark.parametrize(
    ("status", "mains", "low"),
    [
        ("OL CHRG", True, False),
        ("OB DISCHRG", False, False),
        ("OB LB", False, True),
        ("FSD OB", False, True),
        ("OFF", None, False),
        ("OL OB", None, False),
        ("", None, None),
    ],
)
def test_the_words_of_nut_are_understood(status: str, mains: bool | None, low: bool | None) -> None:
    told = reading({"ups.status": status, "battery.charge": "55"})
    assert (told.mains, told.low, told.charge_percent) == (mains, low, 55)


VARIABLES = ("ups.status", "battery.charge", "battery.voltage", "battery.current", "battery.temperature", "battery.x")


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text() | st.floats().map(str)))
def test_whatever_a_driver_writes_gives_numbers_that_can_be_or_none(told: dict[str, str]) -> None:
    clean, _ = sane(reading(told))
    for value in (clean.voltage_v, clean.current_a, clean.charge_percent, clean.temperature_c):
        assert value is None or math.isfinite(value)


def test_a_name_that_upsd_does_not_know_says_so(ups: Upsd) -> None:
    source = opened(ups, ups="attic")
    with pytest.raises(PowerError, match=r"attic: ERR UNKNOWN-UPS; set ups in \[power.nut\]"):
        source.read()
    source.close()


def test_a_login_is_proved_and_given_up_again(ups: Upsd) -> None:
    """Whoever is logged in is waited for when the UPS shuts down."""
    source = opened(ups, username=USER[0], password=SecretStr(USER[1]))
    assert source.read().low is not None
    with socket.create_connection(("127.0.0.1", ups.port)) as line:
        line.settimeout(5)
        line.sendall(f"GET NUMLOGINS {UPS}\n".encode())
        assert line.makefile().readline() == f"NUMLOGINS {UPS} 0\n"
    source.close()


@pytest.mark.parametrize("user", [("simpang", "wrong-one"), ("nobody", USER[1])])
def test_a_login_that_is_refused_says_so_without_the_password(ups: Upsd, user: tuple[str, str]) -> None:
    with pytest.raises(PowerError, match=r"refuses us: LOGIN cabinet: ERR ACCESS-DENIED; .*upsmon secondary") as caught:
        opened(ups, username=user[0], password=SecretStr(user[1]))
    assert user[1] not in str(caught.value)


def test_a_driver_that_died_says_so(ups: Upsd) -> None:
    source = opened(ups)
    source.read()
    ups.driver.kill()

    def trouble() -> str:
        try:
            source.read()
        except PowerError as error:
            return str(error)
        return ""

    assert "start the driver" in until(trouble, 20, "upsd notices")
    source.close()


def test_nobody_there_says_so() -> None:
    source = NutSource(NutSettings(port=free_port()))
    with pytest.raises(PowerError, match=r"Connect call failed.*check host and port in \[power.nut\]"):
        source.read()
    source.close()
    with pytest.raises(PowerError, match=r"upsd at nowhere.invalid:3493"):
        NutSource(NutSettings(host="nowhere.invalid"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\x00\n",
        b"x" * 70_000 + b"\n",
        b"BEGIN LIST VAR ups\nVAR ups battery.charge\nEND LIST VAR ups\n",
        b"BEGIN LIST VAR ups\nVAR ups battery.charge " + b"9" * 70_000,
        b"ERR ACCESS-DENIED\n",
    ],
)
def test_whatever_else_answers_is_told_as_trouble(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.sendall(answer)
                    line.shutdown(socket.SHUT_WR)
                    while line.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        source = NutSource(NutSettings(port=server.getsockname()[1]))
        with pytest.raises(PowerError, match=r"upsd at 127\.0\.0\.1"):
            source.read()
        source.close()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_upsd_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = NutSource(NutSettings(port=server.getsockname()[1], timeout_s=0.2))
        with pytest.raises(PowerError, match="no answer in time"):
            source.read()
        source.close()
