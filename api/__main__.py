"""Serve the API: `python -m api`. The environment has the settings (SEARCHD_*)."""

import uvicorn

from api.app import create_app
from api.auth import Rules
from api.cluster import Cluster
from api.submission import SubmissionChecks
from searchd import logs, settings
from searchd.store import Database, upgrade


def main() -> None:
    """Upgrade the database and serve until SIGINT or SIGTERM."""
    loaded = settings.load()
    logs.configure(loaded.log_format)
    rules = Rules.of(loaded)
    upgrade(loaded.database)
    database = Database(loaded.database)
    try:
        # An open event stream must not delay the end of the process for long.
        uvicorn.run(
            create_app(
                database,
                rules,
                loaded.artifact_root,
                checks=SubmissionChecks(
                    files=loaded.check_files,
                    sinks=loaded.usable_sinks,
                    cluster=Cluster(loaded.ray_dashboard_url),
                    growth=loaded.growth,
                ),
                instance=loaded.instance,
                data_folder=loaded.data_folder,
            ),
            host=loaded.api_host,
            port=loaded.api_port,
            log_config=None,  # its lines have the format of all others
            access_log=False,  # `api.access_log` writes it, with ids
            proxy_headers=False,  # clients can forge them; requests are counted by real addresses
            ws="none",
            # Longer than clients keep an idle connection: closing it at the moment when a client
            # sends a request would lose the request.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    finally:
        database.close()


if __name__ == "__main__":
    main()
