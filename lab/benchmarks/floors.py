"""What gRPC and PostgreSQL do by themselves on this machine, at this moment: other figures are read against it.

The goals are of one machine in one mood. What a figure would be there is what it is here, times how much quicker its
floor is there. So a slow or a busy machine does not look like a slow program.
"""

from __future__ import annotations

import time
from contextlib import closing

import psutil
import psycopg2

from lab.benchmarks import payload, scenario
from lab.benchmarks.child import Child
from lab.benchmarks.stack import Cpu, Stack, used_by

UNARY_PER_SECOND = 8_400.0
"""Bare unary calls with 64 in flight, on the goals' machine."""
UNARY_MS = 0.56
"""A bare unary call, one at a time: the median there."""
LIVES_PER_SECOND = 22_200.0
"""What `lives` would do a second there, by commit 3fa335b7: its drain of 100,000 was 9,900/s there, and 0.42, 0.45,
0.51 of this floor here."""
_BATCH = 500


def bare_server(stack: Stack) -> Child:
    """Returns the process of one that does nothing; its first message has the `target`."""
    return Child("benchmarks.callers.serve_bare", stack.folder, "bare_server")


async def unary_per_second(stack: Stack) -> float:
    """Measures bare unary calls of one task with 64 in flight, by the loader of the real measure."""
    async with bare_server(stack) as server:
        return (await scenario.load(stack, 10_000, batch=1, in_flight=64, target=server.first["target"])).per_second


_TABLES = """
    CREATE SCHEMA floor;
    CREATE TABLE floor.tasks (key bigint PRIMARY KEY, payload text NOT NULL);
    CREATE TABLE floor.ready (key bigint PRIMARY KEY, tag float8 NOT NULL);
    CREATE TABLE floor.leases (key bigint PRIMARY KEY, fence integer NOT NULL);
    CREATE TABLE floor.contents (key bigint PRIMARY KEY, body text NOT NULL) WITH (toast_tuple_target = 8160);
"""
_LIFE = (
    """
    WITH r AS (SELECT * FROM unnest(%(keys)s::bigint[], %(payloads)s::text[]) AS r(key, payload)),
        task AS (INSERT INTO floor.tasks SELECT key, payload FROM r)
    INSERT INTO floor.ready SELECT key, key FROM r
    """,
    """
    WITH taken AS (DELETE FROM floor.ready WHERE key = ANY(%(keys)s::bigint[]) RETURNING key)
    INSERT INTO floor.leases SELECT key, 1 FROM taken
    """,
    """
    WITH ended AS (DELETE FROM floor.leases WHERE key = ANY(%(keys)s::bigint[]) RETURNING key)
    INSERT INTO floor.contents SELECT r.key, r.body
    FROM unnest(%(keys)s::bigint[], %(bodies)s::text[]) AS r(key, body) JOIN ended USING (key)
    """,
)
"""A submit, a claim and a completion: a transaction each."""


def lives(stack: Stack, tasks: int) -> scenario.Span:
    """Lets one connection store, lease and complete tasks in narrow tables, 500 a transaction.

    Nothing of what makes it a queue: no fence, no order, no history, no counts.
    """
    with closing(psycopg2.connect(stack.dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_TABLES)
        try:
            task, result = next(payload.tasks([1])), payload.result()
            texts = {"payloads": [task.requirements] * _BATCH, "bodies": [result.body] * _BATCH}
            begin = time.monotonic()
            for first in range(0, tasks, _BATCH):
                keys = list(range(first, first + _BATCH))
                for statement in _LIFE:
                    cursor.execute(statement, {"keys": keys, **texts})
            cpu = used_by([psutil.Process(connection.info.backend_pid)])
            return scenario.Span(tasks, begin, time.monotonic(), Cpu(0, cpu))
        finally:
            cursor.execute("DROP SCHEMA floor CASCADE")
