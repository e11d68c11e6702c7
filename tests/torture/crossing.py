"""The places that faults strike: a crossing with everything that can break there, and the centre."""

from __future__ import annotations

import contextlib
import random
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil

from edge_agent.contract import ItemName
from tests.rig import clips
from tests.rig.city import City, Site, to_toml
from tests.rig.clips import Clip
from tests.rig.clock_shim import ClockShim
from tests.rig.keeper import Keeper
from tests.rig.link import Address, Link, free_port
from tests.rig.port import Port
from tests.rig.processes import EDGE_AGENT, Program
from tests.system.footage import Camera, Sent, camera
from tests.torture.disk import Disk

CLIP: Final = Clip(width=320, height=180, fps="10", gop=10, bitrate="120k")
CAMERA: Final = "utara"
_LIFE: Final = 10_000_000
"""Pictures of the n-th life of a camera have numbers from n times this."""
_FIRST_OF_TWINS: Final = 100
"""No camera of a crossing lives so often."""


class Eye:
    """The camera of a crossing: life after life at one address, no number given twice.

    `first` is the number of its first life, for several that must not send the same picture.
    """

    def __init__(self, folder: Path, first: int = 1) -> None:
        self._folder = folder
        self._first = first
        self._port = free_port()
        self._lives = ExitStack()
        self._ledgers: list[Camera] = []

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/camera"

    @property
    def now(self) -> Camera:
        """The life that it lives."""
        return self._ledgers[-1]

    def start(self) -> None:
        number = self._first + len(self._ledgers)
        folder = self._folder / f"camera-{number}"
        folder.mkdir()
        options = ("--port", str(self._port), "--first", str(number * _LIFE), "--eager")
        life = self._lives.enter_context(camera(clips.make(CLIP), folder, options=options))
        assert life.url == self.url, f"the camera does not start: {(folder / 'camera.log').read_text()}"
        self._ledgers.append(life)

    def die(self) -> None:
        """Without a word, as when its power fails."""
        self.now.process.kill()
        self.now.process.wait()

    def sent(self) -> Iterator[Sent]:
        """What it ever sent."""
        for life in self._ledgers:
            yield from life.sent()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lives.close()


class Twin:
    """A second box with the identity of a site, as if its card had been copied; a spool and a camera of its own.

    Each time it is a new one. It reaches the centre whatever becomes of the link of the site.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._life = ExitStack()
        self._homes: list[Path] = []

    def start(self, site: Site, city: City, environment: Mapping[str, str]) -> None:
        """It is there."""
        home = self._folder / f"twin-{len(self._homes) + 1}"
        home.mkdir()
        self._homes.append(home)
        eye = self._life.enter_context(Eye(home, _FIRST_OF_TWINS + len(self._homes)))
        settings = tomllib.loads(site.config.read_text())
        settings["spool"] |= {"directory": str(home / "spool")}
        settings["centre"]["url"] = "http://{}:{}".format(*city.agent_door)
        settings["broker"] |= dict(zip(("host", "port"), city.broker, strict=True))
        settings["cameras"][0]["url"] = eye.url
        settings["link"]["interface"] = "lo"
        settings["spool"].pop("mount", None)
        (home / "spool").mkdir()
        (home / "agent.toml").write_text(to_toml(settings))
        command: list[str | Path] = [*EDGE_AGENT, "run", "--config", home / "agent.toml"]
        agent = self._life.enter_context(Program(f"twin of {site.id}", command, home / "agent.log", environment))
        self._life.callback(agent.start().kill)

    def end(self) -> None:
        """It is gone at once, with whatever it has not sent."""
        self._life.close()

    def runs(self) -> set[str]:
        """The names of its lives, by what it made."""
        made = (path for home in self._homes for path in home.glob("spool/*/*_*"))
        return {path.name.partition("_")[0] for path in made}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()


@dataclass
class Place:
    """Where a fault strikes; what the fault itself finds wrong is noted."""

    name: str
    dice: random.Random
    keeper: Keeper
    disk: Disk | None
    """None where the rig may not make one."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Crossing(Place):
    """A site and everything around it."""

    site: Site = field(kw_only=True)
    eye: Eye = field(kw_only=True)
    twin: Twin = field(kw_only=True)
    port: Port | None = field(kw_only=True)
    """None where the rig may not make one."""
    door: Link = field(kw_only=True)
    bus: Link = field(kw_only=True)
    clock: ClockShim = field(kw_only=True)
    stranger: Address = field(kw_only=True)
    intruder: str = field(kw_only=True)
    """The token of a site that means no good."""
    city: City = field(kw_only=True)
    is_cut: bool = False
    broken_ms: int = 0
    """Since when the link is down, for those that damage what waits."""

    @property
    def agent(self) -> Program:
        return self.site.agent

    def ways(self, deed: Callable[[Link], None]) -> None:
        """Done to the way to the door and to the way to the broker."""
        deed(self.door)
        deed(self.bus)

    def unsent(self) -> Sequence[Path]:
        """The segments that wait in the spool since the link broke."""
        found = sorted((self.site.spool / "ready").glob("*_segment_*"))
        return [path for path in found if ItemName.parse(path.name).start_ms >= self.broken_ms]


@dataclass
class Centre(Place):
    """The centre and what it runs."""

    city: City = field(kw_only=True)

    @property
    def program(self) -> Program:
        return self.city.centre

    @contextlib.contextmanager
    def all_killed(self) -> Iterator[None]:
        """In the end the centre and all it ran at the beginning are gone, whoever killed them."""
        children = psutil.Process(self.program.pid).children(recursive=True) if self.program.running else []
        yield
        self.keeper.kill(self.program)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
                child.wait(5)

    def broker(self) -> psutil.Process | None:
        """Its own broker, if it runs."""
        if not self.program.running:
            return None
        children = psutil.Process(self.program.pid).children(recursive=True)
        return next((child for child in children if child.name() == "mosquitto"), None)
