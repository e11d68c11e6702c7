"""Everything that is done to a city, from outside of the product only.

A new fault is one more entry of `AT_SITE` or `AT_CENTRE`: what it is called, a sentence for people, the parts that it
lays hands on (no two faults at a time share one), how long it lasts, what begins and ends it, and what it may cost by
the rule of the account. A fault that loses nothing has no excuses.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

from edge_agent.contract import LossCause
from tests.rig.keeper import RESTART_S
from tests.rig.link import Link
from tests.rig.power_disk import PowerDisk
from tests.rig.processes import EDGE_AGENT, Program
from tests.torture import hostile
from tests.torture.account import RECOVERS_S, Part, Rule
from tests.torture.crossing import Centre, Crossing, Place
from tests.torture.disk import Disk

P = TypeVar("P", bound=Place, contravariant=True)


def _nothing(_: Place) -> None:
    pass


@dataclass(frozen=True)
class Fault(Generic[P]):
    """One way to break something, and to mend it."""

    name: str
    telling: str
    parts: frozenset[str]
    lasts_s: tuple[float, float]
    begin: Callable[[P], None]
    end: Callable[[P], None] = _nothing
    rule: Rule = field(default=Rule())
    again: tuple[float, Callable[[P], None]] | None = None
    """Done every so many seconds while it lasts."""
    needs_disk: bool = False


_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
_BOTH: Final = frozenset(Part)
_RECORDING: Final = frozenset({Part.RECORDING})
_SHIPPING: Final = frozenset({Part.SHIPPING})
_LOSES_NOTHING: Final = Rule(stops=_SHIPPING)
_BY_CAMERA: Final = Rule(frozenset({LossCause.CAMERA}), _RECORDING)
_BY_DISK: Final = Rule(frozenset({LossCause.DISK, LossCause.EVICTED}), _BOTH)
_BY_POWER: Final = Rule(frozenset({LossCause.POWER, LossCause.AGENT}), _BOTH, is_cut=True)
_BY_AGENT: Final = Rule(frozenset({LossCause.AGENT}), _BOTH, is_cut=True)


# --- the link ---


def _flap(at: Crossing) -> None:
    at.is_cut = not at.is_cut
    at.ways(Link.cut if at.is_cut else Link.restore)


def _restore(at: Crossing) -> None:
    at.is_cut = False
    at.ways(Link.restore)


def _cut_for_damage(at: Crossing) -> None:
    at.ways(Link.cut)
    at.broken_ms = time.time_ns() // 1_000_000


def _flip_a_bit(at: Crossing) -> None:
    for path in at.dice.sample(at.unsent(), min(1, len(at.unsent()))):
        with path.open("r+b") as file:
            data = file.read()
            place = at.dice.randrange(len(data))
            file.seek(place)
            file.write(bytes([data[place] ^ 1 << at.dice.randrange(8)]))
    _restore(at)


def _cut_short(at: Crossing) -> None:
    for path in at.dice.sample(at.unsent(), min(1, len(at.unsent()))):
        with path.open("r+b") as file:
            file.truncate(at.dice.randrange(path.stat().st_size))
    _restore(at)


# --- the agent ---


def _kill(at: Crossing) -> None:
    at.keeper.kill(at.agent)


def _start(at: Crossing) -> None:
    at.keeper.keep(at.agent)


def _kill_and_start(at: Crossing) -> None:
    _kill(at)
    _start(at)


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
    _kill(at)
    whole = at.site.config.read_text()
    at.site.config.with_suffix(".whole").write_text(whole)
    at.site.config.write_text(whole[: at.dice.randrange(whole.index("[[cameras]]"))])
    _start(at)


def _mend_configuration(at: Crossing) -> None:
    at.site.config.with_suffix(".whole").replace(at.site.config)


# --- the camera ---


def _says(word: str) -> Callable[[Crossing], None]:
    return lambda at: at.eye.now.say(word)


def _skip(at: Crossing) -> None:
    at.eye.now.say(f"skip {at.dice.choice((-1, 1)) * at.dice.uniform(3, 9):.1f}")


def _ask(at: Crossing) -> None:
    at.eye.now.say("ask somebody else")
    at.eye.now.say("close")


# --- disk and clock ---


def _disk(deed: Callable[[Disk], None]) -> Callable[[Place], None]:
    def do(at: Place) -> None:
        assert at.disk is not None
        deed(at.disk)

    return do


def _lose_power(at: Crossing) -> None:
    assert at.disk is not None
    at.disk.cut(at.dice.randrange(10**6))
    _kill(at)


def _get_power(at: Crossing) -> None:
    assert at.disk is not None
    _kill(at)
    at.disk.plug_in()
    _start(at)


def _get_power_for_a_moment(at: Crossing) -> None:
    """It is gone again at one of the first writes."""
    assert at.disk is not None
    _get_power(at)
    at.disk.arm(at.dice.randrange(1, 40), at.dice.randrange(10**6))


def _start_without_disk(at: Crossing) -> None:
    assert at.disk is not None
    _kill(at)
    at.disk.pull_out()
    _start(at)


def _plug_in(at: Crossing) -> None:
    assert at.disk is not None
    if strays := at.disk.strays:
        at.wrong.append(f"written beneath the mount point: {[path.name for path in strays]}")
    at.disk.plug_in()


def _cut_power_and_return_it(at: Crossing) -> None:
    _lose_power(at)
    _get_power(at)


def _boot_in_the_past(at: Crossing) -> None:
    _kill(at)
    at.clock.synced(False)
    at.clock.shift(-at.dice.choice((_HOUR_S, 100 * _DAY_S)) * at.dice.uniform(0.5, 2))
    _start(at)


def _jump(at: Crossing) -> None:
    at.clock.synced(False)
    at.clock.shift(at.dice.choice((-1, 1)) * at.dice.choice((300, 1.5 * _HOUR_S, 3650 * _DAY_S)))


def _set_clock_right(at: Crossing) -> None:
    at.clock.shift(0)
    at.clock.synced(True)


# --- the centre ---


def _signal_centre(number: signal.Signals, at: Centre) -> None:
    if at.program.running:
        at.program.signal(number)


def _stop_centre(at: Centre) -> None:
    at.keeper.leave(at.program)
    _signal_centre(signal.SIGTERM, at)


def _lose_power_at_centre(at: Centre) -> None:
    assert at.disk is not None
    at.disk.cut(at.dice.randrange(10**6))
    at.kill()


def _get_power_at_centre(at: Centre) -> None:
    assert at.disk is not None
    at.disk.plug_in()
    at.keeper.keep(at.program)


def _kill_broker(at: Centre) -> None:
    if broker := at.broker():
        broker.kill()


AT_SITE: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "link cut",
        "The fibre is cut: what is open is reset, new connections are refused.",
        frozenset({"link"}),
        (4, 25),
        lambda at: at.ways(Link.cut),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "half-open link",
        "The link swallows everything in both directions, and nobody is told.",
        frozenset({"link"}),
        (8, 30),
        lambda at: at.ways(Link.swallow),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "flapping link",
        "The link goes down and comes back every seven seconds.",
        frozenset({"link"}),
        (15, 35),
        _flap,
        _restore,
        _LOSES_NOTHING,
        again=(3.5, _flap),
    ),
    Fault(
        "slow link",
        "The link carries less than the camera gives.",
        frozenset({"link"}),
        (8, 20),
        lambda at: at.ways(lambda link: link.narrow(at.dice.uniform(4_000, 12_000))),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "torn uploads",
        "Uploads are reset at a random byte.",
        frozenset({"link"}),
        (8, 20),
        lambda at: at.door.tear(lambda: at.dice.randrange(1, 40_000)),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "lost answers",
        "Items arrive, and every answer is lost on the way back: the same item comes twice and more.",
        frozenset({"link"}),
        (6, 20),
        lambda at: at.door.lose_answers(),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "stranger",
        "Somebody else answers in the centre's place, and is content with everything.",
        frozenset({"link"}),
        (6, 20),
        lambda at: at.door.divert(at.stranger),
        _restore,
        _LOSES_NOTHING,
    ),
    Fault(
        "flipped bit",
        "A bit of a segment turns over on the disk while the link is down.",
        frozenset({"link"}),
        (5, 12),
        _cut_for_damage,
        _flip_a_bit,
        Rule(frozenset({LossCause.DAMAGED}), _SHIPPING),
    ),
    Fault(
        "segment cut short",
        "A segment on the disk loses its end while the link is down.",
        frozenset({"link"}),
        (5, 12),
        _cut_for_damage,
        _cut_short,
        Rule(frozenset({LossCause.DAMAGED}), _SHIPPING),
    ),
    Fault("agent killed", "The agent is gone at once.", frozenset({"agent"}), (0.1, 4), _kill, _start, _BY_AGENT),
    Fault(
        "agent killed in its recovery",
        "The agent is gone at once, again and again while it comes up.",
        frozenset({"agent"}),
        (4, 9),
        _kill_and_start,
        _kill_and_start,
        _BY_AGENT,
        again=(1.3, _kill_and_start),
    ),
    Fault(
        "agent stopped",
        "The agent is told to stop and started again.",
        frozenset({"agent"}),
        (6, 9),
        _order_a_stop,
        _start,
        Rule(frozenset({LossCause.STOPPED, LossCause.AGENT}), _BOTH),
    ),
    Fault(
        "agent hangs",
        "The agent does not get on, and then does.",
        frozenset({"agent"}),
        (2, 15),
        partial(_signal, signal.SIGSTOP),
        partial(_signal, signal.SIGCONT),
        Rule(frozenset({LossCause.AGENT, LossCause.CAMERA}), _BOTH),
    ),
    Fault(
        "half a configuration",
        "The agent is killed, finds only the beginning of its settings file, and goes on with the last good one.",
        frozenset({"agent"}),
        (4, 12),
        _halve_configuration,
        _mend_configuration,
        _BY_AGENT,
    ),
    Fault(
        "second agent",
        "Somebody starts a second agent at the same spool.",
        frozenset({"second agent"}),
        (0.1, 0.2),
        _start_a_second,
    ),
    Fault(
        "camera stalls",
        "The session stays open, and no pictures come.",
        frozenset({"camera"}),
        (3, 20),
        _says("stall"),
        _says("run"),
        _BY_CAMERA,
    ),
    Fault(
        "camera hangs up",
        "The camera closes the session.",
        frozenset({"camera"}),
        (0.1, 0.2),
        _says("close"),
        _nothing,
        _BY_CAMERA,
    ),
    Fault(
        "camera reboots",
        "The camera is gone without a word, and comes back.",
        frozenset({"camera"}),
        (2, 20),
        lambda at: at.eye.die(),
        lambda at: at.eye.start(),
        _BY_CAMERA,
    ),
    Fault(
        "frozen picture",
        "The camera sends the same picture for ever.",
        frozenset({"camera"}),
        (5, 12),
        _says("freeze"),
        _says("run"),
    ),
    Fault(
        "camera's clock jumps",
        "The times of the camera's pictures jump, ahead or back.",
        frozenset({"camera"}),
        (0.1, 0.2),
        _skip,
        _nothing,
        _BY_CAMERA,
    ),
    Fault(
        "camera bursts",
        "The camera stands still, and then sends everything at once.",
        frozenset({"camera"}),
        (2, 6),
        lambda at: at.eye.now.process.send_signal(signal.SIGSTOP),
        lambda at: at.eye.now.process.send_signal(signal.SIGCONT),
        _BY_CAMERA,
    ),
    Fault(
        "wrong credentials",
        "The camera wants a password that the agent does not have.",
        frozenset({"camera"}),
        (5, 15),
        _ask,
        _says("admit"),
        # Whoever tries wrong passwords often is locked out by many cameras, so the agent tries once a minute.
        _BY_CAMERA._replace(recovers_s={Part.RECORDING: 65.0}),
    ),
    Fault(
        "boot in the past",
        "The agent is killed and comes up with a clock that is hours or months behind, until something sets it right.",
        frozenset({"agent", "clock"}),
        (5, 14),
        _boot_in_the_past,
        _set_clock_right,
        _BY_AGENT,
    ),
    Fault(
        "clock jumps",
        "The clock of the site is not kept right any more and jumps by minutes to years, ahead or back, and returns.",
        frozenset({"clock"}),
        (5, 14),
        _jump,
        _set_clock_right,
    ),
    Fault(
        "hostile neighbour",
        "Another site with a token of its own, and somebody without, send nonsense and forgeries.",
        frozenset({"neighbour"}),
        (0.1, 0.2),
        hostile.attack,
    ),
    Fault(
        "full disk",
        "Another program takes all the room on the disk.",
        frozenset({"disk"}),
        (4, 15),
        _disk(Disk.fill),
        _disk(Disk.free),
        _BY_DISK,
        needs_disk=True,
    ),
    Fault(
        "slow disk",
        "Every write to the disk takes up to a tenth of a second longer.",
        frozenset({"disk"}),
        (5, 15),
        lambda at: _disk(lambda disk: disk.slow(at.dice.randrange(10, 100)))(at),
        _disk(Disk.heal),
        needs_disk=True,
    ),
    Fault(
        "power cut",
        "The power is gone: the agent at once, and with it what the disk had not flushed.",
        frozenset({"disk", "agent"}),
        (0.5, 5),
        _lose_power,
        _get_power,
        _BY_POWER,
        needs_disk=True,
    ),
    Fault(
        "power cut in the recovery",
        "The power is gone, and gone again at one of the first writes of the agent that comes up.",
        frozenset({"disk", "agent"}),
        (7, 14),
        _lose_power,
        _get_power,
        _BY_POWER,
        again=(3, _get_power_for_a_moment),
        needs_disk=True,
    ),
    Fault(
        "lying disk",
        "The disk says that it flushes and does not, as cheap cards do, and then the power is gone.",
        frozenset({"disk", "agent"}),
        (4, 12),
        _disk(PowerDisk.lie),
        _cut_power_and_return_it,
        # What it lied about is lost. How much that is, is the disk's doing, and no measure of ours.
        Rule(frozenset({LossCause.POWER, LossCause.AGENT, LossCause.DISK, LossCause.DAMAGED}), _BOTH),
        needs_disk=True,
    ),
    Fault(
        "failing disk",
        "Every write to the disk fails.",
        frozenset({"disk"}),
        (3, 12),
        _disk(PowerDisk.eio_write),
        _disk(Disk.plug_in),
        _BY_DISK,
        needs_disk=True,
    ),
    Fault(
        "read-only disk",
        "The file system of the spool meets an error and takes no more writes.",
        frozenset({"disk"}),
        (4, 15),
        _disk(Disk.turn_read_only),
        _disk(Disk.plug_in),
        _BY_DISK,
        needs_disk=True,
    ),
    Fault(
        "disk pulled out",
        "The disk is gone while the agent runs; its mount point is an empty folder.",
        frozenset({"disk"}),
        (4, 15),
        _disk(Disk.pull_out),
        _plug_in,
        _BY_DISK,
        needs_disk=True,
    ),
    Fault(
        "disk not there at the start",
        "The agent is killed, and comes up before its disk does.",
        frozenset({"disk", "agent"}),
        (5, 12),
        _start_without_disk,
        _plug_in,
        _BY_DISK._replace(
            excuses=_BY_DISK.excuses | {LossCause.AGENT},
            is_cut=True,
            recovers_s={part: seconds + RESTART_S for part, seconds in RECOVERS_S.items()},
        ),
        needs_disk=True,
    ),
]

AT_CENTRE: Final[Sequence[Fault[Centre]]] = [
    Fault(
        "centre killed",
        "The centre is gone at once, and started again.",
        frozenset({"centre"}),
        (0.5, 5),
        lambda at: at.keeper.kill(at.program),
        lambda at: at.keeper.keep(at.program),
        _LOSES_NOTHING,
    ),
    Fault(
        "centre away",
        "The centre is stopped for an upgrade.",
        frozenset({"centre"}),
        (10, 30),
        _stop_centre,
        lambda at: at.keeper.keep(at.program),
        _LOSES_NOTHING,
    ),
    Fault(
        "centre hangs",
        "The centre takes connections and does not answer.",
        frozenset({"centre"}),
        (4, 15),
        partial(_signal_centre, signal.SIGSTOP),
        partial(_signal_centre, signal.SIGCONT),
        _LOSES_NOTHING,
    ),
    Fault("broker killed", "The broker is gone at once.", frozenset({"broker"}), (0.1, 0.2), _kill_broker),
    Fault(
        "power cut at the centre",
        "The power is gone: the centre and its broker at once, and with them what the disk had not flushed.",
        frozenset({"centre", "broker", "disk"}),
        (1, 6),
        _lose_power_at_centre,
        _get_power_at_centre,
        _LOSES_NOTHING,
        needs_disk=True,
    ),
    Fault(
        "centre's disk full",
        "Another program takes all the room on the disk of the centre.",
        frozenset({"disk"}),
        (4, 15),
        _disk(Disk.fill),
        _disk(Disk.free),
        _LOSES_NOTHING,
        needs_disk=True,
    ),
]

RULES: Final = {fault.name: fault.rule for fault in AT_SITE} | {fault.name: fault.rule for fault in AT_CENTRE}
