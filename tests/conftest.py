"""What every test shares: a clean environment, and the word at the end on what ran for real."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.rig.parts import LEDGER


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting leaks in from the shell that started the tests."""
    for name in list(os.environ):
        if name.startswith("SIMPANG_"):
            monkeypatch.delenv(name)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands over what its tests ran against."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["ledger"] = LEDGER.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What it hands over is noted."""
    LEDGER.hear(getattr(node, "workeroutput", {}).get("ledger", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which real parts the tests ran against, with their versions."""
    terminalreporter.section("what ran for real")
    for line in LEDGER.lines():
        terminalreporter.write_line(line)
