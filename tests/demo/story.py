"""The story: what happens, when, what it shows, and how one sees that it came true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

SETTLES_S: Final = 45
"""How much longer than planned an outcome may take before the chapter counts as failed."""
_HURRY: Final = 0.6
"""A story that is late is told faster, but not faster than this."""


class Stage(Protocol):
    """What the story does to the city, and asks of it."""

    def raise_curtain(self) -> None: ...
    def cut_fibre(self) -> None: ...
    def restore_fibre(self) -> None: ...
    def cut_power(self) -> None: ...
    def return_power(self) -> None: ...
    def draw_line(self) -> None:
        """What was recorded until now is accounted for."""

    def all_online(self) -> bool: ...
    def site_is_dark(self) -> bool:
        """No contact to the site without fibre."""

    def backlog_is_filled(self) -> bool: ...
    def on_battery(self) -> bool: ...
    def asleep(self) -> bool:
        """The agent without power has stopped in good order, and the centre knows."""

    def all_arrived(self) -> bool:
        """Nothing from before the line is pending."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter; it lasts its share of the story, and until its outcome is seen."""

    title: str
    telling: str
    share: float
    act: Callable[[Stage], None] | None
    outcome: Callable[[Stage], bool]


def _nothing(_: Stage) -> bool:
    return True


STORY: Final = (
    Chapter(
        "normal",
        "Three crossings are recorded to their own disks; each segment travels to the centre as soon as it is whole.",
        0.17,
        lambda stage: stage.raise_curtain(),
        lambda stage: stage.all_online(),
    ),
    Chapter(
        "fibre cut",
        "A branch takes the cable of Tugu Muda down. The centre loses sight of it; its agent goes on recording.",
        0.19,
        lambda stage: stage.cut_fibre(),
        lambda stage: stage.site_is_dark(),
    ),
    Chapter(
        "restored",
        "The cable is spliced. Fresh footage goes first, and the hole at the centre fills from the disk of the site.",
        0.1,
        lambda stage: stage.restore_fibre(),
        lambda stage: stage.backlog_is_filled() and stage.all_online(),
    ),
    Chapter(
        "power cut",
        "Bangkong has lost mains. It lives on its battery, and says how long that will last.",
        0.1,
        lambda stage: stage.cut_power(),
        lambda stage: stage.on_battery(),
    ),
    Chapter(
        "battery low",
        "The battery runs down. Before it is empty the agent closes its files, says goodbye and stops in good order.",
        0.15,
        None,
        lambda stage: stage.asleep(),
    ),
    Chapter(
        "dark",
        "Bangkong is dark. The centre knows that it sleeps, and why: this hole will have a cause.",
        0.08,
        None,
        _nothing,
    ),
    Chapter(
        "power back",
        "Mains is back and the agent starts by itself. What it had not sent goes to the centre; the hole has a cause.",
        0.13,
        lambda stage: stage.return_power(),
        lambda stage: stage.all_online(),
    ),
    Chapter(
        "account",
        "Every second of every camera is accounted for: recorded, or lost with its cause.",
        0.08,
        lambda stage: stage.draw_line(),
        lambda stage: stage.all_arrived(),
    ),
)

BATTERY_SHARE: Final = 0.23
"""Share of the story that passes from the power cut until the battery is empty."""


def lasts_s(number: int, elapsed_s: float, length_s: float) -> float:
    """How long that chapter should last when it begins now."""
    rest = sum(chapter.share for chapter in STORY[number:])
    return max(length_s - elapsed_s, _HURRY * rest * length_s) * STORY[number].share / rest
