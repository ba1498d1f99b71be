"""Add the APs of a search's teachers: searches.teacher_aps"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("teacher_aps", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("searches", "teacher_aps")
