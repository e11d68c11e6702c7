"""What the energy ladder is worth: power cuts of 1 to 8 h at a reference site, with it and without.

The site is a table of components and their watts; battery, cameras and time are simulated. What decides is the agent's
own: its guard with everything beneath it, and the job that switches cameras, on a clock that does not wait.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from edge_agent.contract import EventData, EventType, LossCause, Power, Step
from edge_agent.core.fusion import Heard
from edge_agent.core.status import CameraStatus, Feed
from edge_agent.core.supply import PowerReading
from edge_agent.jobs.feeds import Feeds
from edge_agent.jobs.guard import Guard
from edge_agent.place import Kept
from edge_agent.settings import PowerSettings
from tests.bench.report import Finding, Row
from tests.fakes import FakeClock
from tests.rig import clips
from tests.rig.parts import require_rtsp_server
from tests.rig.processes import until
from tests.rig.recorder import recording, segments
from tests.system.footage import camera


class Component(NamedTuple):
    """What one part takes, in watts at its own terminals, and who says so."""

    watts: float
    source: str


CAMERA_CLASS: Final = (
    "the middle of PoE class 3, 6.49 to 12.95 W (Axis, 'Power over Ethernet (PoE)', table 1); most surveillance "
    "cameras take over 7 W and are of that class (Synectics, 'PoE classification tech note')"
)
PARTS: Final = {
    "camera, infrared lamps on": Component(9.7, CAMERA_CLASS),
    "board, idle": Component(3.15, "Raspberry Pi idle (mpr-projects.com, 'RPi NAS: Extras - Power Consumption')"),
    "board, one core busy": Component(0.84, "the same page: active 6.5 W, idle 3.15 W; a quarter of that for one core"),
    "disk, idle": Component(0.275, "SATA SSD idle, the same page"),
    "disk, busy": Component(2.2, "the same page: active 2.5 W, less idle"),
    "PoE switch with a fibre port": Component(
        6.0, "MikroTik hEX PoE without attachments ('PoE Budgets and Specs', bookstack.bluecrow.net)"
    ),
}
CONVERTER: Final = 0.9
"""Converters from the battery to 5 V and to 48 V: a PoE module gives up to 87 to 92 % (szhhsheng.com, 'PoE isolation
separator'), a 48-to-5-V converter 92.5 % (TDK, FAQ 'Please describe the power consumption (loss)')."""
CORES: Final = {"recording": 0.15, "shipping": 0.2, "backfill": 0.6, "pictures": 0.05}
"""Our estimate of how much of one core each takes with four cameras."""
BUSY: Final = {"recording": 0.05, "shipping": 0.05, "backfill": 0.1, "pictures": 0.0}
"""Likewise of the disk."""
BOOT_S: Final = (40.0, 45.0)
"""A camera takes at least 40 to 50 s to boot (Westermo, MRI-120-F4G PSE manual, page 57) …"""
FIND_S: Final = (0.5, 5.0)
"""… and the recorder has it so much later: its next try, the session, a key frame."""
CAMERAS: Final = ("north", "south", "east", "west")
FULL_S: Final = 90 * 60
HOURS: Final = (1, 2, 4, 8)
TARGET_S: Final = 4 * 3600
TICK_S: Final = 0.5
CHANGES: Final = 10


def deed_w(deed: str) -> float:
    """What doing that takes from the battery."""
    watts = CORES[deed] * PARTS["board, one core busy"].watts + BUSY[deed] * PARTS["disk, busy"].watts
    return watts / CONVERTER


def base_w() -> float:
    """What always runs, from the battery."""
    idle_w = sum(PARTS[name].watts for name in ("board, idle", "disk, idle", "PoE switch with a fibre port"))
    return idle_w / CONVERTER + deed_w("recording")


@dataclass
class Camera:
    """It gives pictures some time after it got power."""

    chance: random.Random
    up_at_s: float = 0.0
    on: bool = True

    def switch(self, *, on: bool, now_s: float) -> None:
        if on and not self.on:
            self.up_at_s = now_s + self.chance.uniform(*BOOT_S) + self.chance.uniform(*FIND_S)
        self.on = on


@dataclass
class Told:
    """How a cut went. Sets are minutes since mains was lost."""

    seen: set[int] = field(default_factory=set)
    seen_of: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in CAMERAS})
    longest_dark_s: float = 0.0
    steps: list[tuple[float, Step]] = field(default_factory=list)
    verdicts: list[bool | None] = field(default_factory=list)
    used_ws: dict[Step, tuple[float, float]] = field(default_factory=dict)


class Site:
    """The reference site: its battery, its cameras, and the agent's guard and feeds."""

    def __init__(self, ladder: dict[str, object], camera_w: float) -> None:
        self.clock, self.chance = FakeClock(), random.Random(0)
        watts = {
            "base_w": base_w(),
            "camera_w": camera_w / CONVERTER,
            "backfill_w": deed_w("backfill"),
            "pictures_w": deed_w("pictures"),
            "shipping_w": deed_w("shipping"),
        }
        outlets = [{"camera": name, "command": ["switch", name]} for name in CAMERAS]
        self.settings = PowerSettings.model_validate({"ladder": {**watts, **ladder, "outlets": outlets}})
        self.plan = self.settings.plan(len(CAMERAS))
        usable = 1 - self.settings.stop_percent / 100
        self.capacity_ws = self.plan.loads_w[0] * FULL_S / usable
        self.left_ws = self.capacity_ws
        self.measures: frozenset[Step] = frozenset()
        self.stopped = False
        self.cameras = {name: Camera(self.chance) for name in CAMERAS}
        self.feeds = Feeds({name: Outlet(self, name) for name in CAMERAS}, self.settings.ladder.turns, self.clock)
        self.told = Told()
        self.mains = True
        self.began_s = self.now_s
        self.guard = Guard(
            self,
            self.settings,
            self.plan,
            self.show,
            self.announce,
            self.shed,
            self.stop,
            "000001aaaa",
            self.clock,
            Kept("battery.json"),
            lambda _: None,
        )

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_ms() / 1000

    def heard(self) -> tuple[Heard, ...]:
        """A mains line, and a gauge that errs by up to 0.3 %."""
        percent = 100 * self.left_ws / self.capacity_ws + self.chance.uniform(-0.3, 0.3)
        at_ms = self.clock.monotonic_ms()
        gauge = PowerReading(charge_percent=min(100.0, max(0.0, round(percent, 2))))
        return Heard("gpio", PowerReading(mains=self.mains), at_ms), Heard("i2c", gauge, at_ms)

    def show(self, power: Power) -> None:
        self.told.verdicts.append(power.reaches_target)

    def announce(self, kind: EventType, data: EventData) -> None:
        if kind is EventType.ENERGY_CHANGED:
            self.told.steps.append((self.now_s - self.began_s, Step(data.after or "")))

    def shed(self, measures: frozenset[Step]) -> None:
        self.measures = measures
        self.feeds.shed(measures)

    def stop(self, _reason: str) -> None:
        self.stopped = True

    def load_w(self) -> float:
        """What the battery gives now: by what has power, not by what the plan says."""
        ladder = self.settings.ladder
        watts = ladder.base_w + sum(one.on for one in self.cameras.values()) * ladder.camera_w
        if not self.measures & {Step.NO_BACKFILL, Step.RECORD_ONLY}:
            watts += ladder.backfill_w
        if Step.NO_PICTURE_CHECKS not in self.measures:
            watts += ladder.pictures_w
        if Step.RECORD_ONLY not in self.measures:
            watts += ladder.shipping_w
        return watts

    def live(self, cut_s: float) -> Told:
        """A minute on mains, then the cut, until it is over or the agent stops."""
        for _ in range(120):
            self.tick()
        self.mains, self.began_s = False, self.now_s
        seen_s = self.began_s
        while (into_s := self.now_s - self.began_s) < cut_s and not self.stopped and self.left_ws > 0:
            recorded = self.tick()
            for name in recorded:
                self.told.seen_of[name].add(int(into_s // 60))
            if recorded:
                self.told.seen.add(int(into_s // 60))
                seen_s = self.now_s
            self.told.longest_dark_s = max(self.told.longest_dark_s, self.now_s - seen_s)
        return self.told

    def tick(self) -> list[str]:
        """Half a second; which cameras were recorded in it."""
        self.guard.run_once()
        if self.clock.monotonic_ms() % 1000 == 0:
            self.feeds.run_once()
        load_w, step = self.load_w(), self.told.steps[-1][1] if self.told.steps else Step.FULL
        if not self.mains:
            self.left_ws -= load_w * TICK_S
            energy_ws, time_s = self.told.used_ws.get(step, (0.0, 0.0))
            self.told.used_ws[step] = energy_ws + load_w * TICK_S, time_s + TICK_S
        self.clock.advance(TICK_S)
        recorded = []
        for name, one in self.cameras.items():
            records = one.on and self.now_s >= one.up_at_s and self.feeds.feed(name) is not Feed.OFF
            self.feeds.see(CameraStatus(name, 0, recording=records))
            if records:
                recorded.append(name)
        return recorded


class Outlet:
    """The port of one camera."""

    def __init__(self, site: Site, name: str) -> None:
        self._site, self._name = site, name

    def switch(self, *, on: bool) -> None:
        self._site.cameras[self._name].switch(on=on, now_s=self._site.now_s)

    def close(self) -> None:
        pass


NO_LADDER: Final[dict[str, object]] = {"steps": []}
BY_MARKS: Final[dict[str, object]] = {}
FOR_TARGET: Final[dict[str, object]] = {"survive_s": TARGET_S, "full_s": FULL_S}
NIGHT_W: Final = PARTS["camera, infrared lamps on"].watts
DAY_W: Final = 6.0
"""By day a camera without its lamps; then the battery is smaller, too: it is for 90 min of that."""


def told(ladder: dict[str, object], hours: float, camera_w: float = NIGHT_W) -> Told:
    """How the site fares."""
    return Site(ladder, camera_w).live(hours * 3600)


def camera_minutes(one: Told) -> int:
    """Minutes with a picture, of each camera, together."""
    return sum(len(minutes) for minutes in one.seen_of.values())


def measure() -> Finding:
    """Minutes with a picture of the site, with the ladder and without."""
    rows: list[Row] = []
    for hours in HOURS:
        ours, peer = told(FOR_TARGET, hours), told(NO_LADDER, hours)
        enough = 240 / max(1, len(peer.seen)) if hours == 4 else None
        rows.append(
            Row(
                f"cut of {hours} h: minutes with a picture of the site",
                "min",
                len(ours.seen),
                len(peer.seen),
                enough,
                True,
            )
        )
        rows.append(
            Row(
                f"cut of {hours} h: the same of each camera, together",
                "min",
                camera_minutes(ours),
                camera_minutes(peer),
            )
        )
        if hours == 8:
            rows += _of_the_long_cut(ours, peer)
    marks, none = told(BY_MARKS, 8), told(NO_LADDER, 8)
    rows.append(Row("cut of 8 h, default marks: minutes with a picture", "min", len(marks.seen), len(none.seen)))
    day, day_none = told(FOR_TARGET, 4, DAY_W), told(NO_LADDER, 4, DAY_W)
    rows.append(Row("cut of 4 h, cameras of 6 W: minutes with a picture", "min", len(day.seen), len(day_none.seen)))
    rows.append(Row("the same: the agent says that it cannot be reached", "yes = 1", float(False in day.verdicts), 0))
    holes_s = sorted(changes_s())
    rows.append(Row("change to the sub stream and back, hole: median", "s", holes_s[len(holes_s) // 2], 0))
    rows.append(Row("the same: longest", "s", holes_s[-1], 0))
    return Finding(
        peer="the same site without the ladder",
        method=(
            f"{len(CAMERAS)} cameras, {Site(BY_MARKS, NIGHT_W).plan.loads_w[0]:.1f} W at full load, a battery that "
            "feeds that for 90 min until the ordered stop; target 4 h; guard, ladder and turns are the agent's, "
            "battery and cameras are simulated; the change of streams is real; parts and sources: tests/bench/power.py"
        ),
        rows=rows,
        ours="the site with the ladder",
    )


def _is_of_session(spool: Path, session: int) -> bool:
    return segments(spool)[-1][1].session == session


def changes_s() -> list[float]:
    """The holes that changing over leaves, against a real camera with a key frame each second."""
    require_rtsp_server()
    with (
        TemporaryDirectory() as folder,
        camera(clips.make(clips.H264), Path(folder), options=["--mounts", "2"]) as real,
        recording(
            Path(folder) / "spool", url=f"{real.url}1", sub_url=f"{real.url}2", segment_s=1, snapshot_s=0
        ) as site,
    ):
        spool = site.directory
        until(lambda: segments(spool), 20, "a segment")
        for number in range(CHANGES):
            site.feed = Feed.MAIN if number % 2 else Feed.SUB
            until(partial(_is_of_session, spool, number + 2), 30, "the other stream")
        return [facts.gap_before_ms / 1000 for _, facts, _ in segments(spool) if facts.gap_cause is LossCause.POWER]


def _stop_s(one: Told) -> float:
    return next(at_s for at_s, step in one.steps if step is Step.STOP)


def _of_the_long_cut(ours: Told, peer: Told) -> Sequence[Row]:
    energy_ws, time_s = ours.used_ws[Step.RECORD_ONLY]
    peer_ws, peer_s = peer.used_ws[Step.FULL]
    return (
        Row("cut of 8 h: longest time without a picture before the stop", "s", ours.longest_dark_s, 60, 1),
        Row("load at the last step, and at full load", "W", energy_ws / time_s, peer_ws / peer_s),
        Row("cut of 8 h: the ordered stop comes after", "min", _stop_s(ours) / 60, _stop_s(peer) / 60),
    )
