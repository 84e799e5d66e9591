"""Workers that do nothing, as quickly as they can: every lease ends at once, completed with a 2 KB result.

Says how many they have completed, and when the last of them was acknowledged (seconds of the machine's monotonic
clock); if they are timed, also how many milliseconds each task took from its submit to its worker.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable

from contentgen.v1 import worker_service_pb2 as pb
from lab.benchmarks import child, payload
from lab.benchmarks.quick_worker import QuickWorker

TELL_INTERVAL_S = 0.02
MAX_CONNECTING = 20
MAX_WAITS = 1_000
"""In a line."""


class Tally:
    """Completed leases, told to the parent as they grow."""

    def __init__(self) -> None:
        self.completed = 0
        self.at = 0.0
        self._waits_ms: list[float] = []

    def arrived(self, leases: Iterable[pb.AssignedLease]) -> None:
        """Their tasks were stamped when they were submitted."""
        now = time.monotonic()
        self._waits_ms += [round((now - payload.stamped(lease.task)) * 1e3, 2) for lease in leases]

    def add(self, count: int) -> None:
        """So many more are acknowledged."""
        self.completed += count
        self.at = time.monotonic()

    async def tell(self) -> None:
        """Goes on until it is cancelled."""
        reported = 0
        while True:
            if self.completed > reported or self._waits_ms:
                reported = self.completed
                child.say(completed=reported, at=self.at, waits_ms=self._waits_ms[:MAX_WAITS])
                del self._waits_ms[:MAX_WAITS]
            await asyncio.sleep(TELL_INTERVAL_S)


async def _work(arguments: argparse.Namespace, worker_id: str, connecting: asyncio.Semaphore, tally: Tally) -> None:
    """One session after the other: the scheduler ends each after half an hour or so."""
    stream = QuickWorker(arguments.target, worker_id, arguments.depth)
    while True:
        async with connecting:
            await stream.__aenter__()
        try:
            await _session(stream, tally, timed=arguments.timed)
        finally:
            await stream.__aexit__()
        stream = stream.again()


async def _session(stream: QuickWorker, tally: Tally, *, timed: bool) -> None:
    result = payload.result()
    async for message in stream.messages():
        match message.WhichOneof("message"):
            case "assignment":
                if timed:
                    tally.arrived(message.assignment.leases)
                stream.complete(message.assignment.leases, result)
            case "acknowledgement":
                tally.add(stream.acknowledged(message.acknowledgement))
            case "reconnect":
                stream.leave()
            case "cancel":
                raise AssertionError("a no-op worker is told to cancel")
        if stream.left:
            return


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    tally = Tally()
    child.say(ready=True)
    await stdin.readline()
    connecting = asyncio.Semaphore(MAX_CONNECTING)
    ids = [arguments.worker_id, *(f"{arguments.worker_id}-{number}" for number in range(1, arguments.count))]
    work = [asyncio.create_task(_work(arguments, worker_id, connecting, tally)) for worker_id in ids]
    teller = asyncio.create_task(tally.tell())
    end = asyncio.create_task(stdin.read())
    await asyncio.wait({*work, teller, end}, return_when=asyncio.FIRST_COMPLETED)
    for task in (teller, end, *work):
        task.cancel()
    for outcome in await asyncio.gather(*work, teller, end, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--worker-id", required=True, help="of the first; further ones have a number behind it")
    parser.add_argument("--depth", type=int, required=True, help="leases that each holds at most")
    parser.add_argument("--count", type=int, default=1, help="how many workers")
    parser.add_argument("--timed", type=int, default=0, help="1: every task is stamped, say how long it took")
    child.run(_main(parser.parse_args()))
