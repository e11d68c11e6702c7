"""The agent as a process: `edge-agent run` and `check`, with a real broker, real signals, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.contract import (
    Event,
    EventData,
    EventType,
    ItemKind,
    ItemName,
    LossCause,
    Telemetry,
    instant,
    read_facts,
)
from tests.rig.disks import Disk
from tests.rig.link import free_port
from tests.rig.mosquitto import Listener, Mosquitto
from tests.rig.parts import require_root
from tests.rig.processes import EDGE_AGENT, Program

TOKEN = "the-token-of-the-site"
TOPIC = "simpang/v1/kota-lama"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, {"kota-lama": TOKEN}) as broker:
        yield broker


class Box:
    """A mini PC beside a crossing, with a rendered scene for a camera and a battery in a file."""

    def __init__(self, folder: Path, broker_port: int, centre_port: int | None = None) -> None:
        self.folder, self.spool, self.mains_file = folder, folder / "spool", folder / "mains.json"
        self.spool.mkdir()
        self.config = folder / "edge-agent.toml"
        self.config.write_text(
            f'site = "kota-lama"\n'
            f'[centre]\nurl = "http://127.0.0.1:{centre_port or free_port()}"\ntoken = "{TOKEN}"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {broker_port}\nkeepalive_s = 15\n'
            f'[spool]\ndirectory = "{self.spool}"\nreserve_bytes = 0\n'
            f'[[cameras]]\nid = "north"\nsource = "scene"\nsegment_s = 2\n'
            f'[power]\nlow_percent = 20\n[power.simulated]\nstate_file = "{self.mains_file}"\ncapacity_s = 3600\n'
        )
        self.program = Program("edge-agent", [*EDGE_AGENT, "run", "--config", self.config], folder / "agent.log")

    def change(self, before: str, after: str) -> None:
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    def mains(self, on: bool) -> None:
        scratch = self.folder / "mains.new"
        scratch.write_text(json.dumps({"mains": on}))
        scratch.rename(self.mains_file)

    def items(self, kind: ItemKind) -> list[ItemName]:
        ready = self.spool / "ready"
        names = sorted(ItemName.parse(path.name) for path in ready.iterdir()) if ready.is_dir() else []
        return [name for name in names if name.kind is kind]

    def waiting(self) -> int:
        return len(list((self.spool / "ready").iterdir()))

    def events(self) -> list[Event]:
        ready = self.spool / "ready"
        return [Event.model_validate_json((ready / str(name)).read_bytes()) for name in self.items(ItemKind.EVENT)]

    def causes(self) -> set[LossCause | None]:
        """Of the holes that the segments end."""
        names = self.items(ItemKind.SEGMENT)
        return {read_facts((self.spool / "ready" / str(name)).read_bytes()).gap_cause for name in names}

    def starts(self) -> list[Event]:
        return [event for event in self.events() if event.type is EventType.AGENT_STARTED]

    def doubles(self) -> list[Event]:
        return [event for event in self.events() if event.type is EventType.SITE_DOUBLED]


@pytest.fixture
def box(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Box]:
    box = Box(tmp_path, mosquitto.port)
    with box.program:
        yield box
        assert "Traceback" not in box.program.output()
        assert TOKEN not in box.program.output()


def run_once(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGE_AGENT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


# --- a life ---


def test_a_life_is_told_from_its_first_seconds_to_its_ordered_end(mosquitto: Mosquitto, box: Box) -> None:
    """The centre is down all the time; the agent records anyway, and everything waits in the spool."""
    with Listener(mosquitto.port) as listener:
        begun = time.monotonic()
        box.program.start()
        for group, word in (
            ("presence", "online"),
            ("info", "kota-lama"),
            ("power", "mains"),
            ("link", '"centre":"down"'),
            ("spool", "backlog_items"),
            ("camera/north", '"recording":true'),
            ("host", "agent_rss_bytes"),
        ):
            listener.until(f"{TOPIC}/{group}", word, seconds=max(0.1, begun + 10 - time.monotonic()))
        box.program.until(lambda: len(box.items(ItemKind.SEGMENT)) >= 2, 15, "segments in the spool")
        begun = time.monotonic()
        assert box.program.stop() == 0
        assert time.monotonic() - begun < 10
        listener.until(f"{TOPIC}/presence", "stopping", "SIGTERM")
        listener.until(f"{TOPIC}/event", EventType.AGENT_STOPPING)
    assert not list((box.spool / "writing").iterdir())
    first, *_, last = box.events()
    assert (first.type, first.data.cause, first.data.previous_run) == (EventType.AGENT_STARTED, None, None)
    assert (last.type, last.data.cause) == (EventType.AGENT_STOPPING, LossCause.STOPPED)
    told = [json.loads(body)["id"] for topic, body in listener.said if topic == f"{TOPIC}/event"]
    assert set(told) <= {event.id for event in box.events()}
    (batch,) = box.items(ItemKind.TELEMETRY)
    samples = Telemetry.model_validate_json((box.spool / "ready" / str(batch)).read_bytes()).samples
    assert {"power", "link", "spool", "host", "info", "camera/north"} <= {sample.group for sample in samples}


@pytest.mark.parametrize(("kill", "cause"), [(False, LossCause.STOPPED), (True, LossCause.AGENT)])
def test_the_next_life_knows_how_the_last_one_ended(box: Box, *, kill: bool, cause: LossCause) -> None:
    box.program.start()
    box.program.until(lambda: list((box.spool / "writing").glob("*.part")), 10, "it records")
    if kill:
        box.program.kill()
    else:
        box.program.stop()
    box.program.start()
    box.program.until(lambda: len(box.starts()) == 2, 10, "the next life")
    first, second = box.starts()
    assert (second.data.cause, second.data.previous_run) == (cause, first.data.run)
    assert box.program.stop() == 0


def test_a_frozen_agent_is_offline_by_its_will_and_back_when_it_thaws(mosquitto: Mosquitto, box: Box) -> None:
    with Listener(mosquitto.port) as listener:
        box.program.start()
        listener.until(f"{TOPIC}/presence", "online", seconds=10)
        box.program.signal(signal.SIGSTOP)
        listener.until(f"{TOPIC}/presence", "offline", seconds=30)
        box.program.signal(signal.SIGCONT)
        listener.until(f"{TOPIC}/presence", "online", seconds=15)
        box.program.kill()
        listener.until(f"{TOPIC}/presence", "offline", seconds=5)


def test_of_two_boxes_with_one_identity_each_says_so_and_records_on(
    tmp_path: Path, mosquitto: Mosquitto, box: Box
) -> None:
    folder = tmp_path / "copied"
    folder.mkdir()
    other = Box(folder, mosquitto.port)
    with other.program, Listener(mosquitto.port) as listener:
        for each in (box, other):
            each.program.start()
        for each in (box, other):
            each.program.until(lambda: each.doubles(), 30, "it notices")  # noqa: B023
            words = f'"run":"{each.doubles()[0].data.run}","reason":"another box connects as this site'.encode()
            each.program.until(lambda: any(words in body for _, body in listener.said), 5, "it says so")  # noqa: B023
            known = len(each.items(ItemKind.SEGMENT))
            each.program.until(lambda: len(each.items(ItemKind.SEGMENT)) > known, 15, "it records")  # noqa: B023
        assert "Traceback" not in other.program.output()
    assert [len(each.doubles()) for each in (box, other)] == [1, 1]


def test_a_power_cut_is_on_mqtt_within_two_seconds_and_an_empty_battery_ends_the_life(
    mosquitto: Mosquitto, box: Box
) -> None:
    """The last gasp comes after the footage is stored, and says what there is; the next life says first how long it
    slept and what waits, and records once there is charge for one more ordered stop.
    """
    box.change("low_percent = 20", "low_percent = 50\nstop_percent = 40")
    box.change("capacity_s = 3600", "capacity_s = 20\nrecharge_s = 60")
    box.change("[power.simulated]", "[power.ladder]\nsteps = []\n[power.simulated]")
    with Listener(mosquitto.port) as listener:
        box.program.start()
        listener.until(f"{TOPIC}/power", '"supply":"mains"', seconds=10)
        for on, word in ((False, "battery"), (True, "mains"), (False, "battery")):
            box.mains(on)
            listener.until(f"{TOPIC}/power", f'"supply":"{word}"', seconds=2)
        listener.until(f"{TOPIC}/power", '"supply":"low"', seconds=15)
        assert json.loads(listener.latest[f"{TOPIC}/power"])["runtime_s"] is not None
        assert box.program.wait(20) == 0
        listener.until(f"{TOPIC}/presence", "asleep", "battery at ")
        stopping = json.loads(listener.until(f"{TOPIC}/event", EventType.AGENT_STOPPING))
        gasp = EventData.model_validate(stopping["data"])
        assert (gasp.cause, gasp.charge_percent is not None, gasp.runtime_s is not None) == ("power", True, True)
        segments = box.items(ItemKind.SEGMENT)
        assert not list((box.spool / "writing").iterdir())
        (kept,) = (event for event in box.events() if event.type is EventType.AGENT_STOPPING)
        assert kept.data == gasp
        last = max(segments)
        assert gasp.newest_sequence is not None
        assert gasp.newest_sequence >= last.sequence, "no footage comes after the last gasp"
        assert gasp.recorded_until == instant(last.end_ms)
        waiting = box.waiting()
        assert gasp.backlog_items == waiting - 2, "without itself and the report"
        said = len(listener.said)

        box.program.start()
        listener.until(f"{TOPIC}/presence", "online", "no cameras", f"; {waiting} items wait; ", seconds=10)
        listener.until(f"{TOPIC}/camera/north", '"recording":false', "one more ordered stop", seconds=10)
        listener.until(f"{TOPIC}/power", '"supply":"low"', seconds=10)
        started = json.loads(next(body for topic, body in listener.said[said:] if topic == f"{TOPIC}/event"))
        breath = EventData.model_validate(started["data"])
        assert (started["type"], breath.cause, breath.previous_run) == (EventType.AGENT_STARTED, "power", gasp.run)
        assert breath.slept_s is not None
        assert 0 < breath.slept_s < 60
        assert breath.backlog_items == waiting
        assert box.items(ItemKind.SEGMENT) == segments, "it starts light"
        box.mains(True)
        listener.until(f"{TOPIC}/camera/north", '"recording":true', seconds=40)
        listener.until(f"{TOPIC}/presence", "online", "recording begins")
        assert box.program.stop() == 0
    assert [event.data.cause for event in box.starts()] == [None, LossCause.POWER]


def test_on_battery_cameras_take_turns_and_with_mains_all_is_as_before(mosquitto: Mosquitto, box: Box) -> None:
    """Each step is told, the outlet is switched, the hole has its cause."""
    switch, told = box.folder / "switch", box.folder / "told"
    switch.write_text(f'#!/bin/sh\necho "$1" >> {told}\n')
    switch.chmod(0o755)
    box.change(
        "[power.simulated]",
        "[power.ladder]\nhold_s = 1\nevery_s = 8\nboot_s = 0\nlook_s = 3\n"
        '[[power.ladder.steps]]\nstep = "no-backfill"\npercent = 100\n'
        '[[power.ladder.steps]]\nstep = "cameras-in-turns"\npercent = 100\n'
        f'[[power.ladder.outlets]]\ncamera = "north"\ncommand = ["{switch}"]\n'
        "[power.simulated]",
    )
    with Listener(mosquitto.port) as listener:
        box.program.start()
        listener.until(f"{TOPIC}/camera/north", '"recording":true', seconds=15)
        box.mains(False)
        listener.until(f"{TOPIC}/power", '"step":"cameras-in-turns"', seconds=10)
        listener.until(f"{TOPIC}/spool", '"pace_limit":"energy"', seconds=10)
        listener.until(f"{TOPIC}/camera/north", '"recording":false,"cause":"power"', seconds=15)
        box.program.until(lambda: told.read_text().split() == ["on", "off", "on"], 15, "its next turn")
        box.mains(True)
        listener.until(f"{TOPIC}/power", '"step":"full"', seconds=10)
        box.program.until(lambda: LossCause.POWER in box.causes(), 15, "footage after the hole")
        assert box.program.stop() == 0
    assert told.read_text().split()[-1] == "on"
    steps = [(e.data.before, e.data.after) for e in box.events() if e.type is EventType.ENERGY_CHANGED]
    assert steps == [
        ("full", "no-backfill"),
        ("no-backfill", "cameras-in-turns"),
        ("cameras-in-turns", "no-backfill"),
        ("no-backfill", "full"),
    ]
    assert not [event for event in box.events() if event.type is EventType.CAMERA_LOST]


@pytest.mark.parametrize(
    ("charge", "supply", "cause"), [("3", "low", LossCause.POWER), ("60", "battery", LossCause.STOPPED)]
)
def test_who_stops_it_on_a_low_battery_and_owns_the_shutdown_stops_it_for_power(
    mosquitto: Mosquitto, box: Box, charge: str, supply: str, cause: LossCause
) -> None:
    """Also while it waits for charge, and then at once."""
    box.mains(False)
    (box.folder / "mains.json.charge").write_text(charge)
    with Listener(mosquitto.port) as listener:
        box.program.start()
        listener.until(f"{TOPIC}/power", f'"supply":"{supply}"', seconds=15)
    assert ("a light start" in box.program.output()) is (cause is LossCause.POWER)
    assert box.program.stop(5) == 0
    assert box.events()[-1].data.cause is cause


def test_the_command_after_a_stop_for_power_is_run(box: Box) -> None:
    proof = box.folder / "off"
    box.change("low_percent = 20", f'low_percent = 95\nstop_percent = 90\nstop_command = ["touch", "{proof}"]')
    box.change("capacity_s = 3600", "capacity_s = 10")
    box.program.start()
    box.program.until(lambda: box.events(), 10, "the agent has started")
    box.mains(False)
    assert box.program.wait(20) == 0
    assert proof.exists()


def test_everything_that_hangs_at_once_does_not_hold_up_the_end(box: Box) -> None:
    """Mute servers in the place of the camera, the centre and the broker."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=100) as mute:
        port = mute.getsockname()[1]
        text = box.config.read_text()
        centre = next(line for line in text.splitlines() if line.startswith("url"))
        broker = next(line for line in text.splitlines() if line.startswith("port"))
        box.change(centre, f'url = "http://127.0.0.1:{port}"')
        box.change(broker, f"port = {port}")
        box.change('source = "scene"', f'source = "rtsp"\nurl = "rtsp://127.0.0.1:{port}/mute"')
        box.program.start()
        box.program.until(lambda: box.events(), 10, "the agent has started")
        time.sleep(2)  # so that each is in the middle of its hang
        begun = time.monotonic()
        assert box.program.stop(15) == 0
        assert time.monotonic() - begun < 10
    assert box.events()[-1].type is EventType.AGENT_STOPPING


def test_a_disk_that_hangs_does_not_hold_up_the_last_gasp(tmp_path: Path, mosquitto: Mosquitto, box: Box) -> None:
    """Nothing can be stored any more, and nobody waits for that."""
    with Disk(tmp_path / "disk.img", tmp_path / "disk", "64M") as disk, Listener(mosquitto.port) as listener:
        spool = disk.directory / "spool"
        box.change(f'directory = "{box.spool}"', f'directory = "{spool}"')
        box.program.start()
        box.program.until(lambda: (spool / "ready").is_dir() and list((spool / "ready").glob("*.mp4")), 20, "footage")
        listener.until(f"{TOPIC}/presence", "online")
        with disk.frozen():
            begun = time.monotonic()
            box.program.signal(signal.SIGTERM)
            listener.until(f"{TOPIC}/event", EventType.AGENT_STOPPING, "SIGTERM", "recorded_until", seconds=10)
            listener.until(f"{TOPIC}/presence", "stopping", "SIGTERM", seconds=10)
            assert time.monotonic() - begun < 10
        assert box.program.wait(10) == 0


def test_a_broker_that_refuses_us_or_is_down_does_not_keep_us_from_recording(mosquitto: Mosquitto, box: Box) -> None:
    box.program = Program(
        "edge-agent",
        [*EDGE_AGENT, "run", "--config", box.config],
        box.folder / "agent.log",
        {"SIMPANG_CENTRE__TOKEN": "not-" + TOKEN[::-1]},
    )
    with box.program:
        box.program.start()
        box.program.until(lambda: len(box.items(ItemKind.SEGMENT)) >= 2, 15, "segments in the spool")
        assert box.program.output().count("refuses us") == 1
        assert "enrol the site" in box.program.output()
        assert box.program.stop() == 0


def test_a_bug_in_one_job_is_told_and_ends_the_process(box: Box) -> None:
    """The other threads end in good order, so what was being recorded is kept."""
    sick = (
        "import threading, edge_agent.jobs.guard as guard\n"
        "calls = iter(range(8))\n"
        "guard.estimated = lambda reading, _: reading if next(calls) >= 0 else None\n"
        "from edge_agent.__main__ import main; main()"
    )
    crash = Program("edge-agent", [EDGE_AGENT[0], "-c", sick, "run", "--config", box.config], box.folder / "crash.log")
    with crash.start():
        assert crash.wait(30) == 1
        assert "bug in thread guard" in crash.output()
        assert "StopIteration" in crash.output()
    assert box.items(ItemKind.SEGMENT)
    assert not list((box.spool / "writing").iterdir())


# --- starts that fail ---


def test_bad_settings_are_lines_and_exit_code_2(tmp_path: Path, box: Box) -> None:
    box.change("reserve_bytes = 0", "reserve_bites = 0")
    for command in ("run", "check"):
        done = run_once(command, "--config", box.config)
        assert done.returncode == 2
        assert done.stderr == f"{box.config}: spool.reserve_bites: no such key (did you mean `reserve_bytes`?)\n"
    done = run_once("run", "--config", tmp_path / "nowhere.toml")
    assert (done.returncode, "No such file" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run", "--confg", "x"]])
def test_bad_usage_is_exit_code_2_with_the_usage(arguments: list[str]) -> None:
    done = run_once(*arguments)
    assert done.returncode == 2
    assert "usage: edge-agent" in done.stderr


def test_a_spool_that_cannot_be_used_is_one_line_and_exit_code_3(box: Box) -> None:
    box.change(str(box.spool), str(box.folder / "nowhere" / "spool"))
    done = run_once("run", "--config", box.config)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "nowhere" in done.stderr
    (box.folder / "nowhere").mkdir()
    (box.folder / "nowhere" / "spool").write_text("a file")
    done = run_once("run", "--config", box.config)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_a_second_agent_on_the_same_spool_is_refused(box: Box) -> None:
    box.program.start()
    box.program.until(lambda: box.events(), 10, "the agent has started")
    done = run_once("run", "--config", box.config)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert box.program.stop() == 0


# --- check ---


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["part"]: finding for finding in json.loads(done.stdout)}


def test_check_says_of_each_part_what_is_wrong_and_what_to_do(box: Box) -> None:
    done = run_once("check", "--config", box.config, "--json")
    found = findings(done)
    assert done.returncode == 3
    assert {part: finding["fit"] for part, finding in found.items()} == {
        "settings": True,
        "spool": True,
        "camera north": True,
        "centre": False,
        "broker": True,
        "power simulated": True,
        "power": True,
    }
    assert "[centre]" in found["centre"]["remedy"]
    assert "h264" in found["camera north"]["found"]
    assert "on mains" in found["power"]["found"]
    assert list(box.spool.iterdir()) == []
    table = run_once("check", "--config", box.config).stdout
    assert "BAD  centre" in table
    assert "1 of 7 need attention" in table


def breakages() -> list[Any]:
    def camera(source: str, url: str) -> Callable[[Box], None]:
        return lambda box: box.change('source = "scene"', f'source = "{source}"\nurl = "{url}"')

    return [
        pytest.param("spool", lambda box: box.change('spool"', 'nowhere/spool"'), "create it", id="no spool"),
        pytest.param("camera north", camera("rtsp", f"rtsp://127.0.0.1:{free_port()}/x"), "port", id="no camera"),
        pytest.param("camera north", camera("file", "/dev/null"), "", id="not a camera"),
        pytest.param("broker", lambda box: box.change(TOKEN, "a-wrong-token"), "enrol", id="wrong token"),
        pytest.param("power simulated", lambda box: box.mains_file.write_text("?"), "mains", id="garbled battery"),
        pytest.param("power", lambda box: box.mains_file.write_text("?"), "[power.gpio]", id="mains not known"),
        pytest.param(
            "power nut",
            lambda box: box.change("[power.simulated]", f"[power.nut]\nport = {free_port()}\n[power.simulated]"),
            "[power.nut]",
            id="no upsd",
        ),
    ]


@pytest.mark.parametrize(("part", "breaks", "remedy"), breakages())
def test_check_finds_the_broken_part(box: Box, part: str, breaks: Callable[[Box], object], remedy: str) -> None:
    breaks(box)
    done = run_once("check", "--config", box.config, "--json")
    found = findings(done)[part]
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert not found["fit"]
    assert remedy in found["remedy"]


def test_check_disturbs_no_running_agent(mosquitto: Mosquitto, box: Box) -> None:
    with Listener(mosquitto.port) as listener:
        box.program.start()
        listener.until(f"{TOPIC}/presence", "online", seconds=10)
        done = run_once("check", "--config", box.config, "--json")
        assert findings(done)["spool"]["fit"]
        assert findings(done)["broker"]["fit"]
        listener.until(f"{TOPIC}/presence", "online")
        assert [b"offline" in body for topic, body in listener.said if topic.endswith("presence")] == [False]
        assert box.program.stop() == 0


def test_a_spool_that_we_may_not_write_to_is_told(box: Box) -> None:
    """As root without its powers: another user might not even reach the interpreter."""
    require_root()
    os.chown(box.spool, 65534, 65534)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *EDGE_AGENT, "check", "--config", box.config, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not findings(done)["spool"]["fit"]
    assert "write" in findings(done)["spool"]["remedy"]
