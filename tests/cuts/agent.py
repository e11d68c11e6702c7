"""Power cuts under a recording agent: a whole agent with two cameras, its spool on the disk, a centre elsewhere.

The camera numbers each picture and keeps a ledger, and the spool's promises are noted outside the disk as they are
made. After each cut the disk is read before the agent may: what was committed must be there or at the centre. At the
end everything is sent, and the pictures that arrived are compared with those that the camera sent.

The video that a cut costs are the pictures that the camera sent between the moment in which this life of the agent
began to record and the cut, and that nobody ever finds again.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av

from edge_agent.contract import ItemKind, ItemName
from tests.cuts import lives
from tests.cuts.lives import Life
from tests.cuts.outcome import Outcome
from tests.rig import clips
from tests.rig.city import City, Site
from tests.rig.clips import Clip
from tests.rig.link import Link
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.power_disk import Cut, PowerDisk
from tests.rig.processes import LateError, until
from tests.system import footage
from tests.system.footage import Camera, archived_pictures

_CLIP: Final = Clip(gop=13)
_FPS: Final = 25
_CAMERAS: Final = ("north", "south")
_EARLY: Final = 0.3
"""How many cuts come while the agent recovers from the one before."""
_EARLY_WRITES: Final = 20
_WRITES: Final = 45
_START_S: Final = 20
_LIFE_S: Final = 4
"""Whoever has not written so much by then is cut all the same."""


@dataclass(frozen=True, slots=True)
class _Lived:
    """One life: when each camera was first recorded in it, and how it ended."""

    begun_s: dict[str, float]
    cut: Cut


def cut_agent(seed: int, cuts: int, folder: Path, victim: str) -> Outcome:
    """So many cuts, one after the other."""
    require_rtsp_server()
    require_program("ffmpeg")
    with ExitStack() as stack:
        disk = stack.enter_context(PowerDisk(folder / "disk", 96))
        city = stack.enter_context(City(folder / "city"))
        cameras = {}
        for camera in _CAMERAS:
            (folder / camera).mkdir()
            cameras[camera] = stack.enter_context(footage.camera(clips.make(_CLIP), folder / camera))
        return _Ordeal(seed, folder, disk, city, cameras, victim).run(cuts)


class _Ordeal:
    def __init__(
        self, seed: int, folder: Path, disk: PowerDisk, city: City, cameras: dict[str, Camera], victim: str
    ) -> None:
        self._seed, self._folder, self._disk, self._city, self._cameras = seed, folder, disk, city, cameras
        self._victim = victim
        self._dice = random.Random(seed)
        self._link = Link()
        self._site = self._enrol()
        self._promised: dict[str, int] = {}
        """Names that must be somewhere for ever, with the life that promised it."""
        self._pictures: dict[str, set[str]] = {camera: set() for camera in _CAMERAS}
        self._read: set[str] = set()
        self._lived: list[_Lived] = []
        self._back_s: list[float] = []
        self._broken: set[int] = set()
        self._lost: set[str] = set()
        self._ungiven: set[str] = set()
        self._damaged: set[str] = set()
        self._left_over = 0
        self._findings: list[str] = []

    def _enrol(self) -> Site:
        cameras = [
            {"id": camera, "source": "rtsp", "url": real.url, "segment_s": 1, "snapshot_s": 0}
            for camera, real in self._cameras.items()
        ]
        spool = {"directory": str(self._disk.mount_point / "spool"), "quota_bytes": 64 << 20}
        return self._city.enrol("tugu-muda", "Tugu Muda", cameras, settings={"spool": spool}, link=self._link)

    def run(self, cuts: int) -> Outcome:
        begun_s = time.monotonic()
        self._city.open_centre()
        early = 0
        for number in range(cuts):
            early += self._live(number)
        self._last_life()
        took_s = time.monotonic() - begun_s
        missing_s = tuple(self._missing_s())
        ends = [lived.cut for lived in self._lived]
        return Outcome(
            victim=self._victim,
            seed=self._seed,
            cuts=len(ends),
            early=early,
            dropped=sum(cut.lost_sectors > 0 for cut in ends),
            sectors_kept=sum(cut.kept_sectors for cut in ends),
            sectors_lost=sum(cut.lost_sectors for cut in ends),
            promised=len(self._promised),
            receipted=len(self._at_centre()),
            lost_promised=len(self._lost),
            lost_receipted=len(self._ungiven),
            damaged=len(self._damaged),
            left_over=self._left_over,
            broken=len(self._broken),
            missing_s=missing_s,
            back_s=tuple(self._back_s),
            findings=tuple(self._findings[:20]),
            took_s=round(took_s, 1),
        )

    # --- lives ---

    def _live(self, number: int) -> bool:
        """One life and its end; whether that came before anything was recorded."""
        dice, disk = self._dice, self._disk
        journal = self._folder / f"life-{number}"
        dice.choice((self._link.cut, self._link.restore))()
        disk.mount()
        self._look(number - 1)
        seed = dice.getrandbits(32)
        early = dice.random() < _EARLY
        if early:
            disk.arm(dice.randint(1, _EARLY_WRITES), seed)
        started_s = time.monotonic()
        life = self._begin(journal)
        while not _records(journal) and disk.tally.cut is None:
            is_late = life.ended is not None or time.monotonic() - started_s > _START_S
            if is_late and disk.tally.cut is None:
                self._fail(number - 1, f"the agent did not come back: exit code {life.ended}")
                break
            time.sleep(0.01)
        else:
            if _records(journal):
                self._back_s.append(round(time.monotonic() - started_s, 3))
        if not early:
            disk.arm(dice.randint(1, _WRITES), seed)
        cut = disk.lose_power(_LIFE_S, seed)
        life.end()
        begun_s = self._promises(journal, number, cut.at_s)
        self._lived.append(_Lived(begun_s, cut))
        disk.power_on()
        return not begun_s

    def _begin(self, journal: Path) -> Life:
        life = Life(lives.agent, self._folder / "agent.log", self._site.config, journal)
        self._disk.feed(life.pid)
        return life

    def _promises(self, journal: Path, number: int, until_s: float) -> dict[str, float]:
        """What was promised while there was power is in the books; when each camera was first recorded."""
        begun_s: dict[str, float] = {}
        for line in journal.read_text().splitlines() if journal.exists() else []:
            at, word, what = line.split()
            if float(at) > until_s:
                break
            if word == "begin":
                begun_s.setdefault(what, float(at))
            else:
                self._promised[what] = number
        return begun_s

    def _last_life(self) -> None:
        """The link is up and the power stays; what is still on the disk arrives, and the agent stops in good order."""
        self._link.restore()
        self._disk.mount()
        number = len(self._lived) - 1
        self._look(number)
        journal = self._folder / "last-life"
        life = self._begin(journal)
        owed = self._promised.keys() - self._lost - self._damaged
        try:
            until(lambda: _records(journal), _START_S, "it records")
            until(lambda: owed <= self._at_centre(), 60, "everything is at the centre", every_s=0.2)
        except LateError as error:
            self._fail(number, str(error))
            for name in sorted(owed - self._at_centre()):
                self._lose(name)
        if (code := life.stop(15)) != 0:
            self._fail(number, f"the last life ended with {code}")
        life.end()
        self._look(number)
        spool = self._disk.mount_point / "spool"
        self._damaged |= {path.name for path in (spool / "quarantine").iterdir() if path.suffix != ".txt"}
        self._left_over = sum(1 for _ in (spool / "writing").iterdir())
        for _, path in self._city.archived(self._site.id):
            self._examine(path, number)

    # --- looking ---

    def _look(self, number: int) -> None:
        """What is on the disk after the cut of that number, before any agent sees it."""
        spool = self._disk.mount_point / "spool"
        found: dict[str, set[str]] = {}
        for folder in ("ready", "sent"):
            files = list((spool / folder).iterdir()) if (spool / folder).is_dir() else []
            found[folder] = {path.name for path in files}
            for path in files:
                self._examine(path, number)
        at_centre = self._at_centre()
        here = found["ready"] | found["sent"]
        for name in self._promised.keys() - here - at_centre - self._lost:
            self._lose(name)
        for name in found["sent"] - at_centre - self._ungiven:
            self._ungiven.add(name)
            self._fail(number, f"put aside as sent, but the centre has no {name}")
        for name in here:
            self._promised.setdefault(name, number + 1)

    def _examine(self, path: Path, number: int) -> None:
        """The file is what its name says, and plays; its pictures are found."""
        if path.name in self._damaged:
            return
        try:
            name = ItemName.parse(path.name)
            if hashlib.sha256(path.read_bytes()).hexdigest() != name.sha256:
                raise ValueError("its hash is not the one in its name")
            if name.kind is ItemKind.SEGMENT and path.name not in self._read:
                self._pictures[name.camera].update(archived_pictures([path], _CLIP.codec))
        except (OSError, ValueError, av.error.FFmpegError) as error:
            self._damaged.add(path.name)
            self._fail(number, f"damaged: {path.name}: {error}")
        self._read.add(path.name)

    def _at_centre(self) -> set[str]:
        """The names of the items that have a receipt."""
        columns = "run, sequence, kind, camera, start_ms, duration_ms, clock, sha256"
        with closing(sqlite3.connect(f"file:{self._city.directory}/central.sqlite?mode=ro", uri=True)) as store:
            rows = store.execute(f"select {columns} from items").fetchall()  # noqa: S608
        return {str(ItemName(run, n, ItemKind(kind), *rest)) for run, n, kind, *rest in rows}

    def _missing_s(self) -> list[float]:
        """Per cut, how much of the worst camera was never found again."""
        sent = {camera: real.sent() for camera, real in self._cameras.items()}
        for camera, found in self._pictures.items():
            if strange := len(found - {picture.digest for picture in sent[camera]}):
                self._fail(len(self._lived) - 1, f"{strange} pictures of {camera} that no camera sent")
        missing = []
        for number, lived in enumerate(self._lived):
            worst = 0
            for camera, begun_s in lived.begun_s.items():
                mine = {picture.digest for picture in sent[camera] if begun_s <= picture.at_s < lived.cut.at_s}
                worst = max(worst, len(mine - self._pictures[camera]))
            missing.append(worst / _FPS)
            if worst > _FPS:
                self._fail(number, f"{worst / _FPS:.2f} s of video are missing")
        return missing

    def _lose(self, name: str) -> None:
        self._lost.add(name)
        self._fail(self._promised[name], f"promised and lost: {name}")

    def _fail(self, number: int, finding: str) -> None:
        self._broken.add(max(0, number))
        self._findings.append(f"seed {self._seed}, cut {number + 1}: {finding}")


def _records(journal: Path) -> bool:
    """Whether every camera of this life is being recorded."""
    words = journal.read_text().splitlines() if journal.exists() else []
    return {what for _, word, what in map(str.split, words) if word == "begin"} >= set(_CAMERAS)
