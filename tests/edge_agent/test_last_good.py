"""A settings file that a power cut left behind empty, half or not at all, and the agent that goes on all the same."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from edge_agent.contract import EventType, ItemKind
from edge_agent.errors import SettingsError
from edge_agent.last_good import LastGood, state_directory
from tests.edge_agent.test_agent import TOKEN, TOPIC, Box, run_once
from tests.edge_agent.test_settings import GOOD
from tests.rig.mosquitto import Listener, Mosquitto
from tests.rig.processes import EDGE_AGENT, Program


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    return state


@pytest.fixture
def file(tmp_path: Path, state: Path) -> Path:
    """Settings that an agent has run with."""
    file = tmp_path / "agent.toml"
    file.write_text(GOOD)
    first = LastGood(file, state)
    first.load()
    first.keep()
    return file


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (None, "No such file"),
        (b"", "site: missing"),
        (GOOD[: len(GOOD) // 2].encode(), "not TOML"),
        (b"\0" * len(GOOD), "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (GOOD.replace("[spool]", "[spol]").encode(), "missing"),
    ],
)
def test_whatever_is_left_of_the_file_the_last_good_one_is_in_force(
    file: Path, state: Path, left: bytes | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    if left is None:
        file.unlink()
    else:
        file.write_bytes(left)
    again = LastGood(file, state)
    assert again.load().site == "kota-lama"
    assert said in again.trouble
    assert str(file) in again.trouble
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "edge-agent check" in record.message
    again.keep()
    assert (state / "last-good.toml").read_text() == GOOD, "what is no good is not kept"


def test_the_environment_still_overrules_and_is_not_kept(
    file: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPANG_CENTRE__TOKEN", "from-the-environment")
    file.write_text("")
    again = LastGood(file, state)
    assert again.load().centre.token.get_secret_value() == "from-the-environment"
    assert "from-the-environment" not in (state / "last-good.toml").read_text()


def test_it_is_written_for_the_agent_alone_and_only_when_it_changed(file: Path, state: Path) -> None:
    copy = state / "last-good.toml"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = copy.stat().st_ino
    again = LastGood(file, state)
    again.load()
    assert again.trouble == ""
    again.keep()
    assert copy.stat().st_ino == before
    file.write_text(GOOD.replace("kota-lama", "kota-baru"))
    (state / "last-good.tmp").write_text("left by a power cut, for everybody to read")
    again.load()
    again.keep()
    assert "kota-baru" in copy.read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == [copy.name]


@pytest.mark.parametrize("copy", [None, "", GOOD[:40]])
def test_without_a_good_copy_a_bad_file_is_refused_as_ever(tmp_path: Path, state: Path, copy: str | None) -> None:
    if copy is not None:
        (state / "last-good.toml").write_text(copy)
    (tmp_path / "agent.toml").write_text("site =")
    for directory in (state, None):
        with pytest.raises(SettingsError, match=r"agent\.toml: not TOML"):
            LastGood(tmp_path / "agent.toml", directory).load()


def test_where_nothing_can_be_kept_it_is_told_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(GOOD)
    last_good = LastGood(file, tmp_path / "nowhere")
    last_good.load()
    last_good.keep()
    (record,) = caplog.records
    assert "nowhere" in record.message


def test_the_first_of_the_directories_that_systemd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert state_directory() is None
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/simpang:/var/lib/simpang/spool")
    assert state_directory() == Path("/var/lib/simpang")


def test_an_agent_records_on_with_half_a_file_says_so_and_check_still_refuses_it(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, {"kota-lama": TOKEN}) as mosquitto:
        box = Box(tmp_path, mosquitto.port)
        environment = {"STATE_DIRECTORY": str(state)}
        command = [*EDGE_AGENT, "run", "--config", str(box.config)]
        with Program("edge-agent", command, box.folder / "agent.log", environment) as program:
            program.start()
            program.until((state / "last-good.toml").exists, 10, "the settings are kept")
            program.kill()
            text = box.config.read_text()
            box.config.write_text(text[: len(text) // 2])
            recorded = len(box.items(ItemKind.SEGMENT))
            with Listener(mosquitto.port) as listener:
                program.start()
                told = json.loads(listener.until(f"{TOPIC}/info", "not TOML", seconds=10))
                assert "are in force" in told["detail"]
                program.until(lambda: len(box.items(ItemKind.SEGMENT)) > recorded + 1, 10, "it records")
            (event,) = [event for event in box.events() if event.type is EventType.SETTINGS_TROUBLE]
            assert event.data.detail == told["detail"]
            checked = run_once("check", "--config", box.config, **environment)
            assert checked.returncode == 2
            assert "not TOML" in checked.stderr
            assert program.stop() == 0
            box.config.write_text(text)
            with Listener(mosquitto.port) as listener:
                program.start()
                assert json.loads(listener.until(f"{TOPIC}/info", '"detail":""', seconds=10))["run"] != told["run"]
            assert program.stop() == 0
            assert TOKEN not in program.output()
