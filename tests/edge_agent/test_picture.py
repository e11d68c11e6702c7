"""What pictures show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.contract import Picture
from edge_agent.core.picture import SIZE, Watch, judge, measure
from edge_agent.snapshot import Eye
from tests.rig import clips
from tests.rig.clips import Clip
from tests.rig.parts import require_program

Grey = NDArray[np.uint8]


def scene(seed: int = 0) -> Grey:
    """A picture with edges, and a little noise that differs by seed."""
    board = np.kron(np.indices((9, 16)).sum(axis=0) % 2, np.ones((20, 20))) * 120 + 60
    noise = np.random.default_rng(seed).normal(0, 2, board.shape)
    return (board + noise).clip(0, 255).astype(np.uint8)


def black(seed: int = 0) -> Grey:
    return np.random.default_rng(seed).integers(0, 9, SIZE[::-1], dtype=np.uint8)


def blurred(seed: int = 0) -> Grey:
    return np.asarray(cv2.GaussianBlur(scene(seed), (0, 0), 12), np.uint8)


@pytest.mark.parametrize(
    ("grey", "before", "expected"),
    [
        (scene(1), scene(2), Picture.OK),
        (scene(1), None, Picture.OK),
        (black(1), black(2), Picture.BLACK),
        (scene(1), scene(1), Picture.FROZEN),
        (blurred(1), scene(2), Picture.BLURRED),
    ],
)
def test_a_picture_is_judged_by_what_is_in_it(grey: Grey, before: Grey | None, expected: Picture) -> None:
    assert judge(measure(grey, before)) is expected


def test_a_verdict_changes_when_it_was_seen_twice() -> None:
    watch = Watch()
    assert [watch.look(grey) for grey in (scene(1), black(1), scene(2), black(2), black(3), scene(3), scene(4))] == [
        Picture.OK, Picture.OK, Picture.OK, Picture.OK, Picture.BLACK, Picture.BLACK, Picture.OK,
    ]  # fmt: skip


def test_a_verdict_is_left_reluctantly() -> None:
    """Dusk must not make the verdict flicker."""
    dusk = np.full(SIZE[::-1], 26, np.uint8)
    assert judge(measure(dusk, scene()), Picture.OK) is not Picture.BLACK
    assert judge(measure(dusk, scene()), Picture.BLACK) is Picture.BLACK


@pytest.mark.parametrize("clip", [Clip(), Clip(codec="hevc"), Clip(width=1280, height=720, seconds=1)])
def test_a_key_frame_becomes_a_picture(clip: Clip) -> None:
    require_program("ffmpeg")
    key = (clips.make(clip) / "packets.bin").read_bytes()[: clips.first_size(clips.make(clip))]
    look = Eye(width_px=640).look("north", clip.codec, b"", key)
    assert look is not None
    picture = cv2.imdecode(np.frombuffer(look.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] == min(clip.width, 640)
    assert picture.shape[0] * clip.width == picture.shape[1] * clip.height
    assert look.picture is Picture.OK


def test_what_cannot_be_decoded_is_no_trouble() -> None:
    assert Eye().look("north", "h264", b"", b"\x00\x00\x00\x01\x65" + bytes(100)) is None
    assert Eye().look("north", "hevc", b"", b"") is None
