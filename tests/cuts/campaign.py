"""Batches of cuts, several at once, each in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cuts.outcome import Outcome
from tests.rig.parts import require_power_disk, require_program, require_rtsp_server

CARELESS: Final = "careless "
_BATCH: Final = 25
_CUT_AT_MOST_S: Final = 30
_BATCH_AT_MOST_S: Final = 180


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch that is to be: who is cut, by which dice, how often."""

    victim: str
    seed: int
    cuts: int


def plans(seed: int, cuts: int) -> list[Plan]:
    """So many cuts under the agent and half as many under the centre; and some under careless ones of each kind."""
    shares = {"agent": cuts, "centre": cuts // 2, f"{CARELESS}agent": cuts // 50, f"{CARELESS}centre": cuts // 50}
    return [
        Plan(victim, seed * 10_000 + number, min(_BATCH, share - number * _BATCH))
        for number in range(cuts // _BATCH + 1)
        for victim, share in shares.items()
        if share > number * _BATCH
    ]


def require_parts() -> None:
    """What every batch stands on is there."""
    require_power_disk()
    require_rtsp_server()
    for program in ("ffmpeg", "mosquitto", "eatmydata"):
        require_program(program)


def run(batches: Sequence[Plan], at_once: int, folder: Path) -> Iterator[Outcome]:
    """Each outcome as soon as it is known; a batch that the rig could not run is a finding."""
    with ThreadPoolExecutor(at_once) as hands:
        for batch in as_completed([hands.submit(_run, plan, folder) for plan in batches]):
            yield batch.result()


def _run(plan: Plan, folder: Path) -> Outcome:
    where = folder / f"{plan.victim}-{plan.seed}".replace(" ", "-")
    where.mkdir(parents=True)
    log = where / "batch.log"
    careless = plan.victim.startswith(CARELESS)
    command = [
        *(["eatmydata"] if careless else []),
        *(sys.executable, "-m", "tests.cuts.batch"),
        *(plan.victim.removeprefix(CARELESS), str(plan.seed), str(plan.cuts), str(where)),
    ]
    with log.open("wb") as words, subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], stderr=words) as batch:
        try:
            code = batch.wait(_BATCH_AT_MOST_S + plan.cuts * _CUT_AT_MOST_S)
        except subprocess.TimeoutExpired:
            batch.terminate()
            code = batch.wait()
    if code != 0:
        finding = f"seed {plan.seed}: the rig failed, see {log}: {log.read_text(errors='replace').strip()[-500:]}"
        return Outcome(victim=plan.victim, seed=plan.seed, findings=(finding,))
    outcome = Outcome.read(where / "outcome.json")
    if outcome.holds or careless:
        shutil.rmtree(where)  # else whoever looks for the reason finds disk and logs there
    return outcome
