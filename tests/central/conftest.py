"""Stores and archives of each kind, and a centre that runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from central.archive import Archive
from central.engine import open_engine
from central.settings import S3Settings
from central.store import Store
from tests.central.world import World
from tests.rig.parts import LEDGER
from tests.rig.postgres import Postgres

_numbers = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database(f"store{next(_numbers)}")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def made_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables in it: making them takes most of a second."""
    path = tmp_path_factory.mktemp("tables") / "central.sqlite"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_store(made_tables: Path, tmp_path: Path) -> Iterator[Store]:
    opened = Store(open_engine(sa.make_url(f"sqlite:///{shutil.copy(made_tables, tmp_path)}")))
    yield opened
    opened.close()


@pytest.fixture
def world(sqlite_store: Store, tmp_path: Path) -> World:
    return World(sqlite_store, tmp_path)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Settings]:
    """A server that speaks S3, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    httpx2.put(f"{endpoint}/footage").raise_for_status()
    LEDGER.note("object store", "moto's S3 server")
    yield S3Settings(endpoint=endpoint, access_key=SecretStr("k"), secret_key=SecretStr("s"))
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        return Archive.open(str(tmp_path / "archive"), S3Settings(), 0)
    return Archive.open(f"s3://footage/{tmp_path.name}", request.getfixturevalue("s3"), 0)
