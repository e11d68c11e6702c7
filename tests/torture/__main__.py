"""A city under random faults, and the account of every picture; `make torture` runs this.

MINUTES says for how long (10), SITES with how many crossings (3), SEED which faults strike when (chosen and told if not
given), FAULTS=a,b that only these do. The exit code is 1 when anything is unexplained, there twice, corrupt or not back
in time, and 2 for bad usage. A run of an hour or more writes docs/reliability.md, and so does any with DOCS=1.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console

from tests.bench.report import commit, machine
from tests.rig.parts import require_power_disk, require_program, require_rtsp_server
from tests.torture.account import Account
from tests.torture.faults import AT_CENTRE, AT_SITE, RULES, Fault
from tests.torture.report import PAGE, REPORT, Campaign, page, show, write
from tests.torture.schedule import schedule
from tests.torture.stage import Stage

_NAMES: Final = ("lawang", "pasar", "tugu", "bundaran", "pelabuhan", "stasiun", "alun-alun", "terminal")
_HOUR: Final = 60


def main() -> int:
    """The exit code: 0 when the account holds, 1 when it does not, 2 for bad usage."""
    options = _options()
    console = Console(width=None if Console().is_terminal else 160)
    with tempfile.TemporaryDirectory(prefix="simpang-torture-") as scratch, _signals_end_it():
        folder = options.folder or Path(scratch)
        say = partial(console.print, highlight=False, soft_wrap=True)
        campaign = run(folder, options.seed, options.minutes, _NAMES[: options.sites], options.faults, say)
    show(campaign, console)
    write(campaign, options.report)
    console.print(f"written to {options.report}", soft_wrap=True)
    if campaign.minutes >= _HOUR or options.docs:
        options.page.write_text(page(campaign))
        console.print(f"written to {options.page}", soft_wrap=True)
    return 0 if campaign.holds else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="an empty folder to work in and to leave all traces in")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    try:
        options.minutes = float(os.environ.get("MINUTES") or 10)
        options.sites = int(os.environ.get("SITES") or 3)
        options.seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    except ValueError as error:
        parser.error(f"MINUTES, SITES or SEED: {error}")
    options.docs = os.environ.get("DOCS") == "1"
    options.faults = [name for name in os.environ.get("FAULTS", "").split(",") if name]
    if not 0.5 <= options.minutes <= 24 * 60 or not 1 <= options.sites <= len(_NAMES):
        parser.error(f"MINUTES is from 0.5 to 1440, SITES from 1 to {len(_NAMES)}")
    if unknown := sorted(set(options.faults) - RULES.keys()):
        parser.error(f"there is no fault {unknown[0]!r}; there are: {', '.join(RULES)}")
    try:
        for program in ("mosquitto", "ffmpeg", "gcc"):
            require_program(program)
        require_rtsp_server()
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        parser.error(str(error))
    return options


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Ctrl-C, or being told to end, ends everything that runs and unmounts every disk."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


def run(folder: Path, seed: int, minutes: float, sites: Sequence[str], only: Collection[str], say: Any) -> Campaign:
    """The campaign, from the first camera to the last question."""
    command = f"make torture SEED={seed} MINUTES={minutes:g} SITES={len(sites)}"
    command += f" FAULTS={shlex.quote(','.join(only))}" if only else ""
    with_root = _is_root()
    at_site, left_out = _usable(AT_SITE, only, with_root)
    at_centre, left_out_too = _usable(AT_CENTRE, only, with_root)
    strokes = schedule(seed, minutes * 60, sites, at_site, at_centre)
    say(f"{command}: {len(strokes)} strokes")
    account = Account({})
    began, what = datetime.now(UTC), commit()
    with Stage(folder, seed, sites, with_root, say) as stage:
        stage.live(strokes, [*at_site, *at_centre], minutes * 60)
        say("all faults are over; waiting for the rest to arrive")
        stage.settle()
        for evidence in stage.evidence(account):
            account.judge(evidence, RULES)
        completeness = stage.completeness()
    return Campaign(
        at=began,
        command=command,
        seed=seed,
        minutes=minutes,
        sites=len(sites),
        machine=machine(),
        commit=what,
        strokes=strokes,
        left_out=left_out + left_out_too,
        account=account,
        completeness=completeness,
    )


def _is_root() -> bool:
    """Whether there are disks that lose power, and network ports."""
    try:
        require_power_disk()
        require_program("ip")
    except pytest.skip.Exception:
        return False
    return True


def _usable(
    faults: Collection[Fault[Any]], only: Collection[str], with_root: bool
) -> tuple[list[Fault[Any]], list[str]]:
    """Those that can be injected here, and what there is to say of those that cannot."""
    wanted = [fault for fault in faults if not only or fault.name in only]
    usable = [fault for fault in wanted if with_root or not fault.needs_root]
    return usable, [f"{fault.name}: needs root, FUSE and iproute2" for fault in wanted if fault not in usable]


if __name__ == "__main__":
    sys.exit(main())
