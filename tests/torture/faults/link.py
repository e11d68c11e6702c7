"""The way from a crossing to the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_agent.contract import Event, EventType, LinkPart
from tests.rig.link import Link
from tests.torture.crossing import Crossing
from tests.torture.faults.fault import LOSES_NOTHING, Fault


def _flap(at: Crossing) -> None:
    at.is_cut = not at.is_cut
    at.ways(Link.cut if at.is_cut else Link.restore)


def restore(at: Crossing) -> None:
    """The link carries again, whatever it did."""
    at.is_cut = False
    at.ways(Link.restore)


def _take_down(at: Crossing) -> None:
    assert at.port is not None
    at.port.take_down()
    at.ways(Link.cut)


def _bring_up(at: Crossing) -> None:
    assert at.port is not None
    at.port.bring_up()
    restore(at)


def _tells_of_the_port(event: Event) -> bool:
    return event.type is EventType.LINK_CHANGED and event.data.after == LinkPart.PORT


LINK: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "link cut",
        "The fibre is cut: what is open is reset, new connections are refused.",
        frozenset({"link"}),
        (4, 25),
        lambda at: at.ways(Link.cut),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "half-open link",
        "The link swallows everything in both directions, and nobody is told.",
        frozenset({"link"}),
        (8, 30),
        lambda at: at.ways(Link.swallow),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "flapping link",
        "The link goes down and comes back every seven seconds.",
        frozenset({"link"}),
        (15, 35),
        _flap,
        restore,
        LOSES_NOTHING,
        again=(3.5, _flap),
    ),
    Fault(
        "slow link",
        "The link carries less than the camera gives.",
        frozenset({"link"}),
        (8, 20),
        lambda at: at.ways(lambda link: link.narrow(at.dice.uniform(4_000, 12_000))),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "torn uploads",
        "Uploads are reset at a random byte.",
        frozenset({"link"}),
        (8, 20),
        lambda at: at.door.tear(lambda: at.dice.randrange(1, 40_000)),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "lost answers",
        "Items arrive, and every answer is lost on the way back: the same item comes twice and more.",
        frozenset({"link"}),
        (6, 20),
        lambda at: at.door.lose_answers(),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "stranger",
        "Somebody else answers in the centre's place, and is content with everything.",
        frozenset({"link"}),
        (6, 20),
        lambda at: at.door.divert(at.stranger),
        restore,
        LOSES_NOTHING,
    ),
    Fault(
        "interface down",
        "The network port of the site is taken down: nothing gets out, and the agent can see why.",
        frozenset({"link"}),
        (5, 20),
        _take_down,
        _bring_up,
        LOSES_NOTHING._replace(told=_tells_of_the_port),
        needs_root=True,
    ),
]
