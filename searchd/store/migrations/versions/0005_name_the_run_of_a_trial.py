"""Name the run of a trial: trials.search_id becomes trials.run_id"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rename("search_id", "run_id")


def downgrade() -> None:
    _rename("run_id", "search_id")


def _rename(old: str, new: str) -> None:
    op.drop_index(op.f(f"ix_trials_{old}"), "trials")
    with op.batch_alter_table("trials") as table:
        table.drop_constraint(op.f(f"uq_trials_{old}"), type_="unique")
        table.drop_constraint("uq_trials_completion", type_="unique")
        table.drop_constraint(op.f(f"fk_trials_{old}_searches"), type_="foreignkey")
        table.alter_column(old, new_column_name=new, existing_type=sa.String(length=64))
    with op.batch_alter_table("trials") as table:
        table.create_foreign_key(op.f(f"fk_trials_{new}_searches"), "searches", [new], ["id"])
        table.create_unique_constraint("uq_trials_completion", [new, "completion"])
        table.create_unique_constraint(op.f(f"uq_trials_{new}"), [new, "position"])
    op.create_index(op.f(f"ix_trials_{new}"), "trials", [new])
