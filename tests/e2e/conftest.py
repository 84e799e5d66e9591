"""A stack for each scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.schema.migrate import migrate
from tests.e2e.previous import Previous, previous_version
from tests.harness.cluster import copy_cluster, server_folder
from tests.harness.stack import EMBEDDED, Scheduler, Stack, running_stack


@pytest.fixture
def stack(db_url: str) -> Iterator[Stack]:
    """Schedulers and workers to be started, on a database of the test's own; at its end nothing may be left."""
    with running_stack(db_url) as stack:
        yield stack


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Previous:
    """The version before this one. It is unpacked once, so that it is compiled once."""
    return previous_version(tmp_path_factory.mktemp("previous"))


@pytest.fixture(scope="session")
def made_server() -> Iterator[Path]:
    """The folder of an embedded server that does not run; its database is migrated."""
    with server_folder() as folder:
        with EmbeddedPostgres(folder) as server:
            migrate(server.url())
        yield folder


@pytest.fixture
def server(made_server: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own that loses nothing when it is killed."""
    with server_folder() as folder:
        copy_cluster(made_server, folder)
        with EmbeddedPostgres(folder) as server:
            yield server


@pytest.fixture
def embedded(stack: Stack, made_server: Path) -> Callable[..., Scheduler]:
    """`stack.scheduler` with an embedded database that is there already, as after its first start."""

    def scheduler(**settings: Any) -> Scheduler:
        service = stack.scheduler(database_url=EMBEDDED, **settings)
        service.data_dir.mkdir()
        copy_cluster(made_server, service.data_dir / "postgres")
        return service

    return scheduler
