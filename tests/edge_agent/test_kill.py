"""Power cuts, as far as killing a process can stand for them: what is lost, and what was on the disk."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.contract import LossCause, whole_boxes
from tests.edge_agent.test_camera import plays
from tests.rig import clips
from tests.rig.parts import require_program, require_rtsp_server
from tests.rig.processes import until
from tests.rig.recorder import recording, segments
from tests.system.footage import Camera, archived_pictures, camera

LIVES = 20
COST_S = 1.0
"""What a cut may cost at most."""
FPS = 25


@pytest.fixture(autouse=True)
def _parts() -> None:
    require_rtsp_server()
    require_program("ffmpeg")


def recorder(spool: Path, url: str, *prefix: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "tests.rig.recorder", str(spool), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def live(spool: Path, real: Camera, seconds: float) -> float:
    """One life that ends by SIGKILL so long after its first picture was on the disk; when it ended."""
    before = set(spool.glob("writing/*.part"))
    with recorder(spool, real.url) as process:
        try:
            until(lambda: _has_footage(set(spool.glob("writing/*.part")) - before), 30, "footage of this life")
            time.sleep(seconds)  # the length of a life, not a hope
        finally:
            killed_s = time.time()
            process.kill()
    return killed_s


def _has_footage(parts: Iterable[Path]) -> bool:
    """Whether one of the open segments holds a whole fragment."""
    return any(box.type == "mdat" for path in parts for box in whole_boxes(path.read_bytes()))


def test_twenty_kills_cost_less_than_a_second_each(tmp_path: Path) -> None:
    """Everything before is whole, plays, is there once, and is in the line again by itself."""
    dice = random.Random(20261124)
    spool = tmp_path / "spool"
    with camera(clips.make(clips.H264), tmp_path) as real:
        killed = [live(spool, real, dice.uniform(0, 2)) for _ in range(LIVES)]
        with recording(spool, url=real.url) as last_life:
            until(lambda: last_life.spool.next_unsent(), 10, "the line")
            until(lambda: segments(spool)[-1][0].run == last_life.spool.run, 20, "footage of the last life")
        sent = {picture.digest: picture for picture in real.sent()}
    assert last_life.spool.previous is not None
    assert last_life.spool.previous.cause is LossCause.AGENT
    recorded = segments(spool)
    assert not list((spool / "quarantine").iterdir())
    runs = sorted({name.run for name, *_ in recorded})
    assert len(runs) == LIVES + 1
    for run, killed_s in zip(runs, killed, strict=False):
        files = [path for name, _, path in recorded if name.run == run]
        stored = archived_pictures(files, "h264")
        assert max(stored.values()) == 1
        numbers = sorted(sent[digest].number for digest in stored)
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "a picture is missing in the middle"
        receiver = sent[next(iter(stored))].receiver
        mine = [p.number for p in sent.values() if p.receiver == receiver and p.at_s < killed_s]
        missing = max(mine) - numbers[-1]
        assert missing <= COST_S * FPS, f"{missing / FPS:.2f} s are missing at the end of {run}"
    for _, facts, path in recorded:
        plays(path)
        assert facts.packets > 0
    assert any(facts.recovered for _, facts, _ in recorded)


def test_each_fragment_is_synced_before_the_next_begins(tmp_path: Path) -> None:
    """A trace of the real process: nothing that was written waits long for its fdatasync, nothing waits in a muxer."""
    require_program("strace")
    trace, spool = tmp_path / "trace", tmp_path / "spool"
    strace = ["strace", "-f", "-ttt", "-y", "-e", "trace=write,fdatasync,fsync,rename", "-o", str(trace)]
    with camera(clips.make(clips.H264), tmp_path) as real, recorder(spool, real.url, *strace) as process:
        until(lambda: len(list(spool.glob("ready/*"))) >= 2, 60, "two segments")
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
        process.wait()
        sent = real.sent()
    calls = [match.groups() for match in map(_CALL.match, trace.read_text().splitlines()) if match]
    calls = [call for call in calls if ".part" in call[2]]
    synced_s: list[float] = []
    written_s: float | None = None
    for at, call, _ in calls:
        if call == "write":
            written_s = written_s or float(at)
        elif call in ("fdatasync", "fsync"):
            assert written_s is not None, "a sync of nothing"
            assert float(at) - written_s < 0.5, "what was written waits for its sync"
            written_s = None
            synced_s.append(float(at))
    steady = [at for at in synced_s if at > sent[0].at_s + 2]
    assert len(steady) > 4
    gaps = sorted(after - before for before, after in pairwise(steady))
    assert gaps[len(gaps) // 2] <= 0.8
    assert gaps[-1] < COST_S + 0.5, "the machine may be slow; what a kill costs is tested above"
    committed = sorted((spool / "ready").iterdir())
    assert sum(call == "fsync" for _, call, _ in calls) >= len(committed)
    held = archived_pictures(committed, "h264")
    assert sum(held.values()) == 2 * 4 * FPS, "whole segments hold every picture up to the next key frame"


_CALL = re.compile(r"\d+ +([0-9.]+) (write|fdatasync|fsync|rename)\((.*)")
