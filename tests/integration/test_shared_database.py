"""The database that tests share: what one leaves, no other sees."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.harness.cluster import Databases
from tests.harness.scheduling import RESULT, Scheduling
from tests.harness.shared_database import SharedDatabase, SharedDatabases

_OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE cache_size = 1 ORDER BY 1"


def content(database: SharedDatabase) -> dict[str, list[object]]:
    """The rows of each table, and where the sequences are."""
    with database.engine.connect() as connection:
        read = {table: f"SELECT * FROM {table}" for table in connection.exec_driver_sql(_TABLES).scalars()}
        read["sequences"] = _SEQUENCES
        return {what: list(map(tuple, connection.exec_driver_sql(query))) for what, query in read.items()}


def run(database: SharedDatabase, statement: str) -> None:
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def test_each_finds_it_as_the_migrations_have_left_it(shared_databases: SharedDatabases) -> None:
    with shared_databases.lent() as database:
        url, before = database.url, content(database)
        scheduling = Scheduling(database.engine)
        scheduling.end(scheduling.start(labels={"a": "b"}), RESULT)
        run(database, "UPDATE search_index SET indexed_to = 42; UPDATE count_floor SET xact = 42")
        assert content(database) != before
    with shared_databases.lent() as again:
        assert (again.url, content(again)) == (url, before)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD COLUMN more text",
        "ALTER TABLE tasks DROP COLUMN attempt CASCADE",
        "ALTER TABLE tasks ALTER COLUMN attempt SET DEFAULT 7",
        "CREATE INDEX more ON tasks (attempt, task_key)",
        "DROP VIEW v_waiting CASCADE",
        "CREATE FUNCTION seven() RETURNS integer LANGUAGE sql AS 'SELECT 7'",
        "ANALYZE accounts",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 1234'; END $$",
        "INSERT INTO unique_keys SELECT 1, n || repeat('x', 500), n, now() FROM generate_series(1, 10000) AS n",
        f"SELECT pg_terminate_backend(pid) FROM ({_OTHERS}) AS others",
    ],
)
def test_one_that_is_more_than_refilled_is_replaced(databases: Databases, template: str, change: str) -> None:
    pool = SharedDatabases(databases, template)
    with pool.lent() as database:
        run(database, change)
    with pool.lent() as other:
        assert other.url != database.url
        assert not Scheduling(other.engine).tasks()
    pool.close()
