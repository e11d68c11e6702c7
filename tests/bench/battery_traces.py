"""Discharges of simulated packs, made with PyBaMM: `python battery_traces.py FOLDER PACKS`.

This runs in a virtual environment of its own, made by `tests/bench/battery.py`; the product knows nothing of PyBaMM.
The models are electrochemical: porous electrodes, diffusion in particles and electrolyte. The parameters are published
sets: lead-acid by Sulzer 2019, LiFePO4 by Prada 2013, Li-ion (NMC 811) by Chen 2020. Those are for room temperature;
how transport and kinetics slow down in the cold is added by Arrhenius' law with activation energies usual for each.
Ageing takes away active area (and, in lithium cells, lithium) and adds resistance.

Each pack lives at a site of its own and is discharged from full until it cuts out: three times to learn from, and once
to be foretold. The load is a power that steps at random moments, as cameras, lamps and heaters do.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pybamm

DISCHARGES: Final = 4
STEP_S: Final = 60
"""The current follows the falling voltage so often."""
SAMPLE_S: Final = 10
_GAS_CONSTANT: Final = 8.314
_TRANSPORT_J, _KINETICS_J, _SOLID_J = 17e3, 30e3, 30e3
_FACTORS: Final = (0.85, 1.15)
"""Between these parts of the site's usual load it steps, and stays so many seconds:"""
_STAYS_S: Final = (240, 1500)


@dataclass(frozen=True, slots=True)
class Cell:
    """What is simulated, and what a pack of it is."""

    parameters: str
    ah: float
    in_series: int
    cut_out_v: float
    """Of the pack: where its protection or the UPS ends the discharge."""
    nominal_v: float
    hours: tuple[float, float]
    """How long the charge on the label of a pack feeds the load of its site."""
    resistance_ohm: float
    """Of poles, links and protection, per cell when new."""


CELLS: Final = {
    "lead-acid": Cell("Sulzer2019", 17.0, 6, 10.5, 12.0, (1.4, 3.0), 0.0006),
    "lifepo4": Cell("Prada2013", 2.3, 4, 10.0, 12.8, (1.6, 3.2), 0.004),
    "li-ion": Cell("Chen2020", 5.0, 3, 9.0, 10.8, (1.4, 3.0), 0.005),
}


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack of one string at its site."""

    chemistry: str
    number: int
    health: float
    """The part of its charge that it still has; 1 when new."""
    aged_resistance: float
    load_w: float
    temperatures_c: tuple[float, ...]
    label_ah: float
    cells: int
    cut_out_v: float


def pack(chemistry: str, number: int) -> tuple[Pack, np.random.Generator]:
    """The pack of that number, always the same, and the chance by which its loads step."""
    chance = np.random.default_rng([sorted(CELLS).index(chemistry), number])
    cell = CELLS[chemistry]
    health = float(chance.uniform(0.6, 1.0))
    usual_c = chance.uniform(10, 30)
    temperatures = np.clip(usual_c + chance.uniform(-10, 10, DISCHARGES), 5, 35)
    made = Pack(
        chemistry,
        number,
        health,
        float(1 + (1 - health) * chance.uniform(1, 4)),
        float(cell.ah * cell.nominal_v / chance.uniform(*cell.hours)),
        tuple(map(float, temperatures)),
        float(cell.ah * chance.uniform(0.93, 1.0)),
        cell.in_series,
        cell.cut_out_v,
    )
    return made, chance


class Bench:
    """The model of one chemistry, for all its packs."""

    def __init__(self, chemistry: str) -> None:
        self._cell, self._lead = CELLS[chemistry], chemistry == "lead-acid"
        values = pybamm.ParameterValues(self._cell.parameters)
        factor = {name: pybamm.InputParameter(name) for name in ("area", "transport", "kinetics", "solid", "lithium")}
        changed: dict[str, Any] = {
            "Current function [A]": pybamm.InputParameter("amperes"),
            "Electrode width [m]": values["Electrode width [m]"] * factor["area"],
            "Lower voltage cut-off [V]": 1.2,
            "Upper voltage cut-off [V]": 5.0,
        }
        for name in ("Electrolyte diffusivity [m2.s-1]", "Electrolyte conductivity [S.m-1]"):
            changed[name] = _times(values[name], factor["transport"])
        for side in ("Negative", "Positive"):
            if self._lead:
                name = f"{side} electrode exchange-current density [A.m-2]"
                changed[name] = _times(values[name], factor["kinetics"])
            else:  # there the kinetics know the temperature
                name = f"{side} particle diffusivity [m2.s-1]"
                changed[name] = _times(values[name], factor["solid"])
        if not self._lead:
            name = "Initial concentration in negative electrode [mol.m-3]"
            changed[name] = values[name] * factor["lithium"]
            changed["Ambient temperature [K]"] = changed["Initial temperature [K]"] = pybamm.InputParameter("kelvin")
        values.update(changed)
        self._values = values

    def discharge(self, pack: Pack, at: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Volts and amperes of the pack every SAMPLE_S until it cuts out; and the load of each STEP_S."""
        health = pack.health * (1 - 0.004 * at)
        inputs = self._inputs(health, pack.temperatures_c[at] + 273.15)
        ohm = self._cell.resistance_ohm * pack.aged_resistance
        loads_w = _loads(pack.load_w, chance)
        volts: list[float] = []
        amperes: list[float] = []
        model = pybamm.lead_acid.Full() if self._lead else pybamm.lithium_ion.SPMe()
        solver = pybamm.IDAKLUSolver(rtol=1e-4, atol=1e-6)
        simulation = pybamm.Simulation(model, parameter_values=self._values, solver=solver)
        last_v = self._cell.nominal_v
        for load_w in loads_w:
            ampere = float(load_w) / last_v
            cell_v = _step(simulation, {**inputs, "amperes": ampere})
            for value in (cell_v - ampere * ohm) * self._cell.in_series:
                if not value > self._cell.cut_out_v:
                    return np.array(volts), np.array(amperes), loads_w
                volts.append(float(value))
                amperes.append(ampere)
            if len(cell_v) < STEP_S // SAMPLE_S:  # the model itself came to its end
                return np.array(volts), np.array(amperes), loads_w
            last_v = volts[-1]
        raise AssertionError("does not end")

    def _inputs(self, health: float, kelvin: float) -> dict[str, float]:
        if self._lead:
            return {
                "area": health,
                "transport": _slower(_TRANSPORT_J, kelvin),
                "kinetics": _slower(_KINETICS_J, kelvin),
            }
        lost = 1 - health
        return {
            "area": 1 - lost / 2,
            "lithium": (1 - lost) / (1 - lost / 2),
            "transport": _slower(_TRANSPORT_J, kelvin),
            "solid": _slower(_SOLID_J, kelvin),
            "kelvin": kelvin,
        }


def _step(simulation: Any, inputs: dict[str, float]) -> np.ndarray:
    """Volts of the cell during the next STEP_S; fewer where it came to its end."""
    times_s = np.arange(0, STEP_S + 1, SAMPLE_S)
    try:
        after = simulation.step(STEP_S, t_interp=times_s, inputs=inputs, save=False)
    except pybamm.SolverError:
        return np.array([])
    return np.asarray(after["Voltage [V]"].entries[1 : 1 + STEP_S // SAMPLE_S])


def _times(value: Any, factor: Any) -> Any:
    if callable(value):
        return lambda *arguments: value(*arguments) * factor
    return value * factor


def _slower(activation_j: float, kelvin: float) -> float:
    """By which factor that goes at this temperature, beside 25 °C."""
    return float(np.exp(activation_j / _GAS_CONSTANT * (1 / 298.15 - 1 / kelvin)))


def _loads(usual_w: float, chance: np.random.Generator) -> np.ndarray:
    loads: list[float] = []
    today_w = usual_w * chance.uniform(0.85, 1.15)
    while len(loads) < 24 * 3600 // STEP_S:
        stays = round(chance.uniform(*_STAYS_S) / STEP_S)
        loads += [today_w * chance.uniform(*_FACTORS)] * stays
    return np.array(loads)


def main(folder: Path, packs: int) -> None:
    """A file for each pack; what is there already is left alone."""
    for chemistry in CELLS:
        bench = Bench(chemistry)
        for number in range(packs):
            path = folder / f"{chemistry}-{number:03d}.npz"
            if path.exists():
                continue
            made, chance = pack(chemistry, number)
            traces: dict[str, Any] = {}
            for at in range(DISCHARGES):
                parts = bench.discharge(made, at, chance)
                traces |= {f"{name}{at}": part for name, part in zip(("volts", "amperes", "loads"), parts, strict=True)}
            np.savez_compressed(path.with_suffix(".part.npz"), pack=np.array(json.dumps(asdict(made))), **traces)
            path.with_suffix(".part.npz").rename(path)
        print(f"{chemistry}: {packs} packs", flush=True)


if __name__ == "__main__":
    pybamm.set_logging_level("CRITICAL")
    main(Path(sys.argv[1]), int(sys.argv[2]))
