"""The tables. Times are Unix milliseconds, so that no label of a wrong clock is out of a type's range."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

UNDATED = text("label_ms IS NULL AND monotonic_ms IS NOT NULL AND clock <> 'synced'")
"""What a clock has labelled that nobody vouched for, and no other clock of its boot has had its say on yet."""

PLACED = text("label_ms IS NOT NULL AND monotonic_ms IS NOT NULL AND clock = 'unsynced'")
"""What another clock has had its say on, which stays a guess as long as its run is adrift."""

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
    Column("monotonic_ms", BigInteger),
    # What the name of the item says, where another clock of its boot has had its say on start_ms.
    Column("label_ms", BigInteger),
    Index("items_identity", "site", "run", "sequence", unique=True),
    Index("items_timeline", "site", "camera", "kind", "start_ms"),
    Index("items_undated", "site", "run", sqlite_where=UNDATED, postgresql_where=UNDATED),
    Index("items_placed", "site", "run", sqlite_where=PLACED, postgresql_where=PLACED),
)

# The clock of each life of an agent: its boot, and how far the monotonic clock is from the time of day, once proven.
runs = Table(
    "runs",
    metadata,
    Column("site", String(32), nullable=False),
    Column("run", String(10), nullable=False),
    Column("boot", String(8)),
    Column("offset_ms", BigInteger),
    PrimaryKeyConstraint("site", "run"),
    Index("runs_boot", "site", "boot"),
)

# The runs that recorded with a clock that nobody vouched for, until one of their boot is proven.
adrift = Table(
    "adrift",
    metadata,
    Column("site", String(32), nullable=False),
    Column("run", String(10), nullable=False),
    # Its first and last moment by the monotonic clock.
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    # How far the time of day is from that clock: by its labels, by its arrival at most, and as it is shown.
    Column("said_ms", BigInteger, nullable=False),
    Column("arrived_ms", BigInteger, nullable=False),
    Column("placed_ms", BigInteger),
    Column("error_ms", BigInteger),
    # Between which moments all of it lies; null where it is not placed, and where nothing is known before it.
    Column("after_ms", BigInteger),
    Column("before_ms", BigInteger),
    PrimaryKeyConstraint("site", "run"),
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
    Column("boot", String(8)),
    Column("clock", String(16)),
    Column("monotonic_ms", BigInteger),
    Column("label_ms", BigInteger),
    # Where the footage ended that it tells of, as far as that is known; null for other kinds.
    Column("until_ms", BigInteger),
    Index("events_identity", "site", "event", unique=True),
    Index("events_until", "site", "until_ms"),
    Index("events_timeline", "site", "type", "time_ms"),
    Index("events_undated", "site", "run", sqlite_where=UNDATED, postgresql_where=UNDATED),
    Index("events_placed", "site", "run", sqlite_where=PLACED, postgresql_where=PLACED),
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

samples = Table(
    "samples",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("site", String(32), nullable=False),
    Column("topic", String(16), nullable=False),
    Column("camera", String(32), nullable=False),  # empty where the topic has none
    Column("at_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    # By which clock it is dated; null where somebody vouched for that clock, and in live copies.
    Column("run", String(10)),
    Column("clock", String(16)),
    Column("monotonic_ms", BigInteger),
    Column("label_ms", BigInteger),
    Index("samples_identity", "site", "topic", "camera", "at_ms", unique=True),
    Index("samples_undated", "site", "run", sqlite_where=UNDATED, postgresql_where=UNDATED),
    Index("samples_placed", "site", "run", sqlite_where=PLACED, postgresql_where=PLACED),
)
