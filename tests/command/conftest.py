"""The operators' command beside the replica of the test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest
import structlog

from contentgen.doctor import readable
from contentgen.variables import NAMES
from scheduler_svc.replica.replica import Replica
from tests.command.transcript import Transcript
from tests.harness.scripted_server import ScriptedServices, scripted_services


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gives everybody who runs the tests the same environment."""
    for name in (
        *(NAMES - {"CONTENTGEN_PG_BINDIR"}),
        "FORCE_COLOR",
        "NO_COLOR",
        "TTY_COMPATIBLE",
        "TRACEPARENT",
        "TRACESTATE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that ages are counted by stands still: what a test makes is 0 s old, however slow the machine."""
    start = datetime.now(UTC).isoformat()

    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromisoformat(start)

    monkeypatch.setattr(readable, "datetime", Standing)


@pytest.fixture
async def transcript_of(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[str], Transcript]]:
    """Keeps what the command prints, against the scheduler at a target, which is none of the test's loop."""
    yield lambda target: Transcript(target, request.config.getoption("--update-golden"))
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.fixture
def contentgen(replica: Replica, request: pytest.FixtureRequest) -> Transcript:
    """Runs the command against the test's replica, and keeps what it prints."""
    return Transcript(f"127.0.0.1:{replica.port}", request.config.getoption("--update-golden"))


@pytest.fixture
def scheduler() -> Iterator[ScriptedServices]:
    with scripted_services() as scheduler:
        yield scheduler


@pytest.fixture(autouse=True)
def log_apart() -> Iterator[None]:
    """The replica's log, which is of this process too, is none of what the command prints."""
    factory = structlog.get_config()["logger_factory"]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.configure(logger_factory=factory)
