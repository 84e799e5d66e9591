"""All the SQL: one commented function a statement, on PostgreSQL through SQLAlchemy Core.

Implements the ports of `application/ports.py`. Many rows travel as one parameter a column (`batch.py`). Locks are taken
in one order everywhere: workers, leases, then what waits (ready, delayed), then tasks, each by ascending key.
"""
