"""The privileges of the role of DATABASE_URL, and the GRANTs that it lacks.

Serving needs rights on the rows of every table; migrating needs to own the tables. So there may be two roles: one that
owns the tables and runs `contentgen-scheduler migrate`, and one for the schedulers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from psycopg2 import errors as pg_errors

from contentgen.service.settings import SettingsError
from scheduler_svc.schema.relations import relations

_ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_NUMBERS = ("USAGE", "SELECT")
_ONLY_READ = frozenset({"schema_compatibility"})
_HISTORY = "pg_control_system()"
"""Names the history that resume tokens belong to; every role may call it unless that was revoked."""
_ACCOUNT_IDS = "accounts_account_id_seq"
_SHOWN = 3

_FIND_MISSING = sa.text("""
    SELECT w.privilege, w.name FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:privileges AS text[]))
        AS w(kind, name, privilege)
    WHERE CASE w.kind
        WHEN 'table' THEN has_table_privilege(to_regclass(w.name), w.privilege)
        WHEN 'sequence' THEN has_sequence_privilege(to_regclass(w.name), w.privilege)
        ELSE has_function_privilege(to_regprocedure(w.name), w.privilege)
    END IS NOT TRUE ORDER BY w.privilege, w.name
""")
"""Finds the privileges that the role lacks."""
_CURRENT_SCHEMA = sa.text("""
    SELECT quote_ident(n.nspname) FROM pg_namespace AS n WHERE NOT EXISTS (
        SELECT FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[])) AS w(relation, name) WHERE NOT EXISTS (
            SELECT FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.relnamespace = n.oid AND c.relname = w.relation AND a.attname = w.name AND NOT a.attisdropped))
    LIMIT 1
""")
"""Finds the schema that has all tables and columns of this version, whatever the role may read."""
_ROLE = sa.text("""
    SELECT quote_ident(current_user), quote_ident(current_schema()), current_setting('search_path'),
        (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass('alembic_version'))
""")
"""Reads the role, its schema, and who owns the tables."""

FORBIDDEN = (pg_errors.InsufficientPrivilege, pg_errors.InvalidSchemaName)
"""PostgreSQL's errors for a role without the rights."""


def check_may_serve(connection: sa.Connection) -> None:
    """Raises SettingsError if the role lacks a right that serving needs, with what to grant."""
    _check(connection, "serve this database", _needed())


def check_may_import(connection: sa.Connection) -> None:
    """Checks the rights for an import, which keeps the ids of accounts and so has to advance their sequence."""
    rights = [*_needed(), ("sequence", _ACCOUNT_IDS, "UPDATE")]
    _check(connection, "import into this database", rights, f"GRANT UPDATE ON SEQUENCE {_ACCOUNT_IDS}")


def _check(connection: sa.Connection, action: str, rights: Iterable[tuple[str, str, str]], *more: str) -> None:
    """`more`: what to grant beyond what serving needs, without to whom."""
    if lacks := _lacking(connection, rights):
        role, place, *_ = connection.execute(_ROLE).one()
        problem = f"role {role} may not {action}, for it lacks {_summary(lacks)}"
        raise SettingsError([problem, *_grants(role, place), *(f"  {grant} TO {role};" for grant in more)])
    connection.rollback()


def _lacking(connection: sa.Connection, rights: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    kinds, names, privileges = (list(column) for column in zip(*rights, strict=True))
    rows = connection.execute(_FIND_MISSING, {"kinds": kinds, "names": names, "privileges": privileges})
    return [(privilege, name) for privilege, name in rows]


def may_not_migrate(connection: sa.Connection, newest: str, error: object) -> SettingsError:
    """Returns the error for a migration that PostgreSQL forbade, rolled back, or for a schema that it hides."""
    role, place, path, owner = connection.execute(_ROLE).one()
    current = _hidden_schema(connection)
    connection.rollback()
    if current:
        problem = f"the schema is current ({newest}), and role {role} may not read it"
        return SettingsError([f"{problem}: SELECT on alembic_version is denied", *_grants(role, current)])
    message = str(error).strip().partition("\n")[0]
    problem = f"role {role} may not bring the database to schema {newest}: {message}"
    if place is None:
        advice = (
            f"No schema of its search_path ({path}) is there for it: run CREATE SCHEMA contentgen AUTHORIZATION {role}"
            f" and ALTER ROLE {role} SET search_path = contentgen, or GRANT USAGE, CREATE ON SCHEMA public TO {role}"
        )
    elif owner is None:
        advice = (
            "Run `contentgen-scheduler migrate` with the DATABASE_URL of a role that may create tables, or"
            f" GRANT USAGE, CREATE ON SCHEMA {place} TO {role}"
        )
    else:
        advice = f"Run `contentgen-scheduler migrate` with the DATABASE_URL of role {owner}, which owns the tables"
    return SettingsError([problem, f"{advice} (docs/how-to/database-rights.md)"])


def _hidden_schema(connection: sa.Connection) -> str | None:
    """Returns the schema that has all tables of this version, if the role may not read in it which one it is."""
    if not _lacking(connection, [("table", "alembic_version", "SELECT")]):
        return None
    columns = [(table, column) for table, names in relations().columns.items() for column in names]
    tables, names = zip(*columns, strict=True)
    hidden: str | None = connection.scalar(_CURRENT_SCHEMA, {"tables": list(tables), "columns": list(names)})
    return hidden


def serving_grants(role: str) -> list[str]:
    """Returns the lines with what to run, so that a role may serve, also after upgrades, and may not migrate."""
    return [
        *_grants(role, None),
        f"  ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};",
        f"  ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {role};",
    ]


def _needed() -> Iterator[tuple[str, str, str]]:
    """Yields the kind, name and privilege of each right that serving needs."""
    yield "table", "alembic_version", "SELECT"
    for name in relations().columns:
        for privilege in ("SELECT",) if name in _ONLY_READ else _ROWS:
            yield "table", name, privilege
    for name in relations().views:
        yield "table", name, "SELECT"
    for name in relations().sequences:
        for privilege in _NUMBERS:
            yield "sequence", name, privilege
    yield "function", _HISTORY, "EXECUTE"


def _summary(lacks: Iterable[tuple[str, str]]) -> str:
    """Returns a text such as `DELETE on accounts, leases and 12 more`."""
    by_privilege: defaultdict[str, list[str]] = defaultdict(list)
    for privilege, name in lacks:
        by_privilege[privilege].append(name)
    return "; ".join(
        f"{privilege} on {', '.join(names[:_SHOWN])}"
        + (f" and {more} more" if (more := len(names) - _SHOWN) > 0 else "")
        for privilege, names in by_privilege.items()
    )


def _grants(role: str, place: str | None) -> list[str]:
    place = place or "public"
    return [
        "Run as the owner of the tables (docs/how-to/database-rights.md):",
        f"  GRANT USAGE ON SCHEMA {place} TO {role};",
        f"  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {place} TO {role};",
        f"  GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {place} TO {role};",
        f"  GRANT EXECUTE ON FUNCTION {_HISTORY} TO {role};",
    ]
