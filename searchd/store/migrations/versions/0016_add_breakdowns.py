"""Add AP by class and by kind of error of evaluations: breakdowns"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breakdowns",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("class_aps", sa.JSON(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("num_error_images", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_breakdowns_evaluation_id_evaluations"),
        ),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_breakdowns")),
    )


def downgrade() -> None:
    op.drop_table("breakdowns")
