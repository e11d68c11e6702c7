"""A store and an archive with footage in them, for what reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from central.archive import Archive
from central.enrolment import enrol
from central.ingest import check_body
from central.settings import S3Settings
from central.store import EventRow, ItemRow, StateRow, Store
from edge_agent.contract import Event, EventData, EventType, ItemKind, Message, instant
from tests.rig.segments import RUN, make_item, make_segment

T = 1_795_000_000_000
"""Where the footage begins: 2026-11-18T11:06:40Z."""


class World:
    """One site, `aloha`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.archive = Archive.open(str(folder / "archive"), S3Settings(), 0)
        self.token = enrol(store, "aloha", "Aloha Jaya", -6.99, 110.42, renew=False)
        self._sequence = 0

    def item(self, kind: ItemKind, data: bytes, camera: str, start_ms: int, **name: Any) -> ItemRow:
        self._sequence += 1
        named = make_item(kind, data, sequence=self._sequence, camera=camera, start_ms=start_ms, **name)
        self.archive.put(str(named), data)
        row = ItemRow(
            site="aloha",
            run=named.run,
            sequence=named.sequence,
            kind=kind,
            camera=camera,
            start_ms=start_ms,
            duration_ms=named.duration_ms,
            clock=named.clock,
            sha256=named.sha256,
            size_bytes=len(data),
            stored_ms=start_ms + 5000,
            object=str(named),
            offset=0,
            length=len(data),
            **check_body(named, data).columns,
        )
        self.store.add_items([row], [])
        return row

    def segment(
        self, at_s: float, *, run: str = RUN, duration_ms: int = 4000, base_ms: int = T, **facts: Any
    ) -> ItemRow:
        """Footage of `north`, `at_s` after `base_ms`."""
        facts = {"media_start_ms": int(at_s * 1000)} | facts
        _, data = make_segment(duration_ms=duration_ms, **facts)
        start_ms = base_ms + int(at_s * 1000)
        return self.item(ItemKind.SEGMENT, data, "north", start_ms, run=run, duration_ms=duration_ms)

    def event(self, number: int, kind: EventType, at_ms: int = T, **data: Any) -> None:
        event = Event(
            id=str(number), source="/aloha", type=kind, time=instant(at_ms), data=EventData(**{"run": RUN} | data)
        )
        self.store.add_events([EventRow.of("aloha", event, at_ms)])

    def state(self, group: str, message: Message, camera: str = "", received_ms: int = T) -> None:
        self.store.put_states([StateRow("aloha", group, camera, received_ms, message.to_json().decode())])
