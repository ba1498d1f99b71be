"""The database of tests of deploy/ that need an API."""

from tests.searchd.conftest import empty_sqlite, sqlite

__all__ = ["empty_sqlite", "sqlite"]
