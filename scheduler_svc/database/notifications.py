"""LISTEN and NOTIFY between replicas, on a connection each."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions

from scheduler_svc.database.batch import array
from scheduler_svc.database.connections import connect
from scheduler_svc.database.lineage import Lineage
from scheduler_svc.database.statements import driver_sql
from scheduler_svc.domain.errors import StoreUnavailable

_CHANNEL = "contentgen"

# Each NOTIFY holds a lock of the whole cluster until its transaction has ended. So this one flushes nothing.
_SENDER_SETTINGS = "SET synchronous_commit = off; SET lock_timeout = '2s'; SET statement_timeout = '5s'"
_NOTIFY = sa.text(f"SELECT pg_notify('{_CHANNEL}', payload) FROM unnest(CAST(:payloads AS text[])) AS payload")
"""Sends hints to other replicas."""


def _readable(*descriptors: int, seconds: float | None = None) -> list[int]:
    """Returns those that can be read now; waits for the first one. Unlike select it takes descriptors above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1000)]


class PgNotifications:
    """For one thread that waits, and any thread that interrupts it."""

    def __init__(self, engine: sa.Engine, lineage: Lineage | None = None) -> None:
        """`engine` lends its address; the connection is this object's own."""
        self._engine = engine
        self._lineage = lineage
        self._connection: extensions.connection | None = None
        self._wake_read, self._wake_write = os.pipe()

    def open(self) -> None:
        """Listens from now on. Raises StoreUnavailable."""
        try:
            self._connection = connect(self._engine.url, self._lineage)
            with self._connection.cursor() as cursor:
                cursor.execute(f"LISTEN {_CHANNEL}")
        except psycopg2.Error as error:
            self.close()
            raise StoreUnavailable from error

    def wait(self) -> list[str]:
        """Blocks until a notification, or `interrupt`; returns the payloads. Raises StoreUnavailable."""
        assert self._connection is not None, "open it first"
        if self._wake_read in _readable(self._wake_read, self._connection.fileno()):
            os.read(self._wake_read, 4096)
        try:
            self._connection.poll()
        except psycopg2.Error as error:
            self.close()
            raise StoreUnavailable from error
        payloads = [notify.payload for notify in self._connection.notifies]
        self._connection.notifies.clear()
        return payloads

    def pause(self, seconds: float) -> None:
        """Blocks for so long, or until `interrupt`."""
        _readable(self._wake_read, seconds=seconds)

    def interrupt(self) -> None:
        """Ends a wait or a pause."""
        os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Closes the connection; `open` works again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def dispose(self) -> None:
        self.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


class PgNotifier:
    """Sends hints to other replicas, each time in a transaction of its own. For one thread."""

    def __init__(self, engine: sa.Engine, lineage: Lineage | None = None) -> None:
        """`engine` lends its address; the connection is this object's own, made when it is needed."""
        self._engine = engine
        self._lineage = lineage
        self._connection: extensions.connection | None = None

    def send(self, payloads: Sequence[str]) -> None:
        """Sends all in one round trip. Raises StoreUnavailable; then they may have been sent or not."""
        made_before = self._connection is not None
        try:
            self._send(payloads)
        except psycopg2.Error as error:
            if not made_before:
                raise StoreUnavailable from error
            self.send(payloads)  # the connection dates from before a restart; to send twice is harmless

    def _send(self, payloads: Sequence[str]) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._engine.url, self._lineage)
                self._run(_SENDER_SETTINGS)
            self._run(driver_sql(_NOTIFY), payloads=array("text", payloads))
        except psycopg2.Error:
            self.close()
            raise

    def _run(self, sql: str, **parameters: str) -> None:
        assert self._connection is not None
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def close(self) -> None:
        """Closes the connection; `send` works again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
