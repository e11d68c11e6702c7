"""How well the end of a discharge is foretold: packs simulated with PyBaMM, seen through cheap sensors.

`tests/bench/battery_traces.py` makes the discharges, in a virtual environment of its own; they are kept in
`.cache/battery` until that file changes. It shares no equation with the agent. Each pack is discharged three times to
learn from; each time the box goes dark with it and starts anew from the note that it wrote last. The fourth time is
foretold, at ten moments from half of the discharge on.

The error is that of the time that is left, as a part of it, and of a discharge the mean of its ten moments; the last
twentieth of the time, some minutes, is not judged. What the load does afterwards nobody at the site can know, so two
errors are told: with the mean load of the rest foretold, which is that of the battery alone, and as the agent states
it. Beside the latter stands an oracle that knows the energy exactly and foresees the load as the agent does.

The peer of the estimate is what drivers of NUT guess without a learnt runtime (nutdrv_qx): a charge that is linear in
the voltage, and time that goes on as it went.

BENCH_PACKS sets how many packs of each chemistry there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.core.battery import estimate, foreseen_hours
from edge_agent.core.discharge import Discharge, Pack
from edge_agent.core.learning import Lesson
from edge_agent.core.site_battery import SiteBattery
from edge_agent.core.supply import PowerReading
from tests.bench.report import Finding, Row
from tests.rig import clips

PACKS: Final = int(os.environ.get("BENCH_PACKS", "70"))
LIMIT_PERCENT: Final = 10.0
SAMPLE_S: Final = 10
LEARNT: Final = 3
MOMENTS: Final = np.linspace(0.5, 0.95, 10)
BEFORE: Final = np.linspace(0.05, 0.95, 10)
_PYBAMM: Final = "pybamm==26.10.1.1"
_MAKER: Final = Path(__file__).with_name("battery_traces.py")
_CACHE: Final = clips.CACHE.parent / "battery"
_BEGIN_MS: Final = 1_800_000_000_000
_MONTH_MS: Final = 30 * 86_400_000
_NIGHT_MS: Final = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class Sensors:
    """What a site measures. Volts by ten bits of 18 V, amperes by some 80 steps, each with a gain of its own."""

    name: str
    current: bool
    temperature: bool


SENSORS: Final = (
    Sensors("with current and temperature", current=True, temperature=True),
    Sensors("with current", current=True, temperature=False),
    Sensors("voltage only", current=False, temperature=False),
)


@dataclass(slots=True)
class Errors:
    """Of all discharges, in percent of the time that was left; means of the moments of each."""

    ours: list[float] = field(default_factory=list)
    foretold: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    """Whether the truth lay in the band, at each moment."""
    held_before: list[bool] = field(default_factory=list)
    width: list[float] = field(default_factory=list)
    """Of the band at half of the discharge, in percent of the time that was left."""
    width_before: list[float] = field(default_factory=list)


def measure() -> Finding:
    """All packs, with each set of sensors."""
    rows: list[Row] = []
    packs = list(_packs())
    for sensors in SENSORS:
        errors = Errors()
        for facts, traces in packs:
            _judge(facts, traces, sensors, errors)
        rows += _rows(sensors.name, errors)
    return Finding(
        "a limit, or NUT's guess",
        f"{len(packs)} simulated packs ({_PYBAMM}), {LEARNT} discharges learnt and one foretold; rows without a target "
        "stand beside NUT's guess",
        rows,
        "the estimate",
    )


def _rows(name: str, errors: Errors) -> Iterator[Row]:
    peers = np.percentile(errors.peer, (50, 90, 95))
    for what, found in (("load foretold", errors.foretold), ("as stated", errors.ours)):
        yield Row(f"{name}, {what}: error, median", "%", float(np.median(found)), LIMIT_PERCENT, 1.0)
        yield Row(f"{name}, {what}: error, 90th percentile", "%", float(np.percentile(found, 90)), LIMIT_PERCENT, 1.0)
        yield Row(f"{name}, {what}: error, 95th percentile", "%", float(np.percentile(found, 95)), float(peers[2]))
        within = 100 * float(np.mean(np.array(found) <= LIMIT_PERCENT))
        yield Row(f"{name}, {what}: within 10 %", "%", within, 100 * float(np.mean(np.array(errors.peer) <= 10)))
    for percent, peer in zip((50, 90, 95), peers, strict=True):
        yield Row(f"{name}: oracle of the energy, {percent} %", "%", float(np.percentile(errors.oracle, percent)), peer)
    for what, held, width in (
        ("before learning", errors.held_before, errors.width_before),
        ("learnt", errors.held, errors.width),
    ):
        inside = 100 * float(np.mean(held))
        yield Row(f"{name}, {what}: truth inside the band", "%", inside, 90, 1.0, more_is_better=True)
        yield Row(f"{name}, {what}: width of the band, median", "%", float(np.median(width)), 0)


def _judge(
    facts: dict[str, Any], traces: Sequence[tuple[np.ndarray, np.ndarray]], sensors: Sensors, errors: Errors
) -> None:
    """One pack: three discharges are learnt, the fourth is foretold."""
    chance = np.random.default_rng([facts["number"], len(facts["chemistry"])])
    gains = chance.normal(0, 1, 3)
    seen = [
        list(_sense(volts, amperes, celsius, gains, sensors, chance))
        for (volts, amperes), celsius in zip(traces, facts["temperatures_c"], strict=True)
    ]
    pack = Pack(facts["chemistry"], facts["cells"], facts["label_ah"])
    lessons = _learn(pack, seen[:LEARNT])
    assert len(lessons) == LEARNT, f"{facts['chemistry']} {facts['number']}: {len(lessons)} discharges learnt"
    volts, amperes = traces[LEARNT]
    watts = volts * amperes
    usual_w = float(np.mean([np.mean(volts * amperes) for volts, amperes in traces[:LEARNT]]))
    marks, early = ({round(len(watts) * part) for part in parts} for parts in (MOMENTS, BEFORE))
    discharge = Discharge(pack)
    found: dict[str, list[float]] = {"ours": [], "foretold": [], "oracle": [], "peer": []}
    for at, reading in enumerate(seen[LEARNT]):
        discharge.see(reading, at * SAMPLE_S * 1000)
        if at not in early | marks or (trace := discharge.trace()) is None:
            continue
        left_s = float((len(watts) - 1 - at) * SAMPLE_S)
        if at in early:
            now = estimate(pack, (), trace)
            assert now.runtime.high_s is not None
            errors.held_before.append(now.runtime.low_s <= left_s <= now.runtime.high_s)
            errors.width_before.append(100 * (now.runtime.high_s - now.runtime.low_s) / left_s)
        if at in marks:
            # What the sensors would say of the rest, so that their gain is not taken for a change of load.
            foretold_w = trace.mean_w * float(watts[at:].mean() / watts[: at + 1].mean())
            now = estimate(pack, lessons, trace, 0, _BEGIN_MS + LEARNT * _MONTH_MS)
            sure = estimate(pack, lessons, trace, 0, _BEGIN_MS + LEARNT * _MONTH_MS, foretold_w)
            rest_wh = float(watts[at + 1 :].sum()) * SAMPLE_S / 3600
            mean_w = float(watts[: at + 1].mean())
            oracle_h = foreseen_hours(np.array([rest_wh]), float(watts[at]), mean_w, usual_w, at * SAMPLE_S / 3600)
            assert now.runtime.s is not None
            assert now.runtime.high_s is not None
            assert sure.runtime.s is not None
            charge = (float(volts[at]) / facts["cells"] / _nominal_v(facts) * 12 - 10.4) / 2.6
            charge = min(max(charge, 0.0), 0.999)
            guesses = {
                "ours": now.runtime.s,
                "foretold": sure.runtime.s,
                "oracle": float(oracle_h[0]) * 3600,
                "peer": at * SAMPLE_S * charge / (1 - charge),
            }
            for name, guess in guesses.items():
                found[name].append(100 * abs(guess - left_s) / left_s)
            errors.held.append(now.runtime.low_s <= left_s <= now.runtime.high_s)
            errors.width.append(100 * (now.runtime.high_s - now.runtime.low_s) / left_s)
    for name, parts in found.items():
        getattr(errors, name).append(float(np.mean(parts)))


def _nominal_v(facts: dict[str, Any]) -> float:
    return {"lead-acid": 2.0, "lifepo4": 3.2, "li-ion": 3.6}[facts["chemistry"]]


def _learn(pack: Pack, discharges: Sequence[Sequence[PowerReading]]) -> tuple[Lesson, ...]:
    """What is known after these, each of which ended in the dark; a night on mains lies before each."""
    note: object = None
    for month, readings in enumerate(discharges):
        battery = SiteBattery(pack, f"boot {month}")
        battery.recall(note)
        unix_ms = _BEGIN_MS + month * _MONTH_MS
        for now_ms in (0, _NIGHT_MS):
            battery.see(PowerReading(True), now_ms, unix_ms)
        for at, reading in enumerate(readings):
            battery.see(reading, _NIGHT_MS + (at + 1) * SAMPLE_S * 1000, unix_ms)
            # It is written every half minute; only what was written last is ever read.
            if at >= len(readings) - 9 and (kept := battery.note()):
                note = json.loads(json.dumps(kept))
    battery = SiteBattery(pack, "at last")
    battery.recall(note)
    return battery.lessons


def _sense(
    volts: np.ndarray,
    amperes: np.ndarray,
    celsius: float,
    gains: np.ndarray,
    sensors: Sensors,
    chance: np.random.Generator,
) -> Iterator[PowerReading]:
    """What the sensors of a site say: their gains are its own, and hardly change from one discharge to the next."""
    step_v, step_a = 18 / 1023, float(amperes.mean()) / 80
    seen_v = volts * (1 + 0.005 * gains[0] + chance.normal(0, 0.0005)) + chance.normal(0, 0.012, len(volts))
    seen_a = amperes * (1 + 0.015 * gains[1] + chance.normal(0, 0.002))
    seen_a = seen_a + step_a * (gains[2] + chance.normal(0, 0.2) + chance.normal(0, 0.6, len(amperes)))
    temperature_c = round(celsius + chance.normal(0, 1)) if sensors.temperature else None
    for volt, ampere in zip(np.round(seen_v / step_v) * step_v, np.round(seen_a / step_a) * step_a, strict=True):
        yield PowerReading(False, float(volt), float(ampere) if sensors.current else None, None, temperature_c)


def _packs() -> Iterator[tuple[dict[str, Any], list[tuple[np.ndarray, np.ndarray]]]]:
    """The discharges of every pack, made where they are not there yet."""
    folder = _CACHE / hashlib.sha256(_MAKER.read_bytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("*[0-9].npz"))) < 3 * PACKS:
        subprocess.run(["nice", "-n", "19", _python(), _MAKER, folder, str(PACKS)], check=True)
    for path in sorted(folder.glob("*[0-9].npz")):
        with np.load(path) as kept:
            facts = json.loads(str(kept["pack"]))
            if facts["number"] < PACKS:
                yield facts, [(kept[f"volts{at}"], kept[f"amperes{at}"]) for at in range(LEARNT + 1)]


def _python() -> Path:
    """The Python of an environment that has PyBaMM."""
    python = _CACHE / "venv" / "bin" / "python"
    if not python.exists():
        print(f"making {_CACHE / 'venv'} with {_PYBAMM}", file=sys.stderr)
        venv.create(_CACHE / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", _PYBAMM], check=True)
    return python
