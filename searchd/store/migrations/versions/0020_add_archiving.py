"""Add archiving: archived_at of everything that has a list of its own"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TABLES = ("datasets", "devices", "pools", "searches", "teachers")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "archived_at")  # in place: a copy would break foreign keys
