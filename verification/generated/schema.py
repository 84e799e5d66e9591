"""Checks that the migrations make what `schema/tables.py` and `views.py` say. Run by `make verify`.

Two databases of a throw-away server, one migrated, one made from the definitions, are compared by what the
server's catalogs say of them; alembic's own comparison must find nothing either.

`--write` makes the first migration anew from the definitions: only before the first release, which all databases that
are in use come from. The previous version, beside which this one is tested, has to make the same then.
"""

from __future__ import annotations

import difflib
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.schema import views
from scheduler_svc.schema.migrate import MIGRATIONS, upgrade
from scheduler_svc.schema.tables import FIRST_ROWS, metadata
from tests.harness.cluster import throwaway_server
from verification.generated.catalog import catalog

FIRST = MIGRATIONS / "versions" / "0001_initial.sql"
ROOT = Path(__file__).parents[2]
_COMMENTS = re.compile(r"^COMMENT ON .*\n", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if the two are the same, else 1 with what differs on the standard output."""
    if "--write" in arguments:
        FIRST.write_text("".join(f"{statement};\n" for statement in _definitions()))
        return 0
    with throwaway_server() as server:
        migrated, defined = (_engine(server, name) for name in ("migrated", "defined"))
        upgrade(migrated)
        with defined.begin() as connection:
            for statement in _definitions():
                connection.exec_driver_sql(statement)
        differences = [*_compare(migrated, defined), *_compare_previous()]
        migrated.dispose()
        defined.dispose()
    print("\n".join(differences) or "the migrated schema is what scheduler_svc/schema defines")
    return 1 if differences else 0


def _definitions() -> Iterator[str]:
    """Yields the statements that make a database from the definitions."""
    elements: list[sa.schema.ExecutableDDLElement] = []
    engine = sa.create_mock_engine("postgresql://", lambda element, *_, **__: elements.append(element))
    metadata.create_all(engine, checkfirst=False)
    definitions = [str(element.compile(dialect=engine.dialect)) for element in _in_order(elements)]
    for statement in (*definitions, *FIRST_ROWS, *views.definitions()):
        yield "\n".join(line.replace("\t", "    ").rstrip() for line in dedent(statement).strip().splitlines())


def _in_order(elements: Iterable[sa.schema.ExecutableDDLElement]) -> Iterator[sa.schema.ExecutableDDLElement]:
    """With the indexes of each table as they are defined: SQLAlchemy has them in a set."""
    indexes: list[sa.schema.CreateIndex] = []
    for element in elements:
        if isinstance(element, sa.schema.CreateIndex):
            indexes.append(element)
            continue
        yield from sorted(indexes, key=lambda create: int(create.element.info["position"]))
        indexes.clear()
        yield element  # a table, or its comment, which follows its indexes


def _engine(server: EmbeddedPostgres, name: str) -> sa.Engine:
    admin = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    return sa.create_engine(server.url(name), poolclass=sa.NullPool)


def _compare(migrated: sa.Engine, defined: sa.Engine) -> list[str]:
    by_catalog = difflib.unified_diff(
        _lines(migrated),
        _lines(defined),
        "what the migrations make",
        "what scheduler_svc/schema defines",
        n=0,
        lineterm="",
    )
    with migrated.connect() as connection:
        # Without defaults: alembic calls both and compares what they give, which for a number drawn is never the same.
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        by_alembic = [f"alembic: {difference}" for difference in compare_metadata(context, metadata)]
    return [*by_catalog, *by_alembic]


def _compare_previous() -> Iterator[str]:
    (wheel,) = (ROOT / "tests" / "previous").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(f"/{FIRST.name}"))
        previous = files.read(name).decode()
    if _COMMENTS.sub("", previous) != _COMMENTS.sub("", FIRST.read_text()):
        yield f"{wheel.relative_to(ROOT)} makes another schema: commit this one, then `make previous COMMIT=HEAD`"


def _lines(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return [f"{thing} {definition}" for thing, definition in catalog(connection).items()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
