"""Serve the API: `python -m api`. Settings are the environment's (SEARCHD_*)."""

import logging

import uvicorn

from api.app import create_app
from api.auth import Rules
from searchd import settings
from searchd.store import Database, upgrade


def main() -> None:
    """Bring the database up to date and serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    loaded = settings.load()
    rules = Rules.of(loaded)
    upgrade(loaded.database)
    database = Database(loaded.database)
    try:
        # An open event stream must not hold up the end of the process for long.
        uvicorn.run(
            create_app(database, rules),
            host=loaded.api_host,
            port=loaded.api_port,
            proxy_headers=False,  # anybody can write them; calls are counted by real addresses
            ws="none",
            # Longer than clients keep a connection that nothing happens on: closing it just when a
            # request is sent would lose the request.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    finally:
        database.close()


if __name__ == "__main__":
    main()
