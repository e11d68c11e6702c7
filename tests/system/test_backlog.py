"""A backlog on its way: what is fresh goes at once, what somebody wants goes first, and the rest keeps its pace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.contract import ItemKind, ItemName
from tests.rig.backlog import BEGAN_MS, RUN, SEGMENT_MS, lay_down
from tests.rig.city import City
from tests.rig.processes import until

COUNT = 40
SIZE_BYTES = 100_000
CAP_BYTES_PER_S = 400_000
WANTED = range(26, 34)


def test_what_is_wanted_and_what_is_fresh_overtake_the_backlog(tmp_path: Path) -> None:
    """Through command line, database, broker and agent; all of it arrives, and then nothing is wished for any more."""
    camera = {"id": "north", "source": "scene", "segment_s": 1}
    with City(tmp_path) as city:
        city.open_centre()
        settings = {"ship": {"backlog_bytes_per_s": CAP_BYTES_PER_S}}
        site = city.enrol("aloha", "Aloha", [camera], settings=settings)
        site.agent.start()
        site.agent.until(lambda: city.archived("aloha"), 30, "the centre knows the camera")
        site.agent.stop()
        names = lay_down(site.spool / "ready", COUNT, SIZE_BYTES)
        city.central("fetch", "aloha", "north", clock(WANTED.start), clock(WANTED.stop))
        site.agent.start()
        site.agent.until(lambda: late(city) >= set(names), 60, "all of the backlog")
        came = [name for name, _ in sorted(city.archived("aloha"), key=lambda item: item[1].stat().st_mtime_ns)]
        backlog = [name.sequence for name in came if name.run == RUN]
        others = [number for number in backlog[: backlog.index(WANTED.stop - 1)] if number not in WANTED]
        assert len(backlog) == COUNT
        assert len(others) < WANTED.start, "the wanted stretch went in its turn"
        assert [number for number in backlog if number not in WANTED][-1] in range(COUNT - 3, COUNT), "oldest first"
        last_of_backlog = max(came.index(name) for name in names)
        assert any(
            name.run > RUN and name.kind is ItemKind.SEGMENT for name in came[came.index(names[0]) : last_of_backlog]
        )
        until(lambda: json.loads(city.central("wishes", "--json"))["wishes"] == [], 30, "the wish has come true")


def clock(number: int) -> str:
    """When the segment of that number began."""
    return datetime.fromtimestamp((BEGAN_MS + number * SEGMENT_MS) / 1000, UTC).isoformat()


def late(city: City) -> set[ItemName]:
    return {name for name, _ in city.archived("aloha") if name.run == RUN}
