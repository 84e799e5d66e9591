"""What `contentgen whoami` prints, compared with a golden file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contentgen.v1 import system_service_pb2 as pb
from scheduler_svc.replica.replica import Replica
from tests.command.transcript import Transcript, run
from tests.harness.credentials import line, write
from tests.harness.replicas import serving
from tests.harness.scripted_server import scripted

pytestmark = pytest.mark.contract


@pytest.fixture
async def replica(db_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
    tokens = write(tmp_path / "tokens", line("博客", "publisher", [2, 1], "site-token"), line("w", "worker"))
    async with serving(db_url, tokens_file=tokens) as replica:
        yield replica


async def test_whoami_prints_the_golden_screens(contentgen: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    await contentgen("whoami")
    monkeypatch.setenv("CONTENTGEN_TOKEN", "site-token")
    await contentgen("whoami")
    await contentgen("-o", "json", "whoami")
    monkeypatch.setenv("CONTENTGEN_TOKEN", "w-token")
    await contentgen("whoami")
    await contentgen("-o", "jsonl", "whoami")
    contentgen.check("whoami")


def test_whoami_says_that_no_tokens_are_required() -> None:
    answer = pb.GetCallerResponse(role="operator", methods=["TaskService/GetTask", "TaskService/WaitTask"])
    with scripted(GetCaller=lambda request, context: answer) as target:
        assert run("-s", target, "whoami").out.splitlines() == [
            "role         operator",
            "accounts     all",
            "tokens       none are required: every caller may call everything",
            "TaskService  GetTask, WaitTask",
        ]
