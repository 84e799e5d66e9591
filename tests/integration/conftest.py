"""The application on its own database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.cluster import Databases
from tests.harness.importing import Importing, ImportingFrom, Sqlite
from tests.harness.old_application import OldApplication, old_application
from tests.harness.scheduling import Scheduling
from tests.harness.shared_database import SharedDatabase, SharedDatabases


@pytest.fixture(scope="session")
def shared_databases(databases: Databases, template: str) -> Iterator[SharedDatabases]:
    with closing(SharedDatabases(databases, template)) as made:
        yield made


@pytest.fixture
def shared_database(shared_databases: SharedDatabases) -> Iterator[SharedDatabase]:
    """A migrated database that no other test uses at the same time."""
    with shared_databases.lent() as database:
        yield database


@pytest.fixture
def db_url(shared_database: SharedDatabase) -> str:
    """Its URL; the test has to close its connections."""
    return shared_database.url


@pytest.fixture
def scheduling(shared_database: SharedDatabase) -> Iterator[Scheduling]:
    made = Scheduling(shared_database.engine)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldApplication]:
    """An old database, empty but for its tables, in both that it is known to run on."""
    url = f"sqlite:///{tmp_path}/old.db" if request.param == "sqlite" else request.getfixturevalue("empty_db_url")
    with old_application(url) as application:
        yield application


@pytest.fixture
def importing_from(db_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> ImportingFrom:
    """The command, from a URL to the test's own database."""
    monkeypatch.setenv("DATABASE_URL", db_url)
    return lambda url: Importing(db_url, url, capsys)


@pytest.fixture
def importing(importing_from: ImportingFrom, old: OldApplication) -> Importing:
    """The command, from `old`."""
    return importing_from(old.url)


@pytest.fixture
def sqlite(importing_from: ImportingFrom, tmp_path: Path) -> Sqlite:
    """The command, from a SQLite file of that name in the test's folder."""
    return lambda name: importing_from(f"sqlite:///{tmp_path}/{name}")
