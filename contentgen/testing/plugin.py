"""The fixtures, which pytest finds by the package's entry point. Layer: the top of testing.

docs/how-to/test-your-service.md shows their use.

They are plain functions, those for asyncio too, so that they serve under pytest-asyncio in either mode and under anyio.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contentgen.client import AsyncContentGenerationClient, ContentGenerationClient
    from contentgen.testing.scheduler import Server
    from contentgen.testing.worker import AsyncHoldingWorker, HoldingWorker

_HAS_PASSED = "_contentgen_has_passed"


@pytest.hookimpl(hookwrapper=True)  # by the name that each version of pytest knows
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Notes whether the test has passed: only then its end is asked about what it left."""
    outcome = yield
    setattr(item, _HAS_PASSED, outcome.get_result().passed)


@pytest.fixture(scope="session")
def contentgen_settings() -> Mapping[str, str]:
    """Settings of the scheduler, by their variables; override it in a conftest.py."""
    return {}


@pytest.fixture(scope="session")
def contentgen_target(contentgen_settings: Mapping[str, str]) -> Iterator[str]:
    """The address of a real scheduler, started for this session (with xdist: for each of its processes)."""
    from contentgen.testing.scheduler import run_scheduler

    with run_scheduler(contentgen_settings) as target:
        yield target


@pytest.fixture
def contentgen_server(contentgen_target: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    """That scheduler's `target`, and the `account_id` of an account of this test's own."""
    from contentgen.testing.scheduler import new_account

    with new_account(contentgen_target, request.node.name) as server:
        yield server


@pytest.fixture
def contentgen_client(contentgen_server: Server) -> Iterator[ContentGenerationClient]:
    """A client of the scheduler."""
    from contentgen.client import ContentGenerationClient

    with ContentGenerationClient(contentgen_server.target) as client:
        yield client


@pytest.fixture
def contentgen_worker(contentgen_server: Server, request: pytest.FixtureRequest) -> Iterator[HoldingWorker]:
    """A worker that holds each task until the test completes, fails or defers it."""
    from contentgen.testing.worker import HoldingWorker

    with HoldingWorker(contentgen_server.target) as worker:
        yield worker
        if getattr(request.node, _HAS_PASSED, False) and (complaint := worker.complaint()):
            pytest.fail(complaint, pytrace=False)


@pytest.fixture
def contentgen_async_client(contentgen_server: Server) -> Iterator[AsyncContentGenerationClient]:
    """A client of the scheduler, for asyncio."""
    from contentgen.client import AsyncContentGenerationClient
    from contentgen.client.transport import run

    client = AsyncContentGenerationClient(contentgen_server.target)
    yield client
    run(client.close())  # it never suspends: the test's event loop may be gone


@pytest.fixture
def contentgen_async_worker(contentgen_worker: HoldingWorker) -> AsyncHoldingWorker:
    """The worker `contentgen_worker`, for asyncio."""
    from contentgen.testing.worker import AsyncHoldingWorker

    return AsyncHoldingWorker(contentgen_worker)
