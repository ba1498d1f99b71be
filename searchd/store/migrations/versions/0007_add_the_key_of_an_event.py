"""Add the key of an event that is recorded once: events.key"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("key", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "key")
