"""What the commands about webhooks print, compared with golden files. Nothing listens where the webhooks lead to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scheduler_svc.replica.replica import Replica
from tests.command.transcript import Transcript
from tests.harness.replicas import serving

pytestmark = pytest.mark.contract

URL = "https://127.0.0.1:1/hook"


@pytest.fixture
async def replica(db_url: str) -> AsyncIterator[Replica]:
    async with serving(db_url, webhook_allow="127.0.0.1") as replica:
        yield replica


async def test_webhook_commands_print_the_golden_screens(contentgen: Transcript, account: int) -> None:
    await contentgen("webhook", "list")
    await contentgen("webhook", "create", URL)
    await contentgen("webhook", "create", URL, "-e", "task.ended", "-e", "publish.failed", "--account", str(account))
    await contentgen("webhook", "create", "https://10.0.0.1/")
    await contentgen("webhook", "ping", "1")
    await contentgen("webhook", "list")
    await contentgen("-o", "wide", "webhook", "list", "--account", str(account))
    await contentgen("webhook", "show", "1")
    await contentgen("-o", "json", "webhook", "show", "2")
    await contentgen("webhook", "deliveries", "1")
    await contentgen("-o", "wide", "webhook", "deliveries", "1", "--status", "exhausted")
    await contentgen("-o", "jsonl", "webhook", "deliveries", "1")
    await contentgen("webhook", "deliveries", "2")
    await contentgen("webhook", "rotate", "2", "--overlap", "1h")
    await contentgen("webhook", "update", "1")
    await contentgen("webhook", "update", "1", "--inactive", "-e", "task.ended")
    await contentgen("webhook", "redeliver", "1", "99")
    await contentgen("webhook", "delete", "1", "1")
    await contentgen("-o", "json", "webhook", "show", "1")
    contentgen.check("webhooks")


async def test_a_delivery_is_sent_again(contentgen: Transcript, account: int) -> None:
    await contentgen("webhook", "create", URL)
    await contentgen("webhook", "ping", "1")
    result = await contentgen("webhook", "redeliver", "1")
    assert (result.status, result.out) == (0, "delivery 1 is pending\n")
