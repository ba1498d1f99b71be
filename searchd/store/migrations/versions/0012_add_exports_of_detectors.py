"""Add exports of detectors: exports"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_EXPORTS = "(SELECT id FROM exports)"


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("owner", sa.String(length=63), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.id"], name=op.f("fk_exports_trial_id_trials")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_exports_dataset_id_datasets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sa.UniqueConstraint("name", name=op.f("uq_exports_name")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_exports_idempotency_key")),
    )
    for column in ("created_at", "status", "trial_id"):
        op.create_index(op.f(f"ix_exports_{column}"), "exports", [column])


def downgrade() -> None:
    # Earlier versions do not know this kind of work.
    op.execute(f"DELETE FROM events WHERE resource_id IN {_EXPORTS}")
    op.execute("DELETE FROM work WHERE kind = 'export'")
    op.drop_table("exports")
