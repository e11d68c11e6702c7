"""What a run of the fuzzer did: as a table for people, as JSON, and as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.report import machine

REPORT: Final = Path("fuzz-report.json")
PAGE: Final = Path("docs/reliability-fuzzing.md")

FOUND: Final = (
    (
        "A segment left open whose head is damaged, so that it has no video track, ended every start of the agent.",
        "tests/edge_agent/test_spool.py",
        "test_damage_is_put_aside_and_never_stops_the_start",
    ),
    (
        "One with times beyond what a name can say was stored under a name that the next start put aside.",
        "tests/edge_agent/test_spool.py",
        "test_damage_is_put_aside_and_never_stops_the_start",
    ),
    (
        "One that the demuxer forgives, but the centre refuses, was sent before it was put aside.",
        "tests/edge_agent/test_spool.py",
        "test_damage_is_put_aside_and_never_stops_the_start",
    ),
    (
        "A message with a moment of the year 1 that UTC does not have ended the centre.",
        "tests/test_contract.py",
        "test_a_moment_that_utc_does_not_have_is_refused",
    ),
    (
        "A topic with a slash behind it was taken for the one without.",
        "tests/test_contract.py",
        "test_what_is_no_topic_of_a_site_is_refused",
    ),
    (
        "A Content-Length of thousands of digits was a failure of the agent door, where the HTTP server lets it through"
        " (ours does not).",
        "tests/central/test_ingest.py",
        "test_a_length_that_no_number_holds_is_too_large",
    ),
)
"""Each with the test that holds it: file and name."""


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """One target: for how long, how often, how many branches were seen, and what was found, each in a line."""

    target: str
    minutes: float
    executions: int
    branches: int
    findings: tuple[str, ...]


def show(fuzzed: Sequence[Fuzzed], command: str) -> None:
    """The run is on the screen."""
    table = Table(title="fuzzing", caption=f"{machine()}\n{command}")
    for heading in ("target", "minutes", "executions", "branches", "findings"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for one in fuzzed:
        found = str(len(one.findings) or "none")
        table.add_row(one.target, f"{one.minutes:.1f}", f"{one.executions:,}", f"{one.branches:,}", found)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for one in fuzzed:
        for finding in one.findings:
            console.print(f"{one.target}: {finding}", markup=False, soft_wrap=True)


def write(fuzzed: Sequence[Fuzzed], command: str, path: Path = REPORT) -> None:
    """The run is in the file, as JSON."""
    told = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": command,
        "minutes": sum(one.minutes for one in fuzzed),
        "executions": sum(one.executions for one in fuzzed),
        "targets": [asdict(one) for one in fuzzed],
    }
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def record(report: Path = REPORT, page: Path = PAGE) -> None:
    """The page tells what the report says."""
    told = json.loads(report.read_text())
    rows = [
        f"| {one['target']} | {one['minutes']:.1f} | {one['executions']:,} | {one['branches']:,} "
        f"| {len(one['findings']) or 'none'} |"
        for one in told["targets"]
    ]
    found = [f"- {what} Held by `{name}` in `{file}`." for what, file, name in FOUND]
    page.write_text(
        "\n".join(
            [
                "# Fuzzing",
                "",
                "<!-- Written by `RECORD=yes make fuzz`. Do not edit. -->",
                "",
                "Input that nobody would send, to everything that takes some. Hypothesis tries each property for a",
                "moment in `make test`; `make fuzz` goes on from there with atheris, led by the branches it reaches.",
                "",
                "| target | what holds for any bytes |",
                "|---|---|",
                *(f"| {name} | {what} |" for name, what in HOLDS.items()),
                "",
                "## The last recorded run",
                "",
                f"{told['at']}, `{told['command']}`, on {told['machine']}:",
                f"{told['minutes']:.0f} minutes, {told['executions']:,} executions.",
                "",
                "| target | minutes | executions | branches | findings |",
                "|---|--:|--:|--:|--:|",
                *rows,
                "",
                "## Found so far, and mended",
                "",
                *found,
                "",
            ]
        )
    )


HOLDS: Final = {
    "names": "What is taken as the name of an item has that one spelling and is a file name.",
    "topics": "What is taken as a topic is the one topic of that site, group and camera.",
    "boxes": "Boxes lie one behind the other within the data; facts are read of a whole segment only.",
    "bodies": "The centre takes a body or says in one line why not.",
    "torn": "An agent that finds this left open starts, twice, and stores what is whole or puts it aside.",
    "torn-made": "The same, with damage to a real segment that hypothesis makes.",
    "agent-door": "One answer that an agent can act on; a receipt is the truth; no memory is lost.",
    "comparing": "The same of inventories, and of the question who one is.",
    "console": "Each path and parameter of the API: an answer that is no failure of the centre's.",
    "now-lane": "A message of MQTT is kept or refused; what is kept can be shown.",
    "wishes": "An agent follows a wish of the centre or ignores it.",
}
