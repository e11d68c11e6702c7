"""`python -m tests.bench`: all measures; with ONLY=name in the environment, that one.

Figures are told, not judged: a target that is missed is a row that says so, and the exit code stays 0. It is 1 when a
measure could not be taken, and 2 for a name that is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from tests.bench import battery, drain, fair, history, ingest, power, record, spool
from tests.bench.report import REPORT, Finding, show, write

MEASURES: Final[Mapping[str, Callable[[], Finding]]] = {
    "battery": battery.measure,
    "record": record.measure,
    "drain": drain.measure,
    "fair": fair.measure,
    "history": history.measure,
    "ingest": ingest.measure,
    "power": power.measure,
    "spool": spool.measure,
}


def main() -> int:
    only = os.environ.get("ONLY", "")
    if only and only not in MEASURES:
        print(f"ONLY={only}: no such measure; there are: {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    command = f"make bench ONLY={only}" if only else "make bench"
    findings = {}
    for name in [only] if only else MEASURES:
        try:
            findings[name] = MEASURES[name]()
        except (AssertionError, pytest.skip.Exception) as error:
            print(f"{name}: could not be measured: {error}", file=sys.stderr)
            return 1
        show(name, findings[name], command)
    write(findings, command)
    print(f"written to {REPORT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
