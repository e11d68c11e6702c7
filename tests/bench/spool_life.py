"""`python -m tests.bench.spool_life FOLDER`: one life of a spool in a process of its own, told as JSON on stdout.

What it is asked is what jobs ask on the way of every item. The spool has no room from the start, so that each commit
dooms an item that was sent.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import psutil

from edge_agent.clock import SystemClock
from edge_agent.contract import ClockQuality, SegmentFacts, facts_box
from edge_agent.spool import Spool

TURNS: Final = 300
ITEM_BYTES: Final = 400
"""Of each item, so that the one that comes dooms exactly one."""
_FACTS: Final = SegmentFacts(
    codec="h264",
    width=1920,
    height=1080,
    session=1,
    media_start_ms=0,
    monotonic_ms=0,
    packets=100,
    init_bytes=800,
    media_bytes=2_000_000,
)
_T = TypeVar("_T")


def main(directory: Path, quota_bytes: int) -> None:
    process = psutil.Process()
    before_bytes = process.memory_info().rss
    start_s = time.perf_counter()
    spool = Spool(directory, quota_bytes=quota_bytes, reserve_bytes=0, clock=SystemClock())
    ready_s = time.perf_counter() - start_s
    while not spool.scanned:
        spool.tend()
    found_s = time.perf_counter() - start_s
    gc.collect()
    grown_bytes = process.memory_info().rss - before_bytes
    items = spool.stats().backlog_items
    spent_us: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, operation: Callable[[], _T]) -> _T:
        begin_ns = time.perf_counter_ns()
        value = operation()
        spent_us[name].append((time.perf_counter_ns() - begin_ns) / 1000)
        return value

    media = bytes(ITEM_BYTES - len(facts_box(_FACTS)))
    for turn in range(TURNS):
        at_ms = 1_800_000_000_000 + turn * 4000
        segment = timed("begin_segment", lambda at_ms=at_ms: spool.begin_segment("north", at_ms, ClockQuality.SYNCED))  # type: ignore[misc]
        segment.write(media)
        timed("commit", lambda segment=segment: segment.commit(4000, _FACTS))  # type: ignore[misc]
        timed("make_room", spool.make_room)
        name = timed("next_unsent", spool.next_unsent)
        assert name is not None
        timed("mark_sent", lambda name=name: spool.mark_sent(name))  # type: ignore[misc]
        timed("stats", spool.stats)
    told = {"ready_s": ready_s, "found_s": found_s, "grown_bytes": grown_bytes, "backlog_items": items}
    print(json.dumps(told | {"us": {name: median(times) for name, times in spent_us.items()}}))
    spool.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
