"""How much of a trunk each backlog may take, so that many sites that come back at once share it and live goes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.contract import PaceLimit, SpoolState

_FRESH_S: Final = 30
"""Footage that has waited for less is on its way, and no backlog."""
_LEAST_BYTES_PER_S: Final = 16 * 1024.0
"""Whatever live takes, no backlog starves."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a site sends: live footage, and a backlog if it has one, up to a limit of its own."""

    is_there: bool
    live_bytes_per_s: float = 0
    has_backlog: bool = False
    most_bytes_per_s: float = float("inf")

    @classmethod
    def of(cls, state: SpoolState, *, is_there: bool) -> Demand:
        """As the site said."""
        fresh_bytes = state.taken_bytes_per_s * _FRESH_S
        own = state.pace_bytes_per_s if state.pace_limit in (PaceLimit.CAP, PaceLimit.WINDOW) else None
        most = float("inf") if own is None else own
        return cls(is_there, state.taken_bytes_per_s, state.backlog_bytes > fresh_bytes, most)


def share(trunk_bytes_per_s: float, reserve: float, demands: Mapping[str, Demand]) -> dict[str, float]:
    """The pace of each site's backlog: max-min fair shares of what the reserve and all live footage leave.

    Who is not there, or has no backlog now, is granted what it would have if all who are away came back at once: until
    the centre hears of a backlog the site goes by that. Nobody who drains gets less for it.
    """
    there = {site: demand for site, demand in demands.items() if demand.is_there}
    draining = {site: demand for site, demand in there.items() if demand.has_backlog}
    left = trunk_bytes_per_s * (1 - reserve) - sum(demand.live_bytes_per_s for demand in there.values())
    away = [demand for demand in demands.values() if not demand.is_there]
    after_all = left - sum(demand.live_bytes_per_s for demand in away)
    shares = dict.fromkeys(demands, max(_LEAST_BYTES_PER_S, after_all / (len(draining) + max(1, len(away)))))
    # Who wants least comes first; what it leaves is for the others.
    for number, site in enumerate(sorted(draining, key=lambda site: draining[site].most_bytes_per_s)):
        fair = max(_LEAST_BYTES_PER_S, left / (len(draining) - number))
        shares[site] = fair
        left -= min(fair, draining[site].most_bytes_per_s)
    return shares
