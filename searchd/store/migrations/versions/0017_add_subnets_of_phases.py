"""Add the subnets that were measured at the end of a pool's phase: epoch_metrics.subnets"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("epoch_metrics", sa.Column("subnets", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("epoch_metrics", "subnets")  # in place: a copy would break foreign keys
