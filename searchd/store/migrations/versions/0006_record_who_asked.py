"""Record who asked for what is desired of work: work.desired_by"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    asked_by = sa.Column("desired_by", sa.String(length=32), nullable=False, server_default="user")
    op.add_column("work", asked_by)
    # Until here, the only trace of a pause by the disk guard was the text of its reason. Work that
    # it is pausing during the upgrade must still resume automatically.
    op.execute(
        "UPDATE work SET desired_by = 'disk_guard' WHERE desired = 'pause' "
        "AND status_reason LIKE 'stopped for want of disk space;%'"
    )


def downgrade() -> None:
    op.drop_column("work", "desired_by")
