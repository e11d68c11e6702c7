"""The JSON API and the media, as a browser and as a script would ask."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.testclient import TestClient

from central.errors import StoreDown
from central.store import StateRow
from central.telemetry import SampleRow
from central.web.api import Console, create_app
from central.web.stream import Changes
from edge_agent.contract import (
    CameraState,
    EventType,
    Info,
    ItemKind,
    LossCause,
    Presence,
    PresenceState,
    SpoolState,
    instant,
)
from tests.central.world import T, World
from tests.rig.segments import RUN, make_segment

AT = "2026-11-18T11:06:40Z"


@pytest.fixture
def console(world: World) -> Console:
    return Console(world.store, world.archive, Changes(), ZoneInfo("Asia/Jakarta"))


@pytest.fixture
def client(console: Console) -> Iterator[TestClient]:
    with TestClient(create_app(console)) as client:
        yield client


def get(client: TestClient, path: str, status: int = 200, query: dict[str, str] | None = None) -> Any:
    answer = client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == status, answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def test_the_history_of_a_group_is_thinned_and_says_its_times(client: TestClient, world: World) -> None:
    told = [
        CameraState(camera="north", recording=True, fps=number, since=instant(T), at=instant(T + number * 1000))
        for number in range(100)
    ]
    rows = [SampleRow.of("aloha", "camera", "north", state, T) for state in told]
    world.store.put_states([StateRow("aloha", "camera", "north", T, told[-1].to_json().decode())], rows)
    query = {"group": "camera", "camera": "north", "from": AT, "to": "2026-11-18T11:08:20Z", "points": "10"}
    answer = get(client, "/sites/aloha/history", query=query)
    assert [point["values"]["fps"] for point in answer["points"]] == [number * 10 for number in range(10)]
    assert answer["points"][1]["at"] == "2026-11-18T11:06:50.000Z"
    assert {point["dating"] for point in answer["points"]} == {"clock"}
    for wrong in ({"camera": ""}, {"group": "power"}, {"group": "gossip"}, {"points": "2001"}):
        get(client, "/sites/aloha/history", 400, query | wrong)
    get(client, "/sites/nobody/history", 404, query)


def test_a_site_that_has_said_nothing_is_listed(client: TestClient) -> None:
    (site,) = get(client, "/sites")["sites"]
    assert site["name"] == "Aloha Jaya"
    assert (site["latitude"], site["longitude"]) == (-6.99, 110.42)
    assert [site[group] for group in ("presence", "power", "link", "spool", "host", "seen_at")] == [None] * 6
    assert site["cameras"] == []


def test_a_site_shows_what_it_said_last(client: TestClient, world: World) -> None:
    world.state("presence", Presence(state=PresenceState.ONLINE, run=RUN, at=instant(T)), received_ms=T + 500)
    camera = CameraState(camera="north", recording=True, fps=25, since=instant(T), at=instant(T))
    world.state("camera", camera, "north")
    site = get(client, "/sites/aloha")
    assert site["presence"] == {"state": "online", "run": RUN, "reason": "", "at": "2026-11-18T11:06:40.000Z"}
    assert site["cameras"][0]["fps"] == 25
    assert site["seen_at"] == "2026-11-18T11:06:40.500Z"
    assert site["detail"] == ""
    info = Info(version="1", run=RUN, name="", cameras=("north",), started_at=instant(T), detail="not TOML")
    world.state("info", info)
    assert get(client, "/sites/aloha")["detail"] == "not TOML"


def test_the_timeline_tells_the_fate_of_each_moment(client: TestClient, world: World) -> None:
    world.segment(0)
    world.segment(14, session=2, gap_before_ms=10_000, gap_cause=LossCause.CAMERA, gap_detail="stalled")
    world.segment(30, session=2)
    timeline = get(client, "/sites/aloha/cameras/north/timeline", query={"from": AT, "to": "2026-11-18T18:07:20+07:00"})
    assert (timeline["from"], timeline["to"]) == ("2026-11-18T11:06:40.000Z", "2026-11-18T11:07:20.000Z")
    assert [(i["from"][17:19], i["to"][17:19], i["state"], i["cause"], i["detail"]) for i in timeline["intervals"]] == [
        ("40", "44", "recorded", None, ""),
        ("44", "54", "lost", "camera", "stalled"),
        ("54", "58", "recorded", None, ""),
        ("58", "10", "unknown", None, "a hole without a known cause"),
        ("10", "14", "recorded", None, ""),
        ("14", "20", "unknown", None, "the site is silent"),
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "yesterday"},
        {"from": "2026-11-18T11:06:40"},
        {"from": AT, "to": AT},
        {"from": AT, "to": "2026-12-19T11:06:41Z"},
        {"from": "9999-12-31T23:59:59Z"},
        {"to": "0001-01-01T00:00:00Z"},
        {"from": "0001-01-01T00:00:00+07:00", "to": AT},
    ],
)
@pytest.mark.parametrize("path", ["/sites/aloha/cameras/north/timeline", "/completeness"])
def test_senseless_intervals_are_refused(client: TestClient, path: str, parameters: dict[str, str]) -> None:
    get(client, path, 400, parameters)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+07:00", "1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z"])
def test_any_moment_may_be_asked_for(client: TestClient, world: World, at: str) -> None:
    """Footage with absurd labels is there, and breaks no answer."""
    for start_ms in (0, 253_402_300_799_000, 999_999_999_999_999):
        data = make_segment(media_start_ms=start_ms % 97)[1]
        world.item(ItemKind.SEGMENT, data, "north", start_ms, duration_ms=999_999_999)
    world.segment(0)
    for query in (
        {"to": at},
        {"from": at, "to": at.replace("01T", "02T").replace("31T", "31T12").replace("12:00:", "12:0")},
    ):
        for path in ("timeline", "playlist.m3u8"):
            answer = client.get(f"/api/v1/sites/aloha/cameras/north/{path}", params=query)
            assert answer.status_code in (200, 400), answer.text
    get(client, "/sites/aloha/cameras/north/timeline")
    get(client, "/sites/aloha/cameras/north/playlist.m3u8")
    get(client, "/completeness")


def test_what_does_not_exist_is_not_found(client: TestClient) -> None:
    for path in (
        "/sites/nobody",
        "/sites/nobody/cameras/north/timeline",
        "/sites/nobody/cameras/north/playlist.m3u8",
        "/sites/aloha/cameras/north/snapshot.jpg",
        f"/media/aloha/{RUN}/1.mp4",
        "/nothing",
    ):
        get(client, path, 404)
    for path in (
        "/sites/ALOHA",
        "/media/aloha/nonsense/1.mp4",
        f"/media/aloha/{RUN}/x.mp4",
        f"/media/aloha/{RUN}/-1.mp4",
    ):
        get(client, path, 400)


def test_a_playlist_leads_to_the_bytes_that_it_names(client: TestClient, world: World) -> None:
    row = world.segment(0)
    playlist = get(client, "/sites/aloha/cameras/north/playlist.m3u8", query={"from": AT, "to": "2026-11-18T11:07:40Z"})
    assert playlist.endswith("#EXT-X-ENDLIST\n")
    found = re.search(r'MAP:URI="(.+)",BYTERANGE="(\d+)@0"', playlist)
    media = re.search(r"BYTERANGE:(\d+)@(\d+)\n#EXTINF:4.000,\n(\S+)", playlist)
    assert found
    assert media
    url, init_bytes = found[1], int(found[2])
    length, offset = int(media[1]), int(media[2])
    assert media[3] == url
    head = client.get(url, headers={"Range": f"bytes=0-{init_bytes - 1}"})
    body = client.get(url, headers={"Range": f"bytes={offset}-{offset + length - 1}"})
    data = world.archive.read(row.object, 0, row.length)
    assert head.content + body.content == data[: init_bytes + length]
    assert body.headers["content-range"] == f"bytes {offset}-{offset + length - 1}/{len(data)}"
    assert head.content[4:8] == b"ftyp"
    assert body.content[4:8] == b"moof"


def test_the_live_playlist_has_the_newest_minute_and_moves(client: TestClient, world: World) -> None:
    base_ms = time.time_ns() // 1_000_000 - 100_000
    for at_s in range(0, 100, 20):
        world.segment(at_s, duration_ms=20_000, base_ms=base_ms)
    first = get(client, "/sites/aloha/cameras/north/playlist.m3u8")
    assert first.count("#EXTINF") == 3
    world.segment(100, duration_ms=4000, base_ms=base_ms)
    second = get(client, "/sites/aloha/cameras/north/playlist.m3u8")
    numbers = [int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1]) for text in (first, second)]  # type: ignore[index]
    assert numbers[0] <= numbers[1] <= numbers[0] + 1
    assert "ENDLIST" not in second


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-10", 206, slice(-10, None)),
        ("bytes=0-99999999", 206, slice(0, None)),
        ("bytes=99999999-", 416, None),
        ("bytes=9-3", 416, None),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
    ],
)
def test_ranges(client: TestClient, world: World, asked: str, status: int, part: slice | None) -> None:
    row = world.segment(0)
    answer = client.get(f"/api/v1/media/aloha/{row.run}/{row.sequence}.mp4", headers={"Range": asked})
    assert answer.status_code == status
    if part is not None:
        assert answer.content == world.archive.read(row.object, 0, row.length)[part]
        assert answer.headers["content-type"] == "video/mp4"


def test_media_are_cached_by_their_hash(client: TestClient, world: World) -> None:
    row = world.segment(0)
    url = f"/api/v1/media/aloha/{row.run}/{row.sequence}.mp4"
    tag = client.get(url).headers["etag"]
    assert tag == f'"{row.sha256}"'
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304


def test_the_newest_picture(client: TestClient, world: World) -> None:
    for number in range(2):
        world.item(ItemKind.SNAPSHOT, b"\xff\xd8\xff%d\xff\xd9" % number, "north", T)
    answer = client.get("/api/v1/sites/aloha/cameras/north/snapshot.jpg")
    assert answer.content == b"\xff\xd8\xff1\xff\xd9"
    assert answer.headers["content-type"] == "image/jpeg"
    assert parsedate_to_datetime(answer.headers["last-modified"]) == instant(T)


def test_completeness_adds_up_day_by_day_of_the_city(client: TestClient, world: World) -> None:
    """The footage crosses midnight in Jakarta."""
    midnight_s = (17 * 3600 - (11 * 3600 + 6 * 60 + 40)) + 0.0
    world.state("info", Info(version="1", run=RUN, name="", cameras=("north", "south"), started_at=instant(T)))
    world.segment(midnight_s - 4)
    world.segment(midnight_s)
    world.segment(midnight_s + 10, session=2, gap_before_ms=2000, gap_cause=LossCause.CAMERA)
    rows = get(client, "/completeness", query={"from": AT, "to": "2026-11-18T17:00:20Z"})["rows"]
    assert [(row["camera"], row["day"], row["recorded_s"], row["lost_s"]) for row in rows] == [
        ("north", "2026-11-18", 4.0, {}),
        ("north", "2026-11-19", 8.0, {"camera": 2.0}),
    ]
    last = rows[1]
    assert last["unexplained_s"] == 4.0
    assert last["unknown_s"] == 6.0
    assert last["expected_s"] == 20.0


def test_completeness_tells_what_each_site_still_has(client: TestClient, world: World) -> None:
    silent = {"site": "aloha", "backlog_items": None, "backlog_s": None, "drain_eta_s": None, "compared_at": None}
    assert get(client, "/completeness")["sites"] == [silent]
    spool = {"backlog_items": 3, "backlog_s": 12, "backlog_bytes": 9, "used_bytes": 9, "free_bytes": 9, "at": AT}
    told = SpoolState.model_validate({**spool, "drain_eta_s": 41.5, "compared_at": AT})
    world.state("spool", told)
    assert get(client, "/completeness")["sites"] == [
        {
            "site": "aloha",
            "backlog_items": 3,
            "backlog_s": 12.0,
            "drain_eta_s": 41.5,
            "compared_at": "2026-11-18T11:06:40.000Z",
        }
    ]


def test_events_can_be_read_on(client: TestClient, world: World) -> None:
    for number in range(5):
        world.event(number, EventType.LINK_CHANGED)
    first = get(client, "/events", query={"limit": "2"})["events"]
    rest = get(client, "/events", query={"limit": "9", "before": str(first[-1]["number"]), "site": "aloha"})["events"]
    assert [found["event"]["id"] for found in first + rest] == ["4", "3", "2", "1", "0"]
    assert get(client, "/events", query={"site": "batu"})["events"] == []
    get(client, "/events", 400, {"limit": "0"})


def test_the_stream_tells_all_sites_and_then_each_change(console: Console, world: World) -> None:
    with TestClient(create_app(console)) as client:
        spool = SpoolState(backlog_items=7, backlog_s=1, backlog_bytes=1, used_bytes=1, free_bytes=1, at=instant(T))
        world.state("spool", spool)
        console.stopping.set()
        answer = client.get("/api/v1/stream")
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data")]
        assert [site["spool"]["backlog_items"] for site in told] == [7]


def test_changes_are_told_once_to_each_reader() -> None:
    changes = Changes()
    first, _ = changes.since(0)
    changes.mark(["a", "b"])
    changes.mark(["b"])
    second, sites = changes.since(first)
    assert sites == ["a", "b"]
    assert changes.since(second) == (second, [])


def test_a_database_that_is_down_is_a_problem_for_later(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> None:
        raise StoreDown("the database does not answer")

    monkeypatch.setattr(world.store, "sites", down)
    get(client, "/sites", 503)


def test_the_description_of_the_api_has_every_path(client: TestClient) -> None:
    paths = get(client, "/openapi.json")["paths"]
    assert len(paths) == 10
    assert client.get("/healthz").text == "ok\n"
