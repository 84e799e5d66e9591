"""A hostile scheduler against real workers: whatever it says, they neither crash nor forget a slot, a lease or a CLI.

After some streams each worker meets a scheduler that means well: then all its slots have to run a task, nothing else
may live, and it has to end in order when it is told to.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

import psutil
from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from lab.fuzz.case import random_of
from lab.fuzz.lying import Liar, how_it_ends
from lab.fuzz.services import alarms
from lab.fuzz.tally import Finding, Tally
from tests.harness.cluster import server_folder
from tests.harness.creators import quick_creator
from tests.harness.scripted_scheduler import ScriptedScheduler, Stream, lease, serving
from tests.harness.stack import Worker
from tests.harness.waiting import wait_until_async
from worker_svc.config import MAX_SLOTS
from worker_svc.session.health import MAX_PAUSE

TARGET = "hostile scheduler"
SLOTS = 3
CONCURRENT_WORKERS = 3
MESSAGES = 200
"""Of a hostile stream, at most."""
EXPECTED_ERRORS = frozenset(
    {
        "session.ended",
        "session.token_refused",
        "session.worker_id_in_use",
        "session.refused",
        "lease.refused",
        "disk.refused",
        "spool.refused",
        "worker.unhealthy",
        "result.stuck",
    }
)
"""What a worker may log as an error: that a scheduler refuses it, that it can't do what it was told, or that three
streams ended under an update of 16 KiB or more, as one about a lease with a long id is.
"""
_WITHIN = 40.0
_TOLD = 1_500
"""Characters."""


@dataclass
class Lies:
    """What came of those to one worker."""

    counts: Counter[str] = field(default_factory=Counter)
    """Messages, streams, and lives of the worker."""
    troubles: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def lie(seed: int, messages: int) -> Tally:
    """Says so many messages to some workers at the same time; runs in a process of the campaign's pool."""
    tally = Tally()
    all_lies = [Lies() for _ in range(CONCURRENT_WORKERS)]
    with server_folder() as folder:
        asyncio.run(_lie_to_all(folder, seed, messages // len(all_lies), all_lies))
    for number, lies in enumerate(all_lies):
        tally.statuses[TARGET]["recovered"] += lies.counts.pop("lives", 0)
        tally.further.update({f"{kind} of the hostile scheduler": count for kind, count in lies.counts.items()})
        if max(lies.memory, default=0) > 200 << 20:  # bytes: it holds 10,000 leases now and then
            lies.troubles.append(f"a deceived worker had {max(lies.memory) >> 20} MiB")
        for trouble in lies.troubles:  # its end is that of the worker's log, which says how it came to that
            short = trouble if len(trouble) <= 2 * _TOLD else f"{trouble[:_TOLD]} … {trouble[-_TOLD:]}"
            tally.find(Finding(TARGET, short, seed, number, f"the last lies to worker {number}"))
    return tally


async def _lie_to_all(above: Path, seed: int, share: int, all_lies: Sequence[Lies]) -> None:
    async with asyncio.TaskGroup() as group:
        for number, lies in enumerate(all_lies):
            folder = above / str(number)
            folder.mkdir()
            group.create_task(lie_to_worker(folder, seed * CONCURRENT_WORKERS + number, share, lies))


class HostileScheduler(ScriptedScheduler):
    """Lies as long as there are streams to lie on, then speaks the truth."""

    def __init__(self, seed: int, lies: Lies) -> None:
        super().__init__()
        self._seed = seed
        self._lies = lies
        self._lied = 0
        self.lies_left = 0

    async def lease(
        self, requests: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        behavior = super().lease
        if self.lies_left > 0:
            self.lies_left -= 1
            self._lied += 1
            behavior = self._lie
        async for answer in behavior(requests, context):
            yield answer

    async def _lie(
        self, requests: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        source, liar = random_of("stream", self._seed, self._lied), Liar(self._seed, self._lied)
        self._lies.counts["streams"] += 1

        async def read() -> None:
            with suppress(aio.BaseError):
                async for request in requests:
                    liar.heard(pb.LeaseRequest.FromString(request))

        reading = asyncio.create_task(read())
        try:
            yield liar.first()
            for _ in range(source.randrange(MESSAGES)):
                await asyncio.sleep(source.choice((0, 0, 0.001, 0.02)))
                self._lies.counts["messages"] += 1
                yield liar.next()
            code, message, details = how_it_ends(source)
            if code is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
                await context.abort(code, message)
        finally:
            reading.cancel()


async def lie_to_worker(folder: Path, seed: int, messages: int, lies: Lies) -> None:
    """Lies to one worker until so many messages are said, over as many of its lives as that takes."""
    scheduler = HostileScheduler(seed, lies)
    async with serving(scheduler):
        settings = {"CONTENTGEN_SLOTS": str(SLOTS), "CREATOR_CLI_PATH": str(quick_creator(folder))}
        worker = Worker("deceived", folder, scheduler.target, **settings)
        try:
            while lies.counts["messages"] < messages and not lies.troubles:
                scheduler.lies_left = 8  # hostile streams between two honest ones
                worker.launch()
                await _one_life(scheduler, worker, lies)
            lies.troubles += [f"the worker logged {text}" for text in alarms(worker.log, EXPECTED_ERRORS)]
        finally:
            if worker.alive:
                worker.kill()


async def _one_life(scheduler: HostileScheduler, worker: Worker, lies: Lies) -> None:
    truth = asyncio.create_task(scheduler.streams.get())
    while not truth.done():
        await asyncio.wait({truth}, timeout=0.5)
        if not worker.alive:
            truth.cancel()
            lies.troubles.append(f"the worker ended with status {worker.exit_status}: {worker.tail()}")
            return
        lies.memory.append(psutil.Process(worker.pid).memory_info().rss)
    lies.counts["lives"] += 1
    try:
        await _meets_the_truth(truth.result(), worker)
    except (AssertionError, TimeoutError) as error:
        lies.troubles.append(f"a deceived worker does not recover: {type(error).__name__} {error}: {worker.tail()}")


async def _meets_the_truth(stream: Stream, worker: Worker) -> None:
    """Every slot runs a task, nothing else lives, and it ends in order."""
    hello = await stream.hello()
    assert 1 <= hello.slots <= MAX_SLOTS, f"its hello names {hello.slots} slots, which every scheduler refuses"
    stream.answer_all()
    held = [held_lease.lease_id for held_lease in hello.held_leases]
    stream.welcome(heartbeat=0.2, drop_leases=held, desired_state=pb.DesiredState(slots=SLOTS))
    free = lambda state: state.free_slots >= SLOTS and not state.held_leases  # noqa: E731
    state = await _state(stream, lambda heartbeat: heartbeat.free_slots > 0 and not heartbeat.held_leases)
    stream.assign(1, state.number, lease(f"first-{worker.pid}"))  # one whose CLI was made to fail tries one at a time
    await stream.update("completed", f"first-{worker.pid}")
    state = await _state(stream, free)
    names = [f"honest-{worker.pid}-{number}" for number in range(SLOTS)]
    stream.assign(2, state.number, *(lease(name, seconds="0.1") for name in names))
    for name in names:
        await stream.update("completed", name)
    await _state(stream, free)
    clis = [
        process.name() for guard in psutil.Process(worker.pid).children() for process in guard.children(recursive=True)
    ]
    assert not clis, f"CLIs are left: {clis}"
    worker.signal(SIGTERM)
    await wait_until_async(lambda: not worker.alive, within=_WITHIN, what="the worker has ended")
    assert worker.exit_status == 0, f"it ended with status {worker.exit_status}"


async def _state(stream: Stream, condition: Callable[[pb.Heartbeat], bool]) -> pb.Heartbeat:
    """Returns the next state to meet `condition`. One whose tasks were made to fail may take its longest pause."""
    last = pb.Heartbeat()
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_WITHIN) as limit:
            while not condition(last):
                message = await stream.next()
                if message.HasField("heartbeat"):
                    last = message.heartbeat
                    limit.reschedule(start + _WITHIN + (MAX_PAUSE if last.unhealthy else 0.0))
    except TimeoutError:
        raise AssertionError(f"{last.free_slots} slots are free, {len(last.held_leases)} leases held: {last}") from None
    return last
