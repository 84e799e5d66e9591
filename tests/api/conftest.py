"""One replica a module.

What a test makes it makes for itself, in an account of its own, so that tests can share the replica.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from grpc import aio

from tests.api.world import World
from tests.harness.cluster import Databases
from tests.harness.processes import child_processes, lasting_threads
from tests.harness.replicas import channel_to, serving
from tests.harness.waiting import wait_until_gone

LEAK_GRACE_S = 3.0


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(databases: Databases) -> Iterator[None]:
    """Looked for at the end of the module: the replica's threads are there until then."""
    processes, threads = child_processes(), lasting_threads()
    yield
    wait_until_gone(lambda: child_processes() - processes, within=LEAK_GRACE_S, what="the module's processes are gone")
    wait_until_gone(lambda: lasting_threads() - threads, within=LEAK_GRACE_S, what="the module's threads are gone")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(databases: Databases, template: str) -> AsyncIterator[aio.Channel]:
    with databases.lent(template) as url:
        async with serving(url, webhook_allow="127.0.0.1") as replica, channel_to(replica) as channel:
            yield channel


@pytest_asyncio.fixture(loop_scope="module")
async def world(channel: aio.Channel) -> AsyncIterator[World]:
    async with World(channel) as world:
        yield world
