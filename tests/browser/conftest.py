"""A real centre with a small city on it, and a real browser that looks at its page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from edge_agent.contract import EventType, LossCause, PresenceState, Step, Supply
from tests.browser.hand import Hand, now_ms
from tests.rig.city import City
from tests.rig.link import free_port
from tests.rig.parts import require_chromium
from tests.rig.processes import until

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="package")
def built_page() -> None:
    """The page is built; at once when it was."""
    subprocess.run([sys.executable, ROOT / "scripts" / "build_web.py"], check=True, timeout=240)


@dataclass(frozen=True)
class Story:
    """The city of these tests, and the moments of Simpang Lima's camera `north`, Unix ms."""

    city: City
    hands: dict[str, Hand]
    start: int
    unexplained: tuple[int, int]
    lost: tuple[int, int]
    pending: tuple[int, int]
    end: int


@pytest.fixture(scope="package")
def story(tmp_path_factory: pytest.TempPathFactory, built_page: None) -> Iterator[Story]:
    """Four crossings: one with holes of every kind, one on battery, one fallen silent, one never heard of."""
    require_chromium()
    with ExitStack() as cleanup:
        folder = tmp_path_factory.mktemp("city with a space")
        city = cleanup.enter_context(City(folder, {"console_listen": f"127.0.0.1:{free_port()}"}))
        city.open_centre()
        names = {
            "simpang-lima": "Simpang Lima",
            "tugu-muda": "Tugu Muda",
            "kaligarang": "Kaligarang",
            "jatingaleh": "<b>Jatingaleh</b> & <img src=x onerror=alert(1)>",
        }
        hands = {site: Hand(city, site, name) for site, name in names.items()}
        for site, hand in hands.items():
            if site != "kaligarang":
                cleanup.callback(hand.leave)

        end = now_ms() // 1000 * 1000 - 12_000
        told = Story(
            city,
            hands,
            start=end - 132_000,
            unexplained=(end - 120_000, end - 108_000),
            lost=(end - 84_000, end - 64_000),
            pending=(end - 44_000, end - 24_000),
            end=end,
        )
        lima = hands["simpang-lima"]
        lima.record("north", told.start, told.unexplained[0])
        lima.record("north", told.unexplained[1], told.lost[0])
        gap: dict[str, Any] = {
            "gap_before_ms": 20_000,
            "gap_cause": LossCause.CAMERA,
            "gap_detail": "no answer from 192.0.2.10",
        }
        lima.record("north", told.lost[1], told.pending[0], **gap)
        lima.record("north", told.pending[1], end)
        lima.record("south", end - 40_000, end)
        lima.well("north", "south")
        lima.spool(oldest_unsent_ms=told.pending[0], backlog_s=28, eta_s=35)
        lima.happened(EventType.CAMERA_LOST, told.lost[0], camera="north", cause=LossCause.CAMERA)
        lima.happened(EventType.CAMERA_BACK, told.lost[1], camera="north")
        tugu = hands["tugu-muda"]
        tugu.record("east", end - 8_000, end, codec="hevc")
        tugu.well("east")
        tugu.power(Supply.BATTERY, 64, runtime_s=2900)
        tugu.happened(EventType.SUPPLY_CHANGED, end, before="mains", after="battery")
        kali = hands["kaligarang"]
        kali.record("west", end - 28_000, end - 20_000)
        kali.well("west")
        kali.power(Supply.BATTERY, 41, runtime_s=5000, step=Step.RECORD_ONLY)
        for hand, cameras in ((lima, ("north", "south")), (tugu, ("east",)), (kali, ("west",))):
            for camera in cameras:
                hand.snapshot(camera, end)
        until(lambda: city.presence("kaligarang") == PresenceState.ONLINE, 10, "the centre heard all")
        kali.vanish()
        until(lambda: city.presence("kaligarang") == PresenceState.OFFLINE, 10, "the will is told")
        until(lambda: city.api("/sites/tugu-muda")["power"]["supply"] == "battery", 10, "the centre heard all")
        yield told


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, with all it complained of and every address it asked."""

    page: Page
    complaints: list[str]
    asked: list[str]


def visit(context: BrowserContext) -> Visit:
    made = Visit(context.new_page(), [], [])
    made.page.on("console", lambda said: made.complaints.append(said.text) if said.type == "error" else None)
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("request", lambda request: made.asked.append(request.url))
    return made


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visit]:
    """A reader at a desk in Semarang."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, timezone_id="Asia/Jakarta", color_scheme="dark"
    )
    context.set_default_timeout(15_000)
    yield visit(context)
    context.close()
