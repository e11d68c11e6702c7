"""When a segment ends, and what the times of a camera mean."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract import MAX_ITEM_BYTES, Hole
from edge_agent.core.cutting import NUDGE_MS, Labels, Leap, Order, backdate, catches_up, find_holes, is_full

TICK_MS = 1 / 90
FRAME = 3600


def full(*, key: bool = True, elapsed_ms: float = 0, size_bytes: int = 0) -> bool:
    return is_full(key=key, elapsed_ms=elapsed_ms, size_bytes=size_bytes, segment_ms=4000)


def test_a_segment_ends_at_the_first_key_frame_after_its_time() -> None:
    assert not full(elapsed_ms=3999)
    assert full(elapsed_ms=4000)
    assert not full(elapsed_ms=60_000, key=False)


def test_no_segment_outgrows_an_item_even_without_key_frames() -> None:
    assert full(size_bytes=MAX_ITEM_BYTES // 4)
    assert not full(size_bytes=MAX_ITEM_BYTES // 4, key=False)
    assert full(size_bytes=MAX_ITEM_BYTES // 2, key=False)


@given(st.lists(st.integers(-int(NUDGE_MS / TICK_MS) + 1, 20 * FRAME), max_size=60))
def test_decode_times_always_grow_and_small_steps_back_are_counted(steps: list[int]) -> None:
    order, last, back = Order(TICK_MS), None, 0
    for number, step in enumerate([0, *steps]):
        dts = step if last is None else last + step
        placed = order.place(dts, number * 40)
        assert isinstance(placed, int)
        if last is not None:
            assert placed > last
            back += step <= 0
        assert step <= 0 or placed == dts
        last = placed
    assert order.nudged == back


def test_a_clock_that_jumps_cannot_be_followed() -> None:
    for step_ms, passed_ms in ((-500, 40), (-3_600_000, 40), (3000, 40), (90_000, 2000)):
        order = Order(TICK_MS)
        order.place(90_000_000, 0)
        assert isinstance(order.place(90_000_000 + round(step_ms / TICK_MS), passed_ms), Leap)


def test_a_pause_of_the_camera_is_no_jump() -> None:
    order = Order(TICK_MS)
    order.place(0, 0)
    assert order.place(10 * 90_000, 10_000) == 10 * 90_000


def test_holes_are_long_steps_between_pictures() -> None:
    times = [*range(0, 1000, 40), *range(3000, 4000, 40)]
    assert find_holes(times) == (Hole(offset_ms=960, duration_ms=2040),)
    assert find_holes(list(range(0, 10_000, 1000))) == (), "a camera with one picture a second has no holes"
    assert find_holes([0]) == find_holes([]) == ()


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=50))
def test_holes_lie_within_the_segment_and_apart(steps: list[int]) -> None:
    times = list(accumulate(steps, initial=0))
    holes = find_holes(times)
    assert all(hole.offset_ms in times and hole.offset_ms + hole.duration_ms in times for hole in holes)
    assert all(a.offset_ms + a.duration_ms <= b.offset_ms for a, b in pairwise(holes))


def test_labels_follow_the_wall_clock_by_the_second_only() -> None:
    labels = Labels(lag_ms=500, offset_ms=1_000_000)
    assert (labels.monotonic(40), labels.wall(40)) == (540, 1_000_540)
    assert labels.follow(1400, 1_000_000, catches_up=False) is None
    assert labels.wall(40) == 1_000_540, "less than a second off"
    assert labels.follow(500, 4_600_000, catches_up=False) is None
    assert labels.wall(40) == 4_600_540, "somebody set the clock"
    assert labels.follow(1600, 4_600_000, catches_up=False) is None
    assert labels.wall(40) == 4_601_640, "the camera's clock is slow"
    assert labels.follow(7600, 4_600_000, catches_up=True) is None
    assert labels.wall(40) == 4_601_640, "it sends what it had kept back"
    assert labels.follow(500, 4_600_000, catches_up=True) is None
    assert labels.wall(40) == 4_600_540, "no picture comes early"
    assert labels.follow(6500, 4_600_000, catches_up=False) == 6000


def test_a_large_key_frame_on_a_thin_line_is_no_catching_up() -> None:
    assert catches_up(3400, 1500, 2000)
    assert catches_up(3000, 1000, 4000), "twice as fast as they were filmed"
    assert not catches_up(900, 500, 4000)
    assert not catches_up(500, 500, 0)


def test_the_first_pictures_are_dated_backwards() -> None:
    assert backdate([(None, None), (FRAME, FRAME)], FRAME) == [(0, 0), (FRAME, FRAME)]
    b_frames = [(None, None), (None, 3 * FRAME), (None, FRAME), (FRAME, 2 * FRAME)]
    assert backdate(b_frames, FRAME) == [
        (-2 * FRAME, 0), (-FRAME, 3 * FRAME), (0, FRAME), (FRAME, 2 * FRAME),
    ]  # fmt: skip
    assert backdate([], FRAME) == []


@given(st.integers(0, 5), st.integers(1, 10))
def test_dates_grow_whatever_was_missing(missing: int, known: int) -> None:
    times: list[tuple[int | None, int | None]] = [(None, None)] * missing
    times += [(number * FRAME, number * FRAME) for number in range(7, 7 + known)]
    dated = backdate(times, FRAME)
    assert [b - a for (a, _), (b, _) in pairwise(dated)] == [FRAME] * (len(times) - 1)
    assert all(pts >= dts for dts, pts in dated)
