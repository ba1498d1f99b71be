"""The database, which holds all state.

Open a `Database`, and within `read()` or `write()` call the functions of this package: `resources`
(data sets, pools, teachers, searches, distillations, tokens), `runs` (trials), `work` and `events`.
Only `transition` changes statuses. Does not use Ray, torch or HTTP.
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
