"""HLS over stored segments: every byte range and date is where it belongs."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from central.core.playlist import GAP_PIECE_MS, LIVE_WINDOW_MS, LiveWindow, recording
from central.core.timeline import Footage

T = 1_795_000_000_000
RUN = "000001aaaa"


def footage(at_s: float, *, session: int = 1, length_ms: int = 4000, sequence: int | None = None) -> Footage:
    return Footage(
        run=RUN,
        sequence=int(at_s) if sequence is None else sequence,
        session=session,
        start_ms=T + int(at_s * 1000),
        duration_ms=length_ms,
        media_start_ms=int(at_s * 1000),
        init_bytes=750,
        media_bytes=9000,
    )


def address(segment: Footage) -> str:
    return f"/{segment.sequence}.mp4"


def vod(*segments: Footage, from_s: float = 0, to_s: float = 3600, ended: bool = True) -> list[str]:
    text = recording(segments, T + int(from_s * 1000), T + int(to_s * 1000), address, ended=ended)
    assert text.endswith("\n")
    return text.splitlines()


def test_continuous_footage_has_one_map_and_plain_byte_ranges() -> None:
    assert vod(footage(0), footage(4)) == [
        "#EXTM3U",
        "#EXT-X-VERSION:8",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        '#EXT-X-MAP:URI="/0.mp4",BYTERANGE="750@0"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-18T11:06:40.000Z",
        "#EXT-X-BYTERANGE:9000@750",
        "#EXTINF:4.000,",
        "/0.mp4",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-18T11:06:44.000Z",
        "#EXT-X-BYTERANGE:9000@750",
        "#EXTINF:4.000,",
        "/4.mp4",
        "#EXT-X-ENDLIST",
    ]


def test_a_new_session_brings_its_own_initialization() -> None:
    lines = vod(footage(0), footage(4.1, session=2, sequence=5))
    assert lines.count("#EXT-X-DISCONTINUITY") == 1
    assert sum(line.startswith("#EXT-X-MAP") for line in lines) == 2
    assert "#EXT-X-GAP" not in lines


def test_runs_that_claim_the_same_time_are_played_one_after_the_other() -> None:
    """A board that begins at the same moment after each power cut: nothing is hidden, and nothing is mixed."""
    earlier = [footage(at_s, sequence=100 + at_s) for at_s in (0, 4, 8)]
    later = [replace(footage(at_s + 1, sequence=200 + at_s), run="000002aaaa") for at_s in (0, 4)]
    files = [line for line in vod(*later, *earlier, footage(40, session=2)) if line.endswith(".mp4")]
    assert files == [f"/{number}.mp4" for number in (100, 104, 108, 200, 204, 40)]


def test_a_hole_is_as_long_as_it_was_in_pieces_that_say_gap() -> None:
    lines = vod(footage(0), footage(29, session=2))
    gaps = [number for number, line in enumerate(lines) if line == "#EXT-X-GAP"]
    assert [lines[number + 1] for number in gaps] == ["#EXTINF:8.333,"] * 3
    assert lines[gaps[0] - 1] == "#EXT-X-PROGRAM-DATE-TIME:2026-11-18T11:06:44.000Z"
    assert lines.count("#EXT-X-DISCONTINUITY") == 2
    assert "#EXT-X-TARGETDURATION:9" in lines


def test_only_what_reaches_into_the_interval_is_listed() -> None:
    segments = [footage(at) for at in (0, 4, 8, 12)]
    urls = [line for line in vod(*segments, from_s=5, to_s=12) if line.startswith("/")]
    assert urls == ["/4.mp4", "/8.mp4"]


def test_without_an_end_it_may_still_grow() -> None:
    lines = vod(footage(0), ended=False)
    assert "#EXT-X-ENDLIST" not in lines
    assert not any("PLAYLIST-TYPE" in line for line in lines)


def test_nothing_and_absurd_times_are_lists_too() -> None:
    assert vod()[-1] == "#EXT-X-ENDLIST"
    absurd = Footage(RUN, 1, 1, 253_402_300_799_000, 999_999_999, 0)
    assert "/1.mp4" in recording([absurd], 0, 2**60, address, ended=True)
    assert "/1.mp4" not in recording([Footage(RUN, 1, 1, 10**15 - 1, 1, 0)], 0, 2**60, address, ended=True)


@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 100_000)), max_size=30))
def test_the_players_clock_is_the_wall_clock(lives: list[tuple[int, int]]) -> None:
    """Whatever the holes, the durations add up to the dates, and none is longer than the target."""
    segments, at_ms = [], 0
    for session, (length_ms, hole_ms) in enumerate(lives, 1):
        segments.append(Footage(RUN, session, session, T + at_ms, length_ms, 0))
        at_ms += length_ms + (hole_ms if hole_ms > 200 else 0)
    text = recording(segments, T - 1, T + 2**40, address, ended=True)
    durations = [float(found) for found in re.findall(r"#EXTINF:(.*),", text)]
    target = re.search(r"TARGETDURATION:(\d+)", text)
    assert target
    assert max(durations, default=0) <= int(target[1]) <= max(9, GAP_PIECE_MS // 1000)
    dates = re.findall(r"DATE-TIME:.*T(\d+):(\d+):(\d+\.\d+)Z", text)
    seconds = [int(hour) * 3600 + int(minute) * 60 + float(second) for hour, minute, second in dates]
    for (one, next_one), duration in zip(pairwise(seconds), durations, strict=False):
        assert abs((next_one - one) % 86400 - duration) < 0.005


def numbers(window: LiveWindow) -> dict[str, int]:
    """Which segment stands under which number."""
    text = window.playlist(address)
    first = re.search(r"MEDIA-SEQUENCE:(\d+)", text)
    assert first
    return {url: int(first[1]) + place for place, url in enumerate(re.findall(r"^/\S+$", text, re.MULTILINE))}


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=60), st.integers(0, 1000))
def test_a_segment_keeps_its_number_as_the_window_moves(steps: list[tuple[int, bool]], number: int) -> None:
    """Holes, new sessions and footage that comes late never move a segment that a player knows."""
    window, at_s, session = LiveWindow(number), 0, 1
    known: dict[str, int] = {}
    for sequence, (step_s, fresh_session) in enumerate(steps):
        session += fresh_session
        at_s += max(step_s, 4)
        late = footage(at_s - 8, session=99, sequence=1000 + sequence)
        window = window.advanced([late, footage(at_s, session=session, sequence=sequence)], T + at_s * 1000 + 4000)
        listed = numbers(window)
        assert all(known.get(url, place) == place for url, place in listed.items())
        assert sorted(listed.values()) == list(range(min(listed.values()), max(listed.values()) + 1))
        known |= listed
        assert window.segments[0].end_ms >= T + at_s * 1000 + 4000 - LIVE_WINDOW_MS or len(window.segments) == 1


def test_footage_from_the_future_does_not_stop_the_live_window() -> None:
    window = LiveWindow(0).advanced([footage(0), footage(100_000)], T + 4000)
    assert list(numbers(window)) == ["/0.mp4"]
    assert list(numbers(window.advanced([footage(4)], T + 8000))) == ["/0.mp4", "/4.mp4"]
