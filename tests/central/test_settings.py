"""Settings: the example is right, and what is wrong is said in one line without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from central.errors import SettingsError
from central.settings import Settings, load, split_address

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "central.toml"


def test_the_example_says_what_the_defaults_are() -> None:
    uncommented = [line.removeprefix("#:") for line in EXAMPLE.read_text().splitlines()]
    assert load(EXAMPLE) == load()
    assert {line.partition(" = ")[0] for line in uncommented if " = " in line and not line.startswith("# ")} == _keys()


def _keys() -> set[str]:
    keys: set[str] = set()
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        keys |= set(inner) if inner else {name}
    return keys


def test_every_key_of_the_example_can_be_uncommented(tmp_path: Path) -> None:
    file = tmp_path / "central.toml"
    file.write_text("\n".join(line.removeprefix("#:") for line in EXAMPLE.read_text().splitlines()))
    settings = load(file)
    assert settings.database_url is not None
    assert settings.s3.endpoint is not None


def test_the_environment_overrules_the_file_and_the_option_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "central.toml"
    file.write_text('agent_listen = "127.0.0.1:1"\ndirectory = "a"\n[broker]\nmode = "amqtt"\n')
    monkeypatch.setenv("SIMPANG_CENTRAL_AGENT_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("SIMPANG_CENTRAL_BROKER__LISTEN", "127.0.0.1:3")
    settings = load(file, tmp_path)
    assert (settings.agent_listen, settings.directory) == ("127.0.0.1:2", tmp_path)
    assert (settings.broker.mode, settings.broker.listen) == ("amqtt", "127.0.0.1:3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agent_listn = 1", "agent_listn"),
        ('agent_listen = "8700"', "host:port"),
        ('[broker]\nmode = "emqx"', "broker.mode"),
        ('[broker]\nprefix = "a/#"', "broker.prefix"),
        ('timezone = "Asia/Semarang"', "Asia/Jakarta"),
        ("reserve_bytes = -1", "reserve_bytes"),
        ('database_url = ["geheim"]', "database_url"),
        ("a = [", "not TOML"),
    ],
)
def test_a_bad_setting_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "central.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says) as error:
        load(file)
    assert "\n" not in str(error.value)
    assert "geheim" not in str(error.value)


def test_a_missing_file_and_a_bad_environment_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path)
    monkeypatch.setenv("SIMPANG_CENTRAL_S3", "{geheim")
    with pytest.raises(SettingsError) as error:
        load()
    assert "geheim" not in str(error.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "central.toml"
    file.write_text('database_url = "postgresql://x:geheim@h/n"\n[s3]\nsecret_key = "geheim"')
    assert "geheim" not in repr(load(file))


def test_addresses_may_be_ipv6() -> None:
    assert split_address("[::1]:8700") == ("::1", 8700)
