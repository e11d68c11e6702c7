"""What to think of a picture: black, frozen, blurred or fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from edge_agent.contract import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE: Final = (320, 180)
"""Width and height at which pictures are measured, so that the limits below fit every camera."""

_BLACK_LEVEL, _BLACK_CONTRAST = 24.0, 8.0
_FROZEN_CHANGE = 0.15
_BLURRED_SHARPNESS = 12.0
_STICKY: Final = 1.3
"""A verdict is left only when the limit is passed by this much."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What was measured: mean and spread of the brightness (0 to 255), variance of the Laplacian, mean change."""

    level: float
    contrast: float
    sharpness: float
    change: float | None


def measure(grey: NDArray[np.uint8], before: NDArray[np.uint8] | None) -> Marks:
    """The marks of a grey picture of SIZE; `before` is the one that was looked at last."""
    return Marks(
        level=float(grey.mean()),
        contrast=float(grey.std()),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        change=None if before is None else float(cv2.absdiff(grey, before).mean()),
    )


def judge(marks: Marks, now: Picture = Picture.UNKNOWN) -> Picture:
    """The verdict on one picture, reluctant to leave the verdict of `now`."""

    def below(value: float, limit: float, verdict: Picture) -> bool:
        return value < limit * (_STICKY if now is verdict else 1)

    black = below(marks.level, _BLACK_LEVEL, Picture.BLACK) and below(marks.contrast, _BLACK_CONTRAST, Picture.BLACK)
    if black:
        return Picture.BLACK
    if marks.change is not None and below(marks.change, _FROZEN_CHANGE, Picture.FROZEN):
        return Picture.FROZEN
    if below(marks.sharpness, _BLURRED_SHARPNESS, Picture.BLURRED):
        return Picture.BLURRED
    return Picture.OK


class Watch:
    """The verdict on one camera; a new one must be seen twice, except the first."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._doubt: Picture | None = None
        self.verdict = Picture.UNKNOWN

    def look(self, grey: NDArray[np.uint8]) -> Picture:
        """The verdict after this picture, grey and of SIZE."""
        seen = judge(measure(grey, self._before), self.verdict)
        self._before = grey
        if seen is self._doubt or self.verdict is Picture.UNKNOWN:
            self.verdict = seen
        self._doubt = seen
        return self.verdict
