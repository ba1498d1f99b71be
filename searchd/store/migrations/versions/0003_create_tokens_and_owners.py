"""Create tokens and owners"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OWNED = ("datasets", "pools", "searches")


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
    )
    # Not in batches: they copy and drop the table, to which the rows of others refer.
    for table in _OWNED:
        op.add_column(table, sa.Column("owner", sa.String(length=63), nullable=True))


def downgrade() -> None:
    for table in _OWNED:
        op.drop_column(table, "owner")
    op.drop_table("tokens")
