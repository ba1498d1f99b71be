"""Add teachers and distillations"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW_KINDS = "('teacher', 'distillation')"
_DISTILLATIONS = "(SELECT id FROM searches WHERE kind = 'distillation')"


def upgrade() -> None:
    op.create_table(
        "adaptation_costs",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("of", sa.JSON(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_adaptation_costs")),
    )
    op.create_table(
        "teachers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("pool_id", sa.String(length=64), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("owner", sa.String(length=63), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_teachers_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_teachers_pool_id_pools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teachers")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_teachers_idempotency_key")),
        sa.UniqueConstraint("name", name=op.f("uq_teachers_name")),
    )
    op.create_index(op.f("ix_teachers_created_at"), "teachers", ["created_at"])
    op.create_index(op.f("ix_teachers_status"), "teachers", ["status"])

    op.add_column("artifacts", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))

    kind = sa.Column("kind", sa.String(length=32), nullable=False, server_default="search")
    op.add_column("searches", kind)
    op.add_column("searches", sa.Column("origin_id", sa.String(length=64), nullable=True))
    op.add_column("searches", sa.Column("plan", sa.JSON(), nullable=True))
    op.add_column("searches", sa.Column("budget", sa.JSON(), nullable=True))
    op.create_index(op.f("ix_searches_origin_id"), "searches", ["origin_id"])
    _let_pool_be_null(True)

    op.add_column(
        "trials", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    adjustments = sa.Column("adjustments", sa.JSON(), nullable=False, server_default="{}")
    op.add_column("trials", adjustments)
    op.add_column("trials", sa.Column("busy_s", sa.Double(), nullable=False, server_default="0"))
    op.add_column("trials", sa.Column("chosen_teacher", sa.JSON(), nullable=True))


def downgrade() -> None:
    _delete_new_kinds()
    for column in ("chosen_teacher", "busy_s", "adjustments", "pinned"):
        op.drop_column("trials", column)
    _let_pool_be_null(False)
    op.drop_index(op.f("ix_searches_origin_id"), "searches")
    for column in ("budget", "plan", "origin_id", "kind"):
        op.drop_column("searches", column)
    op.drop_column("artifacts", "deleted_at")
    op.drop_table("teachers")
    op.drop_table("adaptation_costs")


def _let_pool_be_null(nullable: bool) -> None:
    with op.batch_alter_table("searches") as table:
        table.alter_column("pool_id", existing_type=sa.String(length=64), nullable=nullable)


def _delete_new_kinds() -> None:
    """Teachers and distillations, which earlier versions cannot read."""
    trials = f"(SELECT id FROM trials WHERE search_id IN {_DISTILLATIONS})"
    for table in ("evaluations", "epoch_metrics", "artifacts"):
        op.execute(f"DELETE FROM {table} WHERE trial_id IN {trials}")
    resources = f"(SELECT resource_id FROM work WHERE kind IN {_NEW_KINDS})"
    op.execute(f"DELETE FROM events WHERE resource_id IN {resources}")
    op.execute(f"DELETE FROM trials WHERE search_id IN {_DISTILLATIONS}")
    op.execute("DELETE FROM searches WHERE kind = 'distillation'")
    op.execute(f"DELETE FROM work WHERE kind IN {_NEW_KINDS}")
