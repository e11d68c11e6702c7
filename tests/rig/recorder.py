"""The recording half of the agent on its own: a job in a thread for tests, a process for kills.

python -m tests.rig.recorder DIRECTORY URL
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.camera import open_source
from edge_agent.camera.lines import Lines
from edge_agent.clock import SystemClock
from edge_agent.contract import EventData, EventType, ItemKind, ItemName, SegmentFacts, read_facts
from edge_agent.core.eviction import WhenFull
from edge_agent.core.status import CameraStatus, Feed
from edge_agent.jobs.keep import Keep
from edge_agent.jobs.record import Record
from edge_agent.settings import CameraSettings
from edge_agent.snapshot import Eye
from edge_agent.spool import Spool


class Recorder:
    """One camera on the record, without centre and broker; what it said is kept."""

    def __init__(
        self,
        directory: Path,
        settings: CameraSettings,
        *,
        quota_bytes: int = 1 << 30,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
    ) -> None:
        self.directory = directory
        self.stop = threading.Event()
        self.events: list[tuple[EventType, EventData]] = []
        self.statuses: list[CameraStatus] = []
        self.delays_s: list[float] = []
        self.beats = 0
        self.feed = Feed.MAIN
        clock = SystemClock()
        self.lines = Lines(clock)
        self.spool = Spool(directory, quota_bytes=quota_bytes, reserve_bytes=0, clock=clock, when_full=when_full)
        self.keep = Keep(self.spool, clock, announce=self._announce, show=lambda _: None)
        self.record = Record(
            settings,
            lambda feed: open_source(
                settings.model_copy(update={"url": settings.sub_url}) if feed is Feed.SUB else settings,
                clock,
                self.stop,
                self.lines,
            ),
            self.spool,
            Eye(),
            clock,
            self.stop,
            announce=self._announce,
            show=self.statuses.append,
            make_room=self.keep.make_room,
            beat=self._beat,
            began=self.spool.previous.cause if self.spool.previous else None,
            feed=lambda: self.feed,
        )

    def _announce(self, kind: EventType, data: EventData) -> None:
        self.events.append((kind, data))

    def _beat(self) -> None:
        self.beats += 1

    def run(self) -> None:
        """Record until told to stop; retries do not wait long, to keep tests short."""
        wait_s = 0.0
        while not self.stop.wait(min(wait_s, 0.2)):
            wait_s = self.record.run_once()
            self.delays_s.append(wait_s)

    def keep_house(self) -> None:
        """Keep room on the disk, and hang up on who went silent, until told to stop."""
        while not self.stop.wait(0.2):
            self.lines.watch()
            self.keep.run_once()

    def kinds(self) -> list[str]:
        """What happened, in short."""
        return [kind.removeprefix("simpang.") for kind, _ in self.events]


@contextmanager
def recording(directory: Path, **settings: Any) -> Iterator[Recorder]:
    """A camera that is recorded; in good order to the end."""
    spool = {key: settings.pop(key) for key in ("quota_bytes", "when_full") if key in settings}
    source = settings.pop("source", "rtsp")
    recorder = Recorder(directory, CameraSettings(id="north", source=source, **settings), **spool)
    threads = [threading.Thread(target=recorder.run), threading.Thread(target=recorder.keep_house)]
    for thread in threads:
        thread.start()
    try:
        yield recorder
    finally:
        recorder.stop.set()
        for thread in threads:
            thread.join(20)
        recorder.spool.close()
        assert not any(thread.is_alive() for thread in threads)


def segments(directory: Path, folder: str = "ready") -> list[tuple[ItemName, SegmentFacts, Path]]:
    """The segments that lie there, in order."""
    names = [(ItemName.parse(path.name), path) for path in sorted((directory / folder).iterdir())]
    return [(name, read_facts(path.read_bytes()), path) for name, path in names if name.kind is ItemKind.SEGMENT]


def main() -> None:
    """Record for ever."""
    directory, url = sys.argv[1:]
    recorder = Recorder(Path(directory), CameraSettings(id="north", url=url, snapshot_s=0, stall_s=5))
    print("recording", flush=True)
    recorder.run()


if __name__ == "__main__":
    main()
