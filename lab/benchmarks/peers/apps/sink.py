"""Our job: a result and a row of the publish pool, in one statement and so in one commit.

It is in PostgreSQL for all peers: a result that has to outlive a crash has nowhere else to go, whatever the queue is.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import psycopg
import psycopg_pool

from lab.benchmarks.peers.apps.scene import OURS, RESULT, Scene

TABLES = """
CREATE TABLE results (
  number bigint PRIMARY KEY,
  body text NOT NULL,
  quality_score real NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE publish_pool (
  number bigint PRIMARY KEY,
  account_id bigint NOT NULL,
  topic text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT now()
);
"""
_STORE = """
WITH stored AS (INSERT INTO results (number, body, quality_score) VALUES ({}, {}, 0.9))
INSERT INTO publish_pool (number, account_id, topic) VALUES ({}, {}, {})
"""
_BY_NUMBER = _STORE.format("$1", "$2", "$1", "$3", "$4")
_BY_NAME = _STORE.format(*(f"%({name})s" for name in ("number", "body", "number", "account_id", "topic")))


async def make_tables(url: str) -> None:
    """On an empty database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLES)
    finally:
        await connection.close()


async def stored(url: str) -> tuple[int, int]:
    """Results, and rows of the pool."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow("SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM publish_pool)")
    finally:
        await connection.close()
    return row[0], row[1]


class Sink:
    """For handlers on an event loop: a pool of asyncpg, which prepares the statement by itself."""

    def __init__(self, url: str, connections: int) -> None:
        self._pool = asyncpg.create_pool(url, min_size=connections, max_size=connections)

    async def open(self) -> None:
        await self._pool

    async def store(self, task: dict[str, Any]) -> None:
        """Returns once it is committed."""
        await self._pool.execute(_BY_NUMBER, task["number"], RESULT, task["account_id"], task["topic"])


async def of(scene: Scene, connections: int) -> Sink | None:
    """An open one; None where the handler does nothing."""
    if scene.job != OURS:
        return None
    sink = Sink(scene.postgres, connections)
    await sink.open()
    return sink


class ThreadSink:
    """For handlers in threads: a pool of psycopg."""

    def __init__(self, url: str, connections: int) -> None:
        self._pool = psycopg_pool.ConnectionPool(
            url,
            min_size=connections,
            max_size=connections,
            open=True,
            kwargs={"autocommit": True, "prepare_threshold": 0},
        )
        self._pool.wait()

    def store(self, task: dict[str, Any]) -> None:
        """Returns once it is committed."""
        with self._pool.connection() as connection:
            connection.execute(_BY_NAME, {**task, "body": RESULT})


async def first(url: str, statement: str) -> Any:
    """Returns the first value that a statement gives."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row[0]
