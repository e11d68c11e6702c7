"""Who may come in: sites are made known here, with a token that only the agent keeps."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from central.errors import SettingsError
from central.store import SiteRow
from edge_agent.contract import NO_CAMERA, RESERVED_SITES, CameraId, SiteId

_ITERATIONS: Final = 101
"""Enough for a random token of 256 bits, which no dictionary holds; Mosquitto's own default."""


class _Store(Protocol):
    def add_site(self, row: SiteRow, *, renew: bool) -> bool: ...
    def sites(self) -> list[SiteRow]: ...


def token_sha256(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def broker_hash(password: str, salt: bytes | None = None, iterations: int = _ITERATIONS) -> str:
    """The password as Mosquitto's password file wants it: PBKDF2 with SHA-512."""
    salt = salt or secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def broker_hash_fits(password: str, stored: str) -> bool:
    """Whether the stored hash is of that password."""
    _, kind, iterations, salt, _ = stored.split("$")
    return kind == "7" and hmac.compare_digest(broker_hash(password, base64.b64decode(salt), int(iterations)), stored)


class Roll:
    """The sites that may come in, as of the last look into the store."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self.sites: dict[str, SiteRow] = {}
        self._by_token: dict[str, SiteRow] = {}

    def refresh(self) -> bool:
        """Look again; whether anything changed. StoreDown."""
        sites = {row.site: row for row in self._store.sites()}
        if sites == self.sites:
            return False
        self._by_token = {row.token_sha256: row for row in sites.values()}
        self.sites = sites
        return True

    def site_of_token(self, token: str) -> str | None:
        """Whose token it is."""
        digest = token_sha256(token)
        row = self._by_token.get(digest)
        return row.site if row and hmac.compare_digest(row.token_sha256, digest) else None


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as given at enrolment."""

    id: str
    url: str


def parse_camera(text: str) -> Camera:
    """The camera in `ID=URL`; SettingsError."""
    camera, equals, url = text.partition("=")
    if not equals or not url:
        raise SettingsError(f"--camera {text!r} is not of the form ID=URL", "write north=rtsp://192.0.2.10/stream1")
    try:
        TypeAdapter(CameraId).validate_python(camera)
    except ValidationError as error:
        raise SettingsError(f"--camera: {camera!r} is not an id", _ID_RULE) from error
    if camera == NO_CAMERA:
        raise SettingsError(f"--camera: no camera may be called {NO_CAMERA!r}", "choose another id")
    return Camera(camera, url)


_ID_RULE: Final = "use 1 to 32 of a-z, 0-9 and - (not at the ends)"


def enrol(store: _Store, site: str, name: str, latitude: float | None, longitude: float | None, *, renew: bool) -> str:
    """The site is known; its new token, of which only hashes are stored. SettingsError, StoreDown."""
    try:
        TypeAdapter(SiteId).validate_python(site)
    except ValidationError as error:
        raise SettingsError(f"{site!r} is not a site id", _ID_RULE) from error
    if site in RESERVED_SITES:
        raise SettingsError(f"{site!r} is reserved", "choose another id")
    token = secrets.token_urlsafe(32)
    row = SiteRow(
        site=site,
        name=name,
        latitude=latitude,
        longitude=longitude,
        token_sha256=token_sha256(token),
        broker_hash=broker_hash(token),
        enrolled_ms=time.time_ns() // 1_000_000,
    )
    if not store.add_site(row, renew=renew):
        raise SettingsError(f"{site!r} is enrolled already", "add --renew to give it a new token; the old one ends")
    return token


def agent_configuration(
    site: str,
    name: str,
    latitude: float | None,
    longitude: float | None,
    token: str,
    centre_url: str,
    broker: tuple[str, int, str],
    cameras: Sequence[Camera],
) -> str:
    """The agent's settings file; `broker` is host, port and prefix."""
    host, port, prefix = broker
    lines = [
        f"# Simpang agent of {re.sub(r'[^ -~]', '?', name)}. Keep it readable by the agent only: it holds the token.",
        f"site = {_toml(site)}",
        f"name = {_toml(name)}",
        *([f"latitude = {latitude}", f"longitude = {longitude}"] if None not in (latitude, longitude) else []),
        "",
        "[centre]",
        f"url = {_toml(centre_url)}",
        f"token = {_toml(token)}",
        "",
        "[broker]",
        f"host = {_toml(host)}",
        f"port = {port}",
        f"prefix = {_toml(prefix)}",
        "",
        "[spool]",
        'directory = "/var/lib/simpang"',
    ]
    if not cameras:
        lines += ["", "# Put the address of your camera here.", *_camera_lines(_EXAMPLE)]
    for camera in cameras:
        lines += ["", *_camera_lines(camera)]
    return "\n".join(lines) + "\n"


_EXAMPLE: Final = Camera("camera-1", "rtsp://192.0.2.10:554/stream1")


def _camera_lines(camera: Camera) -> list[str]:
    """The camera's section; credentials in an address get keys of their own, as the agent wants them."""
    parts = urlsplit(camera.url)
    url, source = camera.url, "file"
    if camera.url == "scene":
        source, url = "scene", ""
    elif parts.scheme in ("rtsp", "rtsps"):
        source, url = "rtsp", parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    lines = ["[[cameras]]", f"id = {_toml(camera.id)}", f"source = {_toml(source)}"]
    if url:
        lines.append(f"url = {_toml(url)}")
    if source == "rtsp" and parts.username:
        lines.append(f"username = {_toml(unquote(parts.username))}")
        lines.append(f"password = {_toml(unquote(parts.password or ''))}")
    return lines


def _toml(text: str) -> str:
    """A basic string of TOML, which JSON's strings are when DEL is escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
