"""The page in a real browser, on a real centre that was fed through its real doors."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from edge_agent.contract import LinkPart, LossCause, PresenceState, Supply
from tests.browser.conftest import ROOT, Story, Visit, visit
from tests.browser.hand import now_ms
from tests.rig.city import City

SCREENSHOTS = ROOT / "var" / "screenshots"

BURNT_IN_MS = """video => {
  // The strip at the bottom of the scene: 64 cells, of which the first 40 are tenths of seconds.
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const row = context.getImageData(0, canvas.height - 4, canvas.width, 1).data;
  let tenths = 0;
  for (let cell = 0; cell < 40; cell++) tenths = tenths * 2 + (row[4 * (cell * 10 + 5)] > 127 ? 1 : 0);
  return tenths * 100;
}"""


def card(page: Page, site: str) -> Locator:
    return page.locator(f"[data-site='{site}']")


def lane(page: Page, camera: str) -> Locator:
    return page.locator(f"[data-camera='{camera}'] .lane-track")


def open_site(visitor: Visit, story: Story, site: str = "simpang-lima", spanning: str = "10 mnt") -> Page:
    page = visitor.page
    page.goto(f"{story.city.console}/sites/{site}")
    page.get_by_role("button", name=spanning, exact=True).click()
    page.locator(".bar-recorded").nth(1).wait_for()
    return page


def at_moment(track: Locator, at_ms: int) -> dict[str, float]:
    """Where that moment is drawn on the lane."""
    box = track.bounding_box()
    assert box is not None
    first, last = (int(track.get_attribute(f"aria-value{end}") or 0) for end in ("min", "max"))
    return {"x": (at_ms / 1000 - first) / (last - first) * box["width"], "y": box["height"] / 2}


def wall_ms(page: Page) -> int:
    return int(page.locator(".screen").get_attribute("data-wall-ms") or 0)


def await_playing(page: Page) -> None:
    expect(page.locator(".screen")).to_have_attribute("data-phase", "playing", timeout=15_000)
    page.wait_for_function("() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 3")


def until_wall(page: Page, at_ms: int, seconds: float = 20) -> None:
    page.wait_for_function(
        "at => Number(document.querySelector('.screen').dataset.wallMs) >= at", arg=at_ms, timeout=seconds * 1000
    )


def test_the_crossings_are_there_with_their_state(visitor: Visit, story: Story) -> None:
    """Trouble first; shapes and words for each state; nothing but our own origin is asked; nothing complains."""
    page = visitor.page
    page.goto(story.city.console)
    expect(card(page, "simpang-lima")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 dari 4 persimpangan perlu perhatian.")
    sites = page.locator(".card").evaluate_all("cards => cards.map(card => [card.dataset.site, card.dataset.level])")
    assert sites[0] == ["kaligarang", "alarm"]
    assert sites[1] == ["jatingaleh", "silent"]
    assert sorted(sites[2:]) == [["simpang-lima", "watch"], ["tugu-muda", "watch"]]
    expect(card(page, "tugu-muda")).to_contain_text(re.compile("Listrik padam, baterai cukup ± 4[0-8] mnt"))
    expect(card(page, "tugu-muda").locator("[data-fact=power]")).to_contain_text("64 %")
    expect(card(page, "kaligarang")).to_contain_text("Terputus sejak")
    expect(card(page, "kaligarang").locator(".facts.old")).to_contain_text("Yang terakhir diketahui")
    expect(card(page, "jatingaleh")).to_contain_text("Belum pernah memberi kabar")
    expect(card(page, "simpang-lima").locator("img")).to_have_count(2)
    expect(card(page, "simpang-lima").locator("[data-fact=backlog]")).to_contain_text("28 dtk menunggu")
    assert {urlsplit(url).netloc for url in visitor.asked if not url.startswith("blob:")} == {
        urlsplit(story.city.console).netloc
    }
    assert visitor.complaints == []


def test_the_countdown_goes_on_out_of_contact_and_mains_says_what_would_hold(visitor: Visit, story: Story) -> None:
    """On battery the time left with its band and the step of the ladder; on mains 1, 2 and 4 hours, marked."""
    page = visitor.page
    page.goto(story.city.console)
    told = card(page, "tugu-muda").locator("[data-left-s]")
    expect(told).to_have_text(re.compile(r"^± 4\d mnt lagi \(\d\d mnt – 5\d mnt\)$"))
    lost = card(page, "kaligarang").locator("[data-fact=power]")
    expect(lost.locator("[data-step]")).to_have_text("rekaman tetap di persimpangan")
    expect(lost.locator("[data-left-s]")).to_have_text(re.compile(r"lagi \(.+ – .+\)$"))
    left_s = int(lost.locator("[data-left-s]").get_attribute("data-left-s") or 0)
    page.wait_for_function(
        "most => Number(document.querySelector('[data-site=kaligarang] [data-left-s]').dataset.leftS) <= most",
        arg=left_s - 2,
    )
    expect(card(page, "kaligarang")).to_contain_text("Perkiraan: baterai habis dalam")
    expect(lost.locator("[data-ready]")).to_have_count(0)
    ready = card(page, "simpang-lima").locator("[data-ready]")
    expect(ready).to_have_attribute("data-ready", "unknown")
    story.hands["simpang-lima"].battery(full_runtime_s=2.5 * 3600)
    expect(ready).to_have_attribute("data-ready", "yes yes no")
    expect(ready).to_contain_text("Tanpa PLN")
    expect(ready).to_contain_text("tidak bertahan 4 jam")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "readiness.png", full_page=True)
    story.hands["tugu-muda"].presence(PresenceState.ASLEEP)
    expect(told).to_have_count(0)
    story.hands["tugu-muda"].presence(PresenceState.ONLINE)
    expect(told).to_have_count(1)
    assert visitor.complaints == []


def test_names_from_outside_are_text(visitor: Visit, story: Story) -> None:
    """A name full of HTML is shown as it is written."""
    visitor.page.goto(story.city.console)
    link = card(visitor.page, "jatingaleh").get_by_role("link")
    expect(link).to_have_text("<b>Jatingaleh</b> & <img src=x onerror=alert(1)>")
    assert visitor.page.locator("b >> text=/^Jatingaleh$/").count() == 0


def test_a_change_shows_without_reload(visitor: Visit, story: Story) -> None:
    """Power, link and a lost camera are on the screen as they happen, and go again."""
    page = visitor.page
    page.goto(story.city.console)
    shown = card(page, "simpang-lima")
    expect(shown.locator("[data-fact=power]")).to_have_attribute("data-supply", "mains")
    page.evaluate("window.sameDocument = true")
    hand = story.hands["simpang-lima"]
    hand.power(Supply.LOW, 9, runtime_s=240)
    expect(shown.locator("[data-fact=power]")).to_have_attribute("data-supply", "low", timeout=5000)
    expect(shown).to_have_attribute("data-level", "alarm")
    expect(shown).to_contain_text(re.compile("Baterai hampir habis, sisa ± [34] mnt"))
    hand.power(Supply.MAINS, 30)
    hand.link(LinkPart.UPLINK)
    expect(shown.locator("[data-fact=link]")).to_have_attribute("data-broken", "uplink", timeout=5000)
    expect(shown.locator(".torn")).to_have_text("Uplink")
    hand.camera("south", LossCause.CAMERA)
    expect(shown).to_contain_text("Kamera south tidak merekam: kamera tidak memberi gambar", timeout=5000)
    hand.camera("south")
    hand.link()
    expect(shown).to_have_attribute("data-level", "watch", timeout=5000)
    assert page.evaluate("window.sameDocument") is True


def test_the_timeline_tells_what_is_missing_and_why(visitor: Visit, story: Story) -> None:
    """Recorded, pending, lost and unknown are drawn where they were; hovering names the cause and the time."""
    page = open_site(visitor, story)
    track = lane(page, "north")
    drawn = track.locator(".bars g").evaluate_all("all => all.map(g => [g.dataset.state, g.dataset.cause])")
    assert ["lost", "camera"] in drawn
    assert {state for state, _ in drawn} == {"recorded", "pending", "lost", "unknown"}
    for (from_ms, to_ms), words in (
        (story.lost, "Hilang: kamera tidak memberi gambar"),
        (story.pending, "Belum sampai: masih di persimpangan, akan dikirim"),
        (story.unexplained, "Tidak diketahui: belum diketahui nasibnya"),
    ):
        track.hover(position=at_moment(track, (from_ms + to_ms) // 2))  # type: ignore[arg-type]
        expect(track.locator(".hint")).to_contain_text(words)
        expect(track.locator(".hint")).to_contain_text(local(from_ms))
    track.hover(position=at_moment(track, story.end - 20_000))  # type: ignore[arg-type]
    expect(track.locator(".hint")).to_contain_text("Terekam")
    holes = page.locator(".holes li")
    expect(holes.filter(has_text="kamera tidak memberi gambar")).to_contain_text("20 dtk")


def test_a_silent_site_is_unknown_not_fine(visitor: Visit, story: Story) -> None:
    """What came after the last word of a site is unknown, in those words."""
    page = visitor.page
    page.goto(f"{story.city.console}/sites/kaligarang")
    page.get_by_role("button", name="10 mnt", exact=True).click()
    track = lane(page, "west")
    expect(track.locator("g[data-state=unknown]")).to_have_count(1)
    track.hover(position=at_moment(track, story.end - 5_000))  # type: ignore[arg-type]
    expect(track.locator(".hint")).to_contain_text("persimpangan tidak memberi kabar")


def test_a_click_plays_from_that_moment(visitor: Visit, story: Story) -> None:
    """The picture moves, and its burnt-in clock is the time that the page says it is."""
    page = open_site(visitor, story)
    track = lane(page, "north")
    at = story.lost[1] + 10_000
    track.click(position=at_moment(track, at))  # type: ignore[arg-type]
    await_playing(page)
    first = page.evaluate("document.querySelector('video').currentTime")
    page.wait_for_function("t => document.querySelector('video').currentTime > t + 1", arg=first)
    video = page.locator("video")
    page.get_by_role("button", name="Jeda").click()
    expect(page.locator(".screen")).to_have_attribute("data-phase", "paused")
    assert abs(video.evaluate(BURNT_IN_MS) - wall_ms(page)) < 700
    assert at - 1500 < wall_ms(page) < at + 12_000
    assert f"at={datetime.fromtimestamp(at / 1000, ZoneInfo('UTC')):%Y-%m-%dT%H}" in page.url
    assert visitor.complaints == []


def test_a_hole_is_jumped_and_named(visitor: Visit, story: Story) -> None:
    """Twenty seconds that the camera did not give are passed at once, and the page says what they were."""
    page = open_site(visitor, story)
    track = lane(page, "north")
    track.click(position=at_moment(track, story.lost[0] - 4_000))  # type: ignore[arg-type]
    await_playing(page)
    started = time.monotonic()
    expect(page.locator(".skipped")).to_contain_text("kamera tidak memberi gambar", timeout=15_000)
    expect(page.locator(".skipped")).to_contain_text(local(story.lost[0])[:5])
    until_wall(page, story.lost[1] + 1_000)
    assert time.monotonic() - started < 18
    page.get_by_role("button", name="Jeda").click()
    assert abs(page.locator("video").evaluate(BURNT_IN_MS) - wall_ms(page)) < 700


def test_a_click_into_a_hole_plays_what_comes_after(visitor: Visit, story: Story) -> None:
    """Nothing is there to be played: the page says why and goes on where footage goes on."""
    page = open_site(visitor, story)
    track = lane(page, "north")
    track.click(position=at_moment(track, sum(story.lost) // 2))  # type: ignore[arg-type]
    expect(page.locator(".skipped")).to_contain_text("kamera tidak memberi gambar")
    await_playing(page)
    assert wall_ms(page) >= story.lost[1] - 500


def test_the_end_of_the_footage_is_told(visitor: Visit, story: Story) -> None:
    """What came in meanwhile is played on; then the picture stops, in words, and nothing is played twice."""
    hand = story.hands["simpang-lima"]
    page = open_site(visitor, story)
    at = now_ms() // 1000 * 1000 - 4_000
    hand.record("south", at - 4_000, at)
    track = lane(page, "south")
    expect(track.locator(".bar-recorded")).to_have_count(2)
    track.click(position=at_moment(track, at - 3_000))  # type: ignore[arg-type]
    await_playing(page)
    hand.record("south", at, at + 4_000)
    expect(page.locator(".screen")).to_have_attribute("data-phase", "ended", timeout=20_000)
    expect(page.locator(".screen-words")).to_contain_text("berakhir di sini")
    assert abs(wall_ms(page) - (at + 4_000)) < 1_500


def test_an_address_with_a_moment_plays_it(visitor: Visit, story: Story) -> None:
    """What a colleague copied from the address bar shows the same picture."""
    moment = datetime.fromtimestamp((story.end - 30_000) / 1000, ZoneInfo("UTC")).isoformat().replace("+00:00", "Z")
    visitor.page.goto(f"{story.city.console}/sites/simpang-lima?camera=south&at={moment}")
    await_playing(visitor.page)
    assert abs(wall_ms(visitor.page) - (story.end - 30_000)) < 12_000


def test_the_timeline_needs_no_mouse(visitor: Visit, story: Story) -> None:
    """Keys move, zoom and play; the slider says in words what it is on."""
    page = open_site(visitor, story)
    track = lane(page, "south")
    track.focus()
    for _ in range(12):
        page.keyboard.press("+") if _ < 1 else page.keyboard.press("ArrowRight")
    expect(track).to_have_attribute("aria-valuetext", re.compile(r"\d\d\.\d\d\.\d\d, \w+"))
    page.keyboard.press("End")
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    page.locator(".hint").wait_for()
    page.keyboard.press("Enter")
    expect(page.locator(".screen")).not_to_have_attribute("data-phase", "idle")


def test_the_wheel_zooms_and_a_drag_moves(visitor: Visit, story: Story) -> None:
    """Between a minute and a day, with the time under the pointer staying there."""
    page = open_site(visitor, story)
    track = lane(page, "north")

    def span() -> tuple[int, int]:
        return int(track.get_attribute("aria-valuemin") or 0), int(track.get_attribute("aria-valuemax") or 0)

    before = span()
    track.hover(position=at_moment(track, story.lost[0]))  # type: ignore[arg-type]
    page.mouse.wheel(0, -600)
    page.wait_for_function(
        "([e, long]) => e.getAttribute('aria-valuemax') - e.getAttribute('aria-valuemin') < long * 0.6",
        arg=[track.element_handle(), before[1] - before[0]],
    )
    zoomed = span()
    box = track.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 20, steps=4)
    page.mouse.up()
    assert span()[0] < zoomed[0]
    assert page.locator(".screen").get_attribute("data-phase") == "idle"
    page.mouse.wheel(0, 30_000)
    page.wait_for_function(
        "e => e.getAttribute('aria-valuemax') - e.getAttribute('aria-valuemin') === 86400", arg=track.element_handle()
    )


def test_both_languages(visitor: Visit, story: Story) -> None:
    """Indonesian first; English by one click, kept for the next visit, and the document says which."""
    page = visitor.page
    page.goto(story.city.console)
    expect(page.locator("html")).to_have_attribute("lang", "id")
    page.get_by_role("button", name="EN", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 of 4 crossings need attention.")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(card(page, "kaligarang")).to_contain_text("Disconnected since")


def test_a_video_that_the_browser_cannot_play_is_named(visitor: Visit, story: Story) -> None:
    """H.265 in a browser without it: the page says so, and what to do instead."""
    page = visitor.page
    page.goto(f"{story.city.console}/sites/tugu-muda")
    page.get_by_role("button", name="10 mnt", exact=True).click()
    track = lane(page, "east")
    track.locator(".bar-recorded").wait_for()
    track.click(position=at_moment(track, story.end - 6_000))  # type: ignore[arg-type]
    expect(page.locator(".screen-words")).to_contain_text("H.265", timeout=15_000)


def test_a_centre_that_cannot_answer_is_quoted(visitor: Visit, story: Story) -> None:
    """At the first visit there is nothing old to show: the page says what the centre said, and tries again."""
    page = visitor.page
    problem = json.dumps({"title": "the centre cannot answer just now", "status": 503, "detail": "no database"})
    page.route("**/api/v1/stream", lambda route: route.abort())
    page.route("**/api/v1/sites", lambda route: route.fulfill(status=503, body=problem))
    page.goto(story.city.console)
    expect(page.locator(".said")).to_contain_text("Keadaan persimpangan tidak dapat diambil")
    expect(page.locator(".said")).to_contain_text("no database")
    page.unroute("**/api/v1/sites")
    page.get_by_role("button", name="Coba lagi").click()
    expect(card(page, "simpang-lima")).to_be_visible()


def test_a_city_without_crossings_says_how_to_begin(visitor: Visit, built_page: None, tmp_path: Path) -> None:
    """The very first look at a new centre; the first crossing that is enrolled appears by itself."""
    with City(tmp_path) as city:
        city.open_centre()
        visitor.page.goto(city.console)
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Belum ada persimpangan")
        expect(visitor.page.locator("code")).to_contain_text("central enrol")
        city.central("enrol", "tugu-muda", "--name", "Tugu Muda")
        expect(card(visitor.page, "tugu-muda")).to_be_visible(timeout=15_000)
        expect(visitor.page).to_have_title("(1) Simpang")


def test_an_unknown_site_and_an_unknown_page_say_so(visitor: Visit, story: Story) -> None:
    """In words, with a way back."""
    page = visitor.page
    page.goto(f"{story.city.console}/sites/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Persimpangan “nowhere” tidak dikenal di pusat ini.")
    page.get_by_role("link", name="Semua persimpangan").click()
    expect(card(page, "simpang-lima")).to_be_visible()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(("device", "size"), [("desktop", (1440, 900)), ("phone", (390, 844))])
def test_it_fits_the_screen(browser: Browser, story: Story, scheme: Any, device: str, size: tuple[int, int]) -> None:
    """Nothing is wider than the screen; pictures of it are kept for people to look at."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        timezone_id="Asia/Jakarta",
        color_scheme=scheme,
        device_scale_factor=2,
        has_touch=device == "phone",
    )
    context.set_default_timeout(15_000)
    visited = visit(context)
    page = visited.page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.goto(story.city.console)
    expect(page.locator(".card .picture")).to_have_count(4)
    for picture in page.locator(".card .picture").all():
        picture.scroll_into_view_if_needed()  # fetched when seen
        expect(picture.locator("img")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(fits)
    page.screenshot(path=SCREENSHOTS / f"city-{device}-{scheme}.png", full_page=device == "phone")
    open_site(visited, story)
    track = lane(page, "north")
    track.click(position=at_moment(track, story.lost[1] + 8_000))  # type: ignore[arg-type]
    await_playing(page)
    if device == "desktop":
        track.hover(position=at_moment(track, sum(story.lost) // 2))  # type: ignore[arg-type]
    assert page.evaluate(fits)
    page.screenshot(path=SCREENSHOTS / f"site-{device}-{scheme}.png", full_page=device == "phone")
    context.close()


def test_a_lost_centre_is_told_and_found_again(visitor: Visit, story: Story) -> None:
    """No fact looks fresh while the centre is away; when it is back, so is the page, by itself."""
    page = visitor.page
    page.goto(story.city.console)
    expect(card(page, "simpang-lima")).to_be_visible()
    story.city.centre.stop()
    expect(page.locator(".banner")).to_contain_text("Sambungan ke pusat terputus", timeout=10_000)
    expect(page.locator(".contact")).to_have_class(re.compile("contact-lost"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Keadaan terakhir yang diketahui")
    expect(page.locator(".cards.old")).to_be_visible()
    story.city.open_centre()
    expect(page.locator(".banner")).to_have_count(0, timeout=15_000)
    expect(page.locator(".contact")).to_have_class(re.compile("contact-live"))


def local(at_ms: int) -> str:
    """That moment as the page writes it in Semarang."""
    return f"{datetime.fromtimestamp(at_ms / 1000, ZoneInfo('Asia/Jakarta')):%H.%M.%S}"
