"""What a campaign of power cuts found: for people, as JSON, and as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.report import machine
from tests.cuts.campaign import CARELESS
from tests.cuts.outcome import Outcome, total

REPORT: Final = Path("cuts-report.json")
PAGE: Final = Path("docs/reliability-power-cuts.md")

_INTRODUCTION: Final = """\
# Power cuts

Generated from the report of one run; do not edit.

A disk with a volatile write cache lies under a real ext4. At the N-th write, drawn by seeded dice, its power goes: each
sector that was not flushed is kept or lost by dice that know no order, nothing answers any more, and every process that
was there dies. Then the power comes back, the disk is read before the product may, and the product must go on by
itself. Some cuts come while it recovers from the one before.

- **Agent**: a whole agent records two cameras that number each picture. What the spool has committed must be on the
  disk or at the centre; what it put aside as sent must be at the centre; every file is what its name says, and plays.
  Missing video are the pictures that the camera sent between the moment in which that life began to record and the
  cut, and that are nowhere.
- **Centre**: a whole centre receives items from four clients as fast as they can send. What has a receipt has its row
  and its object, every row has its whole object, the database is sound, no password is empty, and the centre starts by
  itself. Its first minutes are cut, too, while it makes its tables and gets to know its first site.
- **Careless**: the same code on the same disk, but `fsync` and its kin do nothing (`eatmydata`). They must fail, or the
  rig would prove nothing.

The promise holds for a disk that keeps what it says that it has flushed. What a disk loses that lies about that, no
program can save.
"""


def rows(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One sum per victim."""
    victims = ("agent", "centre", f"{CARELESS}agent", f"{CARELESS}centre")
    found = {victim: [outcome for outcome in outcomes if outcome.victim == victim] for victim in victims}
    return [total(batches) for batches in found.values() if batches]


def lines(sums: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A headline, and a line per figure."""
    return [
        ("", *(row.victim for row in sums)),
        ("power cuts", *(f"{row.cuts:,}" for row in sums)),
        ("… before that life had recorded or received anything", *(f"{row.early:,}" for row in sums)),
        ("… at which the disk lost sectors of its cache", *(f"{row.dropped:,}" for row in sums)),
        ("sectors lost, kept at the cuts", *(f"{row.sectors_lost:,}, {row.sectors_kept:,}" for row in sums)),
        ("items that were promised to be safe", *(f"{row.promised:,}" for row in sums)),
        ("… **lost**", *(f"{row.lost_promised:,}" for row in sums)),
        ("items with a receipt", *(f"{row.receipted:,}" for row in sums)),
        ("… **lost**", *(f"{row.lost_receipted:,}" for row in sums)),
        ("damaged files under a final name", *(f"{row.damaged:,}" for row in sums)),
        ("files left over that nothing reads", *(f"{row.left_over:,}" for row in sums)),
        ("cuts after which a promise was broken", *(f"{row.broken:,}" for row in sums)),
        ("video missing per cut: median", *(_seconds(row.missing_s, 0.5) for row in sums)),
        ("… 95th percentile", *(_seconds(row.missing_s, 0.95) for row in sums)),
        ("… **most**", *(_seconds(row.missing_s, 1) for row in sums)),
        ("from its start to recording, or the first receipt: median", *(_seconds(row.back_s, 0.5) for row in sums)),
        ("… most", *(_seconds(row.back_s, 1) for row in sums)),
    ]


def _seconds(values: Sequence[float], share: float) -> str:
    ordered = sorted(values)
    return f"{ordered[round((len(ordered) - 1) * share)]:.2f} s" if ordered else ""


def show(outcomes: Sequence[Outcome], command: str) -> None:
    """The sums are on the screen, and what was found."""
    sums = rows(outcomes)
    headline, *figures = lines(sums)
    table = Table(title="power cuts", caption=f"{machine()}\n{command}")
    for number, heading in enumerate(headline):
        table.add_column(heading, justify="right" if number else "left")
    for figure in figures:
        table.add_row(*(cell.replace("**", "") for cell in figure))
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table)
    for outcome in outcomes:
        if not outcome.victim.startswith(CARELESS):
            for finding in outcome.findings:
                console.print(finding, style="red", markup=False)


def write(outcomes: Sequence[Outcome], seed: int, command: str, path: Path = REPORT) -> None:
    """All of it is in the file, as JSON, from which a run that was broken off goes on."""
    told = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": command,
        "seed": seed,
        "totals": {row.victim: asdict(row) for row in rows(outcomes)},
        "batches": [asdict(outcome) for outcome in outcomes],
    }
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(told, indent=1) + "\n")
    draft.replace(path)


def read(seed: int, path: Path = REPORT) -> list[Outcome]:
    """What a run with that seed has found so far."""
    if not path.exists():
        return []
    told = json.loads(path.read_text())
    return [Outcome.of(batch) for batch in told["batches"]] if told["seed"] == seed else []


def publish(report: Path = REPORT, page: Path = PAGE) -> None:
    """The page says what the report says."""
    told = json.loads(report.read_text())
    headline, *figures = lines(rows([Outcome.of(batch) for batch in told["batches"]]))
    table = [_markdown(headline), _markdown(("---", *("---:" for _ in headline[1:]))), *map(_markdown, figures)]
    run = f"`{told['command']}` on {told['machine']}, until {told['at']}."
    page.write_text("\n".join([_INTRODUCTION, run, "", *table]) + "\n")


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
