"""The scheduler under test: a process on a data folder of its own, what it uses, and what its database holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg2

from contentgen import AsyncContentGenerationClient
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.cluster import rows_of
from tests.harness.stack import EMBEDDED, Scheduler

START_LIMIT = 60.0
STOP_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds since the processes began."""

    scheduler: float
    postgres: float

    @property
    def total(self) -> float:
        return self.scheduler + self.postgres

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.scheduler + other.scheduler, self.postgres + other.postgres)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.scheduler - other.scheduler, self.postgres - other.postgres)

    def __mul__(self, factor: float) -> Cpu:
        return Cpu(self.scheduler * factor, self.postgres * factor)


class Stack:
    """`contentgen-scheduler` on `folder`. Entering it starts the process and makes the accounts."""

    def __init__(self, folder: Path, accounts: int, **settings: str) -> None:
        self.folder = folder
        self.target = ""
        self.accounts: list[int] = []
        self._wanted_accounts = accounts
        self._scheduler = scheduler("scheduler", folder, environment(folder / "data", **settings))

    async def __aenter__(self) -> Self:
        try:
            self.target = self._scheduler.start().target
            await self._make_accounts()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            self._scheduler.stop(STOP_LIMIT)
        finally:
            if self._scheduler.alive:
                self._scheduler.kill()

    async def _make_accounts(self) -> None:
        async with AsyncContentGenerationClient(self.target) as client:
            for number in range(self._wanted_accounts):
                self.accounts.append((await client.create_account(f"benchmark {number}"))["account_id"])

    def cpu(self) -> Cpu:
        scheduler = psutil.Process(self._scheduler.pid)
        times = scheduler.cpu_times()
        # A server process that has ended is in its parent's children; the scheduler's own children live on.
        return Cpu(times.user + times.system, used_by(scheduler.children(recursive=True)))

    def rss(self) -> int:
        """Returns the bytes that the scheduler's process has in memory, PostgreSQL not included."""
        return int(psutil.Process(self._scheduler.pid).memory_info().rss)

    def logged(self, action: str) -> list[dict[str, Any]]:
        return self._scheduler.events(action)

    @property
    def url(self) -> str:
        return EmbeddedPostgres(self.folder / "data" / "postgres").url()

    @property
    def dsn(self) -> str:
        return EmbeddedPostgres(self.folder / "data" / "postgres").dsn()

    def warm_wal(self) -> None:
        """Leaves 1 GiB of WAL segments to be used again, as after some hours of work.

        A fresh database makes each segment anew, and fills it with zeros first.
        """
        for _ in range(64):
            self.rows("SELECT pg_switch_wal(), pg_logical_emit_message(false, 'warm', '')")
        self.rows("CHECKPOINT")

    def wal(self) -> float:
        """Returns the bytes of WAL that its database's server has written so far."""
        return float(self.query("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8"))

    def query(self, statement: str) -> Any:
        """Returns the first value of a statement's first row, asked past the scheduler."""
        return self.rows(statement)[0][0]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            return rows_of(connection, statement)


def environment(data: Path, **settings: str) -> dict[str, str]:
    return {
        "CONTENTGEN_DATA_DIR": str(data),
        "CONTENTGEN_LOG_FORMAT": "json",
        **{f"CONTENTGEN_{name.upper()}": value for name, value in settings.items()},
    }


def scheduler(name: str, folder: Path, environment: Mapping[str, str]) -> Scheduler:
    """Returns one that is not started yet, with the variables of this one or of another; it logs into the folder."""
    variables = {name: value for name, value in environment.items() if name != "CONTENTGEN_LISTEN"}
    url = variables.pop("DATABASE_URL", EMBEDDED)
    return Scheduler(name, folder, url, 120.0, **variables)  # seconds of a lease: a service's own


def used_by(processes: Iterable[psutil.Process]) -> float:
    """Returns the CPU seconds of these processes, and of their children that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
