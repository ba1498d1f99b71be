"""Add the sample images of a checked data set: datasets.samples"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("samples", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "samples")
