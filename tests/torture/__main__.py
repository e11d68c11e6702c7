"""`make torture`: a city under random faults, and the account of every picture.

MINUTES says for how long (10), SITES with how many crossings (3), SEED which faults when (chosen and printed if not
given), FAULTS='a,b' with these only. The exit code is 1 when anything is unexplained, there twice, corrupt or not back
in time, and 2 for bad usage. A run of an hour or more writes docs/reliability.md, and so does DOCS=1.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console

from tests.bench.report import machine
from tests.rig.parts import require_power_disk, require_program, require_rtsp_server
from tests.torture.account import Account
from tests.torture.faults import AT_CENTRE, AT_SITE, RULES, Fault
from tests.torture.report import REPORT, Campaign, show, write
from tests.torture.schedule import schedule
from tests.torture.stage import Stage

_NAMES: Final = ("lawang", "pasar", "tugu", "bundaran", "pelabuhan", "stasiun", "alun-alun", "terminal")


def main() -> int:
    console = Console(width=None if Console().is_terminal else 150)
    try:
        minutes = float(os.environ.get("MINUTES") or 10)
        sites = int(os.environ.get("SITES") or 3)
        seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
        only = [name.strip() for name in os.environ.get("FAULTS", "").split(",") if name.strip()]
        unknown = sorted(set(only) - RULES.keys())
        if unknown or not 0.5 <= minutes <= 24 * 60 or not 1 <= sites <= len(_NAMES):
            raise ValueError(f"there is no fault {unknown[0]!r}" if unknown else "out of range")
        for program in ("mosquitto", "ffmpeg", "gcc"):
            require_program(program)
        require_rtsp_server()
    except (ValueError, pytest.skip.Exception) as error:
        print(f"make torture: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="simpang-torture-") as scratch:
        folder = Path(os.environ.get("FOLDER") or scratch)
        campaign = run(folder, seed, minutes, _NAMES[:sites], only, lambda line: console.print(line, highlight=False))
    show(campaign, console)
    write(campaign)
    console.print(f"written to {REPORT}")
    return 0 if campaign.holds else 1


def run(folder: Path, seed: int, minutes: float, sites: Sequence[str], only: Collection[str], say: Any) -> Campaign:
    """The campaign, from the first camera to the last question."""
    command = f"make torture SEED={seed} MINUTES={minutes:g} SITES={len(sites)}"
    command += f" FAULTS='{','.join(only)}'" if only else ""
    with_disks = _may_have_disks()
    at_site, left_out = _usable(AT_SITE, only, with_disks)
    at_centre, left_out_too = _usable(AT_CENTRE, only, with_disks)
    strokes = schedule(seed, minutes * 60, sites, at_site, at_centre)
    say(f"{command}: {len(strokes)} strokes")
    account = Account({})
    began = datetime.now(UTC)
    with Stage(folder, seed, sites, with_disks, say) as stage:
        stage.live(strokes, [*at_site, *at_centre], minutes * 60)
        say("all faults are over; waiting for the rest to arrive")
        stage.settle()
        for evidence in stage.evidence(account):
            account.judge(evidence, RULES)
        completeness = stage.completeness()
    return Campaign(
        began, command, seed, minutes, len(sites), machine(), strokes, left_out + left_out_too, account, completeness
    )


def _may_have_disks() -> bool:
    try:
        require_power_disk()
    except pytest.skip.Exception:
        return False
    return True


def _usable(
    faults: Collection[Fault[Any]], only: Collection[str], with_disks: bool
) -> tuple[list[Fault[Any]], list[str]]:
    """Those that can be injected here, and what there is to say of those that cannot."""
    wanted = [fault for fault in faults if not only or fault.name in only]
    usable = [fault for fault in wanted if with_disks or not fault.needs_disk]
    return usable, [f"{fault.name}: needs root and FUSE" for fault in wanted if fault not in usable]


if __name__ == "__main__":
    sys.exit(main())
