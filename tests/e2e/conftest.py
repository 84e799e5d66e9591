"""A stack for each scenario."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scheduler_svc.postgres import EmbeddedPostgres
from tests.e2e.previous import Previous, previous_version
from tests.harness.cluster import server_folder
from tests.harness.stack import Stack, running_stack


@pytest.fixture
def stack(db_url: str) -> Iterator[Stack]:
    """Schedulers and workers to be started, on a database of the test's own; at its end nothing may be left."""
    with running_stack(db_url) as stack:
        yield stack


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Previous:
    """The version before this one. It is unpacked once, so that it is compiled once."""
    return previous_version(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own that loses nothing when it is killed."""
    with server_folder() as folder, EmbeddedPostgres(folder) as server:
        yield server
