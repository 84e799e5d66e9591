"""Prepared statements: parsed and planned once a connection. For a small batch that is most of its cost.

The driver has none, so they are made and called by SQL. A pooler in front of PostgreSQL must keep a session to one
connection, which LISTEN asks for too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import sqlalchemy as sa

MAX_PREPARED = 200
"""Statements that a connection prepares; further ones are sent unprepared."""

_PARAMETER = re.compile(r"%\((\w+)\)s")
_KEY = "prepared"


class _Call(NamedTuple):
    preparation: str
    execution: str


class Prepared:
    """The statements that one connection has prepared; kept with it, and forgotten when a transaction fails."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}

    @classmethod
    def of(cls, connection: sa.Connection) -> Prepared:
        """The connection's own."""
        found = connection.info.setdefault(_KEY, cls())
        assert isinstance(found, cls)
        return found

    def call(self, sql: str) -> tuple[list[str], str]:
        """What to send before `sql` can be called, if anything, and its call; both with the parameters of `sql`."""
        known = self._calls.get(sql)
        if known is not None:
            return [], known.execution
        if len(self._calls) >= MAX_PREPARED:
            return [], sql
        made = self._calls[sql] = _make(f"s{len(self._calls)}", sql)
        return [made.preparation], made.execution

    def forget(self) -> None:
        """Forgets all of them."""
        self._calls.clear()


def _make(name: str, sql: str) -> _Call:
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    numbered = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql).replace("%%", "%")
    given = ", ".join(f"%({parameter})s" for parameter in names)
    return _Call(f"PREPARE {name} AS {numbered}", f"EXECUTE {name}({given})" if names else f"EXECUTE {name}")


def forget(info: dict[str, object]) -> None:
    """Forgets what the connection with this `info` has prepared."""
    if isinstance(prepared := info.get(_KEY), Prepared):
        prepared.forget()
