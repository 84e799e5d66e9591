"""One lease without a scheduler: a worker gets it assigned, and each of its updates is acknowledged at once.

Layer: inside session, beside service; used by try_command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import inf

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.config import WorkerSettings
from worker_svc.folder import WorkerFolder
from worker_svc.guard import Guard, GuardLostError, now
from worker_svc.metrics import WorkerMetrics
from worker_svc.session.loop import Loop
from worker_svc.session.outbox import Outbox, PendingUpdate, UpdateAck
from worker_svc.session.service import ProcessSignals, cancelled, make_runner, make_worker
from worker_svc.session.worker import Worker


async def execute(
    settings: WorkerSettings,
    folder: WorkerFolder,
    guard: Guard,
    lease: pb.AssignedLease,
    on_update: Callable[[pb.LeaseUpdate], None],
    *,
    earlier_signals: Sequence[int],
) -> pb.LeaseUpdate | None:
    """Executes a lease that never expires, and closes the guard.

    Returns the update that ends the lease; None if INT, TERM or HUP came first, or is among `earlier_signals`, which
    came before this call. `on_update` gets the updates before the end. Raises GuardLostError.
    """
    signals = ProcessSignals()
    signals.on_hangup(signals.drain.set)
    if earlier_signals:
        signals.drain.set()
    try:
        await guard.connect()
        wake = asyncio.Event()
        with ThreadPoolExecutor(1, "disk") as disk:
            metrics = WorkerMetrics()  # nobody reads them
            runner = make_runner(settings, guard, folder, metrics)
            worker = make_worker(settings, folder, runner, disk, wake, metrics=metrics)
            clock = Loop(worker.watch_time)
            clock.start()
            worker.uploads.opened(None)
            worker.assigned([lease], inf)
            ending = asyncio.create_task(_ending(worker, wake, on_update))
            ends = [ending, *map(asyncio.create_task, (signals.drain.wait(), worker.broken.wait(), guard.lost.wait()))]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if worker.broken.is_set() or guard.lost.is_set():
                    raise GuardLostError(guard.why_lost)
                return ending.result() if ending.done() else None
            finally:
                await cancelled(*ends)
                await clock.stop()
                await worker.close()
    finally:
        await guard.close()
        signals.ignore()


async def _ending(worker: Worker, wake: asyncio.Event, on_update: Callable[[pb.LeaseUpdate], None]) -> pb.LeaseUpdate:
    numbers = count(1)
    while True:
        wake.clear()
        while updates := _take(worker.outbox, number := next(numbers)):
            committed = pb.UPDATE_OUTCOME_COMMITTED
            worker.reported(number, [UpdateAck(update.lease_id, update.attempt, committed) for update in updates])
            for update in updates:
                message: pb.LeaseUpdate = update.message
                if update.kind.ends:
                    return message
                on_update(message)
        await wake.wait()


def _take(outbox: Outbox, number: int) -> Sequence[PendingUpdate]:
    if updates := outbox.take(number):
        return updates
    large = outbox.next_alone(now())
    return [] if large is None else outbox.take_alone(number, large)
