"""Add average recall, and AP at other thresholds, of every evaluation"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TABLES = ("evaluations", "subnet_evaluations", "split_evaluations")
_FIGURES = ("ap70", "ap90", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


def upgrade() -> None:
    for table in _TABLES:
        for name in _FIGURES:
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for table in _TABLES:
        for name in _FIGURES:
            op.drop_column(table, name)  # in place: a copy would break foreign keys
