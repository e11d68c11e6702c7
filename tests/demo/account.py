"""The account: what became of every second of every camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Table = dict[str, Any]

_SUMS: Final = ("recorded_s", "pending_s", "unknown_s", "unexplained_s")


def settle(rows: Iterable[Mapping[str, Any]], names: Mapping[str, str], late: str | None) -> Table:
    """The report, from the rows of the centre's completeness; `late` is the chapter that did not come true."""
    cameras: dict[tuple[str, str], Table] = {}
    for row in rows:
        key = row["site"], row["camera"]
        _add(cameras.setdefault(key, {"site": key[0], "name": names[key[0]], "camera": key[1]} | _empty()), row)
    total = _empty()
    for camera in cameras.values():
        _add(total, camera)
    open_s = total["pending_s"] + total["unknown_s"] + total["unexplained_s"]
    missing = set(names) - {site for site, _ in cameras}
    return {
        "cameras": list(cameras.values()),
        "total": total,
        "late_chapter": late,
        "holds": not late and not missing and open_s == 0 and total["recorded_s"] > 0,
    }


def _empty() -> Table:
    return dict.fromkeys(_SUMS, 0.0) | {"lost_s": {}}


def _add(to: Table, row: Mapping[str, Any]) -> None:
    for key in _SUMS:
        to[key] = round(to[key] + row[key], 3)
    for cause, seconds in row["lost_s"].items():
        to["lost_s"][cause] = round(to["lost_s"].get(cause, 0) + seconds, 3)
