"""What is to be seen of the city at one moment: values for a screen, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge_agent.contract import Event, EventData, EventType, LinkPart, Power, PresenceState


@dataclass(frozen=True, slots=True)
class News:
    """A line for the ticker."""

    at: datetime
    place: str
    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class SiteView:
    """One crossing. Presence and power as the centre knows them, link and footage as they are at the site."""

    name: str
    alive: bool
    presence: PresenceState | None
    power: Power | None
    broken: LinkPart
    kept_s: float
    """Footage that only the site has."""
    arrived_s: float
    """Footage with a receipt of the centre."""


@dataclass(frozen=True, slots=True)
class View:
    """The whole picture."""

    elapsed_s: float
    length_s: float
    chapter: int
    sites: tuple[SiteView, ...]
    news: tuple[News, ...]
    """All of them, in the order in which they became known."""
    page: str


def told(place: str, event: Event) -> News:
    """An event in words."""
    data = event.data
    text, grave = _words(event.type, data)
    return News(event.time, place, text + (f" ({data.detail})" if data.detail else ""), grave)


def _words(kind: EventType, data: EventData) -> tuple[str, bool]:
    match kind:
        case EventType.AGENT_STARTED:
            return "agent started" + (f"; the run before ended for {data.cause}" if data.cause else ""), False
        case EventType.AGENT_STOPPING:
            return "agent stops in good order", True
        case EventType.LINK_CHANGED:
            whole = data.after == LinkPart.NONE
            return ("link whole" if whole else f"link broken at the {data.after}"), not whole
        case EventType.SUPPLY_CHANGED:
            return f"supply: {data.after}", data.after in {"battery", "low"}
        case EventType.CAMERA_LOST:
            return f"camera {data.camera} lost", True
        case EventType.CAMERA_BACK:
            return f"camera {data.camera} back", False
        case _:
            change = f": {data.before} → {data.after}" if data.after else ""
            return kind.removeprefix("simpang.").replace(".", " ") + change, False


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
