"""Which part of the way to the centre is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.contract import LinkPart, Reach
from edge_agent.core.settle import Settled

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOLD_MS: Final = {LinkPart.PORT: 500, LinkPart.BROKER: 500}
"""A part that flickers faster than this keeps its word; each look at the others is a try of its own, and believed."""

WAY: Final = (LinkPart.PORT, LinkPart.UPLINK, LinkPart.CENTRE, LinkPart.BROKER)
"""From near to far."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """What to believe of each part, and of the way as a whole since a moment (monotonic ms)."""

    parts: Mapping[LinkPart, Settled[Reach]]
    broken: LinkPart
    since_ms: int


def unknown(now_ms: int) -> LinkView:
    """Before the first look."""
    return LinkView({part: Settled(Reach.UNKNOWN, now_ms) for part in WAY}, LinkPart.NONE, now_ms)


def judge(before: LinkView, looks: Mapping[LinkPart, Reach], now_ms: int) -> LinkView:
    """What to believe after a look at each part; broken is the first part that is down, seen from the agent."""
    parts = {}
    for part in WAY:
        held = before.parts[part]
        hold_ms = 0 if held.value is Reach.UNKNOWN else _HOLD_MS.get(part, 0)
        parts[part] = held.see(looks[part], now_ms, hold_ms)
    broken = next((part for part in WAY if parts[part].value is Reach.DOWN), LinkPart.NONE)
    return LinkView(parts, broken, before.since_ms if broken is before.broken else now_ms)
