"""What is told of a run is what it did, and what was found once is still held by a test."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import report
from tests.fuzz.__main__ import fuzz, main
from tests.fuzz.report import FOUND, HOLDS, Fuzzed
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


def test_every_target_says_what_holds() -> None:
    assert list(HOLDS) == list(TARGETS)


@pytest.mark.parametrize(("file", "name"), sorted({(file, name) for _, file, name in FOUND}))
def test_what_was_found_is_held_by_a_test(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.skipif(find_spec("atheris") is None, reason="there is no atheris for this Python or platform")
def test_a_target_is_fuzzed_for_its_time_and_counted(tmp_path: Path) -> None:
    fuzzed = fuzz("boxes", 1, tmp_path)
    assert fuzzed.executions > len(TARGETS["boxes"].seeds)
    assert fuzzed.branches > 1
    assert fuzzed.findings == ()
    assert len(list((tmp_path / "boxes").iterdir())) >= len(TARGETS["boxes"].seeds)


def test_the_page_tells_what_the_report_says(tmp_path: Path) -> None:
    run = [Fuzzed("names", 2.0, 123_456, 8, ()), Fuzzed("torn", 1.5, 1000, 128, ("ValueError: x; input: y",))]
    report.write(run, "make fuzz", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["executions"] == 124_456
    report.record(tmp_path / "report.json", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| names | 2.0 | 123,456 | 8 | none |" in page
    assert "| torn | 1.5 | 1,000 | 128 | 1 |" in page


def test_a_target_that_is_none_lists_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONLY", "nmaes")
    assert main() == 2
    assert capsys.readouterr().err == f"ONLY=nmaes: no such target; there are: {', '.join(TARGETS)}\n"
