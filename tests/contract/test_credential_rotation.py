"""Tokens and certificates are replaced during calls: no call is dropped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc import aio

from scheduler_svc.replica.replica import Replica
from tests.harness.certificates import shown_on
from tests.harness.replicas import serving
from tests.harness.tokens import Caller, line, write
from tests.harness.waiting import wait_until_async

CALLERS = 4


@pytest.fixture
def folder(tmp_path: Path, certificates: Path) -> Path:
    """A tokens file, and a certificate as `server.pem` and `server.key`."""
    write(tmp_path / "tokens", line("op", "operator", token="old"))
    for name in ("server.pem", "server.key"):
        shutil.copy(certificates / name, tmp_path / name)
    return tmp_path


@pytest.fixture
async def replica(db_url: str, folder: Path) -> AsyncIterator[Replica]:
    files = {"tokens_file": folder / "tokens", "tls_cert": folder / "server.pem", "tls_key": folder / "server.key"}
    async with serving(db_url, **files) as replica:
        yield replica


@dataclass
class Load:
    """Callers that make calls one after the other, each over its own connection and over new ones."""

    replica: Replica
    ca: bytes
    token: str
    answered: int = 0
    failures: list[BaseException] = field(default_factory=list)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aio.Channel]:
        credentials = grpc.ssl_channel_credentials(self.ca)
        options = [("grpc.use_local_subchannel_pool", 1)]  # else two channels would share a connection
        async with aio.secure_channel(f"127.0.0.1:{self.replica.port}", credentials, options=options) as channel:
            yield channel

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ended = asyncio.Event()
        callers = [asyncio.create_task(self._call(ended, fresh=i % 2 == 0)) for i in range(CALLERS)]
        try:
            yield
        finally:
            ended.set()
            self.failures += [outcome for outcome in await asyncio.gather(*callers, return_exceptions=True) if outcome]

    async def _call(self, ended: asyncio.Event, *, fresh: bool) -> None:
        while not ended.is_set():
            async with self.connected() as channel:
                while not ended.is_set():
                    await Caller(channel, self.token)("AccountService/ListAccounts")
                    self.answered += 1
                    if fresh:
                        break

    async def more(self) -> None:
        """Returns after many more calls were answered, or one has failed."""
        goal = self.answered + 10 * CALLERS
        await wait_until_async(lambda: self.answered >= goal or self.failures, within=20, what="calls go on")


async def test_tokens_are_replaced_under_load(replica: Replica, folder: Path, certificates: Path) -> None:
    load = Load(replica, (certificates / "ca.pem").read_bytes(), "old")
    async with load.running():
        await load.more()
        write(folder / "tokens", line("op", "operator", token="old"), line("op", "operator", token="new"))
        replica.reload_files()

        async with load.connected() as channel:
            caller = Caller(channel, "new")

            async def known() -> object:
                try:
                    return await caller("AccountService/CreateAccount", name="by the new token")
                except aio.AioRpcError:
                    return None

            await wait_until_async(known, within=10, what="the new token is known")  # type: ignore[arg-type]
        load.token = "new"
        await load.more()
        write(folder / "tokens", line("op", "operator", token="new"))
        replica.reload_files()
        await load.more()
    assert not load.failures


async def test_certificates_are_replaced_under_load(
    replica: Replica, folder: Path, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Load(replica, (certificates / "ca.pem").read_bytes(), "old")
    before = await asyncio.to_thread(shown_on, replica.port)
    async with load.running():
        await load.more()
        shutil.copy(certificates / "client.pem", folder / "server.pem")
        replica.reload_files()  # the key does not match yet: the former pair stays in use
        await load.more()
        assert await asyncio.to_thread(shown_on, replica.port) == before
        shutil.copy(certificates / "client.key", folder / "server.key")
        replica.reload_files()

        async def changed() -> bool:
            return await asyncio.to_thread(shown_on, replica.port) != before

        await wait_until_async(changed, within=10, what="new connections get the new certificate")  # type: ignore[arg-type]
        await load.more()
    assert not load.failures
    assert "must be PEM files that belong together" in "".join(capsys.readouterr())
