"""The configuration: the example is valid, and each mistake is one line that says where and what to do."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings import Settings, load

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "edge-agent.toml"
GOOD = """\
site = "kota-lama"
[centre]
url = "http://centre:8700"
token = "a-secret-token"
[broker]
host = "centre"
[spool]
directory = "/var/lib/simpang"
[[cameras]]
id = "north"
url = "rtsp://camera/1"
"""

STEP = '[[power.ladder.steps]]\nstep = "no-backfill"'
OUTLET = '[[power.ladder.outlets]]\ncamera = "north"'


def loaded(folder: Path, text: str) -> Settings:
    path = folder / "agent.toml"
    path.write_text(text)
    return load(path)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, text)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(folder)) for line in lines)
    return [line.removeprefix(f"{folder / 'agent.toml'}: ") for line in lines]


def test_the_example_is_valid_as_it_stands_and_with_every_comment_taken_out() -> None:
    """Each commented-out key must be one that exists, at its default or at a value that is allowed."""
    load(EXAMPLE)
    active = re.sub(r"^# ?(?=\w+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    table = tomllib.loads(active)
    Settings(**table)
    assert table.keys() == Settings.model_fields.keys()


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, GOOD)
    assert settings.centre.address == ("centre", 8700)
    assert settings.cameras[0].source == "rtsp"
    assert "a-secret-token" not in repr(settings)


def test_the_environment_overrules_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMPANG_CENTRE__TOKEN", "another-token")
    monkeypatch.setenv("SIMPANG_BROKER__PORT", "8883")
    monkeypatch.setenv("SIMPANG_POWER__NUT__PASSWORD", "not-in-the-file")
    settings = loaded(tmp_path, f'{GOOD}[power.nut]\nups = "cabinet"\n')
    assert settings.power.nut is not None
    assert settings.power.nut.password.get_secret_value() == "not-in-the-file"
    assert settings.power.nut.ups == "cabinet"
    assert settings.centre.token.get_secret_value() == "another-token"
    assert settings.broker.port == 8883
    assert settings.broker.host == "centre"


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ('site = "kota-lama"', 'site = "Kota Lama"', r"site: not of the allowed form .*hyphens"),
        ('site = "kota-lama"', 'site = "city"', r"site: 'city' is reserved"),
        ('site = "kota-lama"', 'sit = "kota-lama"', r"sit: no such key \(did you mean `site`\?\)"),
        ('host = "centre"', 'hots = "centre"', r"broker\.hots: no such key \(did you mean `host`\?\)"),
        ('host = "centre"', 'host = "centre"\nport = "x"', r"broker\.port: .*integer"),
        ('host = "centre"', 'host = "centre"\nport = 0', r"broker\.port: .*greater than or equal to 1"),
        ('host = "centre"', 'host = "centre"\nprefix = "a/#"', r"broker\.prefix: not of the allowed form"),
        ('host = "centre"', 'host = "centre"\nca_file = "/nowhere.pem"', r"broker\.ca_file: .*No such file"),
        ("http://centre:8700", "centre:8700", r"centre\.url: not a URL"),
        ("http://centre:8700", "http://me:pass@centre:8700", r"centre\.url: not a URL .*credentials"),
        ('id = "north"', 'id = "site"', r"cameras\[0\]\.id: 'site' is reserved"),
        ("rtsp://camera/1", "rtsp://admin:pass@camera/1", r"cameras\[0\]: the url holds credentials; move them"),
        ("rtsp://camera/1", "http://camera/1", r"cameras\[0\]: the url is not one like rtsp://"),
        ("rtsp://camera/1", "", r"cameras\[0\]: source 'rtsp' needs a url"),
        ('id = "north"', 'id = "north"\nsegment_s = nan', r"cameras\[0\]\.segment_s: "),
        ("[[cameras]]", "[cameras]", r"cameras: "),
        ("[spool]", '[power]\nsource = "gpio"\n[spool]', r"power\.source: no such key"),
        ("[spool]", "[power.gpio]\n[spool]", r"power\.gpio\.mains_lost_pin: missing \(Line"),
        ("[spool]", '[power.nut]\nups = "a b"\n[spool]', r"power\.nut\.ups: not of the allowed form"),
        ("[spool]", '[power.nut]\nusername = "josé"\n[spool]', r"power\.nut\.username: not printable ASCII"),
        ("[spool]", '[power.i2c]\nchip = "max1"\n[spool]', r"power\.i2c\.chip: .*'max17040'"),
        ("[spool]", '[power.i2c]\nchip = "ina219"\nshunt_ohms = 0\n[spool]', r"power\.i2c\.shunt_ohms: not a resist"),
        ("[spool]", "[power]\nlow_percent = 5\n[spool]", r"power: low_percent is below stop_percent"),
        ("[spool]", f"{STEP}\npercent = 101\n[spool]", r"power\.ladder\.steps\[0\]\.percent: .*100"),
        ("[spool]", f"{STEP}\n{STEP}\n[spool]", r"power\.ladder: there are two: step no-backfill"),
        ("[spool]", STEP.replace("no-backfill", "stop") + "\n[spool]", r"power\.ladder\.steps\[0\]\.step: "),
        ("[spool]", f"{OUTLET}\n[spool]", r"power\.ladder\.outlets\[0\]: the outlet of camera 'north' needs a pin or"),
        ("[spool]", f"{OUTLET}\npin = 3\n{OUTLET}\npin = 4\n[spool]", r".*two: outlet of camera north"),
        ("[spool]", OUTLET.replace("north", "south") + "\npin = 3\n[spool]", r".*there is no camera 'south'"),
        (
            'url = "rtsp://camera/1"',
            'url = "rtsp://camera/1"\nsub_url = "http://camera/2"',
            r"cameras\[0\]: the sub_url is not",
        ),
        ("[spool]", '[spool]\nmount = "/mnt/disk"', r"spool: the directory does not lie below mount"),
        ("[spool]", "[colour]\n[spool]", r"colour: no such key \(remove it\)"),
        ('[broker]\nhost = "centre"\n', "", r"broker: missing"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(tmp_path: Path, wrong: str, right: str, says: str) -> None:
    assert wrong in GOOD
    lines = problems(tmp_path, GOOD.replace(wrong, right, 1))
    assert any(re.match(says, line) for line in lines), lines
    assert not any("pass@" in line or "a-secret-token" in line for line in lines)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("centre:8700", "").replace('host = "centre"', "port = 0").replace("directory", "directry")
    assert len(problems(tmp_path, text)) == 5


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + '[[cameras]]\nid = "north"\nurl = "rtsp://camera/2"\n')
    assert "two cameras are called 'north'" in line


def test_no_camera_is_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "cameras = []\n" + GOOD.partition("[[cameras]]")[0])
    assert "[[cameras]]" in line


def test_a_file_that_is_not_there_or_no_text_or_half_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "agent.toml").write_bytes(b'site = "\xff\xfe"')
    with pytest.raises(SettingsError, match="byte 8 is not UTF-8"):
        load(tmp_path / "agent.toml")
    (line,) = problems(tmp_path, GOOD[: len(GOOD) // 2])
    assert re.search(r"not TOML: .*line \d+", line) or "at end of document" in line


def test_a_list_in_the_environment_that_is_no_json_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMPANG_CAMERAS", "north")
    with pytest.raises(SettingsError, match=r"(?s)environment: .*cameras.*JSON"):
        loaded(tmp_path, GOOD)
