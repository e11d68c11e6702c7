"""What a plain MQTT client hears of a site, and how soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from edge_agent.contract import BATTERY, INFO, TOPICS, WISH, PresenceState
from tests.rig.city import City, Site
from tests.rig.link import Link
from tests.rig.parts import require_program
from tests.rig.processes import Program, until

PREFIX: Final = "simpang/v1"
SCENE: Final = {"id": "north", "source": "scene"}
KEEPALIVE_S: Final = 15
"""What the agent has when nobody chooses."""


class Heard(NamedTuple):
    """One message, with the moment at which mosquitto_sub took it."""

    at_s: float
    retained: bool
    topic: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Rig:
    city: City
    site: Site
    link: Link
    door: Link
    """The way to the door of the centre only; the broker is reached over `link`."""
    started_s: float
    ears: Program

    def heard(self, topic: str) -> list[Heard]:
        """Everything on that topic of the site, oldest first."""
        found = []
        for line in self.ears.output().splitlines():
            at, retained, where, body = line.split("\t")
            if where == f"{PREFIX}/{self.site.id}/{topic}":
                found.append(Heard(float(at), retained == "1", where, json.loads(body)))
        return found

    def await_heard(
        self, topic: str, wanted: Callable[[dict[str, Any]], bool], after_s: float, seconds: float
    ) -> Heard:
        """The first such message that came after the moment."""

        def first() -> Heard | None:
            return next((heard for heard in self.heard(topic) if heard.at_s >= after_s and wanted(heard.body)), None)

        return self.ears.until(first, seconds, f"{topic} as wanted")


def mosquitto_sub(city: City, log: Path, *options: str) -> Program:
    """Listens to all of the city with the account that the centre made for readers."""
    user, password = city.reader()
    host, port = city.broker
    account = ["-h", host, "-p", str(port), "-u", user, "-P", password]
    return Program("mosquitto_sub", [require_program("mosquitto_sub"), *account, "-t", f"{PREFIX}/#", *options], log)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    require_program("mosquitto")
    folder = tmp_path_factory.mktemp("now")
    link, door = Link(), Link()
    with door, City(folder / "city", {"broker": {"mode": "mosquitto"}}) as city:
        settings = {
            "centre": {"url": f"http://127.0.0.1:{door.lay(city.agent_door)}"},
            "broker": {"keepalive_s": KEEPALIVE_S},
        }
        site = city.enrol("simpang-lima", "Simpang Lima", [SCENE], settings=settings, link=link)
        city.open_centre()
        with mosquitto_sub(city, folder / "sub.log", "-F", r"%U\t%r\t%t\t%p") as ears:
            ears.start()
            started_s = time.time()
            site.agent.start()
            rig = Rig(city, site, link, door, started_s, ears)
            site.agent.until(lambda: rig.heard("presence"), 30, "the agent is there")
            yield rig


def test_every_group_is_retained_within_10_s(rig: Rig) -> None:
    """Ten seconds after its start each fact group of the site was told, and a latecomer reads them all with -v."""
    # What discharges have taught is told once there was one: an empty word would replace what the centre holds.
    told = [topic for topic in TOPICS if topic.retained and topic is not BATTERY]
    groups = [f"{topic.group}/north" if topic.per_camera else topic.group for topic in told]
    for group in groups:
        first = rig.await_heard(group, lambda _: True, rig.started_s, 20)
        assert first.at_s - rig.started_s < 10, group
    groups.append(WISH.group)  # what the centre would like of it
    with mosquitto_sub(rig.city, rig.site.folder / "late.log", "-v", "--retained-only") as late:
        late.start()
        seen = late.until(lambda: _plain(late, len(groups)), 10, "all is retained")
    assert set(seen) == {f"{PREFIX}/{rig.site.id}/{group}" for group in groups}
    assert seen[f"{PREFIX}/{rig.site.id}/presence"]["state"] == PresenceState.ONLINE
    assert seen[f"{PREFIX}/{rig.site.id}/{INFO.group}"]["cameras"] == ["north"]


def _plain(late: Program, count: int) -> dict[str, Any] | None:
    """What `mosquitto_sub -v` printed, once it is that much."""
    lines = [line.partition(" ") for line in late.output().splitlines()]
    return {topic: json.loads(body) for topic, _, body in lines} if len(lines) >= count else None


@pytest.mark.parametrize(("mains", "supply"), [(False, "battery"), (True, "mains")])
def test_supply_is_told_within_2_s(rig: Rig, mains: bool, supply: str) -> None:
    """State and event of a change of the supply arrive within two seconds of the grid's change."""
    rig.await_heard("power", lambda body: body["supply"] != supply, 0, 10)
    changed_s = time.time()
    rig.site.mains(mains)
    state = rig.await_heard("power", lambda body: bool(body["supply"] == supply), changed_s, 10)
    event = rig.await_heard("event", lambda body: bool(body["data"].get("after") == supply), changed_s, 10)
    assert state.at_s - changed_s < 2
    assert event.at_s - changed_s < 2


@pytest.mark.parametrize(("deed", "broken"), [(Link.cut, "centre"), (Link.restore, "none")])
def test_link_is_told_within_2_s(rig: Rig, deed: Callable[[Link], None], broken: str) -> None:
    """The way to the centre breaks and is whole again while the broker is reached: told within two seconds."""
    rig.await_heard("link", lambda body: bool(body["broken"] != broken and body["broker"] == "up"), 0, 10)
    changed_s = time.time()
    deed(rig.door)
    state = rig.await_heard("link", lambda body: bool(body["broken"] == broken), changed_s, 10)
    event = rig.await_heard("event", lambda body: bool(body["data"].get("after") == broken), changed_s, 10)
    assert state.at_s - changed_s < 2
    assert event.at_s - changed_s < 2


def test_will_is_said_within_30_s_of_a_silent_cut(rig: Rig) -> None:
    """A half-open link: the broker says the will by itself, retained, with the run; the return overrules it."""
    run = rig.heard("presence")[-1].body["run"]
    cut_s = time.time()
    rig.link.swallow()
    gone = rig.await_heard("presence", lambda body: bool(body["state"] == PresenceState.OFFLINE), cut_s, 40)
    assert gone.at_s - cut_s < 30
    assert gone.body["run"] == run
    until(lambda: rig.city.presence(rig.site.id) == PresenceState.OFFLINE, 5, "the centre knows")
    back_s = time.time()
    rig.link.restore()
    rig.await_heard("presence", lambda body: bool(body["state"] == PresenceState.ONLINE), back_s, 60)
