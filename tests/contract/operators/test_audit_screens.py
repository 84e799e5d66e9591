"""What `contentgen audit list` prints, compared with a golden file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode, aio

from scheduler_svc.replica.replica import Replica
from tests.contract.operators.transcript import Transcript
from tests.harness.rpc_errors import refused
from tests.harness.tokens import Caller


@pytest.fixture
async def caller(replica: Replica) -> AsyncIterator[Caller]:
    async with aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
        yield Caller(channel)


async def test_audit_list_prints_the_golden_screens(contentgen: Transcript, caller: Caller) -> None:
    await contentgen("audit", "list", "--actor", "nobody")
    await caller("AccountService/CreateAccount", name="an account")
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await caller("ContentService/DeleteContent", content_id=17)
    await caller("WorkerPoolService/PauseDispatch", account_id=1)
    await contentgen("audit", "list")
    await contentgen("audit", "list", "--account", "1", "--limit", "1")
    await contentgen("-o", "json", "audit", "list", "--method", "AccountService/CreateAccount")
    await contentgen("-o", "jsonl", "audit", "list", "--since", "2999-01-01")
    await contentgen("audit", "list", "--until", "soon")
    contentgen.check("audit")
