"""Reads what the rendered scene burns into its pictures for machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera.scene import CELLS


def read_strip(grey: NDArray[np.uint8]) -> tuple[int, int]:
    """Unix time in milliseconds (to a tenth of a second) and frame number of a picture of the scene."""
    cells = grey[-4].reshape(CELLS, -1).mean(axis=1) > 127
    bits = int("".join("1" if cell else "0" for cell in cells), 2)
    return (bits >> 24) * 100, bits & 0xFFFFFF


def strips(files: list[Path]) -> Iterator[tuple[int, int]]:
    """The strip of each picture in the files, in order."""
    for file in files:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                yield read_strip(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
