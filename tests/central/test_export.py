"""One playable file out of many segments, packet for packet."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from central.errors import CentralError, NothingThere
from central.export import Export, export
from edge_agent.contract import LossCause
from tests.central.world import T, World
from tests.rig.parts import require_program

NOW = T + 3_600_000


def exported(world: World, target: Path, from_s: float, to_s: float) -> Export:
    steps: list[tuple[int, int]] = []
    done = export(
        world.store,
        world.archive,
        "aloha",
        "north",
        T + int(from_s * 1000),
        T + int(to_s * 1000),
        NOW,
        target,
        lambda finished, total: steps.append((finished, total)),
    )
    assert steps[-1][0] == steps[-1][1]
    assert {path.name for path in target.parent.glob("out*")} == {"out.mp4", "out.mp4.holes.json"}
    return done


def packets(file: Path) -> list[dict[str, Any]]:
    """What ffprobe reads, after it decoded everything without a complaint."""
    ffmpeg = require_program("ffmpeg")
    decoded = subprocess.run(
        [ffmpeg, "-v", "error", "-xerror", "-i", file, "-f", "null", "-"], capture_output=True, text=True, check=False
    )
    assert (decoded.returncode, decoded.stderr) == (0, "")
    ffprobe = require_program("ffprobe")
    options = ["-v", "error", "-show_packets", "-show_data_hash", "sha256", "-of", "json"]
    probed = subprocess.run([ffprobe, *options, file], capture_output=True, check=True)
    found: list[dict[str, Any]] = json.loads(probed.stdout)["packets"]
    return found


def test_continuous_segments_become_one_continuous_file(world: World, tmp_path: Path) -> None:
    for at_s in (400, 404, 408):
        world.segment(at_s)
    done = exported(world, tmp_path / "out.mp4", 400, 412)
    found = packets(tmp_path / "out.mp4")
    assert [round(float(p["dts_time"]), 3) for p in found] == [round(n / 10, 3) for n in range(120)]
    assert (done.duration_s, done.holes, len(done.parts)) == (12.0, (), 1)


def test_holes_are_cut_out_and_listed(world: World, tmp_path: Path) -> None:
    world.segment(0)
    world.segment(4)
    world.segment(60, session=2, media_start_ms=0, gap_before_ms=52_000, gap_cause=LossCause.CAMERA)
    done = exported(world, tmp_path / "out.mp4", 0, 64)
    found = packets(tmp_path / "out.mp4")
    assert [round(float(p["dts_time"]), 3) for p in found] == [round(n / 10, 3) for n in range(120)]
    assert [(part.at_s, (part.from_at.timestamp() * 1000 - T) / 1000) for part in done.parts] == [
        (0.0, 0.0),
        (8.0, 60.0),
    ]
    listed = json.loads((tmp_path / "out.mp4.holes.json").read_text())
    assert [(h["at_s"], h["from_at"], h["state"], h["cause"]) for h in listed["holes"]] == [
        (8.0, "2026-11-18T11:06:48.000Z", "lost", "camera")
    ]


def test_every_packet_is_there_once_and_unchanged(world: World, tmp_path: Path) -> None:
    hashes: list[str] = []
    for number, at_s in enumerate((0, 4, 20)):
        row = world.segment(at_s, session=1 + number // 2)
        (tmp_path / "one.mp4").write_bytes(world.archive.read(row.object, 0, row.length))
        hashes += [p["data_hash"] for p in packets(tmp_path / "one.mp4")]
    exported(world, tmp_path / "out.mp4", 0, 24)
    assert [p["data_hash"] for p in packets(tmp_path / "out.mp4")] == hashes


def test_whole_segments_that_reach_into_the_interval_are_taken(world: World, tmp_path: Path) -> None:
    for at_s in range(0, 20, 4):
        world.segment(at_s)
    assert exported(world, tmp_path / "out.mp4", 5, 9).duration_s == 8.0


def test_nothing_to_export_is_said_and_leaves_no_file(world: World, tmp_path: Path) -> None:
    with pytest.raises(NothingThere, match="no footage of aloha/north"):
        exported(world, tmp_path / "out.mp4", 0, 10)
    assert not list(tmp_path.glob("out*"))


def test_a_change_of_format_is_said(world: World, tmp_path: Path) -> None:
    world.segment(0)
    world.segment(4, session=2, size=(128, 96))
    with pytest.raises(CentralError, match="changes at 2026-11-18 11:06:44"):
        exported(world, tmp_path / "out.mp4", 0, 10)
    assert not list(tmp_path.glob("out*"))


def test_a_place_that_cannot_be_written_is_said(world: World, tmp_path: Path) -> None:
    world.segment(0)
    with pytest.raises(CentralError, match="cannot write"):
        exported(world, tmp_path / "missing" / "out.mp4", 0, 10)
