"""The centre: its processes, its disk and its power."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from typing import Final

from tests.torture.crossing import Centre
from tests.torture.disk import Disk
from tests.torture.faults.disk import on_disk
from tests.torture.faults.fault import LOSES_NOTHING, Fault


def _signal(number: signal.Signals, at: Centre) -> None:
    if at.program.running:
        at.program.signal(number)


def _stop(at: Centre) -> None:
    at.keeper.leave(at.program)
    _signal(signal.SIGTERM, at)


def _lose_power(at: Centre) -> None:
    assert at.disk is not None
    with at.all_killed():
        if at.program.running:
            at.disk.feed(at.program.pid)
        at.disk.cut(at.dice.randrange(10**6))


def _get_power(at: Centre) -> None:
    assert at.disk is not None
    at.disk.plug_in()
    at.keeper.keep(at.program)


def _kill_broker(at: Centre) -> None:
    if broker := at.broker():
        broker.kill()


CENTRE: Final[Sequence[Fault[Centre]]] = [
    Fault(
        "centre killed",
        "The centre is gone at once, and started again.",
        frozenset({"centre"}),
        (0.5, 5),
        lambda at: at.keeper.kill(at.program),
        lambda at: at.keeper.keep(at.program),
        LOSES_NOTHING,
    ),
    Fault(
        "centre away",
        "The centre is stopped for an upgrade.",
        frozenset({"centre"}),
        (10, 30),
        _stop,
        lambda at: at.keeper.keep(at.program),
        LOSES_NOTHING,
    ),
    Fault(
        "centre hangs",
        "The centre takes connections and does not answer.",
        frozenset({"centre"}),
        (4, 15),
        partial(_signal, signal.SIGSTOP),
        partial(_signal, signal.SIGCONT),
        LOSES_NOTHING,
    ),
    Fault("broker killed", "The broker is gone at once.", frozenset({"broker"}), (0.1, 0.2), _kill_broker),
    Fault(
        "power cut at the centre",
        "The power is gone: the centre and its broker at once, and with them what the disk had not flushed.",
        frozenset({"centre", "broker", "disk"}),
        (1, 6),
        _lose_power,
        _get_power,
        LOSES_NOTHING,
        needs_root=True,
    ),
    Fault(
        "centre's disk full",
        "Another program takes all the room on the disk of the centre.",
        frozenset({"disk"}),
        (4, 15),
        on_disk(Disk.fill),
        on_disk(Disk.free),
        LOSES_NOTHING,
        needs_root=True,
    ),
]
