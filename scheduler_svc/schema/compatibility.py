"""Which code may run on a schema: what the version that made it declares in the database."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from contentgen.version import own_version

_REVISION = sa.text("SELECT version_num FROM alembic_version")
"""The revision of the schema."""
_DECLARATION = sa.text("SELECT oldest_code, migrated_by FROM schema_compatibility")
"""What the last migration declared."""
_DECLARE = sa.text("""
    INSERT INTO schema_compatibility (oldest_code, migrated_by) VALUES (:oldest_code, :migrated_by)
    ON CONFLICT ("only") DO UPDATE SET oldest_code = excluded.oldest_code, migrated_by = excluded.migrated_by
""")
"""Declares which code may run on the schema, with each migration."""


class Declaration(NamedTuple):
    """The oldest revision whose code may run on the schema, and the version of contentgen that made the schema."""

    oldest_code: str
    migrated_by: str


class UnsupportedSchema(Exception):
    """This version may not run on the database's schema. The message says what to do."""


def revision(connection: sa.Connection) -> str | None:
    """Returns the schema's revision; None if the database has none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    present: str | None = connection.scalar(_REVISION)
    return present


def declaration(connection: sa.Connection) -> Declaration | None:
    """Returns what the schema declares; None if it is of no released version."""
    if not sa.inspect(connection).has_table("schema_compatibility"):
        return None
    row = connection.execute(_DECLARATION).one_or_none()
    return Declaration(*row) if row else None


def declare(connection: sa.Connection, oldest_code: str) -> None:
    """Writes the declaration, as part of a migration's transaction."""
    connection.execute(_DECLARE, {"oldest_code": oldest_code, "migrated_by": own_version()})


def check_compatible(revision: str, declaration: Declaration | None, newest: str) -> None:
    """Raises UnsupportedSchema unless code whose newest revision is `newest` may run on this schema or migrate it."""
    if declaration is None:
        raise UnsupportedSchema(
            f"the database has schema {revision} without a declaration of which versions may use it: it was made by"
            " a contentgen from before the first release, or by another application. No release can migrate it:"
            " name an empty database in DATABASE_URL, or another folder in CONTENTGEN_DATA_DIR"
        )
    if declaration.oldest_code > newest:  # revisions have four digits, so they compare as text
        raise UnsupportedSchema(
            f"the database has schema {revision}, made by contentgen {declaration.migrated_by}; it needs a version"
            f" that knows schema {declaration.oldest_code} or newer, and this one knows schema {newest}: start such a"
            " version, or restore a backup from before the upgrade (docs/how-to/upgrade.md)"
        )
