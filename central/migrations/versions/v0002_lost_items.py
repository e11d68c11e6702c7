"""Items whose bytes the centre lost."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("items", sa.Column("lost_ms", sa.BigInteger))
