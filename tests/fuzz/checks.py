"""What holds for any bytes whatsoever; each check raises when it does not."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from central.ingest import check_body
from edge_agent.contract import (
    DEFAULT_PREFIX,
    ClockQuality,
    ItemKind,
    ItemName,
    SegmentFacts,
    facts_box,
    parse_topic,
    read_facts,
    whole_boxes,
)
from edge_agent.spool import Spool
from tests.fakes import FakeClock
from tests.rig.segments import encode, make_item, make_segment

_TORN: Final = "000001test_00000007_segment_north_1000_synced.part"

SAMPLES: Final = Path(__file__).parents[1] / "samples" / "contract"
NAMES: Final = [
    line
    for file in ("item-names.txt", "not-item-names.txt")
    for line in (SAMPLES / file).read_text().splitlines()
    if line
]
NAME, SEGMENT = make_segment(duration_ms=2000)


def open_segment() -> bytes:
    """A segment as it lies in `writing/`: its draft of facts stands before its fragments."""
    media = encode(2000)
    init_bytes = sum(box.size for box in whole_boxes(media) if box.type in {"ftyp", "moov"})
    draft = SegmentFacts(
        codec="h264",
        width=64,
        height=48,
        session=1,
        media_start_ms=0,
        monotonic_ms=0,
        packets=0,
        init_bytes=0,
        media_bytes=0,
    )
    return media[:init_bytes] + facts_box(draft) + media[init_bytes:]


def name(data: bytes) -> None:
    """What is taken as the name of an item has that one spelling, and is a file name."""
    text = data.decode(errors="surrogateescape")
    try:
        parsed = ItemName.parse(text)
    except ValueError:
        return
    assert str(parsed) == text
    assert text.isascii()
    assert Path(text).name == text
    assert len(text) < 250
    assert 0 <= parsed.start_ms <= parsed.end_ms


def topic(data: bytes) -> None:
    """What is taken as a topic is the one topic of that site, group and camera."""
    text = data.decode(errors="replace")
    with suppress(ValueError):
        address = parse_topic(DEFAULT_PREFIX, text)
        assert address.topic.path(DEFAULT_PREFIX, address.site, address.camera) == text
        assert "/" not in address.site + (address.camera or "")


def boxes(data: bytes) -> None:
    """Boxes lie one behind the other within the data; facts are read of a whole segment only."""
    end = 0
    for box in whole_boxes(data):
        assert box.offset == end < box.end <= len(data)
        end = box.end
    with suppress(ValueError):
        facts = read_facts(data)
        assert end == len(data)
        assert facts.init_bytes + facts.media_bytes < len(data)


def body(data: bytes) -> None:
    """The centre takes a body of any kind, or says in a ValueError why not."""
    for kind in ItemKind:
        for camera in ("north", "site"):
            with suppress(ValueError):
                check_body(make_item(kind, data, camera=camera), data)


def torn(data: bytes) -> None:
    """An agent that finds this left open starts, and starts again; what it makes of it is a whole item, or put aside.

    Nothing that is whole is thrown away.
    """
    with _spool_folder() as directory:
        (directory / "writing").mkdir()
        (directory / "writing" / _TORN).write_bytes(data)
        found = [_start(directory), _start(directory)]
        assert found[0] == found[1]
        assert not list((directory / "writing").iterdir())
        ready, aside = found[0]
        for item in ready:
            parsed, saved = ItemName.parse(item), (directory / "ready" / item).read_bytes()
            assert hashlib.sha256(saved).hexdigest() == parsed.sha256
            facts = read_facts(saved)
            assert facts.recovered
            kept = facts.init_bytes + facts.media_bytes
            assert saved[:kept] == data[:kept]
        for file in aside:
            assert (directory / "quarantine" / file).read_bytes() == data
        if not ready and not aside:
            assert not any(box.type == "mdat" for box in whole_boxes(data))


def _start(directory: Path) -> tuple[list[str], list[str]]:
    """What is ready and what was put aside, after a start."""
    spool = Spool(directory, quota_bytes=1 << 40, reserve_bytes=0, clock=FakeClock(quality=ClockQuality.SYNCED))
    spool.close()
    aside = [path.name for path in (directory / "quarantine").iterdir() if not path.name.endswith(".reason.txt")]
    return sorted(path.name for path in (directory / "ready").iterdir()), sorted(aside)


@contextmanager
def _spool_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz") as directory:
        yield Path(directory)
