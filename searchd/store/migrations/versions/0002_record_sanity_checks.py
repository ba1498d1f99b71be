"""Record sanity checks"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("checks", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("trials", "checks")  # in place: a copy of the table would break foreign keys
