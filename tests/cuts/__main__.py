"""`python -m tests.cuts`: power cuts under the agent and under the centre, as many as CUTS says.

SEED are the dice. AT_ONCE is how many disks are cut at the same time; their lives wait more than they work. GO_ON=1
takes up a run with the same seed that was broken off. PUBLISH=1 writes the page of the documentation, too.

The exit code is 0 when every promise was kept and every careless one was found out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.cuts import campaign, report
from tests.cuts.campaign import CARELESS
from tests.cuts.outcome import Outcome

SCRATCH: Final = Path(__file__).resolve().parents[2] / ".cache" / "cuts"


def main() -> int:
    cuts, seed = int(os.environ.get("CUTS") or 1000), int(os.environ.get("SEED") or 1)
    at_once = int(os.environ.get("AT_ONCE") or 2 * (os.cpu_count() or 1))
    command = f"make cuts CUTS={cuts} SEED={seed}"
    try:
        campaign.require_parts()
    except pytest.skip.Exception as error:
        print(f"cannot cut anybody's power: {error}", file=sys.stderr)
        return 1
    outcomes = report.read(seed) if os.environ.get("GO_ON") else []
    done = {(outcome.victim, outcome.seed) for outcome in outcomes}
    batches = [plan for plan in campaign.plans(seed, cuts) if (plan.victim, plan.seed) not in done]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    begun_s = time.monotonic()
    scratch = Path(tempfile.mkdtemp(dir=SCRATCH))
    for outcome in campaign.run(batches, at_once, scratch):
        outcomes.append(outcome)
        report.write(outcomes, seed, command)
        print(_line(outcome, time.monotonic() - begun_s), flush=True)
    with suppress(OSError):
        scratch.rmdir()  # what stays there is for whoever looks for the reason of a finding
    report.show(outcomes, command)
    if os.environ.get("PUBLISH"):
        report.publish()
    return 0 if all(_as_it_should(outcome) for outcome in outcomes) else 1


def _line(outcome: Outcome, after_s: float) -> str:
    verdict = "as it should" if _as_it_should(outcome) else "; ".join(outcome.findings)
    return (
        f"{after_s:6.0f} s  {outcome.victim} {outcome.seed}: {outcome.cuts} cuts in {outcome.took_s:.0f} s, "
        f"{outcome.broken} broke a promise, at most {outcome.worst_missing_s:.2f} s missing: {verdict}"
    )


def _as_it_should(outcome: Outcome) -> bool:
    """The careful keep every promise, the careless are found out."""
    return bool(outcome.broken) if outcome.victim.startswith(CARELESS) else outcome.holds


if __name__ == "__main__":
    sys.exit(main())
