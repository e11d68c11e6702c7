"""The whole centre as a process: it starts on nothing, outlives kill -9, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from central.app import _listen, open_store
from central.settings import load
from central.store import StateRow
from edge_agent.contract import HELLO_PATH, ITEM_PATH, Info, ItemName, Receipt, instant
from tests.rig.disks import tmpfs
from tests.rig.parts import require_program
from tests.rig.postgres import Postgres
from tests.rig.processes import CENTRAL, Program, until
from tests.rig.segments import make_segment

PORTS = {
    "SIMPANG_CENTRAL_AGENT_LISTEN": "127.0.0.1:0",
    "SIMPANG_CENTRAL_CONSOLE_LISTEN": "127.0.0.1:0",
    "SIMPANG_CENTRAL_BROKER__LISTEN": "127.0.0.1:0",
    "SIMPANG_CENTRAL_RESERVE_BYTES": "0",
}


class Centre:
    """`central` with a directory of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.directory = folder / "centre"
        self.environment = PORTS | environment
        command: list[str | Path] = [*CENTRAL, "serve", "--directory", self.directory]
        self.program = Program("central serve", command, folder / "serve.log", self.environment)

    def start(self) -> dict[str, Any]:
        """It is ready; what it bound."""
        ready = self.program.output().count("ready:")
        self.program.start()
        self.program.until(lambda: self.program.output().count("ready:") > ready, 30, "ready")
        bound: dict[str, Any] = json.loads((self.directory / "serve.json").read_text())
        return bound

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Another command of the centre, with the same settings."""
        return subprocess.run(
            [*CENTRAL, *map(str, arguments), "--directory", str(self.directory)],
            env=self.environment | {"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def enrol(self, site: str, *options: str) -> str:
        done = self.run("enrol", site, "--json", *options)
        assert done.returncode == 0, done.stderr
        token: str = json.loads(done.stdout)["token"]
        return token


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    with made.program:
        yield made


def put(url: str, token: str, name: ItemName, data: bytes) -> httpx2.Response:
    return httpx2.put(f"{url}{ITEM_PATH}{name}", content=data, headers={"Authorization": f"Bearer {token}"}, timeout=10)


def knows(url: str, token: str) -> bool:
    return httpx2.get(f"{url}{HELLO_PATH}", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_list_of_sites_tells_of_a_settings_file_that_cannot_be_used(centre: Centre) -> None:
    centre.start()
    centre.enrol("aloha")
    info = Info(version="1", run="000001aaaa", name="", cameras=(), started_at=instant(0), detail="[x]: not TOML")
    with closing(open_store(load(None, centre.directory))) as store:
        store.put_states([StateRow("aloha", "info", "", 0, info.to_json().decode())])
    assert centre.run("sites").stdout.endswith("aloha: [x]: not TOML\n")


def test_from_nothing_to_a_stored_item_and_a_clean_end(centre: Centre) -> None:
    """One life: enrol while it runs, deliver, look, report, export, stop."""
    bound = centre.start()
    assert httpx2.get(f"{bound['agent_url']}/healthz").text == "ok\n"
    assert httpx2.get(f"{bound['console_url']}/healthz").text == "ok\n"
    token = centre.enrol("aloha", "--name", "Aloha", "--lat", "-6.99", "--lon", "110.4", "--camera", "north=scene")
    until(lambda: knows(bound["agent_url"], token), 2, "the running centre knows the new site")
    name, data = make_segment()
    assert put(bound["agent_url"], token, name, data).status_code == 201

    listed = json.loads(centre.run("sites", "--json").stdout)["sites"]
    assert [site["name"] for site in listed] == ["Aloha"]
    assert "never seen" in centre.run("sites").stdout

    day = "2026-11-18"
    report = centre.run("completeness", "--day", day, "--json")
    assert json.loads(report.stdout)["rows"][0]["recorded_s"] == 4.0
    assert report.returncode == 0
    later, later_data = make_segment(sequence=5, start_ms=name.start_ms + 20_000, media_start_ms=20_000)
    assert put(bound["agent_url"], token, later, later_data).status_code == 201
    unexplained = centre.run("completeness", "--day", day)
    assert unexplained.returncode == 4
    assert "unexplained" in unexplained.stdout
    assert "not yet" in unexplained.stdout, "the site has not compared what it holds"

    assert "2 objects, 2 items, 0 of them lost; 0 left" in centre.run("verify").stdout
    (archived,) = centre.directory.glob(f"archive/*/*/*/aloha/north/{later}")
    archived.rename(archived.with_name("notes.txt"))
    found = centre.run("verify")
    assert found.returncode == 4
    assert "1 items without their object (with --repair: asked for again), such as 20" in found.stdout
    assert centre.run("verify", "--repair").returncode == 0
    assert put(bound["agent_url"], token, later, later_data).status_code == 201
    assert "2 objects, 2 items, 0 of them lost; 0 left" in centre.run("verify", "--hash").stdout

    target = centre.directory / "out.mp4"
    exported = centre.run("export", "aloha", "north", day, "2026-11-19", "-o", target)
    assert exported.returncode == 0, exported.stderr
    assert "8.0 s of footage" in exported.stdout
    assert target.stat().st_size > 1000
    nothing = centre.run("export", "aloha", "south", day, "2026-11-19", "-o", target)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)

    assert centre.program.stop(10) == 0
    assert "Traceback" not in centre.program.output()
    assert token not in centre.program.output()
    assert not (centre.directory / "serve.json").exists()


def test_an_answer_in_two_parts_is_sent_at_once() -> None:
    """Without the flag the receipt waits up to 40 ms for the agent's kernel to confirm its headers."""
    with ExitStack() as cleanup:
        listener = _listen("agent_listen", "127.0.0.1:0", cleanup)
        cleanup.enter_context(socket.create_connection(listener.getsockname()))
        accepted = cleanup.enter_context(listener.accept()[0])
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_open_page_does_not_hold_up_the_end(centre: Centre) -> None:
    bound = centre.start()
    with httpx2.stream("GET", f"{bound['console_url']}/api/v1/stream", timeout=10) as stream:
        assert stream.status_code == 200
        centre.program.signal(signal.SIGINT)
        assert centre.program.wait(10) == 0


def test_killed_between_requests_it_has_every_item_it_gave_a_receipt_for(centre: Centre) -> None:
    """Three lives, each ended by SIGKILL; what got no receipt is sent again, as an agent does."""
    require_program("mosquitto")
    centre.directory.mkdir()
    items = [make_segment(sequence=n, start_ms=1_795_000_000_000 + n * 4000, media_start_ms=n * 4000) for n in range(9)]
    receipts: dict[int, Receipt] = {}
    token = ""
    for life in range(3):
        bound = centre.start()
        token = token or centre.enrol("aloha")
        until(lambda: knows(bound["agent_url"], token), 5, "the site is known")  # noqa: B023
        for name, data in items[: 3 * (life + 1)]:
            answer = put(bound["agent_url"], token, name, data)
            assert answer.status_code == (200 if name.sequence in receipts else 201)
            receipt = Receipt.model_validate_json(answer.content)
            assert receipts.setdefault(name.sequence, receipt) == receipt
        with socket.create_connection(("127.0.0.1", int(bound["agent_url"].rpartition(":")[2]))) as torn:
            head = f"PUT {ITEM_PATH}{items[-1][0]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            torn.sendall(f"{head}Content-Length: 9999\r\n\r\nhalf".encode())
            centre.program.kill()
    objects = list((centre.directory / "archive").rglob("*.mp4"))
    assert len(objects) == len(items) == len(receipts)


def test_a_broker_whose_centre_was_killed_is_gone(centre: Centre) -> None:
    require_program("mosquitto")
    bound = centre.start()
    centre.program.kill()

    def free() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((bound["broker_host"], bound["broker_port"])) != 0

    until(free, 5, "the port of the broker is free")


def test_the_same_centre_on_postgresql_comes_back_when_its_database_does(tmp_path: Path) -> None:
    with Postgres() as server:
        centre = Centre(
            tmp_path,
            SIMPANG_CENTRAL_DATABASE_URL=server.database("centre"),
            SIMPANG_CENTRAL_BROKER__MODE="amqtt",
        )
        with centre.program:
            url = centre.start()["agent_url"]
            token = centre.enrol("aloha")
            until(lambda: knows(url, token), 5, "the site is known")
            name, data = make_segment()
            assert put(url, token, name, data).status_code == 201
            server.stop()
            later, later_data = make_segment(sequence=1)
            answer = put(url, token, later, later_data)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            server.start()
            assert put(url, token, later, later_data).status_code == 201
            assert centre.program.stop(10) == 0
        assert "Traceback" not in centre.program.output()
        assert not (centre.directory / "central.sqlite").exists()


def trouble(tmp_path: Path, **environment: str) -> str:
    """What `central serve` says when it cannot start."""
    centre = Centre(tmp_path, **environment)
    with centre.program:
        centre.program.start()
        assert centre.program.wait(30) == 2
    *_, said = centre.program.output().splitlines()
    assert said.startswith("central: ")
    assert "Traceback" not in centre.program.output()
    return said


@pytest.mark.parametrize("setting", ["AGENT_LISTEN", "CONSOLE_LISTEN", "BROKER__LISTEN"])
def test_a_port_in_use_is_said(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = trouble(tmp_path, **{f"SIMPANG_CENTRAL_{setting}": f"127.0.0.1:{port}"})
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


def test_bad_settings_are_said(tmp_path: Path) -> None:
    assert "no-such-host.invalid" in trouble(tmp_path, SIMPANG_CENTRAL_AGENT_LISTEN="no-such-host.invalid:0")
    assert "archive_url" in trouble(tmp_path, SIMPANG_CENTRAL_ARCHIVE_URL="ftp://x/y")
    assert "does not answer" in trouble(tmp_path, SIMPANG_CENTRAL_DATABASE_URL=f"postgresql://a:b@/x?host={tmp_path}")
    assert "broker.mode" in trouble(tmp_path, SIMPANG_CENTRAL_BROKER__MODE="emqx")


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    centre.directory.write_text("in the way")
    done = centre.run("serve")
    assert done.returncode == 2
    assert done.stderr.startswith("central: cannot make the directory")
    assert done.stderr.count("\n") == 1


def fill(disk: Path) -> Path:
    """What takes all the room there was."""
    filler = disk / "of-another-program"
    with filler.open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    return filler


@pytest.mark.parametrize("database", ["", "elsewhere"])
def test_a_full_disk_at_the_start_is_said(tmp_path: Path, database: str) -> None:
    """By whoever needs it first: the database, or where that is elsewhere the files of the broker."""
    settings = {"SIMPANG_CENTRAL_DATABASE_URL": f"sqlite:///{tmp_path / database}"} if database else {}
    centre = Centre(tmp_path, **settings)
    with tmpfs(centre.directory, "4m"):
        with centre.program:
            centre.start()
            assert centre.program.stop(10) == 0
        fill(centre.directory)
        said = trouble(tmp_path, **settings)
    assert "No space left on device; free room" in said if database else "the database" in said


def test_who_is_enrolled_while_the_disk_is_full_is_admitted_when_it_is_not(tmp_path: Path) -> None:
    centre = Centre(tmp_path, SIMPANG_CENTRAL_DATABASE_URL=f"sqlite:///{tmp_path / 'elsewhere'}")
    with tmpfs(centre.directory, "4m"), centre.program:
        centre.start()
        filler = fill(centre.directory)
        centre.enrol("aloha")
        until(lambda: "No space left" in centre.program.output(), 10, "the trouble is told")
        filler.unlink()
        until(lambda: "aloha:" in (centre.directory / "broker" / "passwords").read_text(), 10, "it is admitted")
        assert centre.program.stop(10) == 0
    assert "Traceback" not in centre.program.output()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["enrol", "aloha", "--camera", "nonsense"], "ID=URL"),
        (["enrol", "aloha", "--lat", "1"], "--lon"),
        (["enrol", "aloha"], "picked at start"),
        (["export", "aloha", "north", "then", "now", "-o", "x.mp4"], "not a time"),
        (["export", "aloha", "north", "2026-11-24", "2026-11-23", "-o", "x.mp4"], "after"),
        (["completeness", "--day", "never"], "not a time"),
        (["sites", "--config", "/no/such/file.toml"], "settings file"),
    ],
)
def test_bad_arguments_are_said_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = Centre(tmp_path).run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
