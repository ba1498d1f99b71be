"""Add the training of a teacher: teachers.progress and teachers.started_at"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TRAINED = "(SELECT resource_id FROM work WHERE kind = 'teacher_training')"


def upgrade() -> None:
    op.add_column("teachers", sa.Column("progress", sa.JSON(), nullable=True))
    op.add_column("teachers", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    # Earlier versions cannot read teachers that were trained.
    op.execute(f"DELETE FROM events WHERE resource_id IN {_TRAINED}")
    op.execute(f"DELETE FROM teachers WHERE id IN {_TRAINED}")
    op.execute("DELETE FROM work WHERE kind = 'teacher_training'")
    op.drop_column("teachers", "started_at")
    op.drop_column("teachers", "progress")
