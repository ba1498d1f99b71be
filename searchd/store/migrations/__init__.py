"""Alembic migrations. A released one is never edited; a new one follows it.

To make one after changing the models: `python -m searchd.store.migrations MESSAGE`.
"""
