"""Others who come to the doors of the centre: one who means no good, and one who takes itself for the site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_agent.contract import EventType
from tests.torture import hostile
from tests.torture.account import Rule
from tests.torture.crossing import Crossing
from tests.torture.faults.fault import Fault

STRANGERS: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "hostile neighbour",
        "Another site with a token of its own, and somebody without, send nonsense and forgeries.",
        frozenset({"neighbour"}),
        (0.1, 0.2),
        hostile.attack,
    ),
    Fault(
        "two boxes",
        "A second box with the identity of the site, and a spool and a camera of its own, is there for a while.",
        # Both film what they call the same camera. Nothing else strikes, or nobody could tell whose footage is missing.
        frozenset({"link", "agent", "second agent", "camera", "clock", "neighbour", "disk"}),
        (15, 25),
        lambda at: at.twin.start(at.site, at.city, at.clock.environment),
        lambda at: at.twin.end(),
        Rule(told=lambda event: event.type is EventType.SITE_DOUBLED),
    ),
]
