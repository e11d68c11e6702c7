"""The agent's configuration: a TOML file, overruled by the environment.

`SIMPANG_CENTRE__TOKEN` overrules `token` in `[centre]`, and so on. Keys that nobody knows are refused, so that a typo
is found at the desk and not on the pole. The descriptions below are the documentation: `docs/settings.md` is made
from them.
"""

from __future__ import annotations

import difflib
import ssl
import tomllib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.contract import DEFAULT_PREFIX, NO_CAMERA, RESERVED_SITES, CameraId, SiteId, Step
from edge_agent.core.battery_test import Timetable
from edge_agent.core.energy import Load, Plan, Rung, loads_w
from edge_agent.core.pace import parse_window
from edge_agent.core.turns import Turns
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Port = Annotated[int, Field(ge=1, le=65535)]
Percent = Annotated[float, Field(ge=0, le=100)]
GIB = 1024**3


def _certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"no certificates to be read there: {error.strerror or error}") from None
    return path


CaFile = Annotated[Path, AfterValidator(_certificates)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CentreSettings(_Section):
    """Where the footage goes."""

    url: str = Field(description="Agent door of the centre, such as `https://centre.example:8700`")
    token: SecretStr = Field(min_length=8, description="What `central enrol` printed; password at the broker, too")
    ca_file: CaFile | None = Field(None, description="Certificates to trust instead of the system's, PEM")
    timeout_s: float = Field(10, ge=1, le=120, description="Longest silence of the centre within a request")

    @field_validator("url")
    @classmethod
    def _an_http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("not a URL like https://host:port, without credentials")
        return url.rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the door."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


class BrokerSettings(_Section):
    """Where the state goes: an MQTT broker. The user is the site, the password is the token of the centre."""

    host: str = Field(min_length=1, description="Host of the MQTT broker")
    port: Port = Field(1883, description="Port of the MQTT broker; 8883 is usual with TLS")
    tls: bool = Field(False, description="Encrypt, and verify the broker")
    ca_file: CaFile | None = Field(None, description="Certificates to trust instead of the system's, PEM")
    prefix: str = Field(DEFAULT_PREFIX, pattern=r"^[^/#+\s]+(/[^/#+\s]+)*$", description="What topics begin with")
    keepalive_s: int = Field(
        15, ge=5, le=600, description="The broker declares the agent dead after one and a half times this silence"
    )


class SpoolSettings(_Section):
    """Where footage waits until the centre has it."""

    directory: Path = Field(description="Directory for nothing else; made if its parent is there")
    quota_bytes: int = Field(32 * GIB, ge=64 * 1024**2, description="The spool takes no more than this")
    reserve_bytes: int = Field(1 * GIB, ge=0, description="Left free on the disk for the rest of the host")
    when_full: Literal["drop-oldest", "stop-recording"] = Field(
        "drop-oldest", description="What gives way when the room is used up by footage that the centre does not have"
    )
    warn_s: float = Field(
        6 * 3600, ge=0, description="It is said so long before footage that the centre does not have must give way"
    )
    mount: Path | None = Field(
        None, description="Mount point of the disk that holds the directory; nothing is written while none is mounted"
    )
    memory_bytes: int = Field(
        64 * 1024**2,
        ge=0,
        description="As long as the disk cannot be used, so much of the newest waits in memory; 0 for none",
    )

    @model_validator(mode="after")
    def _directory_is_on_the_disk(self) -> Self:
        if self.mount and not self.directory.is_relative_to(self.mount):
            raise ValueError("the directory does not lie below mount")
        return self


class CameraSettings(_Section):
    """One camera."""

    id: CameraId = Field(description="Name in topics and file names: lower-case letters, digits, hyphens")
    source: Literal["rtsp", "file", "scene"] = Field(
        "rtsp", description="An RTSP camera; a file or device that libav opens; or a rendered test scene"
    )
    url: str = Field("", description="`rtsp://host/path`, or the path of the file or device; no credentials in it")
    sub_url: str = Field(
        "", description="The camera's smaller stream, recorded while the site spares its battery; empty: the same"
    )
    username: str = Field("", description="User at the camera")
    password: SecretStr = Field(SecretStr(""), description="Password at the camera")
    segment_s: float = Field(4, ge=1, le=60, description="Target length of a segment; it ends on the next key frame")
    fragment_s: float = Field(0.75, ge=0.1, le=1, description="The most that a power cut may cost")
    snapshot_s: float = Field(60, ge=0, le=86400, description="A key frame becomes a JPEG this often; 0 for never")
    audio: bool = Field(True, description="Record the sound, where the camera has it and MP4 can hold it")
    stall_s: float = Field(8, ge=1, le=15, description="A camera that sends nothing for so long is lost")

    @field_validator("id")
    @classmethod
    def _no_reserved_id(cls, camera: str) -> str:
        if camera == NO_CAMERA:
            raise ValueError(f"{camera!r} is reserved")
        return camera

    @model_validator(mode="after")
    def _url_fits_source(self) -> Self:
        if self.source == "scene":
            return self
        if not self.url:
            raise ValueError(f"source {self.source!r} needs a url")
        for name, url in (("url", self.url), ("sub_url", self.sub_url or self.url)):
            parts = urlsplit(url)
            if parts.username or parts.password:
                raise ValueError(f"the {name} holds credentials; move them to `username` and `password`")
            if self.source == "rtsp" and (parts.scheme not in {"rtsp", "rtsps"} or not parts.hostname):
                raise ValueError(f"the {name} is not one like rtsp://host/path")
        return self


def _window(text: str) -> str:
    parse_window(text)
    return text


class NutSettings(_Section):
    """A UPS that Network UPS Tools look after: `upsd` is asked over TCP."""

    host: str = Field("127.0.0.1", min_length=1, description="Host of `upsd`")
    port: Port = Field(3493, description="Port of `upsd`")
    ups: str = Field("ups", pattern=r"^[\w.-]+$", description="Name of the UPS in `ups.conf` of that host")
    username: str = Field(
        "",
        description="User of `upsd.users` with `upsmon secondary`, and with `instcmds = ALL` where it begins tests; "
        "empty: reading needs no login",
    )
    password: SecretStr = Field(SecretStr(""), description="Password of that user")
    timeout_s: float = Field(2, ge=0.2, le=4, description="Longest silence of `upsd`")
    test_every_days: float = Field(
        0, ge=0, le=3650, description="So often the UPS tests its battery, never within a day of a cut; 0 for never"
    )
    test_command: str = Field(
        "test.battery.start.quick",
        pattern=r"^test\.battery\.start(\.quick|\.deep)?$",
        description="Which test: one that `upscmd -l` lists for the UPS",
    )
    test_window: Annotated[str, AfterValidator(_window)] = Field(
        "", description="Tests begin only in these hours of the host's local time, such as `09:00-15:00`; empty: any"
    )

    @field_validator("username", "password")
    @classmethod
    def _plain_letters(cls, word: str | SecretStr) -> str | SecretStr:
        text = word if isinstance(word, str) else word.get_secret_value()
        if not text.isascii() or not text.isprintable():
            raise ValueError("not printable ASCII, which is all that upsd reads")
        return word

    @model_validator(mode="after")
    def _tests_need_a_user(self) -> Self:
        if self.test_every_days and not self.username:
            raise ValueError("test_every_days needs a username: upsd lets nobody else begin a test")
        return self

    @property
    def timetable(self) -> Timetable:
        """When tests are due."""
        return Timetable(self.test_every_days, parse_window(self.test_window))


class SysfsSettings(_Section):
    """What the kernel's own drivers know of mains and battery, in the class `power_supply`."""

    directory: Path = Field(Path("/sys/class/power_supply"), description="Where the kernel lists its power supplies")
    battery: str = Field("", pattern=r"^[^/]*$", description="Name of the battery; empty: the only one there")


class GpioSettings(_Section):
    """Pins of the board: a mains-lost line, and a battery voltage on an MCP3008."""

    mains_lost_pin: int = Field(ge=0, le=27, description="Line that says mains is lost, BCM number")
    active_high: bool = Field(True, description="The line is high while mains is lost")
    pull: Literal["none", "up", "down"] = Field("none", description="Resistor of the board on that line")
    bounce_s: float = Field(0.1, ge=0, le=2, description="The line is believed once it stood still for so long")
    mcp3008_channel: int | None = Field(None, ge=0, le=7, description="Channel of an MCP3008 at the battery")
    volts_per_unit: float = Field(
        18.0, gt=0, le=1000, description="Volts at the battery when the MCP3008 reads its full scale"
    )


class I2cSettings(_Section):
    """A gauge at the battery, read over I2C. It must not be in use by a driver of the kernel; then take `sysfs`."""

    chip: Literal["max17040", "max17041", "max17048", "max17049", "ina219", "ina226"] = Field(
        description="Which gauge; max17043 is read as max17040, max17044 as max17041, ina220 as ina219"
    )
    bus: int = Field(1, ge=0, le=255, description="Number of the bus: 1 is `/dev/i2c-1`")
    address: int | None = Field(None, ge=0x08, le=0x77, description="Address of the chip; null: as it comes")
    shunt_ohms: float = Field(
        0.1, description="Resistor of an ina219 or ina226; negative if the battery's discharge reads positive"
    )

    @field_validator("shunt_ohms")
    @classmethod
    def _a_resistor(cls, shunt_ohms: float) -> float:
        if not 1e-6 <= abs(shunt_ohms) <= 100:
            raise ValueError("not a resistance between 0.000001 and 100")
        return shunt_ohms


class SimulatedSettings(_Section):
    """A battery that exists in a file, for demonstrations and tests."""

    state_file: Path = Field(description='JSON `{"mains": true}`; missing means mains')
    capacity_s: float = Field(3600, gt=0, description="From full to empty on battery")
    recharge_s: float = Field(3600, gt=0, description="From empty to full on mains")


class RungSettings(_Section):
    """A step of the ladder, mildest first. It is taken at whichever mark comes first, with all that stand before it."""

    step: Literal[
        Step.NO_PUBLIC_STREAM,
        Step.NO_BACKFILL,
        Step.SUB_STREAM,
        Step.NO_PICTURE_CHECKS,
        Step.CAMERAS_IN_TURNS,
        Step.RECORD_ONLY,
    ] = Field(description="What is given up")
    minutes_left: float = Field(
        0, ge=0, description="At or below so many minutes left, by the lower bound of the estimate; 0 for never"
    )
    percent: Percent = Field(0, description="Or at or below this charge")


_STEPS: Final = (
    RungSettings(step=Step.NO_PUBLIC_STREAM, minutes_left=60, percent=80),
    RungSettings(step=Step.NO_BACKFILL, minutes_left=60, percent=70),
    RungSettings(step=Step.SUB_STREAM, minutes_left=45, percent=60),
    RungSettings(step=Step.NO_PICTURE_CHECKS, minutes_left=45, percent=50),
    RungSettings(step=Step.CAMERAS_IN_TURNS, minutes_left=30, percent=40),
    RungSettings(step=Step.RECORD_ONLY, minutes_left=10, percent=15),
)


class OutletSettings(_Section):
    """The power of one camera, where the agent can cut it: by a pin with a relay, or a command that switches a port."""

    camera: CameraId = Field(description="Which camera has its power from there")
    pin: int | None = Field(None, ge=0, le=27, description="Output that cuts it off, BCM number")
    active_high: bool = Field(True, description="The camera is cut off while the pin is high")
    command: tuple[str, ...] = Field((), description="Run with `on` or `off` as its last word, in place of a pin")

    @model_validator(mode="after")
    def _a_way_to_switch(self) -> Self:
        if self.pin is None and not self.command:
            raise ValueError(f"the outlet of camera {self.camera!r} needs a pin or a command")
        return self


class LadderSettings(_Section):
    """What the site gives up as its battery runs down; the ordered stop of `[power]` is the last step.

    The watts are what the battery gives, converters included; they matter where a target is set.
    """

    survive_s: float = Field(
        0, ge=0, description="So long after mains is lost the site shall still run; takes the place of the marks"
    )
    hold_s: float = Field(60, ge=1, description="Mains must hold for so long before a step is undone, and the next")
    full_s: float = Field(
        0,
        ge=0,
        description="So long a full battery lasts at full load, at least: counts until a discharge tells better, and "
        "where nothing tells the charge. 0: not known",
    )
    every_s: float = Field(58, ge=1, description="In turns: so often the next camera gets power")
    boot_s: float = Field(50, ge=0, description="In turns: so long after it got power a camera is recorded, at most")
    look_s: float = Field(5, ge=2, description="In turns: so long it records then, before its power is cut")
    base_w: float = Field(10.6, gt=0, description="Board, disk, switch and uplink")
    camera_w: float = Field(10.8, ge=0, description="One camera")
    backfill_w: float = Field(0.6, ge=0, description="More while the backlog is sent")
    pictures_w: float = Field(0.1, ge=0, description="More for snapshots and picture checks")
    shipping_w: float = Field(0.2, ge=0, description="More while what is fresh is sent")
    steps: tuple[RungSettings, ...] = Field(_STEPS, description="The steps")
    outlets: tuple[OutletSettings, ...] = Field((), description="The power of the cameras")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for what, names in (
            ("step", [rung.step.value for rung in self.steps]),
            ("outlet of camera", [outlet.camera for outlet in self.outlets]),
            ("outlet with pin", [str(outlet.pin) for outlet in self.outlets if outlet.pin is not None]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"there are two: {what} {twice[0]}")
        return self

    @property
    def turns(self) -> Turns:
        """How cameras take turns."""
        return Turns(self.every_s, self.boot_s, self.look_s)


class PowerSettings(_Section):
    """How the agent learns of mains and battery, and what it does when the battery ends.

    The tables below it name the sources, any number of them at once; one that is not there is not used.
    """

    chemistry: Literal["lead-acid", "lifepo4", "li-ion"] = Field(
        "lead-acid", description="Turns a voltage into a charge, where no source has a better word"
    )
    nominal_ah: float | None = Field(
        None, gt=0, le=10_000, description="The battery's charge by its label, ampere-hours"
    )
    cells: int = Field(6, ge=1, le=100, description="Cells in series: 6 in a 12 V lead-acid battery, 4 in LiFePO4")
    low_percent: Percent = Field(20, description="Below this the supply is `low`")
    stop_percent: Percent = Field(10, description="On battery at or below this the agent stops in good order")
    stop_voltage_v: float = Field(0, ge=0, description="Or at or below this voltage; 0 for never")
    stop_command: tuple[str, ...] = Field(
        (), description='Run after a stop for power, such as `["systemctl", "poweroff"]`; empty for none'
    )
    nut: NutSettings | None = Field(None, description="A UPS, by `upsd`")
    sysfs: SysfsSettings | None = Field(None, description="The kernel's own drivers")
    gpio: GpioSettings | None = Field(None, description="Pins of the board")
    i2c: I2cSettings | None = Field(None, description="A gauge on I2C")
    simulated: SimulatedSettings | None = Field(None, description="A battery in a file")
    ladder: LadderSettings = Field(LadderSettings(), description="What the site gives up")

    @model_validator(mode="after")
    def _low_comes_before_the_stop(self) -> Self:
        if self.low_percent < self.stop_percent:
            raise ValueError("low_percent is below stop_percent")
        return self

    def plan(self, cameras: int) -> Plan:
        """The ladder of a site with so many cameras, the ordered stop included."""
        ladder = self.ladder
        rungs = (
            *(Rung(rung.step, rung.minutes_left, rung.percent) for rung in ladder.steps),
            Rung(Step.STOP, percent=self.stop_percent, voltage_v=self.stop_voltage_v),
        )
        load = Load(ladder.base_w, ladder.camera_w, ladder.backfill_w, ladder.pictures_w, ladder.shipping_w)
        loads = loads_w(load, rungs, cameras, len(ladder.outlets), ladder.turns)
        return Plan(rungs, loads, ladder.hold_s, ladder.survive_s, ladder.full_s)


class LinkSettings(_Section):
    """The way to the centre, for the report of which part of it is broken."""

    interface: str = Field("", pattern=r"^[^/\s]*$", max_length=15, description="Empty: the one of the default route")
    probe_s: float = Field(1, ge=0.5, le=600, description="How often the centre's door is tried")


class ShipSettings(_Section):
    """How the backlog goes to the centre. What is fresh always goes first, and at once."""

    backlog_order: Literal["oldest", "newest"] = Field(
        "oldest",
        description="Which end of the backlog goes first; `oldest` is what a full spool would drop first. What the "
        "centre wants first goes ahead of both",
    )
    backlog_bytes_per_s: int = Field(0, ge=0, description="The backlog takes no more of the link; 0 for no limit")
    backlog_window: Annotated[str, AfterValidator(_window)] = Field(
        "",
        description="The backlog goes only in these hours of the host's local time, such as `22:00-06:00`; empty for "
        "always. While the clock was never set, too, it always goes",
    )


class ReportSettings(_Section):
    """How state becomes history."""

    telemetry_s: float = Field(60, ge=5, le=3600, description="The states of so long go to the centre in one batch")


class Settings(BaseSettings):
    """One site."""

    model_config = SettingsConfigDict(
        env_prefix="SIMPANG_", env_nested_delimiter="__", extra="forbid", frozen=True, allow_inf_nan=False
    )

    site: SiteId = Field(description="Name in topics and at the centre: lower-case letters, digits, hyphens")
    name: str = Field("", max_length=200, description="Name for people; the site's id when empty")
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east")
    centre: CentreSettings
    broker: BrokerSettings
    spool: SpoolSettings
    cameras: tuple[CameraSettings, ...]
    power: PowerSettings = PowerSettings()
    link: LinkSettings = LinkSettings()
    ship: ShipSettings = ShipSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _outlets_have_their_cameras(self) -> Self:
        ids = {camera.id for camera in self.cameras}
        if strange := sorted({outlet.camera for outlet in self.power.ladder.outlets} - ids):
            raise ValueError(f"power.ladder.outlets: there is no camera {strange[0]!r}")
        return self

    @field_validator("site")
    @classmethod
    def _no_reserved_site(cls, site: str) -> str:
        if site in RESERVED_SITES:
            raise ValueError(f"{site!r} is reserved")
        return site

    @field_validator("cameras")
    @classmethod
    def _each_camera_once(cls, cameras: tuple[CameraSettings, ...]) -> tuple[CameraSettings, ...]:
        if not cameras:
            raise ValueError("there is none; add a [[cameras]] section")
        ids = [camera.id for camera in cameras]
        if twice := sorted({camera for camera in ids if ids.count(camera) > 1}):
            raise ValueError(f"two cameras are called {twice[0]!r}")
        return cameras

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrules the file."""
        return env_settings, init_settings


def load(path: Path) -> Settings:
    """The settings of the file at `path` and of the environment.

    SettingsError: one line per problem, each with where and what to do, and no value of any key.
    """
    return parse(read(path), path)


def read(path: Path) -> str:
    """The text of the file; SettingsError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}", "give the right path, or the right to read it, to --config"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8", "save the file as UTF-8 text") from error


def parse(text: str, path: Path) -> Settings:
    """The settings of that text, which was read at `path`, and of the environment; SettingsError as `load`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}", "mend that line, or restore the file") from error
    try:
        return Settings(**table)
    except ValidationError as error:
        lines = [f"{path}: {_told(problem)}" for problem in error.errors(include_input=False, include_url=False)]
        raise SettingsError("\n".join(lines)) from None  # the cause would show values, and so secrets
    except ValueError as error:  # an environment variable that should be JSON
        raise SettingsError(f"environment: {error}", "such a key takes JSON") from None


def _told(problem: ErrorDetails) -> str:
    """Where in the file, what is wrong, and what belongs there."""
    at: type[BaseModel] | None = Settings
    where, hint = "", ""
    for part in problem["loc"]:
        if isinstance(part, int):
            where += f"[{part}]"
            continue
        where += f".{part}" if where else part
        field = at.model_fields.get(part) if at else None
        if field is None:
            near = difflib.get_close_matches(part, at.model_fields if at else ())
            hint = f"did you mean `{near[0]}`?" if near else "remove it"
            at = None
        else:
            hint = field.description or ""
            at = _section(field.annotation)
    what = {
        "extra_forbidden": "no such key",
        "missing": "missing",
        "string_pattern_mismatch": "not of the allowed form",
    }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return ": ".join(filter(None, (where, what))) + (f" ({hint})" if hint else "")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings model within an annotation, where there is one."""
    if parts := typing.get_args(annotation):
        return next(filter(None, map(_section, parts)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
