"""HLS media playlists over stored segments (RFC 8216): each file carries its own initialization, found by byte range.

The player's clock is the wall clock: a hole is as long on the player as it was in the world, and says so with GAP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from central.core.timeline import FRAME_MS, FUTURE_MS, Footage, Placed, place, played
from edge_agent.contract import instant

GAP_PIECE_MS: Final = 10_000
"""A hole is told in pieces of this length, so that it does not stretch the target duration."""
LIVE_WINDOW_MS: Final = 60_000
_YEAR_10000_MS: Final = 253_402_300_800_000

Address = Callable[[Footage], str]
"""Where the file of a segment is, as a URL."""


def recording(footage: Iterable[Footage], from_ms: int, to_ms: int, address: Address, *, ended: bool) -> str:
    """The playlist of the footage that reaches into the interval, holes included; `ended` when no more will come."""
    placed = [p for p in played(place(footage)) if p.start_ms < min(to_ms, _YEAR_10000_MS) and p.end_ms > from_ms]
    lines: list[str] = []
    longest_ms, at_ms = 1000.0, 0
    previous: Footage | None = None
    for start_ms, end_ms, segment in placed:
        if previous is not None and start_ms - at_ms > FRAME_MS:
            pieces = math.ceil((start_ms - at_ms) / GAP_PIECE_MS)
            piece_ms = (start_ms - at_ms) / pieces
            lines.append("#EXT-X-DISCONTINUITY")
            for number in range(pieces):
                lines += [_dated(at_ms + round(number * piece_ms)), "#EXT-X-GAP", *_entry(piece_ms, "gap")]
            longest_ms = max(longest_ms, piece_ms)
        lines += _segment_lines(segment, previous, start_ms, address)
        longest_ms = max(longest_ms, segment.duration_ms)
        at_ms, previous = max(at_ms, end_ms), segment
    head = [*_head(longest_ms), "#EXT-X-MEDIA-SEQUENCE:0"]
    if ended:
        head.append("#EXT-X-PLAYLIST-TYPE:VOD")
    return "\n".join([*head, *lines, *(["#EXT-X-ENDLIST"] if ended else [])]) + "\n"


@dataclass(frozen=True, slots=True)
class LiveWindow:
    """The newest footage of a camera as a list that only grows at its end and shrinks at its beginning.

    What is filled in late stays out of it: a player must never find another segment under a number it knows.
    """

    number: int
    """Of the first segment."""
    discontinuities: int = 0
    """Sessions that have left the window."""
    segments: tuple[Placed, ...] = ()

    def advanced(self, footage: Iterable[Footage], now_ms: int) -> Self:
        """The window `now_ms`, with the segments that are newer than its last."""
        segments = list(self.segments)
        for placed in place(footage):
            if placed.start_ms > now_ms + FUTURE_MS:
                break
            if not segments or placed.start_ms >= segments[-1].end_ms - FRAME_MS:
                segments.append(placed)
        gone, passed = 0, self.discontinuities
        while len(segments) - gone > 1 and segments[gone].end_ms < now_ms - LIVE_WINDOW_MS:
            passed += not segments[gone + 1].footage.continues(segments[gone].footage)
            gone += 1
        return replace(self, number=self.number + gone, discontinuities=passed, segments=tuple(segments[gone:]))

    def playlist(self, address: Address) -> str:
        """The playlist of the window."""
        lines: list[str] = []
        previous: Footage | None = None
        for start_ms, _, segment in self.segments:
            lines += _segment_lines(segment, previous, start_ms, address)
            previous = segment
        head = [
            *_head(max((p.footage.duration_ms for p in self.segments), default=1000)),
            f"#EXT-X-MEDIA-SEQUENCE:{self.number}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.discontinuities}",
        ]
        return "\n".join([*head, *lines]) + "\n"


def _head(longest_ms: float) -> Sequence[str]:
    return (
        "#EXTM3U",
        "#EXT-X-VERSION:8",
        f"#EXT-X-TARGETDURATION:{math.ceil(longest_ms / 1000)}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    )


def _segment_lines(segment: Footage, previous: Footage | None, start_ms: int, address: Address) -> Iterator[str]:
    """One segment; where it does not continue the one before, with its own initialization and date."""
    url = address(segment)
    if previous is None or not segment.continues(previous):
        if previous is not None:
            yield "#EXT-X-DISCONTINUITY"
        yield f'#EXT-X-MAP:URI="{url}",BYTERANGE="{segment.init_bytes}@0"'
    yield _dated(start_ms)
    yield f"#EXT-X-BYTERANGE:{segment.media_bytes}@{segment.init_bytes}"
    yield from _entry(segment.duration_ms, url)


def _dated(at_ms: int) -> str:
    return f"#EXT-X-PROGRAM-DATE-TIME:{instant(at_ms):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _entry(length_ms: float, url: str) -> tuple[str, str]:
    return f"#EXTINF:{length_ms / 1000:.3f},", url
