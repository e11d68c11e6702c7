"""The camera of a crossing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Final

from tests.torture.account import Part
from tests.torture.crossing import Crossing
from tests.torture.faults.fault import BY_CAMERA, Fault, nothing


def _says(word: str) -> Callable[[Crossing], None]:
    return lambda at: at.eye.now.say(word)


def _skip(at: Crossing) -> None:
    at.eye.now.say(f"skip {at.dice.choice((-1, 1)) * at.dice.uniform(3, 9):.1f}")


def _ask(at: Crossing) -> None:
    at.eye.now.say("ask somebody else")
    at.eye.now.say("close")


CAMERA: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "camera stalls",
        "The session stays open, and no pictures come.",
        frozenset({"camera"}),
        (3, 20),
        _says("stall"),
        _says("run"),
        BY_CAMERA,
    ),
    Fault(
        "camera hangs up",
        "The camera closes the session.",
        frozenset({"camera"}),
        (0.1, 0.2),
        _says("close"),
        nothing,
        BY_CAMERA,
    ),
    Fault(
        "camera reboots",
        "The camera is gone without a word, and comes back.",
        frozenset({"camera"}),
        (2, 20),
        lambda at: at.eye.die(),
        lambda at: at.eye.start(),
        BY_CAMERA,
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
        nothing,
        BY_CAMERA,
    ),
    Fault(
        "camera bursts",
        "The camera stands still, and then sends everything at once.",
        frozenset({"camera"}),
        (2, 6),
        lambda at: at.eye.now.process.send_signal(signal.SIGSTOP),
        lambda at: at.eye.now.process.send_signal(signal.SIGCONT),
        BY_CAMERA,
    ),
    Fault(
        "wrong credentials",
        "The camera wants a password that the agent does not have.",
        frozenset({"camera"}),
        (5, 15),
        _ask,
        _says("admit"),
        # Whoever tries wrong passwords often is locked out by many cameras, so the agent tries once a minute.
        BY_CAMERA._replace(recovers_s={Part.RECORDING: 65.0}),
    ),
]
