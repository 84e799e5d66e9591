"""A worker process whose CLIs run."""

from __future__ import annotations

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_scheduler import Stream
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import WorkerProcess

FOR_EVER = "600"


async def running(stream: Stream, worker: WorkerProcess, *leases: pb.AssignedLease) -> list[int]:
    """Assigns leases on the first heartbeat and waits until their CLIs run; the numbers of all processes."""
    heartbeat = await stream.until("heartbeat")
    stream.assign(1, heartbeat.number, *leases)
    for assigned in leases:
        await stream.update("processing", assigned.lease_id)
    return [cli.pid for cli in worker.clis()]


async def no_cli(worker: WorkerProcess, within: float = 8.0) -> None:
    await wait_until_async(lambda: not worker.clis(), within=within, what="no CLI runs any more")
