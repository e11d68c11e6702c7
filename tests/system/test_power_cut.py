"""A power cut from the last charge to the first picture after it: a real UPS daemon, a real agent, a real centre."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from edge_agent.contract import Event, EventType, ItemKind, ItemName, LossCause, read_facts
from tests.rig.city import City, Site
from tests.rig.link import Link
from tests.rig.nut import UPS, Upsd
from tests.rig.processes import until

SCENE: Final = {"id": "north", "source": "scene", "segment_s": 2}
DISCHARGE: Final = (90, 76, 62, 48, 34, 20, 8)
"""Percent, two seconds each; the agent is to stop at 10. A charge that falls faster is not believed at once."""
LOW: Final = 20
STEP_S: Final = 2


@dataclass(frozen=True)
class Rig:
    city: City
    site: Site
    link: Link
    ups: Upsd

    def charge(self, status: str, percent: int) -> None:
        """So says the UPS from now on."""
        self.ups.tell({"ups.status": status, "battery.charge": str(percent)})

    def run_down(self) -> int:
        """Mains is lost, the battery runs down, the agent stops; its exit code."""
        for percent in DISCHARGE:
            self.charge("OB DISCHRG LB" if percent <= LOW else "OB DISCHRG", percent)
            time.sleep(STEP_S)
        return self.site.agent.wait(20)

    def told(self, kind: EventType) -> list[Event]:
        """What the centre knows of such events, those that came last first."""
        events = (row["event"] for row in self.city.api(f"/events?site={self.site.id}&limit=200")["events"])
        return [Event.model_validate(event) for event in events if event["type"] == kind]

    def archived(self, event: Event) -> bool:
        """Whether it came by the history lane."""
        files = [file for name, file in self.city.archived(self.site.id) if name.kind is ItemKind.EVENT]
        return event in [Event.model_validate_json(file.read_bytes()) for file in files]

    def segments(self) -> dict[ItemName, Path]:
        """The footage at the site, sent or not."""
        files = [file for folder in ("ready", "sent") for file in (self.site.spool / folder).iterdir()]
        named = {ItemName.parse(file.name): file for file in files}
        return {name: file for name, file in named.items() if name.kind is ItemKind.SEGMENT}

    def presence(self) -> dict[str, Any]:
        """As the centre shows it."""
        shown: dict[str, Any] = self.city.api(f"/sites/{self.site.id}")["presence"] or {}
        return shown

    def timeline(self, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        """What became of each moment of the camera."""
        span = f"from={quote(begin.isoformat())}&to={quote(end.isoformat())}"
        found: list[dict[str, Any]] = self.city.api(f"/sites/{self.site.id}/cameras/north/timeline?{span}")["intervals"]
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    ups = Upsd(tmp_path)
    ups.tell({"ups.status": "OL", "battery.charge": "100"})
    link = Link()
    with ups, City(tmp_path / "city") as city:
        power = {"nut": {"port": ups.port, "ups": UPS}, "stop_command": ["touch", str(tmp_path / "switched-off")]}
        site = city.enrol("simpang-lima", "Simpang Lima", [SCENE], settings={"power": power}, link=link)
        city.open_centre()
        yield Rig(city, site, link, ups)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("link_holds", [True, False])
def test_a_discharge_ends_in_a_last_gasp_and_the_return_begins_with_a_first_breath(
    rig: Rig, tmp_path: Path, link_holds: bool
) -> None:
    """Every committed segment is whole and arrives, the hole has its cause; with the link down the gasp waits."""
    rig.site.agent.start()
    rig.city.await_presence(rig.site.id, "online")
    begin = datetime.now(UTC)
    rig.site.agent.until(lambda: len(rig.segments()) >= 3, 30, "it records")
    if not link_holds:
        rig.link.cut()
    assert rig.run_down() == 0
    assert (tmp_path / "switched-off").exists()

    left = rig.segments()
    assert not list((rig.site.spool / "writing").iterdir())
    for name, file in left.items():
        data = file.read_bytes()
        read_facts(data)
        assert hashlib.sha256(data).hexdigest() == name.sha256
    if link_holds:
        until(lambda: rig.presence().get("state") == "asleep", 5, "the centre knows why the site is dark")
        assert "battery at 8 %" in rig.presence()["reason"]
        (gasp,) = rig.told(EventType.AGENT_STOPPING)
        assert rig.archived(gasp), "it came on both lanes"
    else:
        assert not rig.told(EventType.AGENT_STOPPING)
        (gasp,) = (
            Event.model_validate_json((rig.site.spool / "ready" / str(name)).read_bytes())
            for name in rig.site.backlog(ItemKind.EVENT)
            if EventType.AGENT_STOPPING in (rig.site.spool / "ready" / str(name)).read_text()
        )
    assert (gasp.data.cause, gasp.data.charge_percent) == (LossCause.POWER, 8)
    last = max(left)
    assert (gasp.data.newest_sequence or 0) >= last.sequence
    assert gasp.data.recorded_until is not None
    assert round(gasp.data.recorded_until.timestamp() * 1000) == last.end_ms

    rig.link.restore()
    rig.charge("OL CHRG", 9)
    time.sleep(STEP_S)
    waiting = len(rig.site.backlog())
    rig.site.agent.start()
    until(lambda: rig.presence().get("run", gasp.data.run) != gasp.data.run, 20, "the site is back")
    assert "battery at 9 %: no cameras" in rig.presence()["reason"]
    words = {0: "nothing waits", 1: "1 item waits"}.get(waiting, f"{waiting} items wait")
    assert f"; {words}; " in rig.presence()["reason"]
    until(lambda: len(rig.told(EventType.AGENT_STARTED)) == 2, 5, "the first breath")
    started = rig.told(EventType.AGENT_STARTED)[0]
    breath = started.data
    assert (breath.cause, breath.previous_run, breath.backlog_items) == (LossCause.POWER, gasp.data.run, waiting)
    assert breath.slept_s == pytest.approx((started.time - gasp.time).total_seconds(), abs=1)
    heard = [row["event"] for row in rig.city.api(f"/events?site={rig.site.id}&limit=200")["events"]]
    assert [e["type"] for e in heard if e["data"]["run"] == breath.run][-1] == EventType.AGENT_STARTED, "said first"
    time.sleep(STEP_S)
    assert rig.segments() == left, "no camera before there is charge for one more ordered stop"
    assert len(rig.site.backlog()) > waiting or not waiting, "and no shipping"

    rig.charge("OL CHRG", 30)
    rig.site.agent.until(lambda: len(rig.segments()) >= len(left) + 3, 40, "it records again")
    recorded = set(rig.segments())
    end = datetime.fromtimestamp(max(recorded).end_ms / 1000, UTC)
    rig.site.agent.until(lambda: recorded <= _names(rig), 60, "all that was committed is at the centre")
    until(lambda: rig.archived(gasp), 10, "and so is the last gasp")
    until(lambda: "pending" not in _states(rig.timeline(begin, end)), 30, "the centre expects no more")
    dark = [gap for gap in rig.timeline(begin, end) if gap["state"] != "recorded"]
    assert {(gap["state"], gap["cause"]) for gap in dark} == {("lost", "power")}, json.dumps(dark, indent=1)
    assert all(one["to"] == other["from"] for one, other in pairwise(dark)), json.dumps(dark, indent=1)
    assert _second(dark[0]["from"]) == pytest.approx(last.end_ms / 1000, abs=0.5)


def _names(rig: Rig) -> set[ItemName]:
    return {name for name, _ in rig.city.archived(rig.site.id)}


def _states(timeline: list[dict[str, Any]]) -> set[str]:
    return {interval["state"] for interval in timeline}


def _second(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
