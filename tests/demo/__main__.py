"""Show the whole product working; `make demo` runs this.

DEMO_SECONDS tells the story in so many seconds and ends by itself, with an exit code that says whether every second
of every camera is accounted for. Without it the story takes two minutes and the city goes on until Ctrl-C.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from tests.demo.account import settle
from tests.demo.screen import LiveScreen, PlainScreen, Screen, account
from tests.demo.stage import CROSSINGS, Stage
from tests.demo.story import SETTLES_S, STORY, lasts_s
from tests.rig.city import City
from tests.rig.processes import LateError

_ROOT: Final = Path(__file__).parents[2]
_LENGTH_S: Final = 110.0
_SHORTEST_S: Final = 50.0
_TURN_S: Final = 0.25


def main() -> int:
    """The exit code: 0 when the account holds, 1 when it does not, 2 for bad usage."""
    options = _options()
    console = Console()
    with _stage_door(options.directory), City(options.directory) as city, _signals_end_it():
        stage = Stage(city, options.seconds or _LENGTH_S)
        try:
            with LiveScreen(console) if console.is_terminal else PlainScreen(console) as screen:
                late = _tell(stage, screen)
        except LateError as error:
            console.print(str(error), markup=False, highlight=False)
            return 1
        report = settle(stage.completeness(), {site: name for site, name, _ in CROSSINGS}, late)
        options.report.write_text(json.dumps(report, indent=2) + "\n")
        console.print(account(report))
        console.print(f"  written to {options.report}, logs in {options.directory}", highlight=False, soft_wrap=True)
        if not options.seconds:
            console.print(f"\n  The city goes on at {city.console} until Ctrl-C.", highlight=False)
            _serve(city)
    return 0 if report["holds"] else 1


def _tell(stage: Stage, screen: Screen) -> str | None:
    """The story is told; the title of the chapter at which it ended because its outcome did not come in time."""
    begun = time.monotonic()
    for number, chapter in enumerate(STORY):
        screen.show(stage.view(number))
        if chapter.act:
            chapter.act(stage)
        now = time.monotonic()
        ends = now + lasts_s(number, now - begun, stage.length_s)
        while True:
            stage.look()
            screen.show(stage.view(number))
            now = time.monotonic()
            if now >= ends and chapter.outcome(stage):
                break
            if now >= ends + SETTLES_S:
                return chapter.title
            time.sleep(_TURN_S)
    return None


def _serve(city: City) -> None:
    """Until Ctrl-C, or until something ends that should not."""
    try:
        while True:
            for program in (city.centre, *(site.agent for site in city.sites.values())):
                if not program.running:
                    raise SystemExit(f"{program.name} ended by itself\n{program.last_words()}")
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--directory", type=Path, default=_ROOT / "var" / "demo", help="emptied, then filled anew")
    parser.add_argument("--report", type=Path, default=_ROOT / "demo-report.json")
    options = parser.parse_args()
    text = os.environ.get("DEMO_SECONDS", "")
    try:
        options.seconds = float(text) if text else None
    except ValueError:
        parser.error(f"DEMO_SECONDS is not a number: {text!r}")
    if options.seconds is not None and not _SHORTEST_S <= options.seconds <= 3600:
        parser.error(f"DEMO_SECONDS is {text}: the story takes {_SHORTEST_S:g} to 3600 seconds")
    return options


@contextmanager
def _stage_door(directory: Path) -> Iterator[None]:
    """The folder is ours and empty."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = directory.with_name(f"{directory.name}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if directory.exists():
            shutil.rmtree(directory)
    except BlockingIOError:
        raise SystemExit(f"{directory} is in use: another demo runs; end it first, or give --directory") from None
    except OSError as error:
        raise SystemExit(f"{directory}: {error.strerror}; remove it, or give --directory") from None
    with lock:
        yield


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Signals that would end us are raised here; from then on none disturbs the end, which takes seconds."""
    signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    for number in signals:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)


def _leave(number: int, _frame: object) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
