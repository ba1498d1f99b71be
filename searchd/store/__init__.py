"""The database: the one owner of state.

Open a `Database`, and inside `read()` or `write()` call the functions of datasets, pools, searches,
trials, work, events and tokens. Statuses are changed only by `transition`. Knows no Ray, no torch,
no HTTP.
"""

from searchd.store.database import Database
from searchd.store.migrate import downgrade, upgrade
from searchd.store.models import Desired, DesiredBy, Role
from searchd.store.paging import Page
from searchd.store.work.lease import Lease
from searchd.store.work.transition import transition

__all__ = [
    "Database",
    "Desired",
    "DesiredBy",
    "Lease",
    "Page",
    "Role",
    "downgrade",
    "transition",
    "upgrade",
]
