"""Create every table"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_datasets_idempotency_key")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_datasets_status"), ["status"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("resource_id", "number", name=op.f("uq_events_resource_id")),
    )
    op.create_table(
        "work",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("desired", sa.String(length=32), nullable=False),
        sa.Column("lease", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work")),
    )
    with op.batch_alter_table("work") as batch_op:
        batch_op.create_index(batch_op.f("ix_work_resource_id"), ["resource_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_work_status"), ["status"], unique=False)

    op.create_table(
        "pools",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_pools_dataset_id_datasets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_pools_idempotency_key")),
        sa.UniqueConstraint("name", name=op.f("uq_pools_name")),
    )
    with op.batch_alter_table("pools") as batch_op:
        batch_op.create_index(batch_op.f("ix_pools_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_pools_status"), ["status"], unique=False)

    op.create_table(
        "searches",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("pool_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_searches_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_searches_pool_id_pools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_searches_idempotency_key")),
        sa.UniqueConstraint("name", name=op.f("uq_searches_name")),
    )
    with op.batch_alter_table("searches") as batch_op:
        batch_op.create_index(batch_op.f("ix_searches_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_searches_status"), ["status"], unique=False)

    op.create_table(
        "subnet_evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pool_id", sa.String(length=64), nullable=False),
        sa.Column("subnet", sa.JSON(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("ap", sa.Double(), nullable=False),
        sa.Column("ap50", sa.Double(), nullable=False),
        sa.Column("ap75", sa.Double(), nullable=False),
        sa.Column("ap_small", sa.Double(), nullable=False),
        sa.Column("ap_medium", sa.Double(), nullable=False),
        sa.Column("ap_large", sa.Double(), nullable=False),
        sa.Column("macs", sa.Double(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=False),
        sa.Column("images_per_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pools.id"], name=op.f("fk_subnet_evaluations_pool_id_pools")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subnet_evaluations")),
    )
    with op.batch_alter_table("subnet_evaluations") as batch_op:
        batch_op.create_index(
            batch_op.f("ix_subnet_evaluations_pool_id"), ["pool_id"], unique=False
        )

    op.create_table(
        "trials",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("proposal", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("completion", sa.Integer(), nullable=True),
        sa.Column("detector", sa.JSON(), nullable=True),
        sa.Column("params", sa.BigInteger(), nullable=True),
        sa.Column("base_macs", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["trials.id"], name=op.f("fk_trials_parent_id_trials")
        ),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_trials_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("search_id", "completion", name="uq_trials_completion"),
        sa.UniqueConstraint("search_id", "position", name=op.f("uq_trials_search_id")),
    )
    with op.batch_alter_table("trials") as batch_op:
        batch_op.create_index(batch_op.f("ix_trials_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trials_search_id"), ["search_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trials_status"), ["status"], unique=False)

    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=True),
        sa.Column("pool_id", sa.String(length=64), nullable=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(trial_id IS NULL) <> (pool_id IS NULL)", name=op.f("ck_artifacts_one_owner")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_artifacts_pool_id_pools")),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.id"], name=op.f("fk_artifacts_trial_id_trials")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    with op.batch_alter_table("artifacts") as batch_op:
        batch_op.create_index(batch_op.f("ix_artifacts_pool_id"), ["pool_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_artifacts_trial_id"), ["trial_id"], unique=False)

    op.create_table(
        "epoch_metrics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=True),
        sa.Column("pool_id", sa.String(length=64), nullable=True),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("losses", sa.JSON(), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "(trial_id IS NULL) <> (pool_id IS NULL)", name=op.f("ck_epoch_metrics_one_owner")
        ),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pools.id"], name=op.f("fk_epoch_metrics_pool_id_pools")
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.id"], name=op.f("fk_epoch_metrics_trial_id_trials")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epoch_metrics")),
    )
    with op.batch_alter_table("epoch_metrics") as batch_op:
        batch_op.create_index(batch_op.f("ix_epoch_metrics_pool_id"), ["pool_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_epoch_metrics_trial_id"), ["trial_id"], unique=False)

    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("ap", sa.Double(), nullable=False),
        sa.Column("ap50", sa.Double(), nullable=False),
        sa.Column("ap75", sa.Double(), nullable=False),
        sa.Column("ap_small", sa.Double(), nullable=False),
        sa.Column("ap_medium", sa.Double(), nullable=False),
        sa.Column("ap_large", sa.Double(), nullable=False),
        sa.Column("macs", sa.Double(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=False),
        sa.Column("images_per_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.id"], name=op.f("fk_evaluations_trial_id_trials")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("trial_id", "width", "height", name=op.f("uq_evaluations_trial_id")),
    )


def downgrade() -> None:
    op.drop_table("evaluations")
    with op.batch_alter_table("epoch_metrics") as batch_op:
        batch_op.drop_index(batch_op.f("ix_epoch_metrics_trial_id"))
        batch_op.drop_index(batch_op.f("ix_epoch_metrics_pool_id"))

    op.drop_table("epoch_metrics")
    with op.batch_alter_table("artifacts") as batch_op:
        batch_op.drop_index(batch_op.f("ix_artifacts_trial_id"))
        batch_op.drop_index(batch_op.f("ix_artifacts_pool_id"))

    op.drop_table("artifacts")
    with op.batch_alter_table("trials") as batch_op:
        batch_op.drop_index(batch_op.f("ix_trials_status"))
        batch_op.drop_index(batch_op.f("ix_trials_search_id"))
        batch_op.drop_index(batch_op.f("ix_trials_parent_id"))

    op.drop_table("trials")
    with op.batch_alter_table("subnet_evaluations") as batch_op:
        batch_op.drop_index(batch_op.f("ix_subnet_evaluations_pool_id"))

    op.drop_table("subnet_evaluations")
    with op.batch_alter_table("searches") as batch_op:
        batch_op.drop_index(batch_op.f("ix_searches_status"))
        batch_op.drop_index(batch_op.f("ix_searches_created_at"))

    op.drop_table("searches")
    with op.batch_alter_table("pools") as batch_op:
        batch_op.drop_index(batch_op.f("ix_pools_status"))
        batch_op.drop_index(batch_op.f("ix_pools_created_at"))

    op.drop_table("pools")
    with op.batch_alter_table("work") as batch_op:
        batch_op.drop_index(batch_op.f("ix_work_status"))
        batch_op.drop_index(batch_op.f("ix_work_resource_id"))

    op.drop_table("work")
    op.drop_table("events")
    with op.batch_alter_table("datasets") as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_status"))
        batch_op.drop_index(batch_op.f("ix_datasets_created_at"))

    op.drop_table("datasets")
