"""Twelve sites that come back at once on one trunk: with the centre's grants, and without.

Agents of twelve sites, each with a camera of 300 kbit/s (a film, played in real time), stand in one network namespace;
the one cable from there to the centre is their trunk, shaped by tbf. First they ship what they record and nothing else.
Then each is started again with the same backlog, laid down in its spool, while the cable is unplugged; when all run, it
is plugged in. That is done twice: with `[pace] trunk_bytes_per_s` at the centre, and without.

Fairness is Jain's index of what each backlog has brought to the centre when the first of them is done. The ideal drain
is that of a trunk that is full from the first moment on: all backlogs by what it carries beside the live footage, each
full packet being 1448 bytes of payload in 1514 on the wire. Live is watched over the whole drain. Its delay is that of
a segment's first picture: from when it was taken until the segment is stored at the centre, by the one clock of this
machine. On a trunk that is full a burst takes longer than on an empty one, whoever is held back: its way alone is told
without a target.

BENCH_SITES and BENCH_SITE_BYTES set how many sites there are, and how much each has to bring.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.drain import PAYLOAD, Stored, crossing, film, percentile, stored
from tests.bench.report import Finding, Row
from tests.rig import clips
from tests.rig.backlog import lay_down
from tests.rig.city import City, Site, Table
from tests.rig.netns import Cable
from tests.rig.processes import stop_all, until

SITES: Final = int(os.environ.get("BENCH_SITES", "12"))
SITE_BYTES: Final = int(float(os.environ.get("BENCH_SITE_BYTES", "80e6")))
TRUNK: Final = 60_000_000 // 8
SEGMENT_BYTES: Final = 1_000_000
LIVE_S: Final = 30

_SCRATCH: Final = clips.CACHE.parent / "bench"


@dataclass(frozen=True, slots=True)
class Live:
    """How live segments came: from the first picture, and from the last write, until they were stored; in seconds."""

    delays: Sequence[float]
    ways: Sequence[float]


@dataclass(frozen=True, slots=True)
class Return:
    """How a drain of all went."""

    took_s: float
    ideal_s: float
    brought: Sequence[int]
    """Bytes of each site when the first was done."""
    live: Live

    @property
    def fairness(self) -> float:
        """Jain's index: 1 when all brought the same."""
        return sum(self.brought) ** 2 / (len(self.brought) * sum(each**2 for each in self.brought))


def measure() -> Finding:
    """Both returns."""
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    pace = {"pace": {"trunk_bytes_per_s": round(TRUNK * PAYLOAD)}}
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        alone, granted = _come_back(Path(folder), pace)
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        _, free = _come_back(Path(folder), {})
    return Finding(
        "perfect fairness, an ideal drain, live without a backlog",
        f"{SITES} real agents, {SITE_BYTES / 1e6:g} MB of backlog and 300 kbit/s live each, one trunk of "
        f"{TRUNK * 8 / 1e6:g} Mbit/s shaped by tbf, a real centre",
        [*_rows("with grants", granted, alone, 1.05), *_rows("without", free, alone, None)],
    )


def _rows(name: str, seen: Return, alone: Live, target: float | None) -> Iterator[Row]:
    yield Row(f"{name}: perfect fairness, by Jain's index", "", 1, seen.fairness, target)
    yield Row(f"{name}: until all is at the centre", "s", seen.took_s, seen.ideal_s, target)
    for what, ours, peer, most in (
        ("first picture to the centre", seen.live.delays, alone.delays, target),
        ("last write to the centre", seen.live.ways, alone.ways, None),
    ):
        yield Row(f"{name}: live, {what}, 95 %", "s", percentile(ours, 95), percentile(peer, 95), most)


def _come_back(folder: Path, settings: Table) -> tuple[Live, Return]:
    """Live footage without a backlog, then the return with one."""
    with crossing(folder, TRUNK, settings) as (city, cable):
        camera = {"id": "live", "source": "file", "url": str(film(folder / "film.mp4", "300k"))}
        sites = [city.enrol(f"site{number}", "", [camera], prefix=cable.at_site) for number in range(SITES)]
        with _running(sites):
            until(lambda: all(stored(city, "live", site.id) for site in sites), 90, "live footage of all")
            from_s = time.time()
            time.sleep(LIVE_S)
        alone = _live(city, sites, from_s, time.time())
        for site in sites:
            lay_down(site.spool / "ready", SITE_BYTES // SEGMENT_BYTES, SEGMENT_BYTES)
        return alone, _drain(city, cable, sites)


def _drain(city: City, cable: Cable, sites: Sequence[Site]) -> Return:
    cable.unplug()
    begun_ns = time.time_ns()
    with _running(sites):
        until(lambda: all(_records(site, begun_ns) for site in sites), 90, "all record, without a link")
        from_s = time.time()
        cable.mend()
        count = SITE_BYTES // SEGMENT_BYTES
        until(lambda: all(len(stored(city, "north", site.id)) == count for site in sites), 900, "the drain", every_s=1)
    late = {site.id: stored(city, "north", site.id) for site in sites}
    done_s = {site: max(each.at_s for each in came) for site, came in late.items()}
    took_s = max(done_s.values()) - from_s
    live_bytes = sum(each.size_bytes for site in sites for each in _within(city, site, from_s, from_s + took_s))
    total = sum(each.size_bytes for came in late.values() for each in came)
    first_s = min(done_s.values())
    return Return(
        took_s,
        total / (TRUNK * PAYLOAD - live_bytes / took_s),
        [sum(each.size_bytes for each in came if each.at_s <= first_s) for came in late.values()],
        _live(city, sites, from_s, from_s + took_s),
    )


def _live(city: City, sites: Sequence[Site], from_s: float, to_s: float) -> Live:
    """Those that were recorded and came between two moments."""
    delays, ways = [], []
    for site in sites:
        written = {path.name: path.stat().st_mtime for path in (site.spool / "sent").iterdir()}
        for each in _within(city, site, from_s, to_s):
            if each.name.start_ms / 1000 >= from_s:
                delays.append(each.at_s - each.name.start_ms / 1000)
                ways.append(each.at_s - written[str(each.name)])
    assert len(ways) > len(sites), f"only {len(ways)} live segments in {to_s - from_s:.0f} s"
    return Live(delays, ways)


def _within(city: City, site: Site, from_s: float, to_s: float) -> list[Stored]:
    return [each for each in stored(city, "live", site.id) if from_s <= each.at_s <= to_s]


def _records(site: Site, since_ns: int) -> bool:
    return any(path.stat().st_mtime_ns > since_ns for path in (site.spool / "ready").glob("*_segment_live_*"))


def _running(sites: Sequence[Site]) -> ExitStack:
    """All agents run; they have stopped when the context ends."""
    exit_stack = ExitStack()
    exit_stack.callback(lambda: stop_all([site.agent for site in sites]))
    for site in sites:
        site.agent.start()
    return exit_stack
