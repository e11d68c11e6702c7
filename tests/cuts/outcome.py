"""What a batch of power cuts did to whom, as a value that can be added up and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One batch: the same disk, cut again and again.

    `victim` is who writes there. A cut is `early` when it came before that life had recorded or received anything:
    while it was recovering from the cut before, or making itself at home. It `dropped` data when the disk lost sectors
    of its cache.
    """

    victim: str
    seed: int
    cuts: int = 0
    early: int = 0
    dropped: int = 0
    sectors_kept: int = 0
    sectors_lost: int = 0
    promised: int = 0
    """Items that the victim said were safe: committed to the spool, or receipted by the centre."""
    receipted: int = 0
    lost_promised: int = 0
    lost_receipted: int = 0
    damaged: int = 0
    """Files under a final name that are not what the name says, or do not play."""
    left_over: int = 0
    """Files that nothing will ever read or remove."""
    broken: int = 0
    """Cuts after which at least one promise was broken, or the victim did not come back."""
    missing_s: tuple[float, ...] = ()
    """Per cut, the most video of one camera that is missing."""
    back_s: tuple[float, ...] = ()
    """Per life, from its start to the first work that is safe from a cut."""
    findings: tuple[str, ...] = ()
    took_s: float = 0.0

    @property
    def worst_missing_s(self) -> float:
        return max(self.missing_s, default=0.0)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept, and no cut cost more than a second."""
        return not (self.broken or self.findings) and self.worst_missing_s <= 1

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def of(cls, table: dict[str, object]) -> Self:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.of(json.loads(path.read_text()))


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """All of one victim, added up; the seed is the first."""
    first, *others = outcomes
    added = [field.name for field in fields(Outcome) if field.name not in {"victim", "seed"}]
    for other in others:
        first = replace(first, **{name: getattr(first, name) + getattr(other, name) for name in added})
    return first
