"""The way to the centre: looking at its parts, and judging which is broken."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import EventData, EventType, Link, LinkPart, Reach
from edge_agent.core.backoff import delay_s, is_told
from edge_agent.core.link import WAY, judge, unknown
from edge_agent.jobs.probe import Look, Probe
from edge_agent.probe import WayProbe
from tests.fakes import FakeClock
from tests.rig.link import free_port

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t00000000\t0100007F\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""
"""The default route goes over eth0 and 127.0.0.1."""

reaches = st.sampled_from(Reach)


# --- core ---


@given(st.lists(st.tuples(st.integers(0, 2000), reaches, reaches, reaches, reaches), max_size=50))
def test_what_is_broken_is_the_nearest_part_that_is_down(steps: list[tuple[int, Reach, Reach, Reach, Reach]]) -> None:
    now_ms, view = 0, unknown(0)
    for passed_ms, *looks in steps:
        now_ms += passed_ms
        before, view = view, judge(view, dict(zip(WAY, looks, strict=True)), now_ms)
        down = [part for part in WAY if view.parts[part].value is Reach.DOWN]
        assert view.broken is (down[0] if down else LinkPart.NONE)
        assert view.since_ms == (before.since_ms if view.broken is before.broken else now_ms)
        for part in WAY:
            was, held = before.parts[part], view.parts[part]
            debounced = part in {LinkPart.PORT, LinkPart.BROKER} and was.value is not Reach.UNKNOWN
            assert held.value is was.value or not debounced or now_ms - was.doubt_ms >= 500


def test_a_part_that_flickers_keeps_its_word() -> None:
    whole = dict.fromkeys(WAY, Reach.UP)
    view = judge(unknown(0), whole, 0)
    for now_ms in range(0, 10_000, 400):
        flicker = Reach.DOWN if now_ms % 800 else Reach.UP
        view = judge(view, {**whole, LinkPart.PORT: flicker}, now_ms)
        assert view.broken is LinkPart.NONE


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_patience_grows_to_its_limit_and_is_spread(failures: int, chance: float) -> None:
    wait_s = delay_s(failures, chance, first_s=1, most_s=60)
    assert 0.5 <= wait_s <= 60
    assert failures < 7 or wait_s >= 30


def test_a_day_of_failures_each_minute_is_tens_of_lines() -> None:
    assert sum(map(is_told, range(1, 24 * 60 + 1))) < 20
    assert all(map(is_told, (1, 2, 4, 8)))


# --- room ---


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A host with one network port."""
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0" / "carrier").write_text("1\n")
    (tmp_path / "routes").write_text(ROUTES)
    return tmp_path


@pytest.fixture
def door() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_the_port_is_the_one_of_the_default_route_and_is_remembered(net: Path) -> None:
    way = WayProbe(("127.0.0.1", 1), net=net, routes=net / "routes")
    assert (way.port(), way.interface) == (Reach.UP, "eth0")
    (net / "eth0" / "carrier").write_text("0\n")
    (net / "routes").write_text(ROUTES.splitlines()[0])
    assert (way.port(), way.interface) == (Reach.DOWN, "eth0")
    (net / "eth0" / "carrier").unlink()
    assert way.port() is Reach.DOWN


def test_without_a_default_route_nothing_is_known_of_port_and_gateway(net: Path) -> None:
    way = WayProbe(("127.0.0.1", 1), net=net, routes=net / "nowhere")
    assert (way.port(), way.uplink()) == (Reach.UNKNOWN, Reach.UNKNOWN)


def test_a_port_that_was_named_but_is_not_there_is_down(net: Path) -> None:
    assert WayProbe(("127.0.0.1", 1), "eth7", net=net, routes=net / "routes").port() is Reach.DOWN


def test_a_gateway_that_answers_or_refuses_is_up(net: Path) -> None:
    way = WayProbe(("127.0.0.1", 1), net=net, routes=net / "routes")
    way.port()
    assert way.uplink() is Reach.UP


def test_a_gateway_that_nobody_has_is_down(net: Path) -> None:
    """No host can have the address 255.255.255.255."""
    (net / "routes").write_text(ROUTES.replace("0100007F", "FFFFFFFF"))
    way = WayProbe(("127.0.0.1", 1), net=net, routes=net / "routes")
    way.port()
    assert way.uplink() is Reach.DOWN


def test_the_door_is_timed_and_a_closed_one_or_an_unknown_name_is_none(net: Path, door: tuple[str, int]) -> None:
    assert (WayProbe(door).centre_ms() or -1) >= 0
    assert WayProbe(("127.0.0.1", free_port())).centre_ms() is None
    assert WayProbe(("no-such-host.invalid", 80)).centre_ms() is None


# --- jobs ---


class Probed:
    """A probe of a way that is what it is told to be."""

    def __init__(self) -> None:
        self.interface = "eth0"
        self.clock = FakeClock()
        self.way = dict.fromkeys(WAY, Reach.UP)
        self.shown: list[Link] = []
        self.events: list[EventData] = []
        self.opened = 0
        self.look = Look(self, 1, on_open=self._open)
        self.probe = Probe(
            self,
            self.look,
            lambda: self.way[LinkPart.BROKER],
            self.shown.append,
            self._announce,
            "000001aaaa",
            self.clock,
        )

    def _open(self) -> None:
        self.opened += 1

    def _announce(self, kind: EventType, data: EventData) -> None:
        assert kind is EventType.LINK_CHANGED
        self.events.append(data)

    def port(self) -> Reach:
        return self.way[LinkPart.PORT]

    def uplink(self) -> Reach:
        return self.way[LinkPart.UPLINK]

    def centre_ms(self) -> float | None:
        return 3.5 if self.way[LinkPart.CENTRE] is Reach.UP else None

    def run(self, seconds: float) -> Link:
        for half_second in range(int(seconds * 2)):
            if half_second % 2 == 0:
                self.look.run_once()
            self.clock.advance(self.probe.run_once())
        return self.shown[-1]


def test_whoever_waits_for_the_centre_hears_once_that_its_door_is_open_again() -> None:
    probed = Probed()
    probed.run(5)
    before = probed.opened
    probed.way[LinkPart.CENTRE] = Reach.DOWN
    probed.run(5)
    probed.way[LinkPart.CENTRE] = Reach.UP
    probed.run(5)
    assert (before, probed.opened) == (0, 1)


def test_a_lost_carrier_is_told_within_two_seconds_and_once() -> None:
    probed = Probed()
    assert probed.run(5).broken is LinkPart.NONE
    probed.way[LinkPart.PORT] = Reach.DOWN
    assert probed.run(1.5).broken is LinkPart.PORT
    probed.run(5)
    assert [(event.before, event.after) for event in probed.events] == [("none", "port")]


@pytest.mark.parametrize("part", [LinkPart.UPLINK, LinkPart.CENTRE, LinkPart.BROKER])
def test_each_break_is_named_and_its_end_is_seen(part: LinkPart) -> None:
    probed = Probed()
    probed.run(2)
    beyond = WAY[WAY.index(part) :]
    probed.way |= dict.fromkeys(beyond, Reach.DOWN)
    link = probed.run(2)
    assert link.broken is part
    assert (link.rtt_ms is None) is (part is not LinkPart.BROKER)
    probed.way |= dict.fromkeys(beyond, Reach.UP)
    link = probed.run(2)
    assert (link.broken, link.uplink, link.rtt_ms) == (LinkPart.NONE, Reach.UP, 3.5)
