"""The city that the story plays in: a real centre, three real agents, rendered cameras, links that can be cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from edge_agent.contract import Event, EventType, ItemKind, ItemName, LinkPart, Power, PresenceState
from tests.demo.story import BATTERY_SHARE
from tests.demo.view import News, SiteView, View, told
from tests.rig.city import City, Site, Table
from tests.rig.link import Link
from tests.rig.processes import LateError

CROSSINGS: Final = (
    ("simpang-lima", "Simpang Lima", (-6.9903, 110.4229)),
    ("tugu-muda", "Tugu Muda", (-6.9841, 110.4094)),
    ("bangkong", "Bangkong", (-6.9946, 110.4338)),
)
WITHOUT_FIBRE: Final = "tugu-muda"
WITHOUT_POWER: Final = "bangkong"
_STARTS_S: Final = 60


class Stage:
    """The deeds of the story, and the view of the city."""

    def __init__(self, city: City, length_s: float) -> None:
        self.city = city
        self._fibre = Link()
        self._without_power = False
        self._states: dict[str, Any] = {}
        self._page = ""
        self.length_s = length_s
        self._begun = time.monotonic()
        self._begun_at = datetime.now(UTC)
        self._line: datetime | None = None
        self._diaries: dict[str, _Diary] = {}
        self._news: list[News] = []

    # --- what the story does ---

    def raise_curtain(self) -> None:
        battery_s = self.length_s * BATTERY_SHARE
        for site, name, place in CROSSINGS:
            made = self.city.enrol(
                site,
                name,
                [{"id": "utara", "source": "scene", "segment_s": 2, "snapshot_s": 10}],
                place=place,
                link=self._fibre if site == WITHOUT_FIBRE else None,
                settings={
                    "spool": {"quota_bytes": 512 * 1024**2},
                    "power": {
                        "simulated": {"capacity_s": battery_s, "recharge_s": battery_s},
                        "low_percent": 40,
                        "stop_percent": 20,
                        "ladder": {
                            "steps": [
                                {"step": "no-public-stream", "percent": 80},
                                {"step": "no-picture-checks", "percent": 60},
                            ]
                        },
                    },
                },
            )
            self._diaries[site] = _Diary(name, made)
        self.city.open_centre(_STARTS_S)
        self._page = self.city.console
        for made in self.city.sites.values():
            made.agent.start()

    def cut_fibre(self) -> None:
        self._tell(WITHOUT_FIBRE, "a branch takes the fibre down", grave=True)
        self._fibre.cut()

    def restore_fibre(self) -> None:
        self._tell(WITHOUT_FIBRE, "the fibre is spliced")
        self._fibre.restore()

    def cut_power(self) -> None:
        self._tell(WITHOUT_POWER, "mains is gone", grave=True)
        self._without_power = True
        self.city.sites[WITHOUT_POWER].mains(on=False)

    def return_power(self) -> None:
        self._tell(WITHOUT_POWER, "mains is back, the box starts")
        self.city.sites[WITHOUT_POWER].mains(on=True)
        self.city.sites[WITHOUT_POWER].agent.start()
        self._without_power = False

    def draw_line(self) -> None:
        self._line = datetime.now(UTC)

    # --- what the story asks ---

    def all_online(self) -> bool:
        return all(self._presence(site) is PresenceState.ONLINE and diary.arrived_s for site, diary in self._each())

    def site_is_dark(self) -> bool:
        return self._presence(WITHOUT_FIBRE) is PresenceState.OFFLINE

    def backlog_is_filled(self) -> bool:
        return self._diaries[WITHOUT_FIBRE].kept_s == 0

    def on_battery(self) -> bool:
        power = self._power(WITHOUT_POWER)
        return power is not None and power.supply != "mains"

    def asleep(self) -> bool:
        gone = not self.city.sites[WITHOUT_POWER].agent.running
        return gone and self._presence(WITHOUT_POWER) is PresenceState.ASLEEP

    def all_arrived(self) -> bool:
        rows = self.completeness()
        return len(rows) >= len(CROSSINGS) and not any(row["pending_s"] for row in rows)

    def completeness(self) -> list[Table]:
        """The centre's account of the story until the line."""
        since, line = (quote(at.isoformat()) for at in (self._begun_at, self._line or datetime.now(UTC)))
        rows: list[Table] = self.city.api(f"/completeness?from={since}&to={line}")["rows"]
        return rows

    # --- what is to be seen ---

    def look(self) -> None:
        """All the rest is as of now; LateError when a process has ended that should not."""
        self._check()
        self._states = {state["site"]: state for state in self.city.api("/sites")["sites"]}
        for _, diary in self._each():
            self._news += diary.read()

    def _check(self) -> None:
        for program in (self.city.centre, *(site.agent for site in self.city.sites.values())):
            may_sleep = self._without_power and program is self.city.sites[WITHOUT_POWER].agent
            if not program.running and not (may_sleep and program.wait(0) == 0):
                raise LateError(f"{program.name} ended in the middle of the story\n{program.last_words()}")

    def view(self, chapter: int) -> View:
        """The picture as of the last look."""
        sites = tuple(
            SiteView(
                name=diary.name,
                alive=diary.site.agent.running,
                presence=self._presence(site),
                power=self._power(site),
                broken=diary.broken,
                kept_s=diary.kept_s,
                arrived_s=diary.arrived_s,
            )
            for site, diary in self._each()
        )
        elapsed_s = time.monotonic() - self._begun
        return View(elapsed_s, self.length_s, chapter, sites, tuple(self._news), self._page)

    def _each(self) -> Iterator[tuple[str, _Diary]]:
        yield from self._diaries.items()

    def _presence(self, site: str) -> PresenceState | None:
        state = self._states.get(site, {}).get("presence")
        return PresenceState(state["state"]) if state else None

    def _power(self, site: str) -> Power | None:
        state = self._states.get(site, {}).get("power")
        return Power.model_validate(state) if state else None

    def _tell(self, site: str, text: str, *, grave: bool = False) -> None:
        self._news.append(News(datetime.now(UTC), self._diaries[site].name, text, grave))


class _Diary:
    """What the disk of a site tells of it, whether the centre can see the site or not."""

    def __init__(self, name: str, site: Site) -> None:
        self.name, self.site = name, site
        self.broken = LinkPart.NONE
        self.kept_s = self.arrived_s = 0.0
        self._read: set[str] = set()

    def read(self) -> Iterator[News]:
        """The events since the last time; what is kept and what arrived is up to date."""
        kept, arrived = _names(self.site.spool / "ready"), _names(self.site.spool / "sent")
        self.kept_s, self.arrived_s = _video_s(kept), _video_s(arrived)
        for name in sorted(kept + arrived):
            if name.kind is ItemKind.EVENT and str(name) not in self._read:
                event = self._event(name)
                if event is not None:
                    self._read.add(str(name))
                    if event.type is EventType.LINK_CHANGED:
                        self.broken = LinkPart(event.data.after or LinkPart.NONE)
                    yield told(self.name, event)

    def _event(self, name: ItemName) -> Event | None:
        for folder in ("ready", "sent"):
            try:
                return Event.model_validate_json((self.site.spool / folder / str(name)).read_bytes())
            except FileNotFoundError:
                continue  # it was sent meanwhile
        return None


def _names(folder: Path) -> list[ItemName]:
    return [ItemName.parse(path.name) for path in folder.iterdir()] if folder.is_dir() else []


def _video_s(names: list[ItemName]) -> float:
    return sum(name.duration_ms for name in names if name.kind is ItemKind.SEGMENT) / 1000
