"""The error of the embedded PostgreSQL.  Part of `scheduler_svc.postgres`."""


class PostgresError(RuntimeError):
    """The embedded server can't run.  The message says why and what an operator can do about it."""
