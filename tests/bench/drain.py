"""How a backlog drains: beside live footage on a narrow link, and against other ways to move files on a wider one.

Site and centre are network namespaces with one cable between them, shaped by tbf; its queue holds 50 ms. The backlog is
segment files of four seconds, laid down in the spool of an agent that is not running.

Beside live: a whole agent with a camera of 4 Mbit/s at a link of 20 Mbit/s. First it ships what it records and nothing
else, then it is started again with a backlog. A live segment's time is from its last write at the site to the receipt,
by the one clock of this machine; fair is what the link leaves when the live bytes are taken off what it carries, each
full packet being 1448 bytes of payload in 1514 on the wire.

Against others: the same files at the same link, by the agent (whose camera does not answer), by `rclone` to its own
WebDAV server, by `rsync` to its daemon, and by a loop of `curl` to the same WebDAV server. Only the agent's receiver
hashes each file and has it durable before it answers. Processor time is that of the sender: the agent's from the moment
at which the link opens until all is at the centre, the others' from their start to their end.

BENCH_SECONDS sets how long live footage is watched, BENCH_BYTES the backlog that is raced with, BENCH_LINK the bytes
per second of the link of the race.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from edge_agent.contract import ItemKind, ItemName
from tests.bench.report import Finding, Row
from tests.rig import clips
from tests.rig.backlog import RUN, lay_down
from tests.rig.city import City, Site, Table
from tests.rig.netns import CENTRE_ADDRESS, Cable
from tests.rig.parts import require_network_namespaces, require_program
from tests.rig.processes import Program

WATCH_S: Final = float(os.environ.get("BENCH_SECONDS", "60"))
RACE_BYTES: Final = int(float(os.environ.get("BENCH_BYTES", "2e9")))
RACE_LINK: Final = int(float(os.environ.get("BENCH_LINK", "50e6")))
NARROW_LINK: Final = 20_000_000 // 8
SEGMENT_BYTES: Final = 2_000_000
PAYLOAD: Final = 1448 / 1514
MUTE: Final = {"id": "north", "url": "rtsp://127.0.0.1:9/mute"}
"""A camera that does not answer."""

_SCRATCH: Final = clips.CACHE.parent / "bench"


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment at the centre."""

    name: ItemName
    size_bytes: int
    at_s: float


def measure() -> Finding:
    """Live beside the backlog, then the race."""
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        rows += _beside_live(Path(folder))
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        rows += _race(Path(folder))
    return Finding(
        "no backlog, what the link leaves, rclone, rsync, curl",
        f"live: 4 Mbit/s at a link of 20 Mbit/s, {WATCH_S:g} s each; race: {RACE_BYTES / 1e9:g} GB in 2 MB files at "
        f"{RACE_LINK * 8 / 1e6:g} Mbit/s; tbf in network namespaces; real agent and centre; receivers are not counted",
        rows,
    )


# --- beside live ---


def _beside_live(folder: Path) -> Iterator[Row]:
    url = str(film(folder / "film.mp4", "4M"))
    with crossing(folder, NARROW_LINK) as (city, cable):
        site = city.enrol("bench", "Bench", [{"id": "live", "source": "file", "url": url}], prefix=cable.at_site)
        alone = _watch(city, site)
        left = NARROW_LINK * PAYLOAD
        lay_down(site.spool / "ready", round((WATCH_S + 20) * left / SEGMENT_BYTES), SEGMENT_BYTES)
        beside = _watch(city, site)
    for what, pick in (("median", 50), ("95th percentile", 95)):
        ours, peer = (percentile(seen.transits, pick) * 1000 for seen in (beside, alone))
        yield Row(f"live beside backlog: {what} on its way", "ms", ours, peer, 1.05 if pick == 95 else None)
    left = NARROW_LINK * PAYLOAD - beside.live_bytes_per_s
    used = beside.late_bytes_per_s
    yield Row("what live leaves of the link; what the backlog takes of it", "MB/s", left / 1e6, used / 1e6, 1.0526)


@dataclass(frozen=True, slots=True)
class Seen:
    """What arrived while somebody watched."""

    transits: Sequence[float]
    live_bytes_per_s: float
    late_bytes_per_s: float


def _watch(city: City, site: Site) -> Seen:
    """The agent lives for a while; what arrived from when its live segments did until the end."""
    site.agent.start()
    before = len(stored(city, "live"))
    site.agent.until(lambda: len(stored(city, "live")) >= before + 3, 60, "live segments at the centre")
    from_s = time.time()
    time.sleep(WATCH_S)
    to_s = time.time()
    site.agent.stop()
    live = [each for each in stored(city, "live") if from_s <= each.at_s < to_s]
    late = [each for each in stored(city, "north") if from_s <= each.at_s < to_s]
    assert len(live) >= WATCH_S / 4 - 2, f"only {len(live)} live segments in {WATCH_S:g} s"
    written = {path.name: path.stat().st_mtime for path in (site.spool / "sent").iterdir()}
    rates = [sum(each.size_bytes for each in arrived) / WATCH_S for arrived in (live, late)]
    return Seen([each.at_s - written[str(each.name)] for each in live], *rates)


def stored(city: City, camera: str, site: str = "bench") -> list[Stored]:
    """The segments of that camera at the centre."""
    return [
        Stored(name, path.stat().st_size, path.stat().st_mtime)
        for name, path in city.archived(site)
        if name.camera == camera and name.kind is ItemKind.SEGMENT
    ]


def film(file: Path, rate: str) -> Path:
    """A film of that rate, to the bit."""
    command: list[str | Path] = [require_program("ffmpeg"), "-nostdin", "-v", "error", "-f", "lavfi"]
    command += ["-i", "testsrc2=size=640x360:rate=25", "-t", "20", "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-g", "50", "-pix_fmt", "yuv420p", "-x264-params", "nal-hrd=cbr:scenecut=0"]
    command += ["-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate, file]
    subprocess.run(command, check=True)
    return file


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# --- the race ---


@dataclass(frozen=True, slots=True)
class Run:
    """How long it took, and what it cost."""

    took_s: float
    cpu_s: float


def _race(folder: Path) -> Iterator[Row]:
    files = folder / "files"
    names = lay_down(files, round(RACE_BYTES / SEGMENT_BYTES), SEGMENT_BYTES)
    with crossing(folder, RACE_LINK) as (city, cable):
        agent = _agent(city, cable, files, names)
        peers = {name: race(folder, cable, files, names) for name, race in _PEERS.items()}
    for name, peer in peers.items():
        yield Row(f"{len(names)} files, beside {name}: time", "s", agent.took_s, peer.took_s)
        yield Row(f"{len(names)} files, beside {name}: processor of the sender", "CPU s", agent.cpu_s, peer.cpu_s)
    best = min(peers.values(), key=lambda peer: peer.took_s)
    yield Row("beside the fastest of these: time", "s", agent.took_s, best.took_s, 1.0)
    yield Row("beside the fastest of these: processor of the sender", "CPU s", agent.cpu_s, best.cpu_s, 1.0)


def _agent(city: City, cable: Cable, files: Path, names: Sequence[ItemName]) -> Run:
    settings = {"link": {"interface": "fibre"}}
    site = city.enrol("bench", "Bench", [MUTE], settings=settings, prefix=cable.at_site)
    ready = site.spool / "ready"
    ready.mkdir()
    for name in names:
        (ready / str(name)).hardlink_to(files / str(name))
    cable.unplug()
    site.agent.start()
    site.agent.until(lambda: "attempt 2" in site.agent.output(), 30, "the agent has come to rest, without a link")
    before, begun_s = _cpu_s(site.agent), time.time()
    cable.mend()
    site.agent.until(lambda: not list(ready.glob(f"{RUN}_*")), 1200, "all is at the centre")
    after = _cpu_s(site.agent)
    took_s = max(each.at_s for each in stored(city, "north")) - begun_s
    site.agent.stop()
    assert len(stored(city, "north")) == len(names), f"{len(stored(city, 'north'))} of {len(names)} came"
    return Run(took_s, after - before)


def _cpu_s(program: Program) -> float:
    return sum(psutil.Process(program.pid).cpu_times()[:2])


def _timed(command: Sequence[str | Path]) -> Run:
    """A command from its start to its end, with all that it starts itself."""
    before, begun_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=1200, check=False)
    took_s, after = time.monotonic() - begun_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, f"{command}: {done.stderr[-500:]}"
    return Run(took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@contextmanager
def _server(folder: Path, cable: Cable, command: Sequence[str | Path], port: int) -> Iterator[Path]:
    """A receiver at the centre, with an empty folder."""
    target = folder / "received"
    target.mkdir()
    probe = [*cable.at_site, "bash", "-c", f"exec 3<>/dev/tcp/{CENTRE_ADDRESS}/{port}"]
    with Program("receiver", [*cable.at_centre, *command], folder / "receiver.log").start() as program:
        program.until(lambda: subprocess.run(probe, capture_output=True).returncode == 0, 20, "the receiver listens")
        yield target
    shutil.rmtree(target)


def _rclone(folder: Path, cable: Cable, files: Path, names: Sequence[ItemName]) -> Run:
    rclone = require_program("rclone")
    with _webdav(folder, cable) as (target, url):
        run = _timed([*cable.at_site, rclone, "copy", files, ":webdav:", "--webdav-url", url, "--config", ""])
        assert len(list(target.iterdir())) == len(names)
        return run


def _curl(folder: Path, cable: Cable, files: Path, names: Sequence[ItemName]) -> Run:
    curl = require_program("curl")
    with _webdav(folder, cable) as (target, url):
        loop = f'for file in "$1"/*; do {curl} -sSf -o /dev/null -T "$file" {url}/ || exit 1; done'
        run = _timed([*cable.at_site, "sh", "-c", loop, "sh", files])
        assert len(list(target.iterdir())) == len(names)
        return run


@contextmanager
def _webdav(folder: Path, cable: Cable) -> Iterator[tuple[Path, str]]:
    command: list[str | Path] = [require_program("rclone"), "serve", "webdav", folder / "received", "--config", ""]
    with _server(folder, cable, [*command, "--addr", f"{CENTRE_ADDRESS}:8080"], 8080) as target:
        yield target, f"http://{CENTRE_ADDRESS}:8080"


def _rsync(folder: Path, cable: Cable, files: Path, names: Sequence[ItemName]) -> Run:
    rsync = require_program("rsync")
    config = folder / "rsyncd.conf"
    config.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[all]\npath = {folder / 'received'}\nread only = no\n")
    daemon: list[str | Path] = [
        rsync,
        "--daemon",
        "--no-detach",
        "--address",
        CENTRE_ADDRESS,
        "--port",
        "8730",
        "--config",
        config,
    ]
    with _server(folder, cable, daemon, 8730) as target:
        run = _timed([*cable.at_site, rsync, "-r", "--whole-file", f"{files}/", f"rsync://{CENTRE_ADDRESS}:8730/all/"])
        assert len(list(target.iterdir())) == len(names)
        return run


_PEERS: Final[dict[str, Callable[[Path, Cable, Path, Sequence[ItemName]], Run]]] = {
    "rclone": _rclone,
    "rsync": _rsync,
    "curl": _curl,
}


@contextmanager
def crossing(folder: Path, bytes_per_s: int, settings: Table | None = None) -> Iterator[tuple[City, Cable]]:
    """A centre that serves, and a cable of that width to it."""
    ip, tc, nft = require_network_namespaces(), require_program("tc"), require_program("nft")
    with (
        Cable(ip, nft) as cable,
        City(folder / "city", settings, host=CENTRE_ADDRESS, prefix=cable.at_centre) as city,
    ):
        cable.shape(tc, bytes_per_s)
        city.open_centre()
        yield city, cable
