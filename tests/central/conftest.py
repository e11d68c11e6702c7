"""Stores and archives of each kind, and a centre that runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from central.store import Store, _engine
from tests.central.world import World
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
    opened = Store(_engine(sa.make_url(f"sqlite:///{shutil.copy(made_tables, tmp_path)}")))
    yield opened
    opened.close()


@pytest.fixture
def world(sqlite_store: Store, tmp_path: Path) -> World:
    return World(sqlite_store, tmp_path)
