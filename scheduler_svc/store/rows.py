"""The one place where SQL is executed: statements with their parameters, on one transaction's connection."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.store.batch import COPY_FROM, Insert

_COPY_BYTES = 256 * 1024
"""What the driver reads and sends at a time."""


class Session:
    """A transaction's connection. Inserts of few rows are held back and sent together: one round trip for all.

    They go out before any other statement, and before the commit, so that every statement sees what came before it.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._held_back: list[str] = []

    def execute(self, statement: sa.TextClause, parameters: dict[str, Any]) -> sa.CursorResult[Any]:
        """Runs a statement now."""
        self.flush()
        return self._connection.execute(statement, parameters)

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]]) -> None:
        """Inserts rows: many at once by COPY, few later, with what else is held back."""
        if not rows:
            return
        if len(rows) < COPY_FROM:
            self.hold_back(insert.sql, insert.bind(rows))
            return
        self.flush()
        with self._driver.cursor() as cursor:
            cursor.copy_expert(insert.copy, io.BytesIO(insert.lines(rows).encode()), _COPY_BYTES)

    def hold_back(self, sql: str, parameters: dict[str, Any]) -> None:
        """Runs a statement whose outcome nobody asks for, with the next one that is run; parameters as `%(name)s`."""
        with self._driver.cursor() as cursor:
            self._held_back.append(cursor.mogrify(sql, parameters).decode())

    def flush(self) -> None:
        """Sends what was held back."""
        if self._held_back:
            script, self._held_back = "; ".join(self._held_back), []
            self._connection.exec_driver_sql(script, execution_options={"no_parameters": True})

    @property
    def _driver(self) -> Any:
        return self._connection.connection.dbapi_connection


class Statements:
    """Base of the groups of statements."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _rows(self, statement: sa.TextClause, **parameters: Any) -> Sequence[Any]:
        return self._session.execute(statement, parameters).fetchall()

    def _row(self, statement: sa.TextClause, **parameters: Any) -> Any:
        return self._session.execute(statement, parameters).fetchone()

    def _run(self, statement: sa.TextClause, **parameters: Any) -> int:
        """Runs it; returns the number of rows that it touched."""
        return self._session.execute(statement, parameters).rowcount
