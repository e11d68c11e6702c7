"""The wish lane's writer: what people wished for, and the pace of each backlog, become one wish per site.

Nothing here commands: each site makes of its wish what it can, and says so in its state. What it was told is told again
before its grant ends, so that a centre that is gone holds nobody back for long.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event as Signal
from threading import Thread
from typing import Final

from central.core.pacing import Demand, share
from central.core.timeline import State
from central.core.wishing import Grant, WishKind, WishRow, is_news, wish
from central.errors import StoreDown
from central.history import camera_timeline
from central.settings import PaceSettings
from central.store import Store
from edge_agent.contract import BATTERY, PRESENCE, SPOOL, Battery, Presence, PresenceState, SpoolState, Wish

_log = logging.getLogger(__name__)

_TURN_S: Final = 2.0
_GRANT_MS: Final = 60_000
_LOOK_MS: Final = 10_000
"""How often it is asked whether wanted footage has come."""
WANTED_MS: Final = 7 * 86_400_000
"""What has not come by then is not to come."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Wishes:
    """Looks every few seconds what is to be told, and tells it by `tell`, until stopped."""

    def __init__(
        self,
        store: Store,
        settings: PaceSettings,
        sites: Callable[[], Iterable[str]],
        tell: Callable[[str, Wish], None],
        now_ms: Callable[[], int] = _wall_ms,
    ) -> None:
        self._store, self._settings, self._sites, self._tell, self._now_ms = store, settings, sites, tell, now_ms
        self._told: dict[str, Wish] = {}
        self._looked_ms = 0
        self._trouble = ""
        self._stop = Signal()
        self._thread = Thread(target=self._work, name="wishes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it works; a dead one is a bug."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while not self._stop.is_set():
            trouble = ""
            try:
                self.look()
            except StoreDown as error:
                trouble = str(error)
            if trouble != self._trouble:
                self._trouble = trouble
                _log.log(logging.ERROR if trouble else logging.INFO, "%s", trouble or "wishes can be read again")
            self._stop.wait(_TURN_S)

    def look(self) -> None:
        """Every site has been told what is news to it; StoreDown."""
        now_ms = self._now_ms()
        rows = self._standing(now_ms)
        sites = list(self._sites())
        grants = self._grants(sites, now_ms)
        lessons = self._lessons()
        for site in sites:
            new = wish(rows.get(site, ()), grants.get(site), now_ms, lessons.get(site, ()))
            if is_news(self._told.get(site), new, now_ms):
                self._tell(site, new)
                self._told[site] = new

    def _standing(self, now_ms: int) -> Mapping[str, Sequence[WishRow]]:
        """The wishes by site, without those that have come true or expired."""
        rows = self._store.wishes()
        over = [row for row in rows if row.expires_ms is not None and row.expires_ms <= now_ms]
        if now_ms - self._looked_ms >= _LOOK_MS:
            self._looked_ms = now_ms
            over += [row for row in rows if row not in over and self._has_come(row, now_ms)]
        if over:
            self._store.drop_wishes(over)
        found: defaultdict[str, list[WishRow]] = defaultdict(list)
        for row in rows:
            if row not in over:
                found[row.site].append(row)
        return found

    def _has_come(self, row: WishRow, now_ms: int) -> bool:
        """Whether nothing of wanted footage is still to come."""
        if row.kind is not WishKind.WANTED or row.to_ms > now_ms:
            return False
        fates = camera_timeline(self._store, row.site, row.camera, row.from_ms, row.to_ms, now_ms)
        return all(fate.state in (State.RECORDED, State.LOST) for fate in fates)

    def _lessons(self) -> Mapping[str, tuple[str, ...]]:
        """What each site told of its battery, which it is told in turn."""
        rows = self._store.states(topics=(BATTERY.group,))
        return {row.site: Battery.model_validate_json(row.body).lessons for row in rows}

    def _grants(self, sites: Iterable[str], now_ms: int) -> Mapping[str, Grant]:
        trunk_bytes_per_s = self._settings.trunk_bytes_per_s
        if not trunk_bytes_per_s:
            return {}
        demands = dict.fromkeys(sites, Demand(is_there=False))
        there, spools = set(), {}
        for row in self._store.states(topics=(PRESENCE.group, SPOOL.group)):
            if row.topic == SPOOL.group:
                spools[row.site] = SpoolState.model_validate_json(row.body)
            elif Presence.model_validate_json(row.body).state is PresenceState.ONLINE:
                there.add(row.site)
        demands |= {site: Demand.of(spool, is_there=site in there) for site, spool in spools.items() if site in demands}
        shares = share(trunk_bytes_per_s, self._settings.reserve, demands)
        return {site: Grant(round(pace), now_ms + _GRANT_MS) for site, pace in shares.items()}
