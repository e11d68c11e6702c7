"""The story on a terminal, live; or line by line where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edge_agent.contract import LinkPart, PresenceState, Supply
from tests.demo.story import STORY
from tests.demo.view import News, SiteView, View, clock

_CALM, _GOOD, _WARN, _BAD, _SLEEP, _FAINT = "cyan", "green", "yellow", "red", "blue", "bright_black"
_PRESENCE: Final = {
    PresenceState.ONLINE: ("●", _GOOD, "online"),
    PresenceState.OFFLINE: ("○", _BAD, "no contact"),
    PresenceState.STOPPING: ("◐", _WARN, "stopping"),
    PresenceState.ASLEEP: ("◌", _SLEEP, "asleep"),
}
_PARTS: Final = (LinkPart.PORT, LinkPart.UPLINK, LinkPart.CENTRE, LinkPart.BROKER)
_GAUGE: Final = 6
_CHAIN: Final = 25
_AROUND_TICKER: Final = 20
_LINE_EVERY_S: Final = 10


class Screen(Protocol):
    """Where the story is shown."""

    def show(self, view: View) -> None:
        """The picture is up to date."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class LiveScreen:
    """A terminal: one picture, renewed in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, view: View) -> None:
        self._live.update(picture(view, self._live.console.height), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class PlainScreen:
    """A pipe or a file: chapters and news as they come, and now and then how everybody is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = -1
        self._page = ""
        self._told = 0
        self._said_s = 0.0

    def show(self, view: View) -> None:
        if view.chapter != self._chapter:
            self._chapter = view.chapter
            self._say(view, f"{STORY[view.chapter].title.upper()}: {STORY[view.chapter].telling}")
        if view.page != self._page:
            self._page = view.page
            self._say(view, f"  the page is at {view.page}")
        for news in view.news[self._told :]:
            self._say(view, f"  {news.place}: {news.text}")
        self._told = len(view.news)
        if view.elapsed_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = view.elapsed_s
            self._say(view, "  " + " | ".join(map(_in_short, view.sites)))

    def _say(self, view: View, text: str) -> None:
        self._console.print(f"{clock(view.elapsed_s):>5}  {text}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def picture(view: View, height: int) -> RenderableType:
    """The view for a terminal of that height, with 80 columns and 24 lines or more."""
    chapter, following = STORY[view.chapter], STORY[view.chapter + 1 :]
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    time = f"chapter {view.chapter + 1} of {len(STORY)}   {clock(view.elapsed_s)} of {clock(view.length_s)}"
    head.add_row(Text.assemble(("Simpang", "bold"), ("  three crossings and their centre", _FAINT)), Text(time, _FAINT))
    progress = Table.grid(expand=True)
    progress.add_row(_bar(view.elapsed_s, view.length_s, _FAINT, _CALM))
    title = Text(chapter.title[:1].upper() + chapter.title[1:], "bold")
    if following:
        title.append(f"   then {following[0].title}", f"not bold {_FAINT}")
    sites = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for width in (12, 13, 22, _CHAIN):
        sites.add_column(min_width=width, no_wrap=True)
    for site in view.sites:
        for row in _rows(site):
            sites.add_row(*row)
    ticker = _ticker(view.news, max(3, min(8, height - _AROUND_TICKER)))
    foot = Text.assemble("page  ", (view.page, f"underline {_CALM}") if view.page else ("opens soon", _FAINT))
    parts: tuple[RenderableType, ...] = (title, Text(chapter.telling), Text(), sites, *ticker, Text(), foot)
    return Padding(Group(head, progress, Text(), *parts), (1, 1, 0, 1))


def _rows(site: SiteView) -> Iterator[tuple[RenderableType, ...]]:
    mark, style, word = _PRESENCE[site.presence] if site.presence else ("·", _FAINT, "starting")
    yield Text(site.name, "bold"), Text(f"{mark} {word}", style), _battery(site), _chain(site)
    filmed_s = site.kept_s + site.arrived_s
    kept = f"{_span(site.kept_s)} only on site" if site.kept_s >= 1 else "all at the centre"
    bar = _bar(site.arrived_s, filmed_s, _WARN, _GOOD, width=_CHAIN)
    yield "", Text(f"{_span(filmed_s)} filmed", _FAINT), Text(kept, _WARN if site.kept_s >= 5 else _FAINT), bar
    yield "", "", "", ""


def _bar(done: float, total: float, style: str, done_style: str, width: int | None = None) -> ProgressBar:
    styles = {"style": style, "complete_style": done_style, "finished_style": done_style}
    return ProgressBar(max(total, 0.1), min(done, total), width=width, **styles)  # type: ignore[arg-type]


def _battery(site: SiteView) -> Text:
    power = site.power
    if power is None or power.charge_percent is None:
        return Text("battery unknown", _FAINT)
    style = {Supply.MAINS: _GOOD, Supply.BATTERY: _WARN, Supply.LOW: _BAD}.get(power.supply, _FAINT)
    known = site.presence is PresenceState.ONLINE
    full = round(power.charge_percent / 100 * _GAUGE)
    runs_down = known and power.supply != Supply.MAINS and power.runtime_s is not None
    words = f"· {_span(power.runtime_s or 0)}" if runs_down else str(power.supply)
    return Text.assemble(
        ("▮" * full, style if known else _FAINT),
        ("▯" * (_GAUGE - full), _FAINT),
        (f" {power.charge_percent:.0f} % {words}", "" if known else _FAINT),
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _chain(site: SiteView) -> Text:
    line = Text()
    broken = _PARTS.index(site.broken) if site.broken in _PARTS else len(_PARTS)
    for number, part in enumerate(_PARTS):
        style = _FAINT if not site.alive else _GOOD if number < broken else _BAD
        line.append(("─" if number < broken else "╌") if number else "", style)
        line.append(part.value, style)
    return line


def _ticker(news: tuple[News, ...], lines: int) -> Iterator[Text]:
    shown = sorted(news, key=lambda item: item.at)[-lines:]
    for item in shown:
        at = f"{item.at.astimezone():%H:%M:%S}"
        style = _WARN if item.grave else _FAINT
        line = Text.assemble((f"{at}  ", _FAINT), f"{item.place:<14}", (item.text, style))
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line
    yield from (Text() for _ in range(lines - len(shown)))


def _in_short(site: SiteView) -> str:
    power = site.power
    battery = f"{power.supply} {power.charge_percent or 0:.0f} %" if power else "battery unknown"
    presence = site.presence or "starting"
    return f"{site.name}: {presence}, {battery}, {site.arrived_s:.0f} s at the centre, {site.kept_s:.0f} s to come"


def account(report: dict[str, Any]) -> RenderableType:
    """The report as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_FAINT)
    table.add_column("crossing", no_wrap=True)
    table.add_column("camera", no_wrap=True)
    for title in ("recorded", "pending", "unexplained"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("lost")
    for row in [*report["cameras"], {"name": "together", "camera": ""} | report["total"]]:
        open_s = row["unknown_s"] + row["unexplained_s"]
        lost = [f"{cause} {seconds:.1f} s" for cause, seconds in sorted(row["lost_s"].items()) if seconds >= 0.05]
        table.add_row(
            row["name"],
            row["camera"],
            Text(f"{row['recorded_s']:.1f} s", _GOOD),
            Text(f"{row['pending_s']:.1f} s", _WARN if row["pending_s"] else _FAINT),
            Text(f"{open_s:.1f} s", f"bold {_BAD}" if open_s else _FAINT),
            Text(", ".join(lost) or "nothing", "" if lost else _FAINT),
        )
    word = (
        Text("Every second is accounted for.", f"bold {_GOOD}")
        if report["holds"]
        else Text("The account does not come out even.", f"bold {_BAD}")
    )
    late = report["late_chapter"]
    why = [Text(f"This chapter did not come true in time, the story ends here: {late}", _BAD)] if late else []
    return Padding(Group(table, Text(), word, *why), (1, 1, 0, 1))
