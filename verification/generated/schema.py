"""Checks that the migrations make what `store/schema/tables.py` and `views.py` say. Run by `make verify`.

Two databases of a throw-away server, one migrated, one made from the definitions, are compared by what the
server's catalogs say of them; alembic's own comparison must find nothing either.
"""

from __future__ import annotations

import difflib
import sys

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.store.schema import views
from scheduler_svc.store.schema.migrate import upgrade
from scheduler_svc.store.schema.tables import metadata
from tests.harness.cluster import throwaway_server
from verification.generated.catalog import catalog


def main() -> int:
    """The exit status: 0 if the two are the same, else 1 with what differs on the standard output."""
    with throwaway_server() as server:
        migrated, defined = (_engine(server, name) for name in ("migrated", "defined"))
        upgrade(migrated)
        _define(defined)
        differences = _compare(migrated, defined)
        migrated.dispose()
        defined.dispose()
    print("\n".join(differences) or "the migrated schema is what store/schema defines")
    return 1 if differences else 0


def _engine(server: EmbeddedPostgres, name: str) -> sa.Engine:
    admin = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    return sa.create_engine(server.url(name), poolclass=sa.NullPool)


def _define(engine: sa.Engine) -> None:
    metadata.create_all(engine)
    with engine.begin() as connection:
        for statement in views.definitions():
            connection.execute(sa.text(statement))


def _compare(migrated: sa.Engine, defined: sa.Engine) -> list[str]:
    by_catalog = difflib.unified_diff(
        _lines(migrated),
        _lines(defined),
        "what the migrations make",
        "what store/schema defines",
        n=0,
        lineterm="",
    )
    with migrated.connect() as connection:
        # Without defaults: alembic calls both and compares what they give, which for a number drawn is never the same.
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        by_alembic = [f"alembic: {difference}" for difference in compare_metadata(context, metadata)]
    return [*by_catalog, *by_alembic]


def _lines(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return [f"{thing} {said}" for thing, said in catalog(connection).items()]


if __name__ == "__main__":
    sys.exit(main())
