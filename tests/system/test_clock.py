"""A board whose clock is wrong, steps and becomes right: nothing is lost, and everything gets its true time."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from edge_agent.contract import Hello, ItemKind, ItemName, read_facts
from tests.rig.city import City, Site
from tests.rig.clock_shim import ClockShim
from tests.rig.mosquitto import self_signed
from tests.rig.parts import require_root
from tests.rig.processes import until

SCENE: Final = {"id": "north", "source": "scene", "segment_s": 1, "snapshot_s": 0}
MONTHS_S: Final = 200 * 86_400
YEARS_S: Final = 3650 * 86_400
UP_S: Final = 500 * 86_400


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[ClockShim]:
    with ClockShim(tmp_path) as shim:
        yield shim


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    with City(tmp_path / "city") as city:
        city.open_centre()
        yield city


def footage(city: City, site: Site) -> list[tuple[ItemName, Path]]:
    return [(name, path) for name, path in city.archived(site.id) if name.kind is ItemKind.SEGMENT]


def arrives(city: City, site: Site, segments: int = 2) -> None:
    """So many more segments are at the centre."""
    wanted = len(footage(city, site)) + segments
    site.agent.until(lambda: len(footage(city, site)) >= wanted, 60, f"{wanted} segments are at the centre")


def starts(city: City, site: Site, segments: int = 2) -> None:
    """The agent lives, and so many segments of that very life are at the centre."""
    before = {name.run for name, *_ in footage(city, site)}
    site.agent.start()
    site.agent.until(
        lambda: sum(name.run not in before for name, *_ in footage(city, site)) >= segments,
        60,
        f"{segments} segments of the new life are at the centre",
    )


def lives_again(city: City, site: Site) -> datetime:
    """The agent is stopped in good order, and everything from before its next life is at the centre; when that was."""
    assert site.agent.stop() == 0
    end = datetime.now(UTC)
    starts(city, site)
    site.agent.until(lambda: not [name for name in site.backlog() if name.run < newest(site)], 30, "all is sent")
    return end


def newest(site: Site) -> str:
    return max(ItemName.parse(path.name).run for path in (site.spool / "sent").iterdir())


def asked(city: City, what: str, from_at: datetime, to_at: datetime, more: str = "") -> Any:
    return city.api(f"{what}?from={quote(from_at.isoformat())}&to={quote(to_at.isoformat())}{more}")


def history(city: City, from_at: datetime, to_at: datetime) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = asked(city, "/sites/aloha/history", from_at, to_at, "&group=power")["points"]
    return points


def intervals(city: City, from_at: datetime, to_at: datetime) -> list[tuple[str, str | None, str | None]]:
    found = asked(city, "/sites/aloha/cameras/north/timeline", from_at, to_at)["intervals"]
    return [(i["state"], i["cause"], i["dating"]) for i in found if i["detail"] != "before the first footage"]


def assert_true_times(city: City, site: Site, from_at: datetime, to_at: datetime, up_s: float = 0) -> None:
    """Each segment of the archive plays at the time at which it was recorded.

    The site's monotonic clock, which says when that was, is `up_s` ahead of ours.
    """
    offset_s = time.time() - time.monotonic() - up_s
    facts = {(name.run, name.sequence): read_facts(path.read_bytes()) for name, path in footage(city, site)}
    truth = {identity: told.monotonic_ms / 1000 + offset_s for identity, told in facts.items()}
    assert shown_times(city, from_at, to_at) == pytest.approx(
        {identity: at_s for identity, at_s in truth.items() if at_s < to_at.timestamp()}, abs=1
    )


def shown_times(city: City, from_at: datetime, to_at: datetime) -> dict[tuple[str, int], float]:
    """When the playlist says that each segment was."""
    query = f"from={quote(from_at.isoformat())}&to={quote(to_at.isoformat())}"
    url = f"{city.console}/api/v1/sites/aloha/cameras/north/playlist.m3u8?{query}"
    at_s, times = 0.0, {}
    for line in fetched(url).splitlines():
        key, _, value = line.partition(":")
        if key == "#EXT-X-PROGRAM-DATE-TIME":
            at_s = datetime.fromisoformat(value).timestamp()
        elif line.endswith(".mp4"):
            *_, run, file = line.split("/")
            times[run, int(file.removesuffix(".mp4"))] = at_s
    return times


def fetched(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_two_lives_in_the_past_are_dated_once_the_second_hears_of_the_true_time(
    city: City, shim: ClockShim, tmp_path: Path
) -> None:
    """The board boots months back; the first life is killed unsynced, NTP arrives in the course of the second."""
    shim.shift(-MONTHS_S)
    shim.synced(False)
    site = city.enrol("aloha", "Aloha", [SCENE], environment=shim.environment)
    begin = datetime.now(UTC)
    past = begin - timedelta(seconds=MONTHS_S)
    starts(city, site)
    assert intervals(city, past, past + timedelta(minutes=1))[0] == ("recorded", None, "unsynced")
    site.agent.kill()
    starts(city, site)
    shim.shift(0)
    shim.synced(True)
    arrives(city, site)
    end = lives_again(city, site)

    assert_true_times(city, site, begin, end)
    assert intervals(city, past - timedelta(days=1), past + timedelta(days=1)) == []
    found = intervals(city, begin, end)
    assert {(state, cause) for state, cause, _ in found} <= {
        ("recorded", None), ("lost", "agent"), ("lost", "stopped"),
    }, found  # fmt: skip
    assert [dating for state, _, dating in found if state == "recorded"] == [
        "afterwards", "afterwards", "clock", "clock",
    ][: sum(state == "recorded" for state, *_ in found)]  # fmt: skip
    for row in city.api("/completeness")["rows"]:
        assert row["unexplained_s"] == 0
    assert [point["dating"] for point in history(city, past - timedelta(days=1), past + timedelta(days=1))] == []
    told = [point["dating"] for point in history(city, begin, end)]
    assert set(told) == {"afterwards", "clock"}
    movie = tmp_path / "film.mp4"
    exported = json.loads(
        city.central("export", site.id, "north", begin.isoformat(), end.isoformat(), "-o", movie, "--json")
    )
    assert {part["dating"] for part in exported["parts"]} == {"afterwards", "clock"}
    assert datetime.fromisoformat(exported["parts"][0]["from_at"]) > begin


def test_a_boot_in_which_the_clock_never_was_right_is_shown_when_it_came_and_stays_between_its_neighbours(
    city: City, shim: ClockShim, tmp_path: Path
) -> None:
    """Three boots; in the middle one the board believes that it is months ago, and no time server answers."""
    require_root()
    boot = tmp_path / "boot_id"
    boot.write_text("11111111-0000-0000-0000-000000000000\n")
    over = f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", over, "boot"]
    site = city.enrol("aloha", "Aloha", [SCENE], environment=shim.environment, prefix=prefix)
    begin = datetime.now(UTC)
    starts(city, site)
    for number, (seconds, synced) in enumerate(((-MONTHS_S, False), (0, True)), 2):
        assert site.agent.stop() == 0
        shim.shift(seconds)
        shim.synced(synced)
        boot.write_text(f"{number}{number:07d}-0000-0000-0000-000000000000\n")
        starts(city, site)
        if not synced:
            told = intervals(city, begin, datetime.now(UTC))
            assert ("recorded", None, "bounded") in told, told
    assert site.agent.stop() == 0
    end = datetime.now(UTC)

    found = asked(city, "/sites/aloha/cameras/north/timeline", begin, end)["intervals"]
    recorded = [(i["dating"], i["error_s"]) for i in found if i["state"] == "recorded"]
    assert [dating for dating, _ in groupby(dating for dating, _ in recorded)] == ["clock", "bounded", "clock"]
    (error_s,) = {error_s for dating, error_s in recorded if dating == "bounded"}
    assert 0 <= error_s < (end - begin).total_seconds()
    runs = sorted({name.run for name, _ in footage(city, site)})
    offset_s = time.time() - time.monotonic()
    shown = shown_times(city, begin, end)
    for name, path in footage(city, site):
        if name.run == runs[1]:
            truth_s = read_facts(path.read_bytes()).monotonic_ms / 1000 + offset_s
            assert shown[name.run, name.sequence] == pytest.approx(truth_s, abs=error_s + 1)
    assert {point["dating"] for point in history(city, begin, end)} == {"clock", "bounded"}


ASK = """
import sys
from edge_agent.errors import LinkError
from edge_agent.settings import CentreSettings
from edge_agent.uplink import Uplink
uplink = Uplink(CentreSettings(url=sys.argv[1], token="any-token", ca_file=sys.argv[2]), "aloha")
for _ in sys.stdin:
    try:
        print(uplink.hello().site, flush=True)
    except LinkError as error:
        print(type(error).__name__, error, flush=True)
"""


class Door(BaseHTTPRequestHandler):
    """Says hello, as a centre does."""

    def do_GET(self) -> None:
        body = Hello(site="aloha", at=datetime.now(UTC)).to_json()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class DoorServer(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """Whoever does not trust us hangs up."""


def test_a_certificate_that_is_not_valid_yet_is_when_the_clock_is_right(shim: ClockShim, tmp_path: Path) -> None:
    """The same process connects at the next try; nothing locks it out."""
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with DoorServer(("127.0.0.1", 0), Door) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        shim.shift(-MONTHS_S)
        url = f"https://127.0.0.1:{server.server_port}"
        with subprocess.Popen(
            [sys.executable, "-c", ASK, url, certificate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | shim.environment,
        ) as site:
            assert site.stdin
            assert site.stdout

            def hears() -> str:
                print(file=site.stdin, flush=True)
                return site.stdout.readline()  # type: ignore[union-attr]

            told = hears()
            shim.shift(0)
            assert hears() == "aloha\n"
            site.stdin.close()
        server.shutdown()
    assert told.startswith("Unreachable")
    assert "certificate is not yet valid" in told


def test_a_host_that_is_up_for_years(city: City) -> None:
    """Its monotonic clock is beyond what 32 bits count in milliseconds or hundredths of a second."""
    require_root()
    days = ("--monotonic", str(UP_S), "--boottime", str(UP_S))
    site = city.enrol("aloha", "Aloha", [SCENE], prefix=["unshare", "--time", *days])
    begin = datetime.now(UTC)
    starts(city, site)
    assert site.agent.stop() == 0
    assert_true_times(city, site, begin, datetime.now(UTC), up_s=UP_S)


def test_steps_of_the_clock_cost_nothing(city: City, shim: ClockShim) -> None:
    """An hour and a half back, then ten years ahead, then right again, all while it records."""
    site = city.enrol("aloha", "Aloha", [SCENE], environment=shim.environment)
    begin = datetime.now(UTC)
    starts(city, site)
    for seconds in (-5400, YEARS_S):
        shim.synced(False)
        shim.shift(seconds)
        arrives(city, site)
    shim.shift(0)
    shim.synced(True)
    arrives(city, site)
    end = lives_again(city, site)
    for run in {name.run for name, _ in city.archived(site.id)}:
        sequences = sorted(name.sequence for name, _ in city.archived(site.id) if name.run == run)
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "every item arrived"
    assert_true_times(city, site, begin, end)
    until(lambda: {"pending"}.isdisjoint(state for state, *_ in intervals(city, begin, end)), 20, "all is known")
    assert [row["unexplained_s"] for row in city.api("/completeness")["rows"]] == [0]
