"""`python -m tests.fuzz.one TARGET [libFuzzer's options]`: fuzz one target in this process, which ends with it."""

from __future__ import annotations

import logging
import sys

import atheris

if __name__ == "__main__":
    name = sys.argv.pop(1)
    logging.disable(logging.CRITICAL)  # what is said of each bad input
    with atheris.instrument_imports(include=["edge_agent", "central"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name].one_input
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
