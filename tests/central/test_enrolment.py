"""Who may come in: a site's settings are what its agent accepts, and no secret is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from central.enrolment import Roll, agent_configuration, broker_hash, broker_hash_fits, enrol, parse_camera
from central.errors import SettingsError
from central.store import Store
from edge_agent.settings import load


def configuration(name: str = "Simpang Lima", *cameras: str) -> str:
    return agent_configuration(
        "lima",
        name,
        -6.99,
        110.42,
        "a-token-of-some-length",
        "http://centre:8700",
        ("broker", 1883, "simpang/v1"),
        [parse_camera(camera) for camera in cameras],
    )


@pytest.mark.parametrize(
    "name", ["Simpang Lima", 'quotes " and \\ and \n lines', "Jalan Jenderal – 交差点", "\x7f\x01"]
)
def test_the_agent_accepts_what_is_printed(tmp_path: Path, name: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        configuration(name, "north=rtsp://a%40b:p%2Fw@10.0.0.2:554/s1?x=1", "south=/tmp/a b.mp4", "demo=scene")
    )
    settings = load(file)
    assert settings.name == name
    assert (settings.latitude, settings.longitude) == (-6.99, 110.42)
    assert settings.centre.token.get_secret_value() == "a-token-of-some-length"
    north, south, demo = settings.cameras
    assert (north.url, north.username, north.password.get_secret_value()) == (
        "rtsp://10.0.0.2:554/s1?x=1",
        "a@b",
        "p/w",
    )
    assert (south.source, south.url) == ("file", "/tmp/a b.mp4")
    assert (demo.source, demo.url) == ("scene", "")


def test_without_a_camera_an_example_is_printed_that_the_agent_accepts(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(configuration())
    assert load(file).cameras[0].source == "rtsp"


def test_the_printed_file_has_no_other_section(tmp_path: Path) -> None:
    assert set(tomllib.loads(configuration())) == {
        *("site", "name", "latitude", "longitude", "centre", "broker", "spool", "cameras")
    }


def test_only_hashes_are_kept(sqlite_store: Store, tmp_path: Path) -> None:
    token = enrol(sqlite_store, "lima", "", None, None, renew=False)
    (row,) = sqlite_store.sites()
    assert broker_hash_fits(token, row.broker_hash)
    assert not broker_hash_fits(token + "x", row.broker_hash)
    assert not any(token.encode() in file.read_bytes() for file in tmp_path.glob("central.sqlite*"))


def test_the_hash_is_the_one_of_mosquitto() -> None:
    """Made with: mosquitto_passwd -c -b FILE user secret."""
    salt, stored = b"twelve bytes", broker_hash("secret", b"twelve bytes")
    assert stored.startswith("$7$101$dHdlbHZlIGJ5dGVz$")
    assert len(stored) == len("$7$101$dHdlbHZlIGJ5dGVz$") + 88
    assert broker_hash("secret", salt) == stored


def test_a_known_site_is_renewed_only_on_request(sqlite_store: Store) -> None:
    roll = Roll(sqlite_store)
    first = enrol(sqlite_store, "lima", "", None, None, renew=False)
    assert roll.refresh()
    assert not roll.refresh()
    with pytest.raises(SettingsError, match="--renew"):
        enrol(sqlite_store, "lima", "", None, None, renew=False)
    second = enrol(sqlite_store, "lima", "", None, None, renew=True)
    assert roll.site_of_token(first) == "lima"
    assert roll.refresh()
    assert (roll.site_of_token(first), roll.site_of_token(second)) == (None, "lima")


@pytest.mark.parametrize("site", ["", "Lima", "a b", "-lima", "lima-", "x" * 33, "city", "a/b", "lima\n", "#"])
def test_what_is_no_site_id_is_refused(sqlite_store: Store, site: str) -> None:
    with pytest.raises(SettingsError):
        enrol(sqlite_store, site, "", None, None, renew=False)
    assert sqlite_store.sites() == []


@pytest.mark.parametrize("camera", ["north", "=rtsp://x", "north=", "North=rtsp://x/1", "site=rtsp://x/1"])
def test_what_is_no_camera_is_refused(camera: str) -> None:
    with pytest.raises(SettingsError, match="--camera"):
        parse_camera(camera)
