"""What a measure found, row by row: as a table for people, and as JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

REPORT: Final = Path("bench-report.json")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside the same figure of a peer, or beside a limit, in the same unit.

    `target` is the highest ratio that is good enough, or the least where more is better; a row without one is told
    for its own sake.
    """

    name: str
    unit: str
    ours: float
    peer: float
    target: float | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's; None where the peer has nothing."""
        return self.ours / self.peer if self.peer else None

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        if self.ratio is None:
            return False
        return self.ratio >= self.target if self.more_is_better else self.ratio <= self.target


@dataclass(frozen=True, slots=True)
class Finding:
    """The rows of one measure. `peer` names whom or what `ours` is compared with, `method` says how in a line."""

    peer: str
    method: str
    rows: Sequence[Row]
    ours: str = "the agent"


def machine() -> str:
    """The machine in one line, so that nobody compares figures of two."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpus = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    cpu = f"{os.cpu_count()} × {cpus[-1] if cpus else platform.machine()}"
    return f"{cpu}, {memory_mib} MiB, Linux {platform.release()}, Python {platform.python_version()}"


def commit() -> str:
    """What was measured: the commit of the working tree, with a word when something was changed in it since."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().replace("-dirty", ", with changes")


def show(name: str, finding: Finding, command: str) -> None:
    """The finding is on the screen."""
    table = Table(
        title=f"{name}: {finding.ours} beside {finding.peer}", caption=f"{machine()}\n{command}\n{finding.method}"
    )
    table.add_column("measure")
    for heading in ("ours", "peer", "ratio", "target"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("holds")
    for row in finding.rows:
        table.add_row(
            row.name,
            f"{row.ours:,.2f}",
            f"{row.peer:,.2f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.target is None else f"{'≥' if row.more_is_better else '≤'} {row.target:g}",
            row.unit,
            {True: "[green]yes", False: "[red]no", None: ""}[row.holds],
        )
    Console(width=None if Console().is_terminal else 120).print(table)


def write(findings: Mapping[str, Finding], command: str, path: Path = REPORT) -> None:
    """The findings are in the file, as JSON."""
    told = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": command,
        "measures": {
            name: {
                "ours": finding.ours,
                "peer": finding.peer,
                "method": finding.method,
                "rows": [asdict(row) | {"ratio": row.ratio, "holds": row.holds} for row in finding.rows],
            }
            for name, finding in findings.items()
        },
    }
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
