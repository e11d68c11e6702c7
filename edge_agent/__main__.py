"""The command line of the agent."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from edge_agent.clock import SystemClock
from edge_agent.errors import SettingsError, SpoolError
from edge_agent.last_good import LastGood, state_directory
from edge_agent.settings import load

_DONE, _BAD_SETTINGS, _NOT_FIT = 0, 2, 3
_CONFIG: Final = Path("/etc/simpang/edge-agent.toml")
_PRIORITY: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
"""Syslog priorities; see sd-daemon(3)."""


def main() -> None:
    """Run the command that the arguments name; the exit code says how it went."""
    arguments = _arguments()
    _log()
    last_good = LastGood(arguments.config, state_directory())
    try:
        settings = load(arguments.config) if arguments.command == "check" else last_good.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(_BAD_SETTINGS)
    if arguments.command == "check":
        from edge_agent.check import check, table

        findings = check(settings, SystemClock())
        print(json.dumps([asdict(finding) for finding in findings], indent=2) if arguments.json else table(findings))
        sys.exit(_DONE if all(finding.fit for finding in findings) else _NOT_FIT)

    from edge_agent.agent import Agent

    try:
        code = Agent(settings, SystemClock(), last_good).run()
    except SpoolError as error:
        print(error, file=sys.stderr)
        sys.exit(_NOT_FIT)
    # All is said and stored. A thread that still hangs in libav would crash an interpreter that takes itself apart.
    logging.shutdown()
    os._exit(code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Records the cameras of one crossing, keeps the footage until the centre has it, and reports.",
        epilog="Exit codes: 0 done, or stopped in good order; 1 a bug; 2 bad settings or usage; 3 the site is not fit.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="record, ship and report until SIGTERM")
    check = commands.add_parser("check", help="try settings, spool, cameras, centre, broker and battery, and tell")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    for command in (run, check):
        command.add_argument("--config", type=Path, default=_CONFIG, metavar="FILE", help="default: %(default)s")
    return parser.parse_args()


def _log() -> None:
    """One line per event to stderr; for journald with its priority, for people with the time."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(threadName)s: %(message)s", level=logging.INFO)
    logging.getLogger("libav").setLevel(logging.WARNING)
    stderr = os.fstat(sys.stderr.fileno())
    if os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}":
        logging.getLogger().handlers[0].setFormatter(_ForJournal("%(threadName)s: %(message)s"))


class _ForJournal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The line with its priority in front, and on each line of a traceback."""
        priority = f"<{_PRIORITY[record.levelname]}>"
        return priority + super().format(record).replace("\n", f"\n{priority}")


if __name__ == "__main__":
    main()
