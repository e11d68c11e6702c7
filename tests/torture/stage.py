"""The city that is tortured: built, struck by the strokes of a schedule, mended, and asked for the evidence."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import random
import subprocess
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import av

from edge_agent.contract import Event, ItemKind, ItemName, LossCause, read_facts
from tests.rig.city import City
from tests.rig.clock_shim import ClockShim
from tests.rig.keeper import Keeper
from tests.rig.link import Link
from tests.rig.port import Port
from tests.rig.processes import until
from tests.rig.stranger import Stranger
from tests.system.footage import archived_pictures
from tests.torture.account import Account, Blow, Evidence, Shot, Stretch, Word, twice
from tests.torture.crossing import CAMERA, CLIP, Centre, Crossing, Eye, Place, Twin
from tests.torture.disk import Disk
from tests.torture.faults import Fault
from tests.torture.hostile import INTRUDER
from tests.torture.schedule import Stroke

QUIET_S: Final = 8.0
"""After the last fault the cameras go on for so long, to see the recording back."""
_STARTS_S: Final = 60.0
_SETTLES_S: Final = 90.0
"""How long the last of the backlog may take."""
_ANSWERS_S: Final = 120.0
"""How long the centre may take to tell of the whole campaign."""
_MIB: Final = 1024**2
_DISK_MIB: Final = 1024


@dataclass
class Action:
    """Something to do at a moment of the campaign."""

    at_s: float
    number: int
    deed: Callable[[], None]

    def __lt__(self, other: Action) -> bool:
        return (self.at_s, self.number) < (other.at_s, other.number)


@dataclass
class Stage:
    """A centre and crossings that run; `say` is told of everything that happens."""

    folder: Path
    seed: int
    sites: Sequence[str]
    with_root: bool
    """Whether each end has a disk of its own, and each site a network port."""
    say: Callable[[str], None]
    blows: list[Blow] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What the city did not bring about by itself at the end."""

    def __post_init__(self) -> None:
        self._exit = ExitStack()
        self._crossings: dict[str, Crossing] = {}
        self._begun_s = 0.0

    # --- the city ---

    def __enter__(self) -> Self:
        with self._exit:
            self._build()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _build(self) -> None:
        enter = self._exit.enter_context
        # Disks are the last to go, when nobody can be writing.
        disks = {place: self._disk(place or "centre") for place in (*self.sites, "")}
        stranger = enter(Stranger())
        home = self._home("centre", disks[""])
        self._city = city = enter(City(self.folder / "city", {"broker": {"mode": "mosquitto"}}, directory=home))
        self._keeper = enter(Keeper())
        intruder = tomllib.loads(city.central("enrol", INTRUDER))["centre"]["token"]
        for site in self.sites:
            self._crossings[site] = self._crossing(site, disks[site], stranger, intruder)
        dice = random.Random(f"{self.seed} centre")
        self._centre = Centre("", dice, self._keeper, disks[""], city=city)
        self._keeper.keep(city.centre)
        until(lambda: city.centre.running and self._serves(), _STARTS_S, "the centre serves")
        for crossing in self._crossings.values():
            self._keeper.keep(crossing.agent)
        for crossing in self._crossings.values():
            self._await_online(crossing, _STARTS_S)
            until(lambda: any(True for _ in crossing.eye.sent()), _STARTS_S, "the camera sends")  # noqa: B023

    def _serves(self) -> bool:
        return self._city.serving().get("pid") == self._city.centre.pid

    def _await_online(self, crossing: Crossing, seconds: float) -> None:
        def is_online() -> bool:
            with contextlib.suppress(OSError, KeyError):  # the centre may be coming up
                return self._city.presence(crossing.name) == "online"
            return False

        until(is_online, seconds, f"{crossing.name} is online", every_s=0.5)

    def _disk(self, name: str) -> Disk | None:
        if not self.with_root:
            return None
        disk = self._exit.enter_context(Disk(self.folder / f"disk-{name}", _DISK_MIB))
        disk.mount()
        return disk

    def _home(self, name: str, disk: Disk | None) -> Path:
        """A folder on that disk, if there is one."""
        above = disk.mount_point if disk else self.folder / name
        above.mkdir(exist_ok=True)
        return above / name

    def _crossing(self, site: str, disk: Disk | None, stranger: Stranger, intruder: str) -> Crossing:
        enter, city, folder = self._exit.enter_context, self._city, self.folder / f"around-{site}"
        folder.mkdir()
        door, bus, eye, clock = enter(Link()), enter(Link()), enter(Eye(folder)), enter(ClockShim(folder))
        twin, port = enter(Twin(folder)), enter(Port()) if self.with_root else None
        spool: dict[str, Any] = {"directory": str(folder / "spool"), "quota_bytes": 96 * _MIB, "reserve_bytes": _MIB}
        if disk:
            spool |= {"directory": str(disk.mount_point / "spool"), "mount": str(disk.mount_point)}
        settings = {
            "spool": spool,
            "centre": {"url": f"http://127.0.0.1:{door.lay(city.agent_door)}"},
            "broker": {"host": "127.0.0.1", "port": bus.lay(city.broker)},
            "link": {"interface": port.name if port else "lo"},
            "report": {"telemetry_s": 10},
        }
        filming = {"id": CAMERA, "source": "rtsp", "url": eye.url, "segment_s": 1, "snapshot_s": 20, "stall_s": 5}
        environment = clock.environment | {"STATE_DIRECTORY": str(folder)}
        made = city.enrol(site, site, [filming], settings=settings, environment=environment)
        return Crossing(
            site,
            random.Random(f"{self.seed} {site}"),
            self._keeper,
            disk,
            site=made,
            eye=eye,
            twin=twin,
            port=port,
            door=door,
            bus=bus,
            clock=clock,
            stranger=stranger.address,
            intruder=intruder,
            city=city,
        )

    # --- the campaign ---

    def live(self, strokes: Sequence[Stroke], faults: Collection[Fault[Any]], length_s: float) -> None:
        """Every stroke has struck and is over, and the cameras have gone on for a while."""
        kinds = {fault.name: fault for fault in faults}
        self._begun_s = time.time()
        actions: list[Action] = []
        for number, stroke in enumerate(strokes):
            self._plan(actions, number, stroke, kinds[stroke.fault])
        heapq.heapify(actions)
        while actions:
            action = heapq.heappop(actions)
            time.sleep(max(0.0, self._begun_s + action.at_s - time.time()))
            self._try(action.deed)
        time.sleep(max(0.0, self._begun_s + length_s - time.time()) + QUIET_S)

    def _plan(self, actions: list[Action], number: int, stroke: Stroke, fault: Fault[Any]) -> None:
        place: Place = self._crossings[stroke.place] if stroke.place else self._centre
        begun: list[float] = []

        def begin() -> None:
            where = stroke.place or "centre"
            self.say(f"{stroke.at_s:7.1f} s  {where}: {fault.name}, for {stroke.lasts_s:.1f} s")
            begun.append(time.time())
            fault.begin(place)

        def end() -> None:
            try:
                fault.end(place)
            finally:
                self.blows.append(Blow(stroke.place, fault.name, begun[0], time.time()))

        actions.append(Action(stroke.at_s, number, begin))
        if fault.again:
            every_s, deed = fault.again
            turns = range(1, int(stroke.lasts_s / every_s) + 1)
            actions += [Action(stroke.at_s + turn * every_s, number, lambda: deed(place)) for turn in turns]
        actions.append(Action(stroke.ends_s, number, end))

    # --- the end ---

    def settle(self) -> None:
        """The cameras have stopped, and the centre has all there is; what does not come is a trouble."""
        for crossing in self._crossings.values():
            self._try(lambda: self._await_online(crossing, _SETTLES_S))  # noqa: B023
            crossing.eye.now.say("stall")
        self.ended_s = time.time()
        for crossing in self._crossings.values():
            site = crossing.site
            whole = f"the last segment of {site.id} is whole"
            self._try(lambda: until(lambda: not list((site.spool / "writing").iterdir()), 30, whole))  # noqa: B023
            self._try(lambda: self._city.await_drained(site.id, _SETTLES_S))  # noqa: B023
        for crossing in self._crossings.values():
            known = f"the centre expects no more of {crossing.name}"
            self._try(lambda: until(lambda: not self._is_open(crossing), _SETTLES_S, known, every_s=1))  # noqa: B023

        self._try(lambda: self._city.central("verify"))

    def _try(self, wait: Callable[[], object]) -> None:
        try:
            wait()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            trouble = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.say(f"         trouble: {trouble}")
            self.troubles.append(trouble)

    def _is_open(self, crossing: Crossing) -> bool:
        with contextlib.suppress(OSError, KeyError):
            return any(stretch.state == "pending" for stretch in self._stretches(crossing))
        return True

    def _stretches(self, crossing: Crossing) -> list[Stretch]:
        """What the centre says of each moment from the first picture to the last."""
        first_s = next(crossing.eye.sent()).at_s
        span = "&".join(
            f"{key}={quote(datetime.fromtimestamp(at_s, UTC).isoformat())}"
            for key, at_s in (("from", first_s), ("to", self.ended_s))
        )
        answer = self._city.api(f"/sites/{crossing.name}/cameras/{CAMERA}/timeline?{span}", _ANSWERS_S)
        return [
            Stretch(
                datetime.fromisoformat(interval["from"]).timestamp(),
                datetime.fromisoformat(interval["to"]).timestamp(),
                interval["state"],
                LossCause(interval["cause"]) if interval["cause"] else None,
                interval["detail"],
            )
            for interval in answer["intervals"]
        ]

    # --- the evidence ---

    def evidence(self, account: Account) -> Iterator[Evidence]:
        """All there is to know of each camera; what concerns no camera is noted in the account."""
        for crossing in self._crossings.values():
            yield self._evidence_of(crossing, account)
        for place in (*self._crossings.values(), self._centre):
            for what in place.wrong:
                account.find(place.name, self.ended_s, what)
        for trouble in self.troubles:
            account.find("", self.ended_s, trouble)
        for program in (self._city.centre, *(crossing.agent for crossing in self._crossings.values())):
            if "Traceback" in program.output():
                account.find(program.name, self.ended_s, f"a traceback in {program.log}")

    def _evidence_of(self, crossing: Crossing, account: Account) -> Evidence:
        files = self._city.archived(crossing.name)
        for _, run, sequence in twice((name.camera, name.run, name.sequence) for name, _ in files):
            account.total.duplicates += 1
            account.find(crossing.name, self.ended_s, f"the item {run}/{sequence} is there twice")
        names = {name for name, _ in files}
        sent = crossing.site.spool / "sent"
        for name in sorted(ItemName.parse(path.name) for path in sent.iterdir()):
            if name not in names:
                account.find(crossing.name, name.start_ms / 1000, f"the centre gave a receipt and does not have {name}")
        corrupt = [(name.start_ms / 1000, f"{name}: {why}") for name, file in files if (why := _wrong(name, file))]
        bad = {what.partition(":")[0] for _, what in corrupt}
        strangers = crossing.twin.runs()
        ours = [(name, file) for name, file in files if name.run not in strangers]
        segments = [file for name, file in ours if name.kind is ItemKind.SEGMENT and str(name) not in bad]
        return Evidence(
            site=crossing.name,
            picture_s=1 / float(CLIP.fps),
            sent=[Shot(sent.at_s, sent.digest) for sent in crossing.eye.sent()],
            stored=archived_pictures(segments, CLIP.codec),
            arrived_s=[file.stat().st_mtime for _, file in ours],
            stretches=self._stretches(crossing),
            blows=[blow for blow in self.blows if blow.place in ("", crossing.name)],
            until_s=self.ended_s,
            corrupt=corrupt,
            words=list(self._words(crossing)),
        )

    def _words(self, crossing: Crossing) -> Iterator[Word]:
        """What the centre knows to have happened there, the newest first."""
        path = f"/events?site={crossing.name}&limit=1000"
        page = self._city.api(path, _ANSWERS_S)["events"]
        while page:
            for told in page:
                received_s = datetime.fromisoformat(told["received_at"]).timestamp()
                yield Word(received_s, Event.model_validate(told["event"]))
            page = self._city.api(f"{path}&before={page[-1]['number']}", _ANSWERS_S)["events"]

    def completeness(self) -> list[dict[str, Any]]:
        """The centre's own account."""
        rows: list[dict[str, Any]] = self._city.api("/completeness", _ANSWERS_S)["rows"]
        return rows


def _wrong(name: ItemName, file: Path) -> str:
    """Why the object is not the item that its name says; empty when it is."""
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != name.sha256:
        return "its bytes do not have the hash in its name"
    if name.kind is not ItemKind.SEGMENT:
        return ""
    try:
        facts = read_facts(data)
        pictures = sum(Counter(archived_pictures([file], CLIP.codec)).values())
    except (ValueError, av.error.FFmpegError) as error:
        return f"it cannot be read: {error}"
    return "" if pictures == facts.packets else f"it has {pictures} pictures, and says {facts.packets}"
