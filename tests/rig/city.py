"""A city in a scratch folder: a real centre, and sites that were enrolled at it, each with a link of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from central.broker import READER
from edge_agent.contract import ItemKind, ItemName
from tests.rig.link import Link, free_port
from tests.rig.processes import CENTRAL, EDGE_AGENT, Program, stop_all, until

Table = dict[str, Any]

QUICK: Final[Table] = {
    "broker": {"keepalive_s": 5},
    "spool": {"reserve_bytes": 0},
    "report": {"telemetry_s": 5},
}
"""Settings of an agent that is watched by somebody who waits."""


_FETCH: Final = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=10).read())"
"""What a Python of its own runs to ask a console that only its network reaches."""


@dataclass(frozen=True)
class Site:
    """One crossing: its agent and its files."""

    id: str
    folder: Path
    config: Path
    spool: Path
    agent: Program

    def mains(self, on: bool) -> None:
        """The grid feeds the site, or not; the simulated battery notices."""
        scratch = self.folder / "mains.new"
        scratch.write_text(json.dumps({"mains": on}))
        scratch.rename(self.folder / "mains.json")

    def backlog(self, kind: ItemKind | None = None) -> list[ItemName]:
        """What the spool holds without a receipt, as its folder shows."""
        ready = self.spool / "ready"
        names = [ItemName.parse(path.name) for path in ready.iterdir()] if ready.is_dir() else []
        return [name for name in names if kind in {None, name.kind}]


class City:
    """The centre with its sites; leaving the context ends every process, the sites first.

    The doors of the centre are at free ports of `host`. `prefix` is what a command begins with to run where the centre
    is, for a network of its own. `settings` is laid over the centre's configuration, and `directory` is where the
    centre lives, if not in the folder.
    """

    def __init__(
        self,
        folder: Path,
        settings: Table | None = None,
        *,
        host: str = "127.0.0.1",
        prefix: Sequence[str | Path] = (),
        directory: Path | None = None,
    ) -> None:
        self.folder = folder
        self.directory = directory or folder / "centre"
        self.sites: dict[str, Site] = {}
        self._exit = ExitStack()
        self._prefix = prefix
        self.agent_door, self.broker = (host, free_port()), (host, free_port())
        ours = {
            "directory": str(self.directory),
            "agent_listen": f"{host}:{self.agent_door[1]}",
            "console_listen": "127.0.0.1:0",
            "reserve_bytes": 0,
            "broker": {"listen": f"{host}:{self.broker[1]}"},
        }
        for made in (folder, self.directory):
            made.mkdir(parents=True, exist_ok=True)
        self.config = folder / "centre.toml"
        self.config.write_text(to_toml(merged(ours, settings or {})))
        self.centre = Program("centre", [*prefix, *CENTRAL, "serve", "--config", self.config], folder / "centre.log")

    def enrol(
        self,
        site: str,
        name: str,
        cameras: Sequence[Table],
        *,
        place: tuple[float, float] | None = None,
        settings: Table | None = None,
        link: Link | None = None,
        prefix: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Site:
        """The centre knows the site, which has its configuration; nothing of it runs yet.

        `cameras` are tables as in the agent's configuration, `settings` is laid over the rest of it. Without a link
        the site reaches the centre directly.
        """
        where = [] if place is None else ["--lat", str(place[0]), "--lon", str(place[1])]
        table = merged(tomllib.loads(self.central("enrol", site, "--name", name, *where)), QUICK)
        folder = self.folder / site
        (folder / "spool").mkdir(parents=True)
        table["cameras"] = list(cameras)
        table["spool"]["directory"] = str(folder / "spool")
        has_ups = "nut" in (settings or {}).get("power", {})
        table["power"] = {} if has_ups else {"simulated": {"state_file": str(folder / "mains.json")}}
        if link is not None:
            self._exit.enter_context(link)
            table["centre"]["url"] = f"http://127.0.0.1:{link.lay(self.agent_door)}"
            table["broker"] |= {"host": "127.0.0.1", "port": link.lay(self.broker)}
            table["link"] = {"interface": "lo"}
        config = folder / "agent.toml"
        table = merged(table, settings or {})
        config.write_text(to_toml(table))
        command = [*prefix, *EDGE_AGENT, "run", "--config", config]
        agent = Program(f"agent {site}", command, folder / "agent.log", environment)
        made = self.sites[site] = Site(site, folder, config, Path(table["spool"]["directory"]), agent)
        made.mains(on=True)
        return made

    def central(self, *arguments: str | Path) -> str:
        """What `central` prints on stdout; AssertionError with its words on stderr when it fails."""
        command = list(map(str, [*self._prefix, *CENTRAL, *arguments, "--config", self.config]))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"central {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def open_centre(self, seconds: float = 30) -> None:
        """The centre serves."""
        self.centre.start()
        self.centre.until(lambda: self.serving().get("pid") == self.centre.pid, seconds, "the centre serves")

    def serving(self) -> Table:
        """What the centre has bound; empty while there is no word on that."""
        try:
            told: Table = json.loads((self.directory / "serve.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return told

    def reader(self) -> tuple[str, str]:
        """User and password of whoever may read everything at the centre's own broker."""
        return READER, (self.directory / "broker" / f"{READER}.password").read_text().strip()

    @property
    def console(self) -> str:
        """The address of the page."""
        url: str = self.serving()["console_url"]
        return url.rstrip("/")

    def api(self, path: str, seconds: float = 10) -> Any:
        """The JSON that the console answers at `/api/v1` plus `path`, within so many seconds."""
        url = f"{self.console}/api/v1{path}"
        if self._prefix:
            command = list(map(str, [*self._prefix, sys.executable, "-c", _FETCH, url]))
            return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=20).stdout)
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return json.load(answer)

    def presence(self, site: str) -> str | None:
        """The presence that the centre shows of the site."""
        shown = self.api(f"/sites/{site}")["presence"]
        return shown["state"] if shown else None

    def await_presence(self, site: str, state: str, seconds: float = 30) -> None:
        """The centre shows that presence."""
        what = f"{site} is {state} at the centre"
        self.sites[site].agent.until(lambda: self.presence(site) == state, seconds, what)

    def await_drained(self, site: str, seconds: float = 60) -> None:
        """The spool of the site has nothing without a receipt, at one moment."""
        until(lambda: not self.sites[site].backlog(), seconds, f"{site} has sent all it had")

    def archived(self, site: str) -> list[tuple[ItemName, Path]]:
        """Every object of the archive that belongs to the site, with the name of its item."""
        files = (self.directory / "archive").glob(f"*/*/*/{site}/*/*")
        # A number sign marks what is still being written.
        return sorted((ItemName.parse(file.name), file) for file in files if "#" not in file.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._exit:
            stop_all([site.agent for site in self.sites.values()])
            stop_all([self.centre])


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`over` laid on `under`, table by table."""
    both = dict(under)
    for key, value in over.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, Mapping) else value
    return both


def to_toml(table: Mapping[str, Any], head: str = "") -> str:
    """The table as TOML: values, then sections, then lists of sections. JSON's scalars and lists are TOML's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not _sections(value)]
    for key, value in table.items():
        for section in _sections(value):
            name = f"{head}{key}"
            lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            lines += [to_toml(section, f"{name}.").rstrip()]
    return "\n".join(lines) + "\n"


def _sections(value: object) -> list[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return [value]
    return value if isinstance(value, list) and value and isinstance(value[0], Mapping) else []
