"""What a campaign found: as a table on the screen, as JSON for machines, and as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.torture.account import Account, Part, Row
from tests.torture.schedule import Stroke

REPORT: Final = Path("torture-report.json")
PAGE: Final = Path("docs/reliability.md")


@dataclass(frozen=True)
class Campaign:
    """A campaign that is over."""

    at: datetime
    command: str
    seed: int
    minutes: float
    sites: int
    machine: str
    strokes: Sequence[Stroke]
    left_out: Sequence[str]
    """Faults that could not be injected here."""
    account: Account
    completeness: Sequence[dict[str, Any]]

    @property
    def holds(self) -> bool:
        """Nothing is unexplained, twice or corrupt, and everything recovered in time."""
        total = self.account.total
        return not (self.account.findings or total.unexplained_s or total.duplicates or total.corrupt or total.late)


HEADINGS: Final = (
    "fault",
    "times",
    "sent",
    "at the centre",
    "lost with a cause, s",
    "unexplained, s",
    "twice",
    "corrupt",
    "most lost by a cut, s",
    "recording back, s",
    "shipping back, s",
)


def cells(name: str, row: Row) -> tuple[str, ...]:
    """The row as it is shown; recoveries as usual / longest."""
    return (
        name,
        str(row.times) if row.times else "",
        f"{row.sent:,}",
        f"{row.at_centre:,}",
        f"{row.lost_s:.1f}",
        f"{row.unexplained_s:.1f}",
        str(row.duplicates),
        str(row.corrupt),
        "" if row.most_cut_s is None else f"{row.most_cut_s:.1f}",
        _recovery(row, Part.RECORDING),
        _recovery(row, Part.SHIPPING),
    )


def _recovery(row: Row, part: Part) -> str:
    middle, worst = row.median_s(part), row.worst_s(part)
    return "" if middle is None or worst is None else f"{middle:.1f} / {worst:.1f}"


def table(campaign: Campaign) -> list[tuple[str, ...]]:
    """All rows, the sum of all pictures last: a picture during two faults counts in the row of each."""
    rows = campaign.account.rows
    return [*(cells(name, rows[name]) for name in sorted(rows)), cells("all", campaign.account.total)]


def show(campaign: Campaign, console: Console) -> None:
    """The campaign is on the screen."""
    shown = Table(caption=f"{campaign.machine}\n{campaign.command}")
    for number, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if number else "left")
    for line in table(campaign):
        shown.add_row(*line)
    console.print(shown)
    for finding in campaign.account.findings:
        during = f", during: {', '.join(finding.during)}" if finding.during else ""
        console.print(
            f"[red]{finding.site or 'city'} {finding.at_s:.1f}[/]: {finding.what}{during}",
            soft_wrap=True,
            highlight=False,
        )
    for name in campaign.left_out:
        console.print(f"not injected: {name}")
    console.print("[green]holds" if campaign.holds else "[red]does not hold")


def to_json(campaign: Campaign) -> dict[str, Any]:
    """The campaign for machines."""
    account = campaign.account
    return {
        "at": campaign.at.isoformat(timespec="seconds"),
        "command": campaign.command,
        "seed": campaign.seed,
        "minutes": campaign.minutes,
        "sites": campaign.sites,
        "machine": campaign.machine,
        "holds": campaign.holds,
        "totals": _row(account.total),
        "rows": [{"fault": name} | _row(row) for name, row in sorted(account.rows.items())],
        "findings": [finding._asdict() for finding in account.findings],
        "not_injected": list(campaign.left_out),
        "completeness": list(campaign.completeness),
        "schedule": [[s.at_s, s.place, s.fault, s.lasts_s] for s in campaign.strokes],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "times": row.times,
        "sent": row.sent,
        "at_centre": row.at_centre,
        "lost_s": round(row.lost_s, 3),
        "unexplained_s": round(row.unexplained_s, 3),
        "duplicates": row.duplicates,
        "corrupt": row.corrupt,
        "most_lost_by_a_cut_s": row.most_cut_s and round(row.most_cut_s, 3),
        "recovered_s": {
            str(part): [second and round(second, 2) for second in seconds] for part, seconds in row.recovered_s.items()
        },
        "late": row.late,
    }


def write(campaign: Campaign, report: Path = REPORT) -> None:
    """The campaign is in the file."""
    report.write_text(json.dumps(to_json(campaign), indent=2, ensure_ascii=False) + "\n")
