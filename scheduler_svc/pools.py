"""The replica's threads and connections, apart by purpose: what one kind of work holds up is its own. For `replica`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa

from scheduler_svc.application.calls import Calls
from scheduler_svc.store.engine.lineage import Lineage
from scheduler_svc.store.engine.timeouts import ALONE_TIMEOUT, HOT_TIMEOUT, Timeouts
from scheduler_svc.store.engine.transactions import PgDatabase, make_engine

READ_THREADS = 4
"""For what clients read; one of them is kept from each caller."""
DISPATCH_LOCK_TIMEOUT = 0.5
"""Seconds: the next claim may wait for an account to be let in, so one that somebody else holds is tried again."""


class Pools:
    """Makes them, and closes them. Each thread has a connection of its own, opened when it is first used."""

    def __init__(
        self,
        url: str,
        database: Callable[[sa.Engine], PgDatabase],
        *,
        lock_timeout: float,
        statement_timeout: float,
        lineage: Lineage,
    ) -> None:
        """`database` runs transactions on an engine. Seconds: what a wait for a lock, and a client's call, may take.

        `lineage` refuses a server that is not the fleet's.
        """
        self._lineage = lineage
        self._url = url
        self._database = database
        self._lock_timeout = lock_timeout
        self._engines: list[sa.Engine] = []
        self._calls: list[Calls] = []
        self.reads = self._pool(READ_THREADS, statement_timeout)
        """What clients read."""
        self.writes = self._pool(2, statement_timeout)
        """What clients change one by one: it may wait for a row's lock, and reads never do."""
        self.operators = self._pool(2, HOT_TIMEOUT)
        """Operators' calls, and what goes through many tasks batch by batch."""
        self.sessions = self._pool(4, statement_timeout)
        """Hellos."""
        self.watches = self._pool(2, HOT_TIMEOUT, hot=True)
        """Watchers, however many come back at once."""
        self.loops = self._pool(2, HOT_TIMEOUT, hot=True)
        """The timed loops: a reaper that waits for clients would take that for an outage."""
        self.dispatch = self._pool(1, HOT_TIMEOUT, hot=True, lock_timeout=DISPATCH_LOCK_TIMEOUT)
        """What decides who may run: the dispatcher waits for it."""
        self.diagnosis = self._pool(1, statement_timeout)
        """Looks for whoever holds the others up."""

    def _pool(self, threads: int, statement: float, *, hot: bool = False, lock_timeout: float | None = None) -> Calls:
        timeouts = Timeouts(lock_timeout or self._lock_timeout, statement)
        calls = Calls(self._database(self._engine(threads, timeouts, hot=hot)), threads)
        self._calls.append(calls)
        return calls

    def _engine(self, connections: int, timeouts: Timeouts, *, hot: bool = False) -> sa.Engine:
        engine = make_engine(self._url, connections, hot=hot, timeouts=timeouts, lineage=self._lineage)
        self._engines.append(engine)
        return engine

    def lane(self) -> PgDatabase:
        """For a thread of its own that writes much at once."""
        return self._database(self._engine(1, Timeouts(self._lock_timeout, HOT_TIMEOUT), hot=True))

    def alone(self) -> sa.Engine:
        """For what nobody waits for."""
        return self._engine(1, Timeouts(self._lock_timeout, ALONE_TIMEOUT))

    async def close(self) -> None:
        """Waits for what runs, and closes all connections."""
        for calls in self._calls:
            await asyncio.to_thread(calls.close)
        self.dispose()

    def dispose(self) -> None:
        """Closes the connections."""
        for engine in self._engines:
            engine.dispose()
