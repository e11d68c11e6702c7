"""A short campaign, run as a reader runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.rig.parts import require_power_disk, require_program, require_rtsp_server
from tests.rig.processes import Program, left_behind

FAULTS = (
    "link cut",
    "torn uploads",
    "lost answers",
    "stranger",
    "flipped bit",
    "agent killed",
    "power cut",
    "full disk",
    "camera reboots",
    "camera hangs up",
    "camera's clock jumps",
    "second agent",
    "hostile neighbour",
    "centre killed",
    "power cut at the centre",
    "broker killed",
)


@pytest.mark.timeout(280)
def test_a_minute_of_faults_loses_nothing_unexplained(tmp_path: Path) -> None:
    """Every picture is at the centre once or lost by a true cause, all is back in time, and nobody is left behind."""
    for part in ("mosquitto", "ffmpeg", "gcc"):
        require_program(part)
    require_rtsp_server()
    require_power_disk()
    folder, report, page = tmp_path / "city", tmp_path / "report.json", tmp_path / "page.md"
    folder.mkdir()
    files: list[str | Path] = ["--folder", folder, "--report", report, "--page", page]
    chosen = {"MINUTES": "0.85", "SITES": "2", "SEED": "1160", "DOCS": "1", "FAULTS": ",".join(FAULTS)}
    command = [sys.executable, "-m", "tests.torture", *files]
    with Program("torture", command, tmp_path / "torture.log", chosen) as program:
        assert program.start().wait(260) == 0, program.output()
    assert left_behind(folder) == []
    found = json.loads(report.read_text())
    totals, rows = found["totals"], {row["fault"]: row for row in found["rows"]}
    assert (found["seed"], found["minutes"], found["sites"], found["findings"]) == (1160, 0.85, 2, [])
    assert (totals["unexplained_s"], totals["duplicates"], totals["corrupt"], totals["late"]) == (0, 0, 0, 0)
    assert totals["sent"] > 800
    assert totals["sent"] - totals["at_centre"] == pytest.approx(totals["lost_s"] * 10)
    assert totals["times"] == len(found["schedule"]) >= 6
    assert len(rows.keys() & set(FAULTS)) >= 6
    assert f"Pictures sent by the cameras: {totals['sent']:,}" in page.read_text()


@pytest.mark.parametrize("wrong", [{"MINUTES": "soon"}, {"SITES": "0"}, {"FAULTS": "locusts"}], ids=str)
def test_bad_usage_is_told_in_a_line(tmp_path: Path, wrong: dict[str, str]) -> None:
    """Which value, and what it may be; exit code 2."""
    with Program("torture", [sys.executable, "-m", "tests.torture"], tmp_path / "log", wrong) as program:
        assert program.start().wait(60) == 2
    said = program.output()
    assert next(iter(wrong)) in said or "locusts" in said
    assert "Traceback" not in said
