"""Add mask AP of every evaluation of a detector that finds masks"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TABLES = ("evaluations", "subnet_evaluations", "split_evaluations")
_FIGURES = ("mask_ap", "mask_ap50")


def upgrade() -> None:
    for table in _TABLES:
        for name in _FIGURES:
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for table in _TABLES:
        for name in _FIGURES:
            op.drop_column(table, name)  # in place: a copy would break foreign keys
