"""What happens to single segments on the disk of a site, while the link is down and they must wait there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.rig.link import Link
from tests.torture.crossing import Crossing
from tests.torture.faults.fault import BY_DAMAGE, Fault
from tests.torture.faults.link import restore


def _cut_for_damage(at: Crossing) -> None:
    at.ways(Link.cut)
    at.broken_ms = time.time_ns() // 1_000_000


def _damage(deed: Callable[[Crossing, Path], None]) -> Callable[[Crossing], None]:
    """One of those that wait is damaged, and the link is back."""

    def do(at: Crossing) -> None:
        for path in at.dice.sample(at.unsent(), min(1, len(at.unsent()))):
            deed(at, path)
        restore(at)

    return do


def _flip_a_bit(at: Crossing, path: Path) -> None:
    with path.open("r+b") as file:
        data = file.read()
        place = at.dice.randrange(len(data))
        file.seek(place)
        file.write(bytes([data[place] ^ 1 << at.dice.randrange(8)]))


def _cut_short(at: Crossing, path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(at.dice.randrange(path.stat().st_size))


def _spoil(at: Crossing, path: Path) -> None:
    assert at.disk is not None
    at.disk.spoil(path, at.dice.randrange(path.stat().st_size))


DAMAGE: Final[Sequence[Fault[Crossing]]] = [
    Fault(
        "flipped bit",
        "A bit of a segment turns over on the disk while the link is down.",
        frozenset({"link"}),
        (5, 12),
        _cut_for_damage,
        _damage(_flip_a_bit),
        BY_DAMAGE,
    ),
    Fault(
        "segment cut short",
        "A segment on the disk loses its end while the link is down.",
        frozenset({"link"}),
        (5, 12),
        _cut_for_damage,
        _damage(_cut_short),
        BY_DAMAGE,
    ),
    Fault(
        "bad sector",
        "A sector of a segment on the disk cannot be read any more.",
        frozenset({"link", "disk"}),
        (5, 12),
        _cut_for_damage,
        _damage(_spoil),
        BY_DAMAGE,
        needs_root=True,
    ),
]
