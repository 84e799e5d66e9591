"""The rights that roles have in a database, as statements that grant them in another one of the same server."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from psycopg2 import errors as pg_errors

# A database or schema whose rights were never changed has none here, and PostgreSQL's defaults in the new one. What an
# owner has comes with the ownership.
_GRANTS = sa.text("""
    WITH held AS (
        SELECT 1 AS step, 'DATABASE ' || quote_ident(:database) AS what, '' AS whose, acl.*
        FROM pg_database AS d, aclexplode(d.datacl) AS acl
        WHERE d.datname = current_database() AND acl.grantee <> d.datdba
        UNION ALL
        SELECT 2, 'SCHEMA public', '', acl.* FROM pg_namespace AS n, aclexplode(n.nspacl) AS acl
        WHERE n.nspname = 'public' AND acl.grantee <> n.nspowner
        UNION ALL
        SELECT 3, CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'FUNCTIONS' END,
            'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(pg_get_userbyid(d.defaclrole))
                || CASE WHEN d.defaclnamespace = 0 THEN ' ' ELSE ' IN SCHEMA public ' END, acl.*
        FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS acl
        WHERE d.defaclobjtype IN ('r', 'S', 'f') AND acl.grantee <> d.defaclrole
            AND d.defaclnamespace IN (0, CAST('public' AS regnamespace))
        UNION ALL
        SELECT 4, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END || ' public.' || quote_ident(c.relname), '',
            acl.*
        FROM pg_class AS c, aclexplode(c.relacl) AS acl
        WHERE c.relnamespace = CAST('public' AS regnamespace) AND c.relkind IN ('r', 'p', 'v', 'S')
            AND acl.grantee <> c.relowner
    )
    SELECT 'REVOKE ALL ON DATABASE ' || quote_ident(:database) || ' FROM PUBLIC', 0 AS step
    FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL
    UNION ALL
    SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC', 0
    FROM pg_namespace WHERE nspname = 'public' AND nspacl IS NOT NULL
    UNION ALL
    SELECT whose || 'GRANT ' || string_agg(privilege_type, ', ') || ' ON ' || what || ' TO '
        || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, step
    FROM held GROUP BY step, what, whose, grantee, is_grantable
    ORDER BY step
""")
"""Reads what roles may do in a database, as the statements that grant it in the one of that name."""
_OWNER = sa.text("""
    SELECT pg_get_userbyid(relowner) FROM pg_class
    WHERE relname = 'alembic_version' AND relnamespace = CAST('public' AS regnamespace)
        AND relowner <> CAST(quote_ident(current_user) AS regrole) AND pg_has_role(current_user, relowner, 'MEMBER')
        AND has_schema_privilege(relowner, 'public', 'CREATE')
""")
"""Reads who owns the tables, if it is another role that we may act as, and that may create them."""
_LACKS_ROWS = sa.text("""
    SELECT quote_ident(wanted.name)
    FROM unnest(CAST(:roles AS text[])) AS wanted(name) LEFT JOIN pg_roles ON rolname = wanted.name
    WHERE (rolname IS NOT NULL AND has_table_privilege(rolname, 'tasks', 'INSERT')) IS NOT TRUE
""")
"""Finds the roles that are not there, or may not serve."""

_ABSENT = (pg_errors.UndefinedTable, pg_errors.InvalidSchemaName)


def read_grants(connection: sa.Connection, database: str) -> list[str]:
    """The statements that grant in `database` what roles have in the connection's one."""
    return list(connection.scalars(_GRANTS, {"database": database}))


def owner_of_tables(connection: sa.Connection) -> str | None:
    """Who owns the tables, unless that is the connection's own role, or it can't act as the owner."""
    owner: str | None = connection.scalar(_OWNER)
    return owner


def apply_grants(connection: sa.Connection, grants: Sequence[str]) -> list[str]:
    """Runs the statements whose objects are there; returns those that this role may not run. In autocommit mode."""
    forbidden = []
    for grant in grants:
        try:
            connection.exec_driver_sql(grant)
        except sa.exc.ProgrammingError as error:
            if isinstance(error.orig, pg_errors.InsufficientPrivilege):
                forbidden.append(grant)
            elif not isinstance(error.orig, _ABSENT):
                raise
    return forbidden


def roles_without_rows(connection: sa.Connection, roles: Sequence[str]) -> list[str]:
    """Those that the server does not have, or that may not serve the connection's database; quoted."""
    return list(connection.scalars(_LACKS_ROWS, {"roles": list(roles)}))
