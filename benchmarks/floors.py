"""What the parts do by themselves on this machine, at this moment. Goals are read against it.

The goals are of one machine in one mood. The same parts were measured there: what a figure would be there is what it
is here, times how much quicker its part is there. So a slow or a busy machine does not look like a slow program.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg2

from benchmarks import payload, scenario
from benchmarks.child import Child
from benchmarks.stack import Stack

UNARY_PER_SECOND = 8_400.0
"""Bare unary calls with 64 in flight, on the goals' machine."""
UNARY_MS = 0.56
"""A bare unary call, one at a time: the median there."""
INSERTED_PER_SECOND = 46_000.0
"""Rows of 1 KB that one connection inserts there, 1,000 a statement, as arrays."""

_CALLS = 10_000
_ROWS = 1_000
_STATEMENTS = 40


@asynccontextmanager
async def bare_server(stack: Stack) -> AsyncIterator[str]:
    """A server that does nothing else; gives its target."""
    async with Child("bare_server", stack.folder, "bare_server") as server:
        yield str(server.first["target"])


async def unary_per_second(stack: Stack) -> float:
    """Bare unary calls of one task with 64 in flight, by the loader of the real measure."""
    async with bare_server(stack) as target:
        return (await scenario.load(stack, _CALLS, batch=1, in_flight=64, target=target)).per_second


def inserted_per_second(stack: Stack) -> float:
    """Rows of 1 KB, 1,000 a statement and a commit, into a table with a key, by the stack's PostgreSQL."""
    text = next(payload.tasks([1])).requirements
    with contextlib.closing(psycopg2.connect(stack.dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE TABLE floor (id bigint PRIMARY KEY, payload text NOT NULL)")
        begin = time.monotonic()
        for first in range(0, _STATEMENTS * _ROWS, _ROWS):
            ids = "{" + ",".join(map(str, range(first, first + _ROWS))) + "}"
            texts = "{" + ",".join([f'"{text}"'] * _ROWS) + "}"
            cursor.execute(
                "INSERT INTO floor SELECT * FROM unnest(CAST(%s AS bigint[]), CAST(%s AS text[]))", (ids, texts)
            )
        seconds = time.monotonic() - begin
        cursor.execute("DROP TABLE floor")
    return _STATEMENTS * _ROWS / seconds
