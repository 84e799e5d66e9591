"""Any values that are sent as an array literal or as COPY's text come back unchanged."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.postgres import EmbeddedPostgres

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
floats = st.none() | st.floats(allow_nan=False)
times = st.none() | st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-12))]),
)


@pytest.mark.parametrize("send", [echoed, copied])
def test_hostile_texts_come_back_unchanged(connection: Connection, send: Any) -> None:
    assert send(connection, "text", [*HOSTILE, None]) == [*HOSTILE, None]


@given(st.lists(texts, min_size=1))
def test_any_texts_come_back_unchanged(connection: Connection, values: list[str | None]) -> None:
    assert echoed(connection, "text", values) == values
    assert copied(connection, "text", values) == values


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_any_integers_come_back_unchanged(connection: Connection, values: list[int | None]) -> None:
    assert echoed(connection, "bigint", values) == values
    assert copied(connection, "bigint", values) == values


@given(st.lists(floats, min_size=1))
def test_any_floats_come_back_to_the_last_bit(connection: Connection, values: list[float | None]) -> None:
    assert echoed(connection, "float8", values) == values
    assert copied(connection, "float8", values) == values


@pytest.mark.parametrize("send", [echoed, copied])
def test_nan_comes_back_as_nan(connection: Connection, send: Any) -> None:
    (value,) = send(connection, "float8", [math.nan])
    assert math.isnan(value)


@given(st.lists(times, min_size=1))
def test_any_times_come_back_unchanged(connection: Connection, values: list[datetime | None]) -> None:
    assert echoed(connection, "timestamptz", values) == values
    assert copied(connection, "timestamptz", values) == values


@given(st.lists(st.none() | st.binary(), min_size=1))
def test_any_bytes_come_back_unchanged(connection: Connection, values: list[bytes | None]) -> None:
    assert [None if v is None else bytes(v) for v in echoed(connection, "bytea", values)] == values


@pytest.mark.parametrize("send", [echoed, copied])
def test_json_comes_as_text(connection: Connection, send: Any) -> None:
    documents = [{text: text} for text in HOSTILE]
    texts = [json.dumps(document) for document in documents]
    raw = [json.dumps(document, ensure_ascii=False) for document in documents]
    assert send(connection, "jsonb", [*texts, *raw, None]) == [*documents, *documents, None]


@pytest.mark.parametrize("send", [echoed, copied])
def test_booleans_and_states_come_back_unchanged(connection: Connection, send: Any) -> None:
    assert send(connection, "boolean", [True, False, None]) == [True, False, None]
    assert send(connection, "smallint", [Status.PENDING, Status.CANCELLED, None]) == [1, 7, None]


@pytest.mark.parametrize("sql_type", ["text", "bigint", "float8", "timestamptz", "bytea", "jsonb", "boolean"])
def test_an_empty_list_comes_back_empty(connection: Connection, sql_type: str) -> None:
    assert echoed(connection, sql_type, []) == []


def rows_of(connection: Connection, batch: UnnestedRows, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    source = batch.source
    for name in batch.bind(rows):
        source = source.replace(f"CAST(:{name} ", f"CAST(%({name})s ")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {source}", batch.bind(rows))
        return list(cursor.fetchall())


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), texts, floats)))
def test_rows_are_unnested_in_order(connection: Connection, rows: list[tuple[int, str | None, float | None]]) -> None:
    assert rows_of(connection, UnnestedRows(a="integer", b="text", c="float8"), rows) == rows


def test_a_row_of_another_length_is_a_defect() -> None:
    with pytest.raises(ValueError, match="zip"):
        UnnestedRows(a="integer", b="text").bind([(1,)])


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
