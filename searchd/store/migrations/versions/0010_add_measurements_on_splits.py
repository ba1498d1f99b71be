"""Add measurements on splits after a search: split_evaluations"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_APS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def upgrade() -> None:
    op.create_table(
        "split_evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(length=32), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in _APS),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("resampled", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_split_evaluations_evaluation_id_evaluations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_split_evaluations")),
        sa.UniqueConstraint(
            "evaluation_id", "split", name=op.f("uq_split_evaluations_evaluation_id")
        ),
    )


def downgrade() -> None:
    op.drop_table("split_evaluations")
