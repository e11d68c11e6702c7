"""The disk of a crossing, and its power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from edge_agent.contract import LossCause
from tests.rig.keeper import RESTART_S
from tests.rig.link import Link
from tests.rig.power_disk import PowerDisk
from tests.rig.processes import until
from tests.torture.account import RECOVERS_S, Rule
from tests.torture.crossing import Crossing, Place
from tests.torture.disk import Disk
from tests.torture.faults.agent import kill, start
from tests.torture.faults.fault import BOTH, BY_DISK, BY_POWER, Fault
from tests.torture.faults.link import restore

_STARTS_S: Final = 5.0


def on_disk(deed: Callable[[Disk], None]) -> Callable[[Place], None]:
    """Done to the disk of the place."""

    def do(at: Place) -> None:
        assert at.disk is not None
        deed(at.disk)

    return do


def _lose_power(at: Crossing) -> None:
    assert at.disk is not None
    if at.agent.running:
        at.disk.feed(at.agent.pid)
    at.disk.cut(at.dice.randrange(10**6))
    kill(at)


def _get_power(at: Crossing) -> None:
    assert at.disk is not None
    kill(at)
    at.disk.plug_in()
    start(at)


def _get_power_for_a_moment(at: Crossing) -> None:
    """It is gone again at one of the first writes."""
    assert at.disk is not None
    _get_power(at)
    until(lambda: at.agent.running, _STARTS_S, "the agent starts", every_s=0.001)
    at.disk.feed(at.agent.pid)
    at.keeper.leave(at.agent)  # what has no power is not started again
    at.disk.arm(at.dice.randrange(1, 40), at.dice.randrange(10**6))


def _cut_power_and_return_it(at: Crossing) -> None:
    _lose_power(at)
    _get_power(at)


def _make_unreadable(at: Crossing) -> None:
    assert at.disk is not None
    at.disk.forget(at.unsent())
    at.disk.eio_read()
    restore(at)


def _make_readable(at: Crossing) -> None:
    assert at.disk is not None
    at.disk.mend()
    restore(at)


def _start_without_disk(at: Crossing) -> None:
    assert at.disk is not None
    kill(at)
    at.disk.pull_out()
    start(at)


def _plug_in(at: Crossing) -> None:
    assert at.disk is not None
    if strays := at.disk.strays:
        at.wrong.append(f"written beneath the mount point: {[path.name for path in strays]}")
    at.disk.plug_in()


DISK: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "full disk",
        "Another program takes all the room on the disk.",
        frozenset({"disk"}),
        (4, 15),
        on_disk(Disk.fill),
        on_disk(Disk.free),
        BY_DISK,
        needs_root=True,
    ),
    Fault(
        "slow disk",
        "Every write to the disk takes up to a tenth of a second longer.",
        frozenset({"disk"}),
        (5, 15),
        lambda at: on_disk(lambda disk: disk.slow(at.dice.randrange(10, 100)))(at),
        on_disk(Disk.heal),
        needs_root=True,
    ),
    Fault(
        "power cut",
        "The power is gone: the agent at once, and with it what the disk had not flushed.",
        frozenset({"disk", "agent"}),
        (0.5, 5),
        _lose_power,
        _get_power,
        BY_POWER,
        needs_root=True,
    ),
    Fault(
        "power cut in the recovery",
        "The power is gone, and gone again at one of the first writes of the agent that comes up.",
        frozenset({"disk", "agent"}),
        (7, 14),
        _lose_power,
        _get_power,
        BY_POWER,
        again=(3, _get_power_for_a_moment),
        needs_root=True,
    ),
    Fault(
        "lying disk",
        "The disk says that it flushes and does not, as cheap cards do, and then the power is gone.",
        frozenset({"disk", "agent"}),
        (4, 12),
        on_disk(PowerDisk.lie),
        _cut_power_and_return_it,
        # What it lied about is lost. How much that is, is the disk's doing, and no measure of ours.
        Rule(frozenset({LossCause.POWER, LossCause.AGENT, LossCause.DISK, LossCause.DAMAGED}), BOTH),
        needs_root=True,
    ),
    Fault(
        "failing disk",
        "Every write to the disk fails.",
        frozenset({"disk"}),
        (3, 12),
        on_disk(PowerDisk.eio_write),
        on_disk(Disk.plug_in),
        BY_DISK,
        needs_root=True,
    ),
    Fault(
        "disk that cannot be read",
        "Nothing can be read from the disk, after a cut of the link in which much had to wait there.",
        frozenset({"link", "disk"}),
        (8, 16),
        lambda at: at.ways(Link.cut),
        _make_readable,
        BY_DISK,
        again=(4, _make_unreadable),
        needs_root=True,
    ),
    Fault(
        "read-only disk",
        "The file system of the spool meets an error and takes no more writes.",
        frozenset({"disk"}),
        (4, 15),
        on_disk(Disk.turn_read_only),
        on_disk(Disk.plug_in),
        BY_DISK,
        needs_root=True,
    ),
    Fault(
        "disk pulled out",
        "The disk is gone while the agent runs; its mount point is an empty folder.",
        frozenset({"disk"}),
        (4, 15),
        on_disk(Disk.pull_out),
        _plug_in,
        BY_DISK,
        needs_root=True,
    ),
    Fault(
        "disk not there at the start",
        "The agent is killed, and comes up before its disk does.",
        frozenset({"disk", "agent"}),
        (5, 12),
        _start_without_disk,
        _plug_in,
        BY_DISK._replace(
            excuses=BY_DISK.excuses | {LossCause.AGENT},
            is_cut=True,
            recovers_s={part: seconds + RESTART_S for part, seconds in RECOVERS_S.items()},
        ),
        needs_root=True,
    ),
]
