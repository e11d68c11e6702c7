"""The rendered crossing: it moves, it tells the time, and each one is another."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_agent.camera.scene import HEIGHT, WIDTH, Crossing
from tests.rig.processes import until
from tests.rig.recorder import recording, segments
from tests.rig.strip import read_strip, strips

NOW_MS = 1_795_000_000_000


def test_the_same_id_gives_the_same_place_and_another_id_another() -> None:
    north, again, south = (Crossing(camera).paint(NOW_MS, 7) for camera in ("north", "north", "south"))
    assert north.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(north, again)
    assert (np.abs(north.astype(int) - south) > 20).mean() > 0.05


def test_traffic_moves_and_lights_change() -> None:
    crossing = Crossing("north")
    pictures = [crossing.paint(NOW_MS + number * 100, number)[: HEIGHT - 30].astype(int) for number in range(120)]
    moved = [float((np.abs(after - before) > 30).mean()) for before, after in pairwise(pictures)]
    assert 0.0005 < sum(moved) / len(moved) < 0.2


def test_every_picture_says_when_it_is_and_which(tmp_path: Path) -> None:
    """After encoding, recording and decoding; and labels agree with what the pictures say."""
    begun_s = time.time()
    with recording(tmp_path / "spool", source="scene", segment_s=2) as recorder:
        until(lambda: len(segments(tmp_path / "spool")) >= 2, 30, "two segments")
    assert recorder.kinds() == []
    recorded = segments(tmp_path / "spool")
    read = list(strips([path for *_, path in recorded]))
    assert [number for _, number in read] == list(range(len(read)))
    assert all(begun_s * 1000 - 100 <= at_ms <= time.time() * 1000 for at_ms, _ in read)
    name = recorded[1][0]
    at_ms, _ = next(strips([recorded[1][2]]))
    assert abs(at_ms - name.start_ms) < 500


def test_the_strip_holds_any_moment() -> None:
    picture = Crossing("north").paint(NOW_MS + 1234, 0xABCDEF)
    assert read_strip(picture[:, :, 0]) == (NOW_MS + 1200, 0xABCDEF)
