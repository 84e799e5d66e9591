"""How long a connection waits for a lock, and how long a statement may take. Part of `store`.

PostgreSQL has no such bounds by default, so one row that another session has locked would block every caller that
shares the connection. A transaction that they end has changed nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """Bounds of one connection, in seconds."""

    lock: float
    statement: float

    def sql(self) -> str:
        """The statements that set them, for the session."""
        return f"SET lock_timeout = {_ms(self.lock)}; SET statement_timeout = {_ms(self.statement)};"


LOCK_TIMEOUT = 2.0
"""Seconds. Our own transactions hold a lock for milliseconds, or some hundred for a large group on a slow disk."""
CALL_TIMEOUT = 10.0
"""Seconds that a statement of a client's call may take: callers wait so long by default."""
HOT_TIMEOUT = 30.0
"""Seconds that a statement of a lane or a loop may take: a group of the largest results on a slow disk needs some."""
ALONE_TIMEOUT = 600.0
"""Seconds that a statement of a vacuum or an import may take: no caller waits for it."""


def set_local_lock_timeout(seconds: float) -> str:
    """The statement that sets it for the transaction that has just begun."""
    return f"SET LOCAL lock_timeout = {_ms(seconds)}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1_000))
