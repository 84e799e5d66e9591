"""The embedded PostgreSQL: the default database of a scheduler that was given no `DATABASE_URL`.

It starts, watches and ends a server; what is in the database is the concern of `schema` and the subjects.
"""

from scheduler_svc.postgres.programs import PostgresError, bindirs, find_bindir
from scheduler_svc.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "PostgresError", "bindirs", "find_bindir"]
