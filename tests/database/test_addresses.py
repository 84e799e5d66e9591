"""Checks of DATABASE_URL at start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from itertools import cycle

import pytest
import sqlalchemy as sa
from psycopg2 import extensions
from structlog.testing import capture_logs

from contentgen.service.settings import SettingsError
from scheduler_svc.database import connections
from scheduler_svc.database.connections import Timeouts, check_server, check_sessions, connect
from scheduler_svc.database.statements import Pipeline
from scheduler_svc.transactions import make_engine

pytestmark = pytest.mark.integration


class Switching:
    """A connection through a pooler that gives each transaction to one of these sessions in turn."""

    def __init__(self, sessions: Iterator[extensions.connection]) -> None:
        self._sessions = sessions

    def cursor(self) -> extensions.cursor:
        return next(self._sessions).cursor()

    def close(self) -> None:
        """Nothing: the sessions are the pooler's."""


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_a_pooler_that_keeps_no_sessions_is_refused_with_advice(
    empty_db_url: str, monkeypatch: pytest.MonkeyPatch, sessions: int
) -> None:
    """However many sessions it has, in what order soever it gives them: test_pgbouncer.py has a real one."""
    with ExitStack() as stack:
        pool = [stack.enter_context(closing(connect(sa.make_url(empty_db_url)))) for _ in range(sessions)]
        turns = cycle(pool)
        monkeypatch.setattr(connections, "connect", lambda *_: Switching(turns))
        problem = _problem(empty_db_url)
    assert problem.startswith("DATABASE_URL leads to a connection pooler")
    assert "another for each transaction" in problem
    assert "pool_mode=session" in problem


def test_a_pooler_that_loses_notifications_is_refused(
    db_url: str, empty_db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between two databases."""
    urls = iter((db_url, empty_db_url))
    monkeypatch.setattr(connections, "connect", lambda *_: connect(sa.make_url(next(urls))))
    assert "loses what NOTIFY tells" in _problem(empty_db_url)


def test_a_database_of_another_encoding_is_refused(empty_db_url: str) -> None:
    address = sa.make_url(empty_db_url)
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
        try:
            problem = _problem(address.set(database="latin").render_as_string(hide_password=False))
        finally:
            connection.execute(sa.text("DROP DATABASE latin"))
    admin.dispose()
    assert problem.startswith("database latin has the encoding LATIN1, and needs UTF8: ")


def test_a_missing_server_is_reported_in_one_line() -> None:
    problem = _problem("postgresql+psycopg2://user:secret@127.0.0.1:1/db")
    assert problem.startswith("DATABASE_URL can't be used: ")
    assert "127.0.0.1" in problem
    assert "secret" not in problem


@pytest.mark.parametrize("address", ["host:port", "s@cret@host:port"])
def test_an_unreadable_url_is_not_shown(address: str) -> None:
    problem = _problem(f"postgresql+psycopg2://user:s3cret@{address}/db")
    assert problem.startswith("DATABASE_URL can't be read: it must be postgresql://")
    assert "cret" not in problem


@pytest.mark.parametrize("hot", [True, False])
def test_the_server_limits_how_long_a_session_leaves_a_transaction_open(empty_db_url: str, hot: bool) -> None:
    engine = make_engine(empty_db_url, 1, hot=hot)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")) == "20s"
        assert connection.scalar(sa.text("SHOW enable_seqscan")) == ("off" if hot else "on")
    engine.dispose()


def test_a_transaction_through_a_pooler_brings_its_settings_and_leaves_none(empty_db_url: str) -> None:
    engine = make_engine(empty_db_url, 1, hot=True, timeouts=Timeouts(1.5, 7.0), pooled=True)
    names = ("lock_timeout", "statement_timeout", "enable_seqscan", "client_min_messages", "plan_cache_mode")
    with engine.connect() as connection:
        before = [connection.scalar(sa.text(f"SHOW {name}")) for name in names]
        pipeline = Pipeline(connection)
        inside = [pipeline.execute(sa.text(f"SHOW {name}"), {}).fetchall()[0][0] for name in names]
        pipeline.commit()
        assert inside == ["1500ms", "7s", "off", "warning", "force_generic_plan"]
        assert [connection.scalar(sa.text(f"SHOW {name}")) for name in names] == before
    engine.dispose()


@pytest.mark.parametrize(("off", "refused"), [(3_600.0, True), (-400.0, True), (60.0, False), (-60.0, False)])
def test_a_clock_that_is_far_from_the_database_s_is_refused(empty_db_url: str, off: float, *, refused: bool) -> None:
    with (
        closing(connect(sa.make_url(empty_db_url))) as connection,
        capture_logs() as logs,
        pytest.raises(SettingsError) if refused else nullcontext() as raised,
    ):
        check_server(connection, clock=lambda: time.time() + off)
    (logged,) = logs
    assert logged["event"].endswith("ahead of the database's" if off > 0 else "behind the database's")
    assert not raised or "by NTP" in str(raised.value)


def _problem(url: str) -> str:
    with pytest.raises(SettingsError) as raised:
        check_sessions(url)
    (problem,) = raised.value.problems
    return problem
