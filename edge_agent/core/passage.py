"""From one life of a site to the next: what is said last, and what first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.contract import ClockQuality, EventData, LossCause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.contract import CameraState, Power
    from edge_agent.core.status import Backlog, End, PreviousRun

_WITHOUT: Final = {
    LossCause.POWER: "without power",
    LossCause.STOPPED: "stopped",
    LossCause.AGENT: "without an agent",
    LossCause.DISK: "without its disk",
}


def last_gasp(
    run: str,
    cause: LossCause,
    reason: str,
    power: Power | None,
    cameras: Iterable[CameraState],
    newest_sequence: int | None,
    backlog: Backlog | None,
) -> EventData:
    """What is to be known of a site that is about to go dark, after all footage is committed."""
    return EventData(
        run=run,
        cause=cause,
        detail=reason,
        charge_percent=power.charge_percent if power else None,
        runtime_s=power.runtime_s if power else None,
        runtime_low_s=power.runtime_low_s if power else None,
        runtime_high_s=power.runtime_high_s if power else None,
        newest_sequence=newest_sequence,
        recorded_until=max((c.recorded_until for c in cameras if c.recorded_until), default=None),
        **_waiting(backlog),
    )


def first_breath(
    run: str, previous: PreviousRun | None, waiting: Backlog | None, now: End, why_light: str
) -> EventData:
    """What a life says first: how the one before ended and how long ago, what waits, why it starts light if it does."""
    if waiting is None and previous and previous.end:
        waiting = previous.end.backlog
    return EventData(
        run=run,
        cause=previous.cause if previous else None,
        previous_run=previous.run if previous else None,
        slept_s=slept_s(previous, now) if previous else None,
        detail=why_light,
        **_waiting(waiting),
    )


def slept_s(previous: PreviousRun, now: End) -> float | None:
    """Seconds from the end of the previous life to `now`; None where no clock that can be trusted spans them."""
    end = previous.end
    if end is None:
        return None
    if previous.same_boot and end.monotonic_ms is not None and now.monotonic_ms is not None:
        passed_ms = now.monotonic_ms - end.monotonic_ms
    elif ClockQuality.UNSYNCED in (end.clock, now.clock):
        return None
    else:
        passed_ms = now.now_ms - end.now_ms
    return passed_ms / 1000 if passed_ms >= 0 else None


def greeting(breath: EventData) -> str:
    """The first breath in words."""
    if breath.cause is None:
        return "here for the first time"
    without = _WITHOUT.get(breath.cause, f"gone ({breath.cause})")
    back = f"back after {_span(breath.slept_s)} {without}" if breath.slept_s is not None else f"back, was {without}"
    match breath.backlog_items:
        case None:
            waits = "what waits is being counted"
        case 0:
            waits = "nothing waits"
        case 1:
            waits = "1 item waits"
        case items:
            waits = f"{items} items wait"
    return "; ".join(filter(None, (back, waits, breath.detail)))


def _waiting(backlog: Backlog | None) -> dict[str, float | None]:
    if backlog is None:
        return {}
    return {"backlog_items": backlog.items, "backlog_bytes": backlog.bytes, "backlog_s": backlog.ms / 1000}


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"
