"""What a site is told of the wishes that stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from central.core.timeline import unix_ms
from edge_agent.contract import MOST_STRETCHES, Stretch, Wish, instant


class WishKind(StrEnum):
    """What is wished of a site."""

    WANTED = "wanted"
    """That footage goes ahead of the rest of the backlog."""
    LOCKED = "locked"
    """That footage goes last when room is short."""
    COMPARED = "compared"
    """Both ends have compared what they hold since `from_ms`."""


@dataclass(frozen=True, slots=True)
class WishRow:
    """A wish of one kind about a stretch of one camera's time, or about the whole site."""

    site: str
    kind: WishKind
    camera: str
    from_ms: int
    to_ms: int
    made_ms: int
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The pace of a site's backlog, and until when."""

    bytes_per_s: float
    until_ms: int


def wish(rows: Iterable[WishRow], grant: Grant | None, at_ms: int, lessons: tuple[str, ...] = ()) -> Wish:
    """What one site is told: its rows, its grant, and what it taught itself. Of too many stretches, the last wishes."""
    rows = sorted(rows, key=lambda row: row.made_ms, reverse=True)
    compared = next((row.from_ms for row in rows if row.kind is WishKind.COMPARED), None)
    return Wish(
        pace_bytes_per_s=grant and grant.bytes_per_s,
        pace_until=grant and instant(grant.until_ms),
        wanted=_stretches(rows, WishKind.WANTED),
        locked=_stretches(rows, WishKind.LOCKED),
        compared_since=None if compared is None else instant(compared),
        lessons=lessons,
        at=instant(at_ms),
    )


_RENEW_MS = 30_000
_HARDLY = 0.02


def is_news(told: Wish | None, new: Wish, now_ms: int) -> bool:
    """Whether a site that was told the one must be told the other. A pace that hardly differs can wait, its end not."""
    if told is None or _standing(told) != _standing(new):
        return True
    if told.pace_bytes_per_s is None or new.pace_bytes_per_s is None or told.pace_until is None:
        return told.pace_bytes_per_s != new.pace_bytes_per_s
    if unix_ms(told.pace_until) - now_ms < _RENEW_MS:
        return True
    return abs(new.pace_bytes_per_s - told.pace_bytes_per_s) > _HARDLY * told.pace_bytes_per_s


def _standing(wish: Wish) -> tuple[object, ...]:
    return wish.wanted, wish.locked, wish.compared_since, wish.lessons


def _stretches(rows: Iterable[WishRow], kind: WishKind) -> tuple[Stretch, ...]:
    found = (
        Stretch(camera=row.camera, from_at=instant(row.from_ms), to_at=instant(row.to_ms))
        for row in rows
        if row.kind is kind
    )
    return tuple(islice(found, MOST_STRETCHES))
