"""What dates footage afterwards: the monotonic clock of items and events, and what is known of each run's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_UNDATED = sa.text("label_ms IS NULL AND monotonic_ms IS NOT NULL AND clock <> 'synced'")


def upgrade() -> None:
    """Add the columns and the table of runs; what is stored already keeps its labels."""
    op.add_column("items", sa.Column("monotonic_ms", sa.BigInteger))
    op.add_column("items", sa.Column("label_ms", sa.BigInteger))
    op.create_index("items_undated", "items", ["site", "run"], sqlite_where=_UNDATED, postgresql_where=_UNDATED)
    op.create_table(
        "runs",
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("run", sa.String(10), nullable=False),
        sa.Column("boot", sa.String(8)),
        sa.Column("offset_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("site", "run"),
    )
    op.create_index("runs_boot", "runs", ["site", "boot"])
    op.add_column("events", sa.Column("boot", sa.String(8)))
    op.add_column("events", sa.Column("clock", sa.String(16)))
    op.add_column("events", sa.Column("monotonic_ms", sa.BigInteger))
    op.add_column("events", sa.Column("label_ms", sa.BigInteger))
    op.add_column("events", sa.Column("until_ms", sa.BigInteger))
    op.create_index("events_until", "events", ["site", "until_ms"])
    op.create_index("events_undated", "events", ["site", "run"], sqlite_where=_UNDATED, postgresql_where=_UNDATED)
