"""A database that takes connections and does not answer on existing ones, as with a frozen disk or host."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

_OURS = sa.text(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'contentgen'"
)


@contextmanager
def frozen_backends(engine: sa.Engine) -> Iterator[None]:
    """Freezes the schedulers' sessions in this database within the block; `engine` is another's."""
    with engine.connect() as connection:
        pids = list(connection.scalars(_OURS))
    assert pids, "schedulers are connected"
    try:
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
