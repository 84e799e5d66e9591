"""What is acknowledged stays: settings of PostgreSQL that would take that away."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from scheduler_svc.metrics import Metrics
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.database_watch import DurabilityCheck
from scheduler_svc.transactions import Database, make_engine
from tests.harness.cluster import server_folder


def _own(url: str, setting: str, value: str) -> None:
    """Sets it for the database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{engine.url.database}" SET {setting} = {value}')


@pytest.mark.parametrize(
    ("configured", "used"),
    [
        ("off", "on"),
        ("on", "on"),
        ("local", "local"),
        ("remote_write", "remote_write"),
        ("remote_apply", "remote_apply"),
    ],
)
def test_sessions_commit_durably_where_the_setting_is_off(empty_db_url: str, configured: str, used: str) -> None:
    _own(empty_db_url, "synchronous_commit", configured)
    engine = make_engine(empty_db_url, 1)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == used
        source = connection.scalar(sa.text("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"))
        assert source == "session", "a reload of the server's configuration takes nothing away"
    engine.dispose()


def test_a_commit_survives_the_death_of_a_server_that_has_synchronous_commit_off() -> None:
    settings = ("synchronous_commit=off", "wal_writer_delay=10s")
    with server_folder() as folder, EmbeddedPostgres(folder, throwaway=True, settings=settings) as server:
        engine = make_engine(server.url(), 1)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE kept AS SELECT 42 AS answer")
            connection.exec_driver_sql("INSERT INTO kept VALUES (43)")
            server.quit()
        server.restart()
        engine.dispose()
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT answer FROM kept ORDER BY 1")).scalars().all() == [42, 43]
        engine.dispose()


async def test_settings_that_are_off_are_logged_once_and_measured(db_url: str) -> None:
    _own(db_url, "contentgen.throwaway", "off")
    _own(db_url, "synchronous_commit", "off")
    engine = make_engine(db_url, 1)
    metrics = Metrics("1")
    calls = Calls(Database(engine, lambda _: None, lambda _: None), 1)
    check = DurabilityCheck(calls, metrics)

    def measured() -> dict[str, float]:
        (family,) = [
            candidate for candidate in metrics.registry.collect() if candidate.name == "contentgen_durability_weakened"
        ]
        return {sample.labels["setting"]: sample.value for sample in family.samples}

    with capture_logs() as logs:
        await check.run_once()
        await check.run_once()
    assert [line["setting"] for line in logs] == ["fsync", "full_page_writes", "synchronous_commit"]
    assert measured() == {"fsync": 1, "full_page_writes": 1, "synchronous_commit": 1}
    calls.close()
    engine.dispose()
