"""The process of an agent, and its settings."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from edge_agent.contract import LossCause
from tests.rig.processes import EDGE_AGENT, Program
from tests.torture.account import Rule
from tests.torture.crossing import Crossing
from tests.torture.faults.fault import BOTH, BY_AGENT, Fault


def kill(at: Crossing) -> None:
    """The agent is gone, and nobody starts it."""
    at.keeper.kill(at.agent)


def start(at: Crossing) -> None:
    """The agent runs, and whenever it ends it is started again."""
    at.keeper.keep(at.agent)


def _kill_and_start(at: Crossing) -> None:
    kill(at)
    start(at)


def _order_a_stop(at: Crossing) -> None:
    at.keeper.leave(at.agent)
    if at.agent.running:
        at.agent.signal(signal.SIGTERM)


def _signal(number: signal.Signals, at: Crossing) -> None:
    if at.agent.running:
        at.agent.signal(number)


def _start_a_second(at: Crossing) -> None:
    command: list[str | Path] = [*EDGE_AGENT, "run", "--config", at.site.config]
    with Program("second agent", command, at.site.folder / "second.log", at.clock.environment) as second:
        code = second.start().wait(20)
    if at.agent.running and code != 3:
        at.wrong.append(f"a second agent at the same spool ended with {code}")


def _halve_configuration(at: Crossing) -> None:
    kill(at)
    whole = at.site.config.read_text()
    at.site.config.with_suffix(".whole").write_text(whole)
    at.site.config.write_text(whole[: at.dice.randrange(whole.index("[[cameras]]"))])
    start(at)


def _mend_configuration(at: Crossing) -> None:
    at.site.config.with_suffix(".whole").replace(at.site.config)


AGENT: Final[Sequence[Fault[Crossing]]] = [
    Fault("agent killed", "The agent is gone at once.", frozenset({"agent"}), (0.1, 4), kill, start, BY_AGENT),
    Fault(
        "agent killed in its recovery",
        "The agent is gone at once, again and again while it comes up.",
        frozenset({"agent"}),
        (4, 9),
        _kill_and_start,
        _kill_and_start,
        BY_AGENT,
        again=(1.3, _kill_and_start),
    ),
    Fault(
        "agent stopped",
        "The agent is told to stop and started again.",
        frozenset({"agent"}),
        (6, 9),
        _order_a_stop,
        start,
        Rule(frozenset({LossCause.STOPPED, LossCause.AGENT}), BOTH),
    ),
    Fault(
        "agent hangs",
        "The agent does not get on, and then does.",
        frozenset({"agent"}),
        (2, 15),
        partial(_signal, signal.SIGSTOP),
        partial(_signal, signal.SIGCONT),
        Rule(frozenset({LossCause.AGENT, LossCause.CAMERA}), BOTH),
    ),
    Fault(
        "half a configuration",
        "The agent is killed, finds only the beginning of its settings file, and goes on with the last good one.",
        frozenset({"agent"}),
        (4, 12),
        _halve_configuration,
        _mend_configuration,
        BY_AGENT,
    ),
    Fault(
        "second agent",
        "Somebody starts a second agent at the same spool.",
        # While there is no first one, it is the agent of the site.
        frozenset({"agent", "second agent"}),
        (0.1, 0.2),
        _start_a_second,
    ),
]
