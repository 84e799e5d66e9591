"""Checks of DATABASE_URL at start: kept sessions, a pooler that keeps none, a missing server."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from contentgen.service.settings import SettingsError
from scheduler_svc.database.connections import check_server, check_sessions, connect
from scheduler_svc.transactions import make_engine
from tests.integration.pooler import DEAF, SESSION, TRANSACTION, Pooler, pooled


def _socket(url: str) -> Path:
    return Path(str(sa.make_url(url).query["host"])) / ".s.PGSQL.5432"


def _through(pooler: Pooler, url: str) -> str:
    pooled_url = sa.make_url(url).set(host="127.0.0.1", port=pooler.port, query={})
    return pooled_url.render_as_string(hide_password=False)


def test_sessions_are_kept_without_a_pooler(empty_db_url: str) -> None:
    check_sessions(empty_db_url)


def test_a_pooler_that_keeps_sessions_is_accepted(empty_db_url: str) -> None:
    with pooled(_socket(empty_db_url), SESSION) as pooler:
        check_sessions(_through(pooler, empty_db_url))


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_pooler_that_keeps_no_sessions_is_refused_with_advice(empty_db_url: str, newest_first: bool) -> None:
    with pooled(_socket(empty_db_url), TRANSACTION, newest_first=newest_first) as pooler:
        problem = _problem(_through(pooler, empty_db_url))
    assert problem.startswith("DATABASE_URL leads to a connection pooler")
    assert "another for each transaction" in problem
    assert "pool_mode=session" in problem


def test_a_pooler_that_loses_notifications_is_refused(empty_db_url: str) -> None:
    with pooled(_socket(empty_db_url), DEAF) as pooler:
        problem = _problem(_through(pooler, empty_db_url))
    assert "loses what NOTIFY tells" in problem


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
