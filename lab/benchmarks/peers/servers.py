"""The servers that peers run on: each step has fresh ones, in its own folder."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from lab.benchmarks.peers.contenders import Store
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.processes import free_port

REDIS_SERVER = shutil.which("redis-server")
START_LIMIT = 10.0
STOP_LIMIT = 10.0


class NoRedis(Exception):
    """`redis-server` did not start."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The product's embedded server with the product's settings; its URL."""
    with EmbeddedPostgres(folder / "postgres") as server:
        yield server.url().replace("+psycopg2", "")


@asynccontextmanager
async def redis(folder: Path, store: Store) -> AsyncIterator[str]:
    """A server of its own, without snapshots; its URL, without a database. An empty URL where none is needed."""
    if not store.is_redis:
        yield ""
        return
    assert REDIS_SERVER
    port = free_port()
    journal = (
        ("--appendonly", "yes", "--appendfsync", "always") if store is Store.REDIS_ALWAYS else ("--appendonly", "no")
    )
    with (folder / "redis.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *journal),
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: it ends when its step does
        )
    try:
        await _accepts(port, folder)
        yield f"redis://127.0.0.1:{port}"
    finally:
        await stop(process)


async def _accepts(port: int, folder: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_LIMIT):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return
    raise NoRedis(f"redis-server did not start within {START_LIMIT:.0f} s, see {folder / 'redis.log'}")


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ends it: TERM, then KILL."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
