"""The first tables: sites, items, events, states."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sites",
        sa.Column("site", sa.String(32), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("broker_hash", sa.Text, nullable=False),
        sa.Column("enrolled_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("id", _ROW, primary_key=True, autoincrement=True),
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("run", sa.String(10), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("camera", sa.String(32), nullable=False),
        sa.Column("start_ms", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("clock", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_ms", sa.BigInteger, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("session", sa.Integer),
        sa.Column("media_start_ms", sa.BigInteger),
        sa.Column("init_bytes", sa.Integer),
        sa.Column("media_bytes", sa.BigInteger),
        sa.Column("gap_before_ms", sa.BigInteger),
        sa.Column("gap_cause", sa.String(16)),
        sa.Column("gap_detail", sa.Text),
        sa.Column("holes", sa.Text),
    )
    op.create_index("items_identity", "items", ["site", "run", "sequence"], unique=True)
    op.create_index("items_timeline", "items", ["site", "camera", "kind", "start_ms"])
    op.create_table(
        "events",
        sa.Column("id", _ROW, primary_key=True, autoincrement=True),
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("event", sa.String(200), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("run", sa.String(10), nullable=False),
        sa.Column("camera", sa.String(32)),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("events_identity", "events", ["site", "event"], unique=True)
    op.create_index("events_timeline", "events", ["site", "type", "time_ms"])
    op.create_table(
        "states",
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("topic", sa.String(16), nullable=False),
        sa.Column("camera", sa.String(32), nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("site", "topic", "camera"),
    )
