"""The command line of the centre: it prints and asks, and decides nothing."""

from __future__ import annotations

import json
import logging
import time
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from central import app as centre
from central import enrolment, history
from central.core.completeness import day_start_ms
from central.core.readiness import HOURS
from central.core.timeline import unix_ms
from central.core.wishing import WishKind, WishRow
from central.errors import CentralError, SettingsError
from central.export import export as export_footage
from central.settings import Settings, load
from central.store import SiteRow, Store
from central.verify import DEEDS
from central.verify import verify as check_archive
from central.web.models import Completeness, CompletenessRow, Sites, Waiting, Wishes
from central.wishes import WANTED_MS
from edge_agent.contract import SpoolState

cli = typer.Typer(
    help="Simpang's centre: it collects what the agents at the crossings record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file, TOML.", metavar="FILE")]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="Home of database, archive and broker files.", metavar="DIR")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Site = Annotated[str, typer.Argument(help="The site's id.")]
Camera = Annotated[str, typer.Argument(help="The camera's id.")]
From = Annotated[str, typer.Argument(metavar="FROM", help="Such as 2026-11-24T08:00 or 2026-11-24T01:00:00Z.")]
To = Annotated[str, typer.Argument(metavar="TO", help="Likewise; without a zone, times are of settings.timezone.")]

_EXIT_SHORT = 1
_EXIT_TROUBLE = 2
_EXIT_FINDINGS = 4
_MARKS = {True: "yes", False: "[bold red]no[/]", None: "unknown"}
_WORTH_TELLING_S = 30
"""Footage that has waited for less is on its way."""


def main() -> None:
    """Run the command; exit code 2 with one line for trouble that a person must mend."""
    try:
        cli()
    except CentralError as error:
        typer.echo(f"central: {error}", err=True)
        raise SystemExit(_EXIT_TROUBLE) from None


@cli.command()
def serve(config: Config = None, directory: Directory = None) -> None:
    """Run the centre until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "amqtt", "transitions", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    centre.serve(load(config, directory))


@cli.command()
def enrol(
    site: Annotated[str, typer.Argument(help="The site's id: a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="The site's name for people.")] = "",
    latitude: Annotated[float | None, typer.Option("--lat", min=-90, max=90)] = None,
    longitude: Annotated[float | None, typer.Option("--lon", min=-180, max=180)] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="A camera of the site, such as north=rtsp://192.0.2.10/stream1.", metavar="ID=URL"),
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Give a known site a new token; the old one ends.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Make a site known, and print its agent's configuration with its token, once."""
    settings = load(config, directory)
    cameras = [enrolment.parse_camera(text) for text in camera or []]
    if (latitude is None) != (longitude is None):
        raise SettingsError("--lat and --lon go together", "give both or none")
    agent_url, broker_host, broker_port = centre.reachable(settings)
    with closing(centre.open_store(settings)) as store:
        token = enrolment.enrol(store, site, name, latitude, longitude, renew=renew)
    configuration = enrolment.agent_configuration(
        site,
        name or site,
        latitude,
        longitude,
        token,
        agent_url,
        (broker_host, broker_port, settings.broker.prefix),
        cameras,
    )
    if as_json:
        _print_json({"site": site, "token": token, "configuration": configuration})
    else:
        typer.echo(configuration, nl=False)


@cli.command()
def sites(as_json: AsJson = False, config: Config = None, directory: Directory = None) -> None:
    """List the sites and what they said last."""
    with closing(centre.open_store(load(config, directory))) as store:
        found = Sites.of(store.sites(), store.states(), _now_ms())
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    table = Table("site", "name", "presence", "supply", "link", "backlog", "cameras", "last word")
    for site in found.sites:
        recording = sum(camera.recording for camera in site.cameras)
        table.add_row(
            site.site,
            site.name,
            site.presence.state if site.presence else "never seen",
            site.power.supply if site.power else "-",
            ("up" if site.link.broken == "none" else f"{site.link.broken} broken") if site.link else "-",
            _backlog(site.spool) if site.spool else "-",
            f"{recording} of {len(site.cameras)} record" if site.cameras else "-",
            f"{site.seen_at:%F %T} UTC" if site.seen_at else "-",
        )
    console = Console()
    console.print(table)
    for site in found.sites:
        if site.detail:
            console.print(f"{site.site}: {site.detail}", markup=False, highlight=False, soft_wrap=True)


@cli.command()
def readiness(
    hours: Annotated[float, typer.Option("--hours", min=0, help="Judge by so many hours without mains.")] = 2,
    as_json: AsJson = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Tell which sites would not survive the next hours without mains; exit code 1 if any would not."""
    settings = load(config, directory)
    with closing(centre.open_store(settings)) as store:
        found = Sites.of(store.sites(), store.states(), _now_ms()).sites
    short = [site.site for site in found if site.readiness.falls_short_of(hours)]
    if as_json:
        told = [{"site": site.site, **site.readiness.model_dump(mode="json")} for site in found]
        _print_json({"hours": hours, "short": short, "sites": told})
    else:
        zone = ZoneInfo(settings.timezone)
        table = Table("site", *(f"{each} h" for each in HOURS), "dark at", "why")
        for site in found:
            row = site.readiness
            marks = (_MARKS[row.survives[str(each)]] for each in HOURS)
            dark = f"{row.dark_at.astimezone(zone):%F %H:%M}" if row.dark_at else "-"
            table.add_row(site.site, *marks, dark, row.reason)
        Console().print(table)
        typer.echo(f"{len(short)} of {len(found)} sites would not survive {hours:g} h without mains")
    if short:
        raise typer.Exit(_EXIT_SHORT)


@cli.command()
def completeness(
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    day: Annotated[
        str | None, typer.Option(help="Only this day; the last seven when not given.", metavar="DATE")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Tell per camera and day how much is recorded, to come, lost and why; exit code 4 if anything is unexplained."""
    settings = load(config, directory)
    zone = ZoneInfo(settings.timezone)
    first = last = datetime.now(zone).date()
    first -= timedelta(days=6)
    if day is not None:
        first = last = _parse_time(day, zone).date()
    from_ms, to_ms = day_start_ms(first, zone), day_start_ms(last + timedelta(days=1), zone)
    with closing(centre.open_store(settings)) as store:
        found = history.completeness(store, from_ms, to_ms, _now_ms(), zone, site, camera)
        rows = [CompletenessRow.of(row) for row in found]
        told = Sites.of(store.sites(), store.states(), _now_ms()).sites
    waiting = [Waiting.of(row) for row in told if site in (None, row.site)]
    if as_json:
        typer.echo(Completeness(rows=tuple(rows), sites=tuple(waiting)).model_dump_json(indent=2))
    else:
        table = Table("site", "camera", "day", "recorded", "pending", "lost", "silent", "unexplained")
        for row in rows:
            lost = ", ".join(f"{_minutes(seconds)} {cause}" for cause, seconds in row.lost_s.items())
            table.add_row(
                row.site,
                row.camera,
                str(row.day),
                f"{_minutes(row.recorded_s)} of {_minutes(row.expected_s)} min",
                _minutes(row.pending_s),
                lost or "0",
                _minutes(row.unknown_s),
                f"[bold red]{_minutes(row.unexplained_s)}[/]" if row.unexplained_s else "0",
            )
        Console().print(table if rows else "no footage was expected on these days")
        Console().print(_waiting_table(waiting))
    if any(row.unexplained_s for row in rows):
        raise typer.Exit(_EXIT_FINDINGS)


@cli.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found; footage is never deleted.")] = False,
    read_all: Annotated[bool, typer.Option("--hash", help="Read every object and compare its bytes.")] = False,
    archive_is_new: Annotated[
        bool, typer.Option("--archive-is-new", help="The archive was replaced by an empty one: ask for everything.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Compare index and archive; exit code 4 if anything is left that does not fit."""
    settings = load(config, directory)
    archive = centre.open_archive(settings)
    terminal = Console(stderr=True)
    with (
        closing(centre.open_store(settings)) as store,
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar,
    ):
        task = bar.add_task("objects and rows")
        verdict = check_archive(
            store,
            archive,
            _now_ms(),
            lambda done, total: bar.update(task, completed=done, total=total),
            repair=repair,
            read_all=read_all,
            archive_is_new=archive_is_new,
        )
    if as_json:
        _print_json(asdict(verdict) | {"left": verdict.left})
    else:
        for finding, (meaning, deed) in DEEDS.items():
            if verdict.found[finding]:
                done = deed if repair else f"with --repair: {deed}"
                typer.echo(f"{verdict.found[finding]} {meaning} ({done}), such as {verdict.examples[finding][0]}")
        typer.echo(
            f"{verdict.objects} objects, {verdict.items} items, {verdict.lost} of them lost; {verdict.left} left"
        )
    if verdict.left:
        raise typer.Exit(_EXIT_FINDINGS)


@cli.command()
def export(
    site: Site,
    camera: Camera,
    from_: From,
    to: To,
    output: Annotated[Path, typer.Option("-o", "--output", help="The MP4 file to write.", metavar="FILE.mp4")],
    as_json: AsJson = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Write one playable MP4 of an interval without re-encoding, and FILE.mp4.holes.json with what is missing."""
    settings = load(config, directory)
    from_ms, to_ms = _interval(from_, to, settings)
    archive = centre.open_archive(settings)
    terminal = Console(stderr=True)
    with (
        closing(centre.open_store(settings)) as store,
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar,
    ):
        task = bar.add_task(f"{site}/{camera}")
        done = export_footage(
            store,
            archive,
            site,
            camera,
            from_ms,
            to_ms,
            _now_ms(),
            output,
            lambda finished, total: bar.update(task, completed=finished, total=total),
        )
    if as_json:
        typer.echo(done.model_dump_json(indent=2))
    else:
        missing_s = sum((hole.to_at - hole.from_at).total_seconds() for hole in done.holes)
        typer.echo(f"{output}: {done.duration_s:.1f} s of footage; {len(done.holes)} holes, {missing_s:.1f} s")


@cli.command()
def fetch(site: Site, camera: Camera, from_: From, to: To, config: Config = None, directory: Directory = None) -> None:
    """Wish that footage of an interval comes ahead of the rest of the backlog, until it has come, or for seven days."""
    _wish(WishKind.WANTED, site, camera, from_, to, load(config, directory))


@cli.command()
def lock(site: Site, camera: Camera, from_: From, to: To, config: Config = None, directory: Directory = None) -> None:
    """Wish that the site drops footage of an interval last when its room is short, until it is unlocked."""
    _wish(WishKind.LOCKED, site, camera, from_, to, load(config, directory))


@cli.command()
def unlock(site: Site, camera: Camera, from_: From, to: To, config: Config = None, directory: Directory = None) -> None:
    """Take back the lock of that very interval."""
    settings = load(config, directory)
    from_ms, to_ms = _interval(from_, to, settings)
    with closing(centre.open_store(settings)) as store:
        if not store.drop_wishes([WishRow(site, WishKind.LOCKED, camera, from_ms, to_ms, 0, None)]):
            raise SettingsError("there is no such lock", "`central wishes` lists them")


@cli.command()
def compare(
    site: Annotated[str | None, typer.Argument(help="The site's id.")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Every site.")] = False,
    config: Config = None,
    directory: Directory = None,
) -> None:
    """Wish that a site compares what it holds with what is here; what either lacks is then sent, or explained."""
    if (site is None) != everywhere:
        raise SettingsError("compare takes a site or --all", "give one of them")
    now_ms = _now_ms()
    with closing(centre.open_store(load(config, directory))) as store:
        for row in [_known(store, site)] if site is not None else store.sites():
            store.add_wish(WishRow(row.site, WishKind.COMPARED, "", now_ms, now_ms, now_ms, None))


@cli.command()
def wishes(as_json: AsJson = False, config: Config = None, directory: Directory = None) -> None:
    """List what is wished of the sites."""
    settings = load(config, directory)
    with closing(centre.open_store(settings)) as store:
        found = Wishes.of(store.wishes())
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    zone = ZoneInfo(settings.timezone)
    table = Table("site", "wish", "camera", "from", "to", "since", "expires")
    for row in found.wishes:
        moments = (row.from_at, row.to_at, row.made_at, row.expires_at)
        when = (f"{moment.astimezone(zone):%F %T}" if moment else "" for moment in moments)
        table.add_row(row.site, row.kind, row.camera or "", *when)
    Console().print(table if found.wishes else "nothing is wished for")


def _backlog(spool: SpoolState) -> str:
    """What waits, when it is gone, and what holds it back."""
    told = f"{spool.backlog_items} items, {spool.backlog_s:.0f} s"
    if spool.backlog_s > _WORTH_TELLING_S:
        told += f", gone in {_minutes(spool.drain_eta_s)} min" if spool.drain_eta_s is not None else ", does not shrink"
        if spool.pace_bytes_per_s is not None:
            told += f", {spool.pace_limit} {spool.pace_bytes_per_s / 1000:,.0f} kB/s"
    return told


def _wish(kind: WishKind, site: str, camera: str, from_: str, to: str, settings: Settings) -> None:
    from_ms, to_ms = _interval(from_, to, settings)
    now_ms = _now_ms()
    with closing(centre.open_store(settings)) as store:
        _known(store, site)
        cameras = history.cameras(store, site)
        if camera not in cameras:
            raise SettingsError(f"{site} has no camera {camera}", f"it has: {', '.join(cameras) or 'none yet'}")
        expires_ms = now_ms + WANTED_MS if kind is WishKind.WANTED else None
        store.add_wish(WishRow(site, kind, camera, from_ms, to_ms, now_ms, expires_ms))


def _known(store: Store, site: str) -> SiteRow:
    row = store.site(site)
    if row is None:
        raise SettingsError(f"there is no site {site}", "`central sites` lists them")
    return row


def _interval(from_: str, to: str, settings: Settings) -> tuple[int, int]:
    zone = ZoneInfo(settings.timezone)
    from_ms, to_ms = unix_ms(_parse_time(from_, zone)), unix_ms(_parse_time(to, zone))
    if from_ms >= to_ms:
        raise SettingsError("TO is not after FROM", "swap them")
    return from_ms, to_ms


def _waiting_table(sites: list[Waiting]) -> Table:
    table = Table("site", "waiting", "all here in", "compared")
    for site in sites:
        eta = f"{_minutes(site.drain_eta_s)} min" if site.drain_eta_s is not None else "not known"
        table.add_row(
            site.site,
            "-" if site.backlog_items is None else f"{site.backlog_items} items, {site.backlog_s:.0f} s",
            eta if site.backlog_items else "-",
            f"{site.compared_at:%F %T} UTC" if site.compared_at else "not yet",
        )
    return table


def _parse_time(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a time", "write it like 2026-11-24T08:00 or 2026-11-24T01:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:,.0f}" if minutes >= 100 else f"{minutes:.1f}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
