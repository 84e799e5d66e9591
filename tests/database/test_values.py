"""Values on their way to the database, the settings that keep them, and what PostgreSQL tells of itself."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from scheduler_svc.database.batch import Insert, array
from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.system import LockHolder, OldestTransaction
from scheduler_svc.metrics import Metrics
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.database_watch import DurabilityCheck
from scheduler_svc.transactions import Database, Tx, make_engine
from tests.harness.cluster import Databases, server_folder
from tests.harness.database_faults import APPLICATION, foreign_lock
from tests.harness.scheduling import Scheduling

pytestmark = pytest.mark.integration

HOSTILE = [
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    "\\.",
    "{}",
    '{"a","b"}',
    '"',
    '\\"',
    "\\",
    "\\\\",
    "ends with a backslash\\",
    "a,b",
    "'; DROP TABLE tasks; --",
    "%s %(name)s %%",
    ":name",
    "tab\tline\nreturn\rboth\r\n",
    "\x01\x7f\x1b",
    "\u2028\u2029\ufeff",
    "人工智能的未来发展 😀 e\u0301",
    "$(rm -rf /) `id` --help",
]
Connection = psycopg2.extensions.connection


@pytest.fixture(scope="module")
def connection(cluster: EmbeddedPostgres) -> Iterator[Connection]:
    connection = psycopg2.connect(cluster.dsn("postgres"), options="-c timezone=UTC")
    try:
        yield connection
    finally:
        connection.close()


def echoed(connection: Connection, sql_type: str, values: Sequence[Any]) -> list[Any]:
    """The values, sent as one array and unnested by the server."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT unnest(%s::{sql_type}[])", (array(sql_type, values),))
        return [row[0] for row in cursor.fetchall()]


def copied(connection: Connection, sql_type: str, values: Sequence[Any]) -> list[Any]:
    """The values, sent by COPY beside a number that keeps their order."""
    insert = Insert("copied", n="integer", value=sql_type)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE copied (n integer, value {sql_type})")
        cursor.copy_expert(insert.copy, io.BytesIO(b"".join(insert.pieces(list(enumerate(values))))))
        cursor.execute("SELECT value FROM copied ORDER BY n")
        copies = [row[0] for row in cursor.fetchall()]
    connection.rollback()
    return copies


texts = (
    st.none() | st.sampled_from(HOSTILE) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
floats = st.none() | st.floats(allow_nan=False)
times = st.none() | st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-12))]),
)


@pytest.mark.parametrize("send", [echoed, copied])
def test_hostile_texts_come_back_unchanged(connection: Connection, send: Any) -> None:
    assert send(connection, "text", [*HOSTILE, None]) == [*HOSTILE, None]


@pytest.mark.parametrize(
    ("sql_type", "kind"), [("text", texts), ("bigint", integers), ("float8", floats), ("timestamptz", times)]
)
@given(st.data())
def test_any_values_come_back_unchanged(
    connection: Connection, sql_type: str, kind: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """Floats to the last bit."""
    values = data.draw(st.lists(kind))
    assert echoed(connection, sql_type, values) == values
    assert copied(connection, sql_type, values) == values


@pytest.mark.parametrize("send", [echoed, copied])
def test_nan_comes_back_as_nan(connection: Connection, send: Any) -> None:
    (value,) = send(connection, "float8", [math.nan])
    assert math.isnan(value)


@given(st.lists(st.none() | st.binary()))
def test_any_bytes_come_back_unchanged(connection: Connection, values: list[bytes | None]) -> None:
    assert [None if v is None else bytes(v) for v in echoed(connection, "bytea", values)] == values


@pytest.mark.parametrize("send", [echoed, copied])
def test_json_comes_as_text(connection: Connection, send: Any) -> None:
    documents = [{text: text} for text in HOSTILE]
    texts = [json.dumps(document) for document in documents]
    raw = [json.dumps(document, ensure_ascii=False) for document in documents]
    assert send(connection, "jsonb", [*texts, *raw, None]) == [*documents, *documents, None]
    assert send(connection, "jsonb", []) == []


@pytest.mark.parametrize("send", [echoed, copied])
def test_booleans_and_states_come_back_unchanged(connection: Connection, send: Any) -> None:
    assert send(connection, "boolean", [True, False, None]) == [True, False, None]
    assert send(connection, "boolean", []) == []
    assert send(connection, "smallint", [Status.PENDING, Status.CANCELLED, None]) == [1, 7, None]


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), texts, times), min_size=1))
def test_an_insert_stores_the_same_by_arrays_and_by_copy(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    insert = Insert("stored", a="integer", b="text", c="timestamptz")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE stored (id serial, a integer, b text, c timestamptz)")
        cursor.execute(insert.sql, insert.bind(rows))
        cursor.copy_expert(insert.copy, io.BytesIO(b"".join(insert.pieces(rows))))
        cursor.execute("SELECT a, b, c FROM stored ORDER BY id")
        assert cursor.fetchall() == [*rows, *rows]
    connection.rollback()


# What is acknowledged stays: settings of PostgreSQL that would take that away.


def _own(url: str, setting: str, value: str) -> None:
    """Sets it for the database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{engine.url.database}" SET {setting} = {value}')


@pytest.mark.parametrize(
    ("configured", "used"),
    [("off", "on"), *((setting, setting) for setting in ("on", "local", "remote_write", "remote_apply"))],
)
def test_sessions_commit_durably_where_the_setting_is_off(empty_db_url: str, configured: str, used: str) -> None:
    _own(empty_db_url, "synchronous_commit", configured)
    engine = make_engine(empty_db_url, 1)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == used
        source = connection.scalar(sa.text("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"))
        assert source == "session", "a reload of the server's configuration takes nothing away"
    engine.dispose()


def test_a_commit_survives_the_death_of_a_server_that_has_synchronous_commit_off() -> None:
    settings = ("synchronous_commit=off", "wal_writer_delay=10s")
    with server_folder() as folder, EmbeddedPostgres(folder, throwaway=True, settings=settings) as server:
        engine = make_engine(server.url(), 1)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE kept AS SELECT 42 AS answer")
            connection.exec_driver_sql("INSERT INTO kept VALUES (43)")
            server.quit()
        server.restart()
        engine.dispose()
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT answer FROM kept ORDER BY 1")).scalars().all() == [42, 43]
        engine.dispose()


async def test_settings_that_are_off_are_logged_once_and_measured(db_url: str) -> None:
    _own(db_url, "contentgen.throwaway", "off")
    _own(db_url, "synchronous_commit", "off")
    engine = make_engine(db_url, 1)
    metrics = Metrics("1")
    calls = Calls(Database(engine, lambda _: None, lambda _: None), 1)
    check = DurabilityCheck(calls, metrics)

    def measured() -> dict[str, float]:
        (family,) = [
            candidate for candidate in metrics.registry.collect() if candidate.name == "contentgen_durability_weakened"
        ]
        return {sample.labels["setting"]: sample.value for sample in family.samples}

    with capture_logs() as logs:
        await check.run_once()
        await check.run_once()
    assert [line["setting"] for line in logs] == ["fsync", "full_page_writes", "synchronous_commit"]
    assert measured() == {"fsync": 1, "full_page_writes": 1, "synchronous_commit": 1}
    calls.close()
    engine.dispose()


# What PostgreSQL tells of itself: what keeps everybody's snapshots back, and who holds locks of the schedulers.


def _oldest(tx: Tx) -> OldestTransaction | None:
    return tx.system.oldest_transaction()


def _as_a_plain_role(tx: Tx) -> OldestTransaction | None:
    tx._session.execute(sa.text("SELECT set_config('role', 'pg_database_owner', true)"), {})  # any role without rights
    return tx.system.oldest_transaction()


def test_the_oldest_transaction_with_an_id_is_found_in_any_database(
    scheduling: Scheduling, databases: Databases
) -> None:
    with databases.lent() as elsewhere, foreign_lock(elsewhere, "SELECT txid_current()") as pid:
        with foreign_lock(elsewhere, "SELECT txid_current()"), foreign_lock(elsewhere, "SELECT 1"):
            oldest: Any = scheduling.run(_oldest)
        assert (oldest.pid, oldest.application, oldest.state) == (pid, APPLICATION, "idle in transaction")
        assert (oldest.database, oldest.role) == (sa.make_url(elsewhere).database, sa.make_url(elsewhere).username)
        assert oldest.age >= 0
        hidden: Any = scheduling.run(_as_a_plain_role)
        assert (hidden.pid, hidden.xid, hidden.age, hidden.state) == (pid, oldest.xid, None, "")


def _locks(tx: Tx) -> list[LockHolder]:
    return tx.system.advisory_locks(0.0)


@pytest.mark.parametrize("lock", AdvisoryLock)
def test_a_session_that_holds_a_lock_of_the_schedulers_is_found_though_it_is_idle(
    scheduling: Scheduling, db_url: str, lock: AdvisoryLock
) -> None:
    other = "SELECT pg_advisory_lock(1), pg_advisory_lock(0, hashtext('contentgen.pause_dispatch')); COMMIT"
    with foreign_lock(db_url, other):
        assert scheduling.run(_locks) == []
        with foreign_lock(db_url, f"SELECT pg_advisory_lock({lock.key}); COMMIT") as pid:
            (holder,) = scheduling.run(_locks)
        assert (holder.pid, holder.state, holder.transaction_age) == (pid, "idle", None)
        assert (holder.relation, holder.waited_for) == (lock.value, True)
