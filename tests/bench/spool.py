"""A spool with 500,000 items beside its limits, and beside itself with 1,000.

Half of the items wait and half were sent. They are small files without a block: what counts here is how many there
are, not what is in them. Each start is a process of its own; before the first one the caches of the kernel are
dropped where we may (root), as after a power cut, and the second start has them warm.

The time of an operation is the median of some hundred; the folders lie on the disk of the checkout, so that a flush is
one. The hot path is what happens once per item or more often; `make_room` drops one sent item each time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge_agent.contract import ClockQuality, ItemKind, ItemName, run_id
from tests.bench.report import Finding, Row
from tests.bench.spool_life import ITEM_BYTES, TURNS
from tests.rig import clips

MANY: Final = int(os.environ.get("BENCH_ITEMS", "500000"))
FEW: Final = 1000
READY_LIMIT_S: Final = 5.0
GROWTH_TARGET: Final = 1.5
"""Of the median of an operation: what the noise of a disk makes of 1."""

_SCRATCH: Final = clips.CACHE.parent / "bench"
_CAMERAS: Final = ("north", "east", "south", "west")
_DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
_MIB: Final = 1024**2


def measure() -> Finding:
    """A life with few items, then two with many."""
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=_SCRATCH))
    try:
        few = _fill(folder / "few", FEW)
        _life(few, FEW)
        little = _life(few, FEW)
        many = _fill(folder / "many", MANY)
        dropped = _drop_caches()
        first = _life(many, MANY)
        much = _life(many, MANY)
    finally:
        shutil.rmtree(folder)
    return Finding(
        f"its limits, and itself with {FEW:,} items",
        f"{MANY:,} items, half of them sent; files without blocks; medians of {TURNS}; "
        + ("caches of the kernel dropped before the first start" if dropped else "caches of the kernel warm: not root"),
        list(_rows(first, much, little, cold=dropped)),
        ours=f"a spool with {MANY:,} items",
    )


def _rows(first: dict[str, Any], much: dict[str, Any], little: dict[str, Any], *, cold: bool) -> Iterator[Row]:
    if cold:
        yield Row("ready after its start, caches cold", "s", first["ready_s"], READY_LIMIT_S, 1.0)
    yield Row("ready after its start, caches warm", "s", much["ready_s"], READY_LIMIT_S, 1.0)
    yield Row("all found after its start, caches warm", "s", much["found_s"], little["found_s"])
    yield Row("memory of its index", "MiB", much["grown_bytes"] / _MIB, little["grown_bytes"] / _MIB)
    yield Row("memory per item", "B", much["grown_bytes"] / MANY, little["grown_bytes"] / FEW)
    for operation, us in much["us"].items():
        yield Row(operation, "µs", us, little["us"][operation], GROWTH_TARGET)


def _fill(directory: Path, items: int) -> Path:
    """The directory holds so many items of an earlier life."""
    for folder in ("ready", "sent"):
        (directory / folder).mkdir(parents=True)
    run = run_id(1, "many")
    for number in range(items):
        # What was sent is older than what waits.
        folder = "sent" if number < items // 2 else "ready"
        camera, start_ms = _CAMERAS[number % len(_CAMERAS)], 1_795_000_000_000 + number * 1000
        name = ItemName(run, number, ItemKind.SEGMENT, camera, start_ms, 4000, ClockQuality.SYNCED, f"{number:064x}")
        descriptor = os.open(directory / folder / str(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.ftruncate(descriptor, ITEM_BYTES)
        os.close(descriptor)
    os.sync()
    return directory


def _life(directory: Path, items: int) -> dict[str, Any]:
    quota_bytes = items * ITEM_BYTES - 1
    command = [sys.executable, "-m", "tests.bench.spool_life", str(directory), str(quota_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert abs(told["backlog_items"] - items // 2) <= 2 * TURNS, told
    return told


def _drop_caches() -> bool:
    """The kernel has forgotten what it read; false when we may not ask for that."""
    with suppress(PermissionError):
        _DROP_CACHES.write_text("3")
        return True
    return False
