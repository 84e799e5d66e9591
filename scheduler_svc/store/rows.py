"""The one place where SQL is executed: a statement with its parameters, on the transaction's connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa


class Statements:
    """Base of the groups of statements: holds the connection whose transaction they run in."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _rows(self, statement: sa.TextClause, **parameters: Any) -> Sequence[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    def _row(self, statement: sa.TextClause, **parameters: Any) -> Any:
        return self._connection.execute(statement, parameters).fetchone()

    def _run(self, statement: sa.TextClause, **parameters: Any) -> int:
        """Runs it; returns the number of rows that it touched."""
        return self._connection.execute(statement, parameters).rowcount
