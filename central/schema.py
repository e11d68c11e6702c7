"""The tables. Times are Unix milliseconds, so that no label of a wrong clock is out of a type's range."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

metadata = MetaData()

_ROW = BigInteger().with_variant(Integer, "sqlite")

sites = Table(
    "sites",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("broker_hash", Text, nullable=False),
    Column("enrolled_ms", BigInteger, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("site", String(32), nullable=False),
    Column("run", String(10), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("camera", String(32), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("clock", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
    # Where the bytes are: never a file name, so that hours can be packed into one object later.
    Column("object", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    # When the bytes were found missing or damaged; null while they are there. Their site is asked for them again.
    Column("lost_ms", BigInteger),
    # Facts of a segment; null for other kinds.
    Column("session", Integer),
    Column("media_start_ms", BigInteger),
    Column("init_bytes", Integer),
    Column("media_bytes", BigInteger),
    Column("gap_before_ms", BigInteger),
    Column("gap_cause", String(16)),
    Column("gap_detail", Text),
    Column("holes", Text),
    Index("items_identity", "site", "run", "sequence", unique=True),
    Index("items_timeline", "site", "camera", "kind", "start_ms"),
)

events = Table(
    "events",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("site", String(32), nullable=False),
    Column("event", String(200), nullable=False),
    Column("type", String(40), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("run", String(10), nullable=False),
    Column("camera", String(32)),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("events_identity", "site", "event", unique=True),
    Index("events_timeline", "site", "type", "time_ms"),
)

states = Table(
    "states",
    metadata,
    Column("site", String(32), nullable=False),
    Column("topic", String(16), nullable=False),
    Column("camera", String(32), nullable=False),  # empty where the topic has none
    Column("received_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("site", "topic", "camera"),
)

wishes = Table(
    "wishes",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("site", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("camera", String(32), nullable=False),  # empty where the wish is about the whole site
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Index("wishes_identity", "site", "kind", "camera", "from_ms", "to_ms", unique=True),
)
