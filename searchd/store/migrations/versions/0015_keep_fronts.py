"""Keep the fronts of runs, and find events by their keys: front_points, ix_events_key"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from searchd.search.pareto import pareto_front

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

X_AXES, Y_AXES = ("macs", "params", "latency_s", "cost"), ("ap", "ap50", "ap75")
_RUNS = sa.text("SELECT DISTINCT run_id FROM trials WHERE status = 'succeeded'")
_EVALUATED = sa.text(
    "SELECT e.id, e.macs, e.macs AS cost, t.params, e.latency_s, e.ap, e.ap50, e.ap75 "
    "FROM evaluations e "
    "JOIN trials t ON t.id = e.trial_id WHERE t.run_id = :run AND t.status = 'succeeded' "
    "AND t.params IS NOT NULL AND NOT (t.role = 'base' AND t.parent_id IS NOT NULL) ORDER BY e.id"
)


def upgrade() -> None:
    op.create_index("ix_events_key", "events", ["resource_id", "key"])
    table = op.create_table(
        "front_points",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("x", sa.String(length=64), nullable=False),
        sa.Column("y", sa.String(length=64), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["searches.id"], name=op.f("fk_front_points_run_id_searches")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name=op.f("fk_front_points_evaluation_id_evaluations"),
        ),
        sa.PrimaryKeyConstraint("run_id", "x", "y", "evaluation_id", name=op.f("pk_front_points")),
    )
    op.create_index(op.f("ix_front_points_evaluation_id"), "front_points", ["evaluation_id"])
    connection = op.get_bind()
    for (run,) in connection.execute(_RUNS).all():
        rows = connection.execute(_EVALUATED, {"run": run}).mappings().all()
        found = [
            {
                **{"run_id": run, "x": x, "y": y, "evaluation_id": row["id"]},
                **{"cost": row[x], "value": row[y]},
            }
            for x in X_AXES
            for y in Y_AXES
            for row in _front(rows, x, y)
        ]
        if found:
            op.bulk_insert(table, found)


def downgrade() -> None:
    op.drop_table("front_points")
    op.drop_index("ix_events_key", "events")


def _front(rows: Sequence[sa.RowMapping], x: str, y: str) -> list[sa.RowMapping]:
    return pareto_front(rows, cost=lambda row: float(row[x]), value=lambda row: float(row[y]))
