"""Alembic's migrations; `store/schema/migrate.py` runs them."""
