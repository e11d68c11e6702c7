"""What people and the centre itself would like of the sites."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "wishes",
        sa.Column("id", _ROW, primary_key=True, autoincrement=True),
        sa.Column("site", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("camera", sa.String(32), nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("to_ms", sa.BigInteger, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger),
    )
    op.create_index("wishes_identity", "wishes", ["site", "kind", "camera", "from_ms", "to_ms"], unique=True)
