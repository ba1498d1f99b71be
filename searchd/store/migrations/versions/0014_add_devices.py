"""Add devices, and costs other than MACs: devices, evaluations.cost, trials.base_cost"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_DEVICES = "(SELECT id FROM devices)"
_OF_EVALUATIONS = ("cost", "device_latency_s", "device_p95_s")


def upgrade() -> None:
    op.create_table(
        "devices",
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
        sa.Column("report", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("name", name=op.f("uq_devices_name")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_devices_idempotency_key")),
    )
    for column in ("created_at", "status"):
        op.create_index(op.f(f"ix_devices_{column}"), "devices", [column])
    op.add_column("trials", sa.Column("base_cost", sa.Double(), nullable=True))
    for column in _OF_EVALUATIONS:
        op.add_column("evaluations", sa.Column(column, sa.Double(), nullable=True))


def downgrade() -> None:
    for column in _OF_EVALUATIONS:
        op.drop_column("evaluations", column)
    op.drop_column("trials", "base_cost")
    # Earlier versions do not know this kind of work.
    op.execute(f"DELETE FROM events WHERE resource_id IN {_DEVICES}")
    op.execute("DELETE FROM work WHERE kind = 'device'")
    op.drop_table("devices")
