"""Honest callers during an attack: each of their calls has to succeed within its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from grpc import aio, ssl_channel_credentials

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from scheduler_svc.replica.replica import Replica

DEADLINE_S = 10.0
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
_BEHIND = 5
"""Calls that have to succeed after the attack, too."""


@asynccontextmanager
async def honest_caller(replica: Replica, token: str = "", ca: Path | None = None) -> AsyncIterator[None]:
    """Makes calls one after the other on its own connection, during and after the block. Raises the error of a call.

    `ca`: whom TLS trusts; None: plaintext.
    """
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    over = asyncio.Event()

    async def call() -> None:
        left = _BEHIND
        while left:
            await stub.ListAccounts(pb.ListAccountsRequest(), timeout=DEADLINE_S, metadata=metadata)
            left -= over.is_set()

    async with (
        _channel(f"127.0.0.1:{replica.port}", ca) as channel,
        asyncio.TaskGroup() as calls,
    ):
        stub = AccountServiceStub(channel)
        await stub.ListAccounts(pb.ListAccountsRequest(), timeout=DEADLINE_S, metadata=metadata)
        calls.create_task(call())
        try:
            yield
        finally:
            over.set()


def _channel(target: str, ca: Path | None) -> aio.Channel:
    if ca is None:
        return aio.insecure_channel(target, _OWN_CONNECTION)
    return aio.secure_channel(target, ssl_channel_credentials(ca.read_bytes()), _OWN_CONNECTION)
