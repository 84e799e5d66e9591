"""Alembic's migrations; `schema/migrate.py` runs them."""
