"""The one place where SQL is executed: statements with their parameters, on one transaction's connection.

Statements of the hot lanes are prepared: parsed and planned once a connection, which is most of the cost of a small
batch. The driver has no prepared statements, so they are made and called by SQL. A pooler in front of PostgreSQL must
keep a session to one connection, which LISTEN needs too, or only get transactions that prepare nothing.

A plan is kept for as long as its connection lives. One that was made while a table was empty reads that table from end
to end, or takes another index than that of the key. So the access paths here are SQL that the planner can serve by one
index only: a lookup by key is a subquery that can't be flattened (`OFFSET 0`), or has an order that one index alone
provides. What a statement deletes it finds by `= ANY(ARRAY(SELECT …))`, since IN would become a join.

Lists of several accounts read a range of an index for each, and merge them: a late page costs what the first one costs.
With `account_id = ANY(…)` alone the planner would sort all rows of these accounts, or walk past those of others.
"""

from __future__ import annotations

import contextlib
import re
import select
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions
from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from scheduler_svc.database.batch import COPY_FROM, Insert, array
from scheduler_svc.database.connections import set_local_lock_timeout
from scheduler_svc.domain.account import Scope

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
T = TypeVar("T")
P = TypeVar("P")


class UnconfirmedCommit(psycopg2.OperationalError):
    """The commit came with a warning: the wait for a synchronous standby was cancelled, so it may lack the data."""


class Pipeline:
    """One transaction, in as few round trips as possible: on an idle machine one costs more than its statement.

    Statements without a result (BEGIN, inserts of few rows, COMMIT) are held back and sent with the next one, so every
    statement sees what came before it. The connection itself is in autocommit mode. On an engine with the option
    `prepares`, each statement is planned once a connection; each transaction begins with the statements of
    `begins_with`.
    """

    def __init__(self, connection: sa.Connection, lock_timeout: float | None = None) -> None:
        """`lock_timeout`: seconds; unset: the connection's own."""
        self._connection = connection
        options = connection.get_execution_options()
        self._begin = [BEGIN, *options.get("begins_with", ())]
        if lock_timeout is not None:
            self._begin.append(set_local_lock_timeout(lock_timeout))
        self._held_back = list(self._begin)
        self.committing = False
        """Whether a commit was sent, and the server has not said that it failed: its outcome is unknown."""
        self.broken = False
        """Whether the connection can't be used any more."""
        self.statements = 0
        """How many were run, or held back."""
        self._prepared = Prepared.of(connection) if options.get("prepares") else None

    def execute(self, statement: sa.TextClause, parameters: dict[str, Any]) -> extensions.cursor:
        """Runs a statement; returns the driver's cursor, with its answer."""
        self.hold_back(statement, parameters)
        return self._send()

    def execute_and_commit(self, statement: sa.TextClause, parameters: dict[str, Any]) -> extensions.cursor:
        """Runs the last statement of a transaction of which nothing was sent so far, and commits, in one round trip.

        Statements that are sent together without BEGIN are one transaction. Another one may follow.
        """
        begin, *self._held_back = self._held_back
        assert begin == BEGIN, "nothing was sent so far"
        self.hold_back(statement, parameters)
        try:
            result = self._send_commit()
        except Exception as error:
            self._unprepare()  # the script may have ended before it had prepared all of its statements
            self.committing = self.broken or isinstance(error, UnconfirmedCommit)
            raise
        finally:
            self._held_back = list(self._begin)
        self.committing = False
        return result

    @property
    def untouched(self) -> bool:
        """Whether nothing was sent so far, and the server has not hung up since the connection was last used."""
        return self._held_back == self._begin and not select.select([self._driver], [], [], 0)[0]

    def _unprepare(self) -> None:
        if self._prepared is not None and not self.broken:  # a broken one takes them with it
            self._prepared.forget()
            with contextlib.suppress(psycopg2.Error), self._driver.cursor() as cursor:
                cursor.execute("DEALLOCATE ALL")

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]]) -> None:
        """Inserts rows: many at once by COPY; few are held back."""
        if not rows:
            return
        if len(rows) < COPY_FROM:
            self._append(insert.sql, insert.bind(rows))
            return
        if self._held_back:
            self._send()
        self.statements += 1
        with self._driver.cursor() as cursor:
            cursor.copy_expert(insert.copy, _Pieces(insert.pieces(rows)))

    def copy_to(self, statement: sa.TextClause, parameters: dict[str, Any], file: Any) -> None:
        """Runs a COPY TO STDOUT, and writes its lines to the file."""
        if self._held_back:
            self._send()
        self.statements += 1
        with self._driver.cursor() as cursor:
            cursor.copy_expert(cursor.mogrify(driver_sql(statement), parameters).decode(), file)

    def hold_back(self, statement: sa.TextClause, parameters: dict[str, Any]) -> None:
        """Runs a statement together with the next one. What it answers is lost, unless it is `kept`."""
        self._append(driver_sql(statement), parameters)

    def _append(self, sql: str, parameters: dict[str, Any]) -> None:
        self.statements += 1
        if self._prepared is not None:
            preparation, sql = self._prepared.call(sql)
            self._held_back += preparation
        with self._driver.cursor() as cursor:
            self._held_back.append(cursor.mogrify(sql, parameters).decode())

    def commit(self) -> None:
        """Sends what is held back, and commits. Sends nothing for a transaction without statements."""
        if self._held_back != self._begin:
            self._held_back.append("COMMIT")
            self._send_commit()

    def _send_commit(self) -> extensions.cursor:
        """Sends what is held back, which ends with a commit. Raises UnconfirmedCommit.

        Any warning counts: their texts are in the server's language, and a commit has no other.
        """
        self.committing = True
        warnings: list[str] = []
        self._driver.notices = warnings
        cursor = self._send()
        if warnings:
            raise UnconfirmedCommit(warnings[-1])
        return cursor

    def _send(self) -> extensions.cursor:
        """Sends what is held back, past SQLAlchemy, whose results cost more than most statements.

        Leaves a server that has become read-only, too: its name may lead to the new primary now.
        """
        script, self._held_back = "; ".join(self._held_back), []
        cursor = self._driver.cursor()
        try:
            cursor.execute(script)
        except psycopg2.Error as error:
            dialect: Any = self._connection.dialect
            gone = dialect.is_disconnect(error, cursor.connection, cursor)
            if gone or isinstance(error, ReadOnlySqlTransaction):
                self._drop()
            raise
        return cursor  # type: ignore[no-any-return]

    def _drop(self) -> None:
        """Closes the connection. SQLAlchemy meets it closed, and replaces the others of its pool, too."""
        self.broken = True
        self._driver.close()
        with contextlib.suppress(sa.exc.DBAPIError):
            self._connection.exec_driver_sql("SELECT")

    @property
    def _driver(self) -> Any:
        return self._connection.connection.dbapi_connection


class _Pieces:
    """What the driver reads a COPY from, a piece at a time: one is made while the server stores those before it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int) -> bytes:
        return next(self._pieces, b"")


@lru_cache(maxsize=1_000)
def driver_sql(statement: sa.TextClause) -> str:
    """Returns a statement with the driver's parameters, `%(name)s`."""
    return str(statement.compile(dialect=_DIALECT))


_DIALECT = PGDialect_psycopg2()  # type: ignore[no-untyped-call]


class Page(NamedTuple, Generic[T, P]):
    """A part of a list. `rest`: the position at which reading stopped early; None: it came to the end, or the limit."""

    rows: list[T]
    rest: P | None


@lru_cache(maxsize=100)
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)


class Statements:
    def __init__(self, session: Pipeline) -> None:
        self._session = session

    def _rows(self, statement: sa.TextClause, **parameters: Any) -> Sequence[Any]:
        return self._session.execute(statement, parameters).fetchall()

    def _named_rows(self, statement: sa.TextClause, **parameters: Any) -> Iterator[Any]:
        """Yields rows whose values have the names of their columns."""
        cursor = self._session.execute(statement, parameters)
        return map(_row_type(tuple(column[0] for column in cursor.description or ()))._make, cursor)

    def _row(self, statement: sa.TextClause, **parameters: Any) -> Any:
        return self._session.execute(statement, parameters).fetchone()

    def _one(self, read: Callable[..., T], statement: sa.TextClause, **parameters: Any) -> T | None:
        """Returns what `read` makes of the columns of the row; None if there is none."""
        row = self._row(statement, **parameters)
        return None if row is None else read(*row)

    def _all(self, read: Callable[..., T], statement: sa.TextClause, **parameters: Any) -> list[T]:
        """Returns what `read` makes of the columns of each row."""
        return [read(*row) for row in self._rows(statement, **parameters)]

    def _run(self, statement: sa.TextClause, **parameters: Any) -> int:
        """Runs the statement; returns the number of rows that it touched."""
        return self._session.execute(statement, parameters).rowcount


MAX_PREPARED = 200
"""Statements that a connection prepares; further ones are sent unprepared."""

_PARAMETER = re.compile(r"%\((\w+)\)s")
_KEY = "prepared"


class Prepared:
    """The statements that one connection has prepared; kept with it, and forgotten when a transaction fails."""

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}

    @classmethod
    def of(cls, connection: sa.Connection) -> Prepared:
        prepared = connection.info.setdefault(_KEY, cls())
        assert isinstance(prepared, cls)
        return prepared

    def call(self, sql: str) -> tuple[list[str], str]:
        """Returns what to send before `sql` can be called, if anything, and its call; both with parameters of `sql`."""
        if sql in self._calls:
            return [], self._calls[sql]
        if len(self._calls) >= MAX_PREPARED:
            return [], sql
        preparation, self._calls[sql] = _prepared(f"s{len(self._calls)}", sql)
        return [preparation], self._calls[sql]

    def forget(self) -> None:
        self._calls.clear()


def _prepared(name: str, sql: str) -> tuple[str, str]:
    """Returns how to prepare the statement by this name, and how to call it."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    numbered = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql).replace("%%", "%")
    arguments = ", ".join(f"%({parameter})s" for parameter in names)
    return f"PREPARE {name} AS {numbered}", f"EXECUTE {name}({arguments})" if names else f"EXECUTE {name}"


def forget(info: dict[str, object]) -> None:
    if isinstance(prepared := info.get(_KEY), Prepared):
        prepared.forget()


EACH_ACCOUNT = "unnest(CAST(:accounts AS bigint[])) AS a(own)"
"""For FROM: each account of the scope, as `a.own` in the LATERAL query behind it."""


def payload(of: str) -> str:
    """Returns, for FROM, `p`: the payload of the task that a row of `of` names by its `task_key`."""
    return f"LATERAL (SELECT * FROM task_payloads AS x WHERE x.task_key = {of}.task_key OFFSET 0) AS p"


def task(of: str, name: str) -> str:
    """Returns, for FROM, that task as `name`. Its `ctid` is stable for whoever has locked the task or its lease."""
    same = f"x.task_key BETWEEN {of}.task_key AND {of}.task_key"
    return f"LATERAL (SELECT x.ctid, x.* FROM tasks AS x WHERE {same} ORDER BY x.task_key) AS {name}"


def leased(of: str) -> str:
    """Returns a condition: whether that task has a lease, revoked or not."""
    return f"EXISTS (SELECT FROM leases AS x WHERE x.task_key = {of}.task_key OFFSET 0)"


def kept(rows: str) -> str:
    """Returns a query that answers another one's rows as one JSON text, and keeps it for `KEPT` until the commit.

    Of statements that are sent together, the driver returns what the last one answers.
    """
    return f"SELECT set_config('{_KEPT}', coalesce((SELECT json_agg(r) FROM ({rows}) AS r)::text, '[]'), true)"


_KEPT = "contentgen.kept"
KEPT = f"current_setting('{_KEPT}', true)"


def accounts(scope: Scope) -> dict[str, str]:
    """Returns the parameter of `EACH_ACCOUNT`; empty if the scope is all accounts, which needs another statement."""
    return {} if scope.accounts is None else {"accounts": array("bigint", scope.accounts)}


def of_each_account(scope: Scope, most: int) -> int:
    """Returns how many rows of each account a page examines, of `most` in all; at least one."""
    return max(1, most // len(scope.accounts or (0,)))


def account_filter(scope: Scope) -> str | None:
    """Returns the accounts as an array; None: all. For `CAST(:accounts AS bigint[]) IS NULL OR …` on small tables."""
    return None if scope.accounts is None else array("bigint", scope.accounts)
