"""How the centre speaks with its database, SQLite or PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CONNECTIONS: Final = 16
"""Kept open, enough for all who file items and some who look; those beyond are made and closed each time."""


def values_of(row: DataclassInstance) -> dict[str, Any]:
    """The fields of a row by name; nothing is copied, which is most of the price of `dataclasses.asdict`."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def open_engine(address: sa.URL) -> sa.Engine:
    """Connections with the database, on which it waits and keeps what it was told as the store needs it."""
    if address.get_backend_name() == "postgresql":
        return sa.create_engine(
            address, pool_size=_CONNECTIONS, pool_pre_ping=True, connect_args={"connect_timeout": 5}
        )
    engine = sa.create_engine(address, pool_size=_CONNECTIONS, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def _settle(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that DDL is in the transaction too
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer waits for its turn at the start; upgrading a reader would fail at once when another wrote first.
        write = connection.get_execution_options().get("simpang_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
