"""The runs whose clock was never right, and between which moments they lie."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_PLACED = sa.text("label_ms IS NOT NULL AND monotonic_ms IS NOT NULL AND clock = 'unsynced'")


def upgrade() -> None:
    """Make the table, with what is stored already of runs that nothing has dated; the next news places them."""
    op.create_table(
        "adrift",
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("run", sa.String(10), nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("said_ms", sa.BigInteger, nullable=False),
        sa.Column("arrived_ms", sa.BigInteger, nullable=False),
        sa.Column("placed_ms", sa.BigInteger),
        sa.Column("error_ms", sa.BigInteger),
        sa.Column("after_ms", sa.BigInteger),
        sa.Column("before_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("site", "run"),
    )
    op.execute(
        "INSERT INTO adrift (site, run, first_ms, last_ms, said_ms, arrived_ms)"
        " SELECT site, run, MIN(monotonic_ms), MAX(monotonic_ms + duration_ms), MAX(start_ms - monotonic_ms),"
        " MIN(stored_ms - monotonic_ms - duration_ms) FROM items"
        " WHERE label_ms IS NULL AND monotonic_ms IS NOT NULL AND clock = 'unsynced' GROUP BY site, run"
    )
    for table in ("items", "events", "samples"):
        op.create_index(f"{table}_placed", table, ["site", "run"], sqlite_where=_PLACED, postgresql_where=_PLACED)
