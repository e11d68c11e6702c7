"""The demo, run as a reader runs it."""

from __future__ import annotations

import io
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from edge_agent.contract import LinkPart, Power, PresenceState, Supply
from tests.demo.account import settle
from tests.demo.screen import picture
from tests.demo.story import STORY, lasts_s
from tests.demo.view import News, SiteView, View
from tests.rig.processes import Program, left_behind, until

NOW = datetime(2026, 11, 24, 10, 21, 3, tzinfo=UTC)


def demo(folder: Path, seconds: str) -> Program:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.demo",
        "--directory",
        folder / "city",
        "--report",
        folder / "report.json",
    ]
    return Program("demo", command, folder / "demo.log", {"DEMO_SECONDS": seconds})


@pytest.mark.timeout(240)
def test_short_story_ends_by_itself_and_comes_out_even(tmp_path: Path) -> None:
    """Footage kept back by the cut fibre arrives, the dark hole is lost to power, nothing is open, nobody stays."""
    with demo(tmp_path, "60") as program:
        assert program.start().wait(200) == 0, program.output()
        assert left_behind(tmp_path) == []
    report = json.loads((tmp_path / "report.json").read_text())
    by_site = {row["site"]: row for row in report["cameras"]}
    assert set(by_site) == {"simpang-lima", "tugu-muda", "bangkong"}
    assert by_site["bangkong"]["lost_s"]["power"] > 2
    assert "power" not in by_site["tugu-muda"]["lost_s"]
    total = report["total"]
    assert (total["pending_s"], total["unknown_s"], total["unexplained_s"]) == (0, 0, 0)
    assert all(row["recorded_s"] > 20 for row in by_site.values())
    assert report["late_chapter"] is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_leaving_early_leaves_nobody_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever ends the demo in the middle ends every process of the city, too."""
    with demo(tmp_path, "") as program:
        program.start()
        program.until(lambda: program.output().count("agent started") == 3, 60, "three agents run")
        program.signal(number)
        assert program.wait(30) == 128 + number, program.output()
        assert "Traceback" not in program.output()
        until(lambda: not left_behind(tmp_path), 5, "nobody is left")


@pytest.mark.parametrize("seconds", ["ninety", "5", "nan"])
def test_senseless_length_is_refused(tmp_path: Path, seconds: str) -> None:
    """One line says what is wrong with DEMO_SECONDS."""
    with demo(tmp_path, seconds) as program:
        assert program.start().wait(20) == 2
    assert "DEMO_SECONDS" in program.output().splitlines()[-1]


def test_late_story_hurries_but_does_not_rush() -> None:
    """In time the chapters fill the length exactly; late ones share what is left, and keep more than half."""
    at_s = 0.0
    for number in range(len(STORY)):
        at_s += lasts_s(number, at_s, 100)
    assert at_s == pytest.approx(100)
    assert lasts_s(0, 20, 100) == pytest.approx(STORY[0].share * 80)
    assert lasts_s(0, 90, 100) == pytest.approx(STORY[0].share * 60)


@pytest.mark.parametrize("chapter", range(len(STORY)))
def test_picture_fits_a_small_terminal(chapter: int) -> None:
    """80 columns and 24 lines are enough for every chapter, with the worst of news."""
    paper = io.StringIO()
    console = Console(file=paper, width=80, height=24)
    news = News(NOW, "Simpang Lima", "the link is broken " * 10, grave=True)
    power = Power(supply=Supply.LOW, charge_percent=13.4, runtime_s=1234, source="simulated", since=NOW, at=NOW)
    site = SiteView("Simpang Lima", True, PresenceState.ONLINE, power, LinkPart.BROKER, 1234, 4321)
    view = View(6000, 6000, chapter, (site, site, site), (news,) * 20, "http://127.0.0.1:65535")
    console.print(picture(view, console.height))
    text = paper.getvalue()
    assert len(text.splitlines()) < console.height
    assert "13 % · 21 min" in text
    assert "port─uplink─centre╌broker" in text


def test_account_is_only_even_when_nothing_is_open() -> None:
    """Days of one camera are summed; what is open, late or missing spoils the account."""
    row = {"site": "a", "camera": "c", "recorded_s": 1.5, "pending_s": 0, "unknown_s": 0, "unexplained_s": 0}
    rows = [row | {"lost_s": {"power": 2}}, row | {"lost_s": {"power": 1, "camera": 1}}]
    report = settle(rows, {"a": "A"}, None)
    assert report["cameras"] == [
        {
            "site": "a",
            "name": "A",
            "camera": "c",
            "recorded_s": 3.0,
            "pending_s": 0.0,
            "unknown_s": 0.0,
            "unexplained_s": 0.0,
            "lost_s": {"power": 3, "camera": 1},
        }
    ]
    assert report["holds"]
    assert not settle(rows, {"a": "A"}, "dark")["holds"]
    assert not settle(rows, {"a": "A", "b": "B"}, None)["holds"]
    for key in ("pending_s", "unknown_s", "unexplained_s"):
        assert not settle([*rows, rows[0] | {key: 0.1}], {"a": "A"}, None)["holds"]
