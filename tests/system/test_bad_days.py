"""Doors that are shut, keys that do not fit, and processes that are killed: what was recorded arrives once."""

from __future__ import annotations

import hashlib
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge_agent.contract import ItemKind, ItemName
from tests.rig.city import City, Site, merged, to_toml
from tests.rig.link import Link
from tests.rig.processes import until

SCENE: Final = {"id": "north", "source": "scene", "segment_s": 1}


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    """A centre that is not open yet."""
    with City(tmp_path / "city") as city:
        yield city


def footage(site: Site, folder: str) -> list[ItemName]:
    """The segments in that folder of the spool."""
    names = [ItemName.parse(path.name) for path in (site.spool / folder).iterdir()]
    return [name for name in names if name.kind is ItemKind.SEGMENT]


def keeps(site: Site, segments: int, seconds: float = 40) -> None:
    """The site has recorded so much that it could not send."""
    what = f"{segments} segments wait"
    site.agent.until(lambda: len(site.backlog(ItemKind.SEGMENT)) >= segments, seconds, what)


def assert_each_item_once(city: City, site: Site) -> None:
    """Agent stopped: what the spool has a receipt for is in the archive, once, whole, and nothing else is."""
    names = [ItemName.parse(path.name) for path in (site.spool / "sent").iterdir()]
    stored = city.archived(site.id)
    assert sorted(names) == [name for name, _ in stored]
    for name, file in stored:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == name.sha256


def test_centre_and_broker_down_at_the_start(city: City) -> None:
    """The agent records anyway, says so in a few lines, and everything arrives once they are up."""
    site = city.enrol("tugu-muda", "Tugu Muda", [SCENE])
    site.agent.start()
    keeps(site, 5)
    assert len(site.agent.output().splitlines()) < 40
    assert "Traceback" not in site.agent.output()
    early = footage(site, "ready")
    city.open_centre()
    city.await_presence(site.id, "online", 90)
    site.agent.until(lambda: set(early) <= set(footage(site, "sent")), 60, "what was kept has arrived")
    assert site.agent.stop() == 0
    assert_each_item_once(city, site)


def test_revoked_token(city: City) -> None:
    """A token that ended is refused with a remedy; footage is kept, and arrives once the new token is configured."""
    site = city.enrol("tugu-muda", "Tugu Muda", [SCENE])
    city.open_centre()
    site.agent.start()
    city.await_presence(site.id, "online")
    renewed = tomllib.loads(city.central("enrol", site.id, "--renew"))
    keeps(site, 5)
    said = site.agent.until(lambda: [line for line in site.agent.output().splitlines() if "enrol" in line], 60, "why")
    assert "token" in said[0]
    assert renewed["centre"]["token"] not in site.agent.output()
    assert site.agent.running
    table = tomllib.loads(site.config.read_text())
    assert table["centre"]["token"] not in site.agent.output()
    site.agent.stop()
    site.config.write_text(to_toml(merged(table, {"centre": {"token": renewed["centre"]["token"]}})))
    site.agent.start()
    city.await_presence(site.id, "online")
    city.await_drained(site.id)
    assert site.agent.stop() == 0
    assert_each_item_once(city, site)


def test_port_in_use(city: City) -> None:
    """The centre says in one line which setting wants which port, and ends with an exit code of its own."""
    with socket.create_server(city.agent_door):
        assert city.centre.start().wait(30) == 2
    words = city.centre.output()
    assert f"{city.agent_door[1]}" in words
    assert "agent_listen" in words
    assert "Traceback" not in words


def test_centre_killed_again_and_again_while_items_arrive(city: City, tmp_path: Path) -> None:
    """At each kill what has a receipt is in the archive, whole; at the end each item is there once."""
    link = Link()
    site = city.enrol("tugu-muda", "Tugu Muda", [SCENE, SCENE | {"id": "south"}], link=link)
    city.open_centre()
    site.agent.start()
    city.await_presence(site.id, "online")
    link.cut()
    keeps(site, 24)
    link.restore()
    for _ in range(3):
        arrived = len(city.archived(site.id))
        until(lambda: len(city.archived(site.id)) >= arrived + 4, 60, "items arrive", every_s=0.01)  # noqa: B023
        city.centre.kill()
        stored = dict(city.archived(site.id))
        for receipt in [ItemName.parse(path.name) for path in (site.spool / "sent").iterdir()]:
            assert hashlib.sha256(stored[receipt].read_bytes()).hexdigest() == receipt.sha256
        city.open_centre()
    city.await_presence(site.id, "online", 90)
    city.await_drained(site.id)
    assert site.agent.stop() == 0
    assert_each_item_once(city, site)
    rows = city.api("/completeness")["rows"]
    assert {row["camera"]: row["unexplained_s"] for row in rows} == {"north": 0, "south": 0}


def test_agent_killed_while_it_keeps_and_while_it_ships(city: City) -> None:
    """Two lives end by SIGKILL; the third ships what they left, and the holes between them are the agent's."""
    link = Link()
    site = city.enrol("tugu-muda", "Tugu Muda", [SCENE], link=link)
    city.open_centre()
    site.agent.start()
    city.await_presence(site.id, "online")
    link.cut()
    keeps(site, 8)
    site.agent.kill()
    kept = footage(site, "ready")
    site.agent.start()
    keeps(site, len(kept) + 4)
    link.restore()
    site.agent.until(lambda: kept[0] in footage(site, "sent"), 60, "the backlog goes")
    site.agent.kill()
    site.agent.start()
    site.agent.until(lambda: set(kept) <= set(footage(site, "sent")), 60, "what was kept has arrived")
    # The words of the second life are still at the centre; what the third has recorded only it can have sent.
    site.agent.until(lambda: len({name.run for name in footage(site, "sent")}) == 3, 60, "all three lives have sent")
    city.await_presence(site.id, "online")
    city.await_drained(site.id)
    (row,) = city.api("/completeness")["rows"]
    assert site.agent.stop() == 0
    assert_each_item_once(city, site)
    assert row["unexplained_s"] == 0
    assert row["lost_s"].keys() <= {"agent", "stopped"}, "stopped is the moment before the first picture ever"
    assert row["lost_s"]["agent"] > 0
