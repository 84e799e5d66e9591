"""The replica's threads and connections, one pool a purpose, so that no kind of work holds up another.

With those of the group committers, the dispatcher, LISTEN, NOTIFY and the vacuum they are 28 connections at most, which
docs/how-to/postgresql.md tells operators. Fewer would let one kind of work hold up another, so that is for a pooler by
transaction: what does not need a session of its own, or the plans of the hot path, goes there if there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from scheduler_svc.config import Settings
from scheduler_svc.database.connections import ALONE_TIMEOUT, HOT_TIMEOUT, Timeouts
from scheduler_svc.database.lineage import Lineage
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.standby import Reads
from scheduler_svc.transactions import Database, make_engine

READ_THREADS = 4
"""For clients' reads; one caller may have all but one of them."""
DISPATCH_LOCK_TIMEOUT = 0.5
"""Seconds. The next claim may wait for an account to be settled, so one that another session has locked is retried."""


class Pools:
    """Creates and closes them. Each thread has a connection of its own, opened on first use."""

    def __init__(self, url: str, database: Callable[..., Database], settings: Settings, lineage: Lineage) -> None:
        """`database` makes a database of a pool's name and engine; `lineage` refuses servers of another fleet."""
        self._lineage = lineage
        self._url = url
        self._pool_url = settings.pool_url
        self._database = database
        self._lock_timeout, self._statement_timeout = settings.lock_wait, settings.statement_timeout
        statement_timeout = self._statement_timeout
        self._engines: list[sa.Engine] = []
        self._calls: list[Calls] = []
        reading = self._engine(READ_THREADS, Timeouts(self._lock_timeout, statement_timeout), direct=False)
        self.reads = Reads(self._database("reads", reading), READ_THREADS)
        """Clients' reads."""
        self._calls.append(self.reads)
        self.writes = self._pool("writes", 2, statement_timeout)
        """Clients' writes to single rows: they may wait for a row's lock, which reads never do."""
        self.operators = self._pool("operators", 2, HOT_TIMEOUT)
        """Operators' calls, and work on many tasks batch by batch."""
        self.assets = self._pool("assets", 1, HOT_TIMEOUT)
        """Uploads of assets and their collection, which waits for the object store."""
        self.moves = self._pool("moves", 1, ALONE_TIMEOUT)
        """Export and import of accounts, which takes minutes."""
        self.sessions = self._pool("sessions", 3, statement_timeout)
        """Hellos."""
        self.watches = self._pool("watches", 2, HOT_TIMEOUT, hot=True)
        """Watchers, of which many may come back at once."""
        self.loops = self._pool("loops", 2, HOT_TIMEOUT, hot=True)
        """Timed loops: a reaper that waited for clients would take that for an outage."""
        self.webhooks = self._pool("webhooks", 1, HOT_TIMEOUT, hot=True)
        """Deliveries of webhooks."""
        self.audit = self._pool("audit", 1, HOT_TIMEOUT, hot=True)
        """Audit events, for which calls may wait."""
        self.dispatch = self._pool(
            "dispatch", 1, HOT_TIMEOUT, hot=True, lock_timeout=DISPATCH_LOCK_TIMEOUT, direct=True
        )
        """Admission, for which the dispatcher may wait."""
        self.diagnosis = self._pool("diagnosis", 1, statement_timeout)
        """The search for sessions that hold locks, while other pools are blocked."""
        self.standby: Calls | None = None
        """Clients' reads from a standby; set by `open_standby`."""

    def _pool(
        self,
        name: str,
        threads: int,
        statement: float,
        *,
        hot: bool = False,
        lock_timeout: float | None = None,
        direct: bool = False,
    ) -> Calls:
        timeouts = Timeouts(lock_timeout or self._lock_timeout, statement)
        calls = Calls(self._database(name, self._engine(threads, timeouts, hot=hot, direct=direct)), threads)
        self._calls.append(calls)
        return calls

    def _engine(self, connections: int, timeouts: Timeouts, *, hot: bool = False, direct: bool = True) -> sa.Engine:
        url = None if direct else self._pool_url
        options: dict[str, Any] = {"hot": hot, "timeouts": timeouts, "lineage": self._lineage, "pooled": bool(url)}
        engine = make_engine(url or self._url, connections, **options)
        self._engines.append(engine)
        return engine

    def committers(self, name: str, threads: int = 1) -> Database:
        """Returns a database for the threads of so many group committers."""
        return self._database(name, self._engine(threads, Timeouts(self._lock_timeout, HOT_TIMEOUT), hot=True))

    def background(self) -> sa.Engine:
        """Returns an engine for work that nobody waits for."""
        return self._engine(1, Timeouts(self._lock_timeout, ALONE_TIMEOUT))

    def open_standby(self, url: str, away: Callable[[str], None]) -> Calls:
        """Returns the calls that a standby answers. `away` is told, on their thread, of each failure to reach it."""
        timeouts = Timeouts(self._lock_timeout, self._statement_timeout)
        engine = make_engine(url, READ_THREADS, timeouts=timeouts)
        self._engines.append(engine)
        self.standby = Calls(self._database("standby", engine, away), READ_THREADS)
        return self.standby

    async def close(self) -> None:
        """Waits for the calls under way, then closes all connections. It waits for no standby, which may be frozen."""
        for calls in self._calls:
            await asyncio.to_thread(calls.close)
        if self.standby:
            self.standby.close(wait=False)
        for engine in self._engines:
            engine.dispose()
