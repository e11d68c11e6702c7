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

from tests.torture.account import NO_FAULT, Account, Part, Row
from tests.torture.faults import AT_CENTRE, AT_SITE
from tests.torture.not_injected import OPEN
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
    commit: str
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


_HEAD: Final = """
<!-- Written by `make torture`; do not edit. -->

# Reliability

A city of real agents, each with a camera whose every picture is numbered, ran against a real centre with its broker,
while faults struck at random moments, several at once, from outside of the product: the link, the disk, the clock, the
camera, the power, the processes. Afterwards every picture that a camera sent was looked for at the centre, by its hash.
What is not there must be a loss that the centre itself explains, with a cause that is true of a fault that struck there
and then. Everything has to recover without a hand on it.
"""

_VERDICT: Final = """
*Unexplained: 0* means: of every picture that the camera of a crossing sent in that time, either the picture itself is
at the centre, byte for byte, or the centre shows its moment as lost and names the cause, and a fault which can do that
did strike there and then. It does not mean that nothing was lost, nor that what was not injected does no harm: the
tables below say what was lost, and what was not injected.
"""

_READING: Final = """
Pictures are those sent from shortly before a fault to shortly after it; where several faults met, each has them, so the
rows add up to more than the sum. *Lost* are seconds of pictures that were sent and are not at the centre, explained;
*unexplained* are those without an explanation, and whatever the centre says that is not true. *Most lost by a cut* is
what the dearest kill or power cut took of the footage before it. *Back* is the time from the end of the fault, usual
and longest: recording, until the first picture that arrives; shipping, until the first item at the centre. At most 5 s
and 15 s are allowed, but for a camera that refused our password, which is asked once a minute lest it lock us out, and
for an agent that did not start at all, which the service manager starts again after 2 s; or when one of these was not
over yet as the fault struck. Of a port that is down and of a second box an event must tell the centre within a minute;
what the camera of the second box sent is not counted.
"""

_NOT_INJECTED: Final = """
These need what the machine of the campaign does not have. Where another test shows something of it, it says so.
"""

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


def page(campaign: Campaign) -> str:
    """The campaign as a page for readers."""
    account, total = campaign.account, campaign.account.total
    known = {fault.name: fault.telling for fault in AT_SITE} | {fault.name: fault.telling for fault in AT_CENTRE}
    lines = [_HEAD.strip(), ""]
    lines += [
        f"- Run: {campaign.at:%Y-%m-%d}, {campaign.minutes:g} minutes, {campaign.sites} crossings, "
        f"{total.times} faults. Commit {campaign.commit}.",
        f"- On {campaign.machine}.",
        f"- Again: `{campaign.command}`. The seed decides which fault strikes where and when.",
        f"- Pictures sent by the cameras: {total.sent:,}; at the centre: {total.at_centre:,}; "
        f"lost with a true cause: {total.lost_s:.1f} s.",
        f"- Unexplained: {total.unexplained_s:.1f} s. Twice: {total.duplicates}. Corrupt: {total.corrupt}. "
        f"Not back in time: {total.late}."
        + ("" if total.most_cut_s is None else f" Most lost by one kill or power cut: {total.most_cut_s:.1f} s."),
        "",
        _VERDICT.strip(),
        "",
        "## What struck, and what came of it",
        "",
        *_markdown([heading for heading in HEADINGS if heading != "fault"], "what happens"),
    ]
    for name in sorted(known):
        if name in account.rows:
            _, *figures = cells(name, account.rows[name])
            lines.append(f"| **{name}.** {known[name]} | {' | '.join(figures)} |")
    for name, row in ((NO_FAULT, account.rows.get(NO_FAULT, Row())), ("all", total)):
        _, *figures = cells(name, row)
        lines.append(f"| *{name}* | {' | '.join(figures)} |")
    lines += ["", _READING.strip(), ""]
    if account.findings:
        lines += ["## What was found wrong", ""]
        for finding in account.findings:
            during = f" ({', '.join(finding.during)})" if finding.during else ""
            lines.append(f"- {finding.site or 'city'}: {finding.what}{during}")
        lines.append("")
    lines += ["## What was not injected", "", _NOT_INJECTED.strip(), "", "| fault | what it takes |", "|---|---|"]
    lines += [f"| {what} | {takes} |" for what, takes in OPEN]
    lines += [
        f"| {left_out.partition(':')[0]} | {left_out.partition(':')[2].strip()} |" for left_out in campaign.left_out
    ]
    return "\n".join(lines) + "\n"


def _markdown(headings: Sequence[str], first: str) -> list[str]:
    return [f"| {first} | {' | '.join(headings)} |", f"|---|{'---:|' * len(headings)}"]


def table(campaign: Campaign) -> list[tuple[str, ...]]:
    """All rows, the sum of all pictures last: a picture during two faults counts in the row of each."""
    rows = campaign.account.rows
    return [*(cells(name, rows[name]) for name in sorted(rows)), cells("all", campaign.account.total)]


def show(campaign: Campaign, console: Console) -> None:
    """The campaign is on the screen."""
    shown = Table(caption=f"{campaign.machine}\n{campaign.command}, commit {campaign.commit}")
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
        "commit": campaign.commit,
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
