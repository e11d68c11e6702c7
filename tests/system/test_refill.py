"""A centre that lost data: it says so, and what the site still keeps refills it, without a hand on the site."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from edge_agent.contract import ItemKind, ItemName
from tests.rig.city import City
from tests.rig.processes import CENTRAL, until
from tests.system.test_bad_days import SCENE, assert_each_item_once, footage

SEGMENTS: Final = 4


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    """A centre that is not open yet."""
    with City(tmp_path / "city") as city:
        yield city


def verify(city: City, *options: str) -> tuple[int, Any]:
    """How `central verify` ends, and what it found."""
    command = [*map(str, CENTRAL), "verify", "--json", *options, "--config", str(city.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in {0, 4}, done.stderr
    return done.returncode, json.loads(done.stdout)


def lose(city: City, site: str, every: int) -> set[ItemName]:
    """Every so many-th segment of the site is gone from the archive."""
    segments = [stored for stored in city.archived(site) if stored[0].kind is ItemKind.SEGMENT][::every]
    for _, file in segments:
        file.unlink()
    return {name for name, _ in segments}


def are_back(city: City, site: str, gone: set[ItemName]) -> bool:
    """Whether the archive has them again."""
    return gone <= {name for name, _ in city.archived(site)}


def copy(source: Path, target: Path) -> None:
    """The database as `sqlite3 .backup` copies it."""
    with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
        one.backup(other)
    one.close()
    other.close()


def test_a_disk_that_lost_footage_and_a_restored_backup_are_refilled(city: City) -> None:
    """Each time everything is back at the end, once, and no second is without an explanation."""
    site = city.enrol("tugu-muda", "Tugu Muda", [SCENE])
    database = city.directory / "central.sqlite"

    def arrives(segments: int) -> None:
        site.agent.until(lambda: len(footage(site, "sent")) >= segments, 60, f"{segments} segments have arrived")

    city.open_centre()
    site.agent.start()
    city.await_presence(site.id, "online")
    arrives(SEGMENTS)
    copy(database, city.folder / "backup.sqlite")
    arrives(2 * SEGMENTS)

    # The archive's disk forgets, and somebody asks the site for what is missing.
    gone = lose(city, site.id, every=2)
    code, found = verify(city)
    assert (code, found["found"]["missing"]) == (4, len(gone))
    code, found = verify(city, "--repair")
    assert (code, found["lost"]) == (0, len(gone))
    (row,) = json.loads(city.central("completeness", "--json"))["rows"]
    assert row["lost_s"]["centre"] > len(gone) / 2
    city.central("compare", site.id)
    until(lambda: are_back(city, site.id, gone), 60, "what was lost is back")
    until(lambda: verify(city, "--hash")[1]["lost"] == 0, 30, "and known to be back")

    # The database is restored, and a part of what it does not know is gone as well.
    assert city.centre.stop() == 0
    before = len(city.archived(site.id))
    for file in city.directory.glob("central.sqlite*"):
        file.unlink()
    copy(city.folder / "backup.sqlite", database)
    gone = lose(city, site.id, every=3)
    code, found = verify(city, "--repair")
    assert code == 0
    assert found["found"]["unfiled"] >= SEGMENTS / 2
    city.open_centre()
    until(lambda: are_back(city, site.id, gone), 60, "what was lost is back")
    until(lambda: len(city.archived(site.id)) > before, 30, "it goes on")
    city.await_drained(site.id)
    shown = city.api(f"/sites/{site.id}")["spool"]
    assert shown["compared_at"] is not None
    assert site.agent.stop() == 0
    assert_each_item_once(city, site)
    assert verify(city, "--hash")[0] == 0
    (row,) = json.loads(city.central("completeness", "--json"))["rows"]
    assert row["unexplained_s"] == 0
    assert "centre" not in row["lost_s"]
    returned = [told["event"]["data"]["returned"] for told in city.api("/events?limit=1000")["events"]]
    assert sum(number or 0 for number in returned) >= len(gone)
