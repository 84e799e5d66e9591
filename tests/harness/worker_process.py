"""A worker process beside a scheduler that the test scripts."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.creators import quick_creator
from tests.harness.process import Process, installed
from tests.harness.processes import children, living
from tests.harness.scripted_scheduler import ScriptedScheduler, Stream, scripted_scheduler
from tests.harness.waiting import wait_until_async, wait_until_gone

# A worker for tests that kill and stop it, beside a scheduler that the test scripts.


class WorkerProcess(Process):
    """A worker that does not outlive the block that enters it; its log is shown if the test fails."""

    def __init__(self, data_dir: Path, target: str, **settings: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "CONTENTGEN_SCHEDULER": target,
            "CONTENTGEN_DATA_DIR": str(data_dir),
            "CREATOR_CLI_PATH": str(quick_creator(data_dir)),
            "CREATOR_PROFILE": "json",
            "CREATOR_OPTIONS_ALLOWED": "*",
            "CONTENTGEN_LOG_LEVEL": "debug",
            **settings,
        }
        super().__init__("worker", [installed("contentgen-worker")], data_dir / "worker.log", environment)

    def clis(self) -> list[psutil.Process]:
        """Returns the live descendants of its guard."""
        return [cli for guard in children(self.pid) for cli in children(guard.pid, recursive=True)]

    def leftovers(self) -> set[str]:
        """Returns what is in the spool, the marks and the working folders of the first sub-folder."""
        folder = self.log.parent / "workers" / "1"
        return {f"{name}/{path.name}" for name in ("spool", "started", "scratch") for path in (folder / name).iterdir()}

    def term(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills it by SIGKILL, and waits until process, guard and CLIs are gone."""
        family = children(self.pid, recursive=True)
        super().kill()
        wait_until_gone(lambda: living(family), within=10, what="the guard and its CLIs are gone")

    async def exited(self, within: float = 15.0) -> int | None:
        await wait_until_async(lambda: not self.alive, within=within, what="the worker has ended")
        return self.exit_status


def lease_in(event: Mapping[str, Any]) -> tuple[str, str, int]:
    """Returns which lease a log event is about: task, lease, attempt."""
    return event["task_id"], event["lease_id"], event["attempt"]


@asynccontextmanager
async def worker_session(
    data_dir: Path, **options: Any
) -> AsyncIterator[tuple[ScriptedScheduler, WorkerProcess, Stream]]:
    """Yields a scheduler, a worker and an open session. The worker's settings are in capitals, `welcome`'s are not."""
    settings = {name: options.pop(name) for name in [*options] if name.isupper()}
    async with scripted_scheduler() as scheduler:
        with WorkerProcess(data_dir, scheduler.target, **settings) as worker:
            stream, _ = await scheduler.session(**options)
            yield scheduler, worker, stream


# A worker process whose CLIs run.

FOR_EVER = "600"


async def running(stream: Stream, worker: WorkerProcess, *leases: pb.AssignedLease) -> list[int]:
    """Assigns leases on the next heartbeat and waits until their CLIs run; the numbers of all processes."""
    await stream.grant(*leases)
    for assigned in leases:
        await stream.update("processing", assigned.lease_id)
    return [cli.pid for cli in worker.clis()]


async def no_cli(worker: WorkerProcess) -> None:
    await wait_until_async(lambda: not worker.clis(), within=8, what="no CLI runs any more")
