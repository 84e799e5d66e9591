"""Which code may run on a schema that it does not know: what the newer version that made it left in the database."""

from __future__ import annotations

from importlib.metadata import version
from typing import NamedTuple

import sqlalchemy as sa

_REVISION = sa.text("SELECT version_num FROM alembic_version")
_DECLARED = sa.text("SELECT oldest_code, migrated_by FROM schema_compatibility")
_DECLARE = sa.text("""
    INSERT INTO schema_compatibility (oldest_code, migrated_by) VALUES (:oldest_code, :migrated_by)
    ON CONFLICT ("only") DO UPDATE SET oldest_code = excluded.oldest_code, migrated_by = excluded.migrated_by
""")


class Declared(NamedTuple):
    """The oldest revision whose code may run on the schema, and the version of contentgen that made the schema."""

    oldest_code: str
    migrated_by: str


def revision(connection: sa.Connection) -> str | None:
    """The schema's revision; None where there is no schema of ours."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(_REVISION)
    return found


def declared(connection: sa.Connection) -> Declared | None:
    """None on a schema from before there were such declarations."""
    if not sa.inspect(connection).has_table("schema_compatibility"):
        return None
    row = connection.execute(_DECLARED).one_or_none()
    return Declared(*row) if row else None


def declare(connection: sa.Connection, oldest_code: str) -> None:
    """Declares, as part of a migration's transaction."""
    connection.execute(_DECLARE, {"oldest_code": oldest_code, "migrated_by": version("contentgen-grpc")})
