"""The history of what sites told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_UNDATED = sa.text("label_ms IS NULL AND monotonic_ms IS NOT NULL AND clock <> 'synced'")


def upgrade() -> None:
    """Make the table; what came before is in the items of the archive only."""
    op.create_table(
        "samples",
        sa.Column("id", _ROW, primary_key=True, autoincrement=True),
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("topic", sa.String(16), nullable=False),
        sa.Column("camera", sa.String(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("run", sa.String(10)),
        sa.Column("clock", sa.String(16)),
        sa.Column("monotonic_ms", sa.BigInteger),
        sa.Column("label_ms", sa.BigInteger),
    )
    op.create_index("samples_identity", "samples", ["site", "topic", "camera", "at_ms"], unique=True)
    op.create_index("samples_undated", "samples", ["site", "run"], sqlite_where=_UNDATED, postgresql_where=_UNDATED)
