"""The centre's settings: one TOML file, the environment above it, defaults that need neither."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from central.errors import SettingsError
from edge_agent.contract import DEFAULT_PREFIX

ENV_PREFIX: Final = "SIMPANG_CENTRAL_"


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65536):
        raise ValueError("write it as host:port, for example 127.0.0.1:8701")
    return text


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of a `host:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("not a time zone of this system; write it like Asia/Jakarta") from error
    return name


ListenAddress = Annotated[str, AfterValidator(_address)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class S3Settings(_Section):
    """Where the S3-compatible store of `archive_url = "s3://…"` is."""

    endpoint: str | None = Field(None, description="Address of the store; none means Amazon's")
    region: str = Field("us-east-1", description="Region of the bucket")
    access_key: SecretStr | None = Field(
        None, description="Without keys the ones of the environment or the machine's role are used."
    )
    secret_key: SecretStr | None = Field(None, description="Goes with the access key")


class BrokerSettings(_Section):
    """Which MQTT broker carries the now lane."""

    mode: Literal["auto", "mosquitto", "amqtt", "external"] = Field(
        "auto", description="`auto` starts Debian's mosquitto where it is installed, else amqtt inside this process."
    )
    listen: ListenAddress = Field("0.0.0.0:1883", description="Where our own broker listens; port 0 picks a free one")
    host: str = Field("127.0.0.1", description="Where the external broker is")
    port: int = Field(1883, ge=1, le=65535, description="Its port")
    username: str | None = Field(
        None,
        description="The centre's user at the external broker; it must be allowed to read everything below the prefix, "
        "and to write each site's `wish`",
    )
    password: SecretStr | None = Field(None, description="Its password")
    prefix: str = Field(DEFAULT_PREFIX, pattern=r"^[^/#+\s]+(/[^/#+\s]+)*$", description="What topics begin with")


class PaceSettings(_Section):
    """How sites that come back at once share the trunk to the centre. Live footage is never held back."""

    trunk_bytes_per_s: int = Field(
        0, ge=0, description="Bytes of footage per second that all sites together may bring to the centre; 0: no limit"
    )
    reserve: float = Field(0.03, ge=0, le=0.9, description="Part of it that is left free for live footage to grow into")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how the centre comes in."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    speaks_mqtt5: bool = True
    """Whether to try MQTT 5 before 3.1.1."""


def default_directory() -> Path:
    """`simpang-central` in the user's state folder, or `var` here where there is none."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "simpang-central" if state else Path("var")


class Settings(BaseSettings):
    """Everything that an operator may choose."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    directory: Path = Field(
        default_factory=default_directory,
        description="Home of everything that is not put elsewhere: database, archive, broker files",
    )
    agent_listen: ListenAddress = Field(
        "0.0.0.0:8700", description="The agent door. Port 0 picks a free one, here and below."
    )
    console_listen: ListenAddress = Field(
        "127.0.0.1:8701", description="The page and the JSON API. There are no accounts yet, hence loopback."
    )
    database_url: SecretStr | None = Field(
        None, description="`postgresql://user:password@host/name`; SQLite in the directory when not given."
    )
    archive_url: str | None = Field(
        None, description="`s3://bucket/prefix` or a folder; `archive` in the directory when not given."
    )
    reserve_bytes: int = Field(
        1024**3, ge=0, description="A local archive takes no more items when less than this is free on its disk."
    )
    in_flight_bytes: int = Field(
        512 * 1024**2,
        ge=1,
        description="Bytes of unfinished uploads held in memory; beyond it agents are asked to come back later",
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="Whose days the completeness report counts."
    )
    history_days: int = Field(
        90, ge=1, description="So long what sites told of themselves can be looked up; its items stay in the archive."
    )
    public_agent_url: str | None = Field(
        None, description="How agents reach the agent door, for enrolment; guessed from `agent_listen` when not given."
    )
    public_broker_host: str | None = Field(
        None, description="How agents reach the broker, for enrolment; guessed likewise."
    )
    s3: S3Settings = S3Settings()
    broker: BrokerSettings = BrokerSettings()
    pace: PaceSettings = PaceSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says."""
        return env_settings, init_settings


def load(config: Path | None = None, directory: Path | None = None) -> Settings:
    """The settings of the TOML file `config`, the environment above it and `directory` above both; SettingsError."""
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the settings file {config}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{config} is not TOML: {error}") from error
    try:
        settings = Settings(**values)
    except ValidationError as error:
        origin = f"{config} or {ENV_PREFIX}*" if config else f"{ENV_PREFIX}*"
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"bad settings in {origin}: {wrong}") from error
    except SourceError as error:
        raise SettingsError(f"bad settings in {ENV_PREFIX}*: {error}") from error
    return settings.model_copy(update={"directory": directory}) if directory else settings
