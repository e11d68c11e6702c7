"""How much room the history of a site takes in the database, beside the items that it came in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from central.store import Store
from central.telemetry import rows_of
from edge_agent.contract import (
    CameraState,
    ClockQuality,
    Host,
    Info,
    ItemKind,
    Link,
    LinkPart,
    Message,
    Power,
    Reach,
    Sample,
    SpoolState,
    Supply,
    Telemetry,
    instant,
)
from edge_agent.core.report import PACES
from tests.bench.report import Finding, Row
from tests.central.test_store import item_row
from tests.rig.segments import RUN, make_item

CAMERAS: Final = 4
DAY_S: Final = 86_400
BATCH_S: Final = 60
BEGIN_MS: Final = 1_795_000_000_000


def measure() -> Finding:
    """A day whose numbers always change, and one in which nothing does, in SQLite."""
    rows = [
        _row(
            "numbers that change all the time", {group: pace.floor_s or pace.ceiling_s for group, pace in PACES.items()}
        ),
        _row("nothing new", {group: pace.ceiling_s for group, pace in PACES.items()}),
    ]
    return Finding(
        rows=rows,
        peer="the telemetry items in the archive",
        method=f"every message of {CAMERAS} cameras and their site in a day, at the pace at which an agent tells them",
    )


def _row(name: str, every_s: dict[str, float]) -> Row:
    with tempfile.TemporaryDirectory() as folder, closing(Store.open(f"sqlite:///{folder}/store.sqlite")) as store:
        items_bytes = 0
        for number, start_s in enumerate(range(0, DAY_S, BATCH_S)):
            told = Telemetry(samples=tuple(_samples(start_s, every_s)), wall_minus_monotonic_ms=BEGIN_MS)
            body = told.to_json()
            items_bytes += len(body)
            item = make_item(ItemKind.TELEMETRY, body, sequence=number)
            row = item_row(number, run=RUN, kind="telemetry", camera="site")
            store.add_items([row], [], list(rows_of("aloha", item, told, BEGIN_MS)))
        return Row(name, "MB per site and day", (_size(Path(folder)) - _empty()) / 1e6, items_bytes / 1e6)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix == ".sqlite")


def _empty() -> int:
    """The same items without what is in them."""
    with tempfile.TemporaryDirectory() as folder, closing(Store.open(f"sqlite:///{folder}/store.sqlite")) as store:
        for number in range(DAY_S // BATCH_S):
            store.add_items([item_row(number, run=RUN, kind="telemetry", camera="site")], [])
        return _size(Path(folder))


def _samples(start_s: int, every_s: dict[str, float]) -> Iterator[Sample]:
    for second in range(start_s, start_s + BATCH_S):
        for group, message in _messages(second):
            if second % every_s[group.partition("/")[0]] == 0:
                yield Sample(group=group, body=message.model_dump(mode="json"))


def _messages(second: int) -> Iterator[tuple[str, Message]]:
    at, since = instant(BEGIN_MS + second * 1000), instant(BEGIN_MS)
    yield (
        "info",
        Info(version="0.1.0", run=RUN, name="Simpang Lima", cameras=("north", "south", "east", "west"), started_at=at),
    )
    yield (
        "power",
        Power(
            supply=Supply.BATTERY,
            charge_percent=80.1,
            voltage_v=12.61,
            runtime_s=5400,
            runtime_low_s=4800,
            runtime_high_s=6000,
            source="nut",
            since=since,
            at=at,
        ),
    )
    up = Reach.UP
    yield (
        "link",
        Link(
            broken=LinkPart.NONE,
            port=up,
            uplink=up,
            centre=up,
            broker=up,
            interface="eth0",
            rtt_ms=3.2,
            since=since,
            at=at,
        ),
    )
    yield (
        "spool",
        SpoolState(
            backlog_items=12,
            backlog_s=48.1,
            backlog_bytes=24_000_000,
            oldest_unsent_at=since,
            used_bytes=64_000_000_000,
            free_bytes=32_000_000_000,
            full_in_s=86_400,
            sent_bytes_per_s=2_000_000,
            drain_eta_s=12.5,
            at=at,
        ),
    )
    for camera in range(CAMERAS):
        yield (
            f"camera/camera{camera}",
            CameraState(
                camera=f"camera{camera}",
                recording=True,
                codec="h264",
                width=1920,
                height=1080,
                fps=25.0,
                bitrate_bps=4_000_000,
                last_frame_at=at,
                recorded_until=at,
                since=since,
                at=at,
            ),
        )
    yield (
        "host",
        Host(
            temperature_c=51.5,
            load_1m=0.42,
            memory_percent=31.2,
            agent_rss_bytes=90_000_000,
            disk_percent=61.0,
            uptime_s=second,
            clock=ClockQuality.SYNCED,
            at=at,
        ),
    )
