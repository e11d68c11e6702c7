"""The report of the bench says what it measured, and says so when a name is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import MEASURES, main
from tests.bench.report import Finding, Row, machine, show, write

MORE = (Row("wide", "MB/s", 3, 4, target=0.7, more_is_better=True), Row("narrow", "MB/s", 2, 4, 0.7, True))
ROWS = (Row("fast", "s", 3, 2, target=1.5), Row("slow", "s", 4, 2, target=1.5), Row("free", "B", 1, 0))


def test_a_row_holds_when_its_ratio_is_at_most_the_target() -> None:
    assert [(row.ratio, row.holds) for row in ROWS] == [(1.5, True), (2, False), (None, None)]


def test_where_more_is_better_a_row_holds_when_its_ratio_is_at_least_the_target() -> None:
    assert [(row.ratio, row.holds) for row in MORE] == [(0.75, True), (0.5, False)]


def test_the_report_names_machine_command_and_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("a peer", "with care", ROWS)
    show("thing", finding, "make bench ONLY=thing")
    printed = capsys.readouterr().out
    assert "make bench ONLY=thing" in printed
    assert "with care" in printed
    write({"thing": finding}, "make bench", tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["machine"] == machine()
    assert [row["holds"] for row in told["measures"]["thing"]["rows"]] == [True, False, None]


def test_a_name_that_is_none_lists_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONLY", "recrod")
    assert main() == 2
    assert capsys.readouterr().err == f"ONLY=recrod: no such measure; there are: {', '.join(MEASURES)}\n"
