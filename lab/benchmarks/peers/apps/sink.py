"""Our job: a result and a row of the publish pool, in one statement and so in one commit.

It is in PostgreSQL for all peers: a result that has to outlive a crash has nowhere else to go, whatever the queue is.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import psycopg
import psycopg_pool

from lab.benchmarks.peers.apps.peer import OURS, RESULT, Scene, Tally

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
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(TABLES)


async def stored(url: str) -> tuple[int, int]:
    results = await first(url, "SELECT count(*) FROM results")
    return results, await first(url, "SELECT count(*) FROM publish_pool")


class Handler:
    """What a worker has whose handlers run on an event loop; asyncpg prepares the statement by itself."""

    _tally: Tally
    _pool: asyncpg.Pool | None = None

    async def begin(self, scene: Scene, connections: int = 16) -> None:
        """Returns once the worker may begin, which is ready."""
        if scene.job == OURS:
            self._pool = await asyncpg.create_pool(scene.postgres, min_size=connections, max_size=connections)
        self._tally = Tally(scene.folder)
        self._tally.wait_for_go()

    async def handle(self, article: dict[str, Any]) -> str | None:
        self._tally.add()
        if self._pool:
            await self._pool.execute(_BY_NUMBER, article["number"], RESULT, article["account_id"], article["topic"])
            return None
        return RESULT


class ThreadHandler:
    """The same for handlers that run in threads."""

    _tally: Tally
    _pool: psycopg_pool.ConnectionPool | None = None

    def begin(self, scene: Scene, threads: int) -> None:
        if scene.job == OURS:
            options = {"autocommit": True, "prepare_threshold": 0}
            self._pool = psycopg_pool.ConnectionPool(
                scene.postgres, min_size=threads, max_size=threads, open=True, kwargs=options
            )
            self._pool.wait()
        self._tally = Tally(scene.folder)
        self._tally.wait_for_go()

    def handle(self, article: dict[str, Any]) -> str | None:
        self._tally.add()
        if self._pool:
            with self._pool.connection() as connection:
                connection.execute(_BY_NAME, {**article, "body": RESULT})
            return None
        return RESULT


async def first(url: str, statement: str) -> Any:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row[0]
