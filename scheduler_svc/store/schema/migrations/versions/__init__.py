"""Alembic's migrations; `store/migrate.py` runs them."""
