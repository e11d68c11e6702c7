"""The whole agent beside `ffmpeg -c copy -f segment`, on the same RTSP stream: one camera, then four.

The agent records, hashes, ships to a centre on this machine and reports to its broker, with the settings that a site
has by default. The centre, its broker and the camera are processes of their own and not counted. ffmpeg only records,
one process per camera.

Both run at the same time, each with its own sessions with the same mounts. Taking turns would compare two moments of a
machine on which other things happen; at the same time both see the same pictures, the same clock rate and the same
neighbours, and all of it together takes a small part of one core, so that neither waits for the other. What they share
(page cache, caches of the processor) they share alike.

Processor time is user plus system time of the processes and their children, as the kernel accounts it, over a window
that begins after every camera was recorded, its segments were at the centre, and a warm-up has passed. Peak memory is
VmHWM from the start to the end of the window, added up over processes: it counts a library once per process that maps
it. The proportional size shares a library out among all who map it, which flatters whoever has many of the same kind
around; it is told without a target, like the bytes written and what the start costs.

BENCH_SECONDS sets the length of the window.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from edge_agent.contract import ItemKind, ItemName
from tests.bench.report import Finding, Row
from tests.rig import clips
from tests.rig.city import City, Site
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.processes import Program, stop_all

WINDOW_S: Final = float(os.environ.get("BENCH_SECONDS", "60"))
WARM_UP_S: Final = 15.0
SEGMENT_S: Final = 4.0
CPU_TARGETS: Final = {1: 1.5, 4: 1.0}
"""By number of cameras."""
MEMORY_TARGETS: Final = {1: 2.0, 4: 0.8}
SITE_DEFAULTS: Final = {"broker": {"keepalive_s": 15}, "report": {"telemetry_s": 60}}
"""What the rig shortens for tests is as at a site."""

_SCRATCH: Final = clips.CACHE.parent / "bench"
"""On the disk of the checkout, since /tmp may be memory and a write to memory is not accounted."""
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes together have used since they started, and their size now."""

    at_s: float
    cpu_s: float
    written_bytes: int
    peak_bytes: int
    proportional_bytes: int


def measure() -> Finding:
    """The agent and ffmpeg, with each number of cameras."""
    ffmpeg = require_program("ffmpeg")
    rows: list[Row] = []
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    with _cameras(max(CPU_TARGETS)) as urls:
        for count in CPU_TARGETS:
            with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
                rows += _side_by_side(urls[:count], ffmpeg, Path(folder))
    version = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return Finding(
        f"ffmpeg {version} -c copy -f segment",
        f"RTSP over TCP, 1080p, 25 frames/s, 4 Mbit/s H.264; both at the same time, {WINDOW_S:g} s after a warm-up",
        rows,
    )


def _side_by_side(urls: Sequence[str], ffmpeg: Path, folder: Path) -> list[Row]:
    peers = [_ffmpeg(ffmpeg, url, folder / f"ffmpeg{number}") for number, url in enumerate(urls)]
    try:
        with City(folder / "city") as city:
            site = _open_site(city, urls)
            for program in (site.agent, *peers):
                program.start()
            site.agent.until(lambda: len(_shipped(site)) == len(urls), 60, "segments of every camera at the centre")
            start = _usage([site.agent]), _usage(peers)
            time.sleep(WARM_UP_S)
            shipped = _shipped(site)
            begin = _usage([site.agent]), _usage(peers)
            time.sleep(WINDOW_S)
            end = _usage([site.agent]), _usage(peers)
            _assert_that_all_was_shipped(_shipped(site) - shipped, len(urls))
    finally:
        stop_all(peers)
    return list(_rows(len(urls), start, begin, end))


def _rows(
    cameras: int, start: tuple[Usage, Usage], begin: tuple[Usage, Usage], end: tuple[Usage, Usage]
) -> Iterator[Row]:
    name = "1 camera" if cameras == 1 else f"{cameras} cameras"
    minutes = [cameras * (after.at_s - before.at_s) / 60 for before, after in zip(begin, end, strict=True)]
    ours, peer = ((after.cpu_s - before.cpu_s) / each for before, after, each in zip(begin, end, minutes, strict=True))
    yield Row(f"{name}: processor", "CPU s per camera-minute", ours, peer, CPU_TARGETS[cameras])
    ours, peer = (usage.peak_bytes / _MIB for usage in end)
    yield Row(f"{name}: peak memory", "MiB", ours, peer, MEMORY_TARGETS[cameras])
    ours, peer = (usage.proportional_bytes / _MIB for usage in end)
    yield Row(f"{name}: proportional memory", "MiB", ours, peer)
    ours, peer = (
        (after.written_bytes - before.written_bytes) / each / 1e6
        for before, after, each in zip(begin, end, minutes, strict=True)
    )
    yield Row(f"{name}: written", "MB per camera-minute", ours, peer)
    ours, peer = (usage.cpu_s for usage in start)
    yield Row(f"{name}: processor until all is recorded", "CPU s", ours, peer)


def _usage(programs: Sequence[Program]) -> Usage:
    parents = [psutil.Process(program.pid) for program in programs]
    processes = [*parents, *(child for parent in parents for child in parent.children(recursive=True))]
    return Usage(
        at_s=time.monotonic(),
        cpu_s=sum(sum(process.cpu_times()[:4]) for process in processes),
        written_bytes=sum(process.io_counters().write_bytes for process in processes),
        peak_bytes=sum(_peak_bytes(process.pid) for process in processes),
        proportional_bytes=sum(process.memory_full_info().pss for process in processes),
    )


def _peak_bytes(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _shipped(site: Site) -> Counter[str]:
    """Segments with a receipt, by camera, as the spool's cache of sent items shows."""
    folder = site.spool / "sent"
    names = [ItemName.parse(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return Counter(name.camera for name in names if name.kind is ItemKind.SEGMENT)


def _assert_that_all_was_shipped(shipped: Counter[str], cameras: int) -> None:
    expected = WINDOW_S / SEGMENT_S
    for camera, count in shipped.items():
        assert abs(count - expected) <= 1 + expected / 10, f"{count} segments of {camera} shipped, not {expected:g}"
    assert len(shipped) == cameras or expected < 1, f"only {sorted(shipped)} shipped during the window"


def _open_site(city: City, urls: Sequence[str]) -> Site:
    city.open_centre()
    cameras = [{"id": f"camera{number}", "url": url, "segment_s": SEGMENT_S} for number, url in enumerate(urls)]
    return city.enrol("bench", "Bench", cameras, settings=SITE_DEFAULTS)


def _ffmpeg(ffmpeg: Path, url: str, folder: Path) -> Program:
    folder.mkdir()
    command: list[str | Path] = [ffmpeg, "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy"]
    command += ["-f", "segment", "-segment_time", f"{SEGMENT_S:g}", "-reset_timestamps", "1", folder / "%06d.mp4"]
    return Program(folder.name, command, folder / "ffmpeg.log")


@contextmanager
def _cameras(count: int) -> Iterator[list[str]]:
    """The URLs of so many cameras, served by one process."""
    program = Path(clips.__file__).with_name("rtsp_camera.py")
    command: list[str | Path] = [require_rtsp_server(), program, clips.make(clips.BENCH), "--mounts", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            yield [f"{url}{number + 1}" for number in range(count)]
        finally:
            process.terminate()
