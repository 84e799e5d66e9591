"""Both clients beside a scripted scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contentgen import ContentGenerationClient
from tests.harness.client import KINDS, opened
from tests.harness.scripted_server import ScriptedServices, scripted_services
from tests.harness.waiting import PATIENCE_S, wait_until


@pytest.fixture
def scheduler() -> Iterator[ScriptedServices]:
    with scripted_services() as scheduler:
        yield scheduler
        wait_until(lambda: scheduler.open_calls == 0, within=PATIENCE_S, what="no call is left at the scheduler")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(kind: str, scheduler: ScriptedServices) -> Iterator[ContentGenerationClient]:
    with opened(kind, scheduler.target, token="secret", timeout=5) as client:
        yield client
