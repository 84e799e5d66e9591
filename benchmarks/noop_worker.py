"""A worker that does nothing, as quickly as it can: every lease ends at once, completed with a 2 KB result.

Says how many it has completed, and when the last of them was acknowledged (seconds of the machine's monotonic clock).
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks import child, payload
from benchmarks.quick_worker import QuickWorker

TELL_INTERVAL_S = 0.02


class Tally:
    """Completed leases, told to the parent as they grow."""

    def __init__(self) -> None:
        self.completed = 0
        self.at = 0.0

    def add(self, count: int) -> None:
        """So many more are acknowledged."""
        self.completed += count
        self.at = time.monotonic()

    async def tell(self) -> None:
        """Goes on until it is cancelled."""
        told = 0
        while True:
            if self.completed > told:
                told = self.completed
                child.say(completed=told, at=self.at)
            await asyncio.sleep(TELL_INTERVAL_S)


async def _work(target: str, worker_id: str, depth: int, tally: Tally) -> None:
    result = payload.result()
    async with QuickWorker(target, worker_id, depth) as stream:
        async for message in stream.messages():
            match message.WhichOneof("message"):
                case "assignment":
                    stream.complete(message.assignment.leases, result)
                case "acknowledgement":
                    tally.add(stream.acknowledged(message.acknowledgement))
                case "cancel" | "reconnect":
                    raise AssertionError(f"a no-op worker is told to {message.WhichOneof('message')}")


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    tally = Tally()
    child.say(ready=True)
    await stdin.readline()
    work = asyncio.create_task(_work(arguments.target, arguments.worker_id, arguments.depth, tally))
    teller = asyncio.create_task(tally.tell())
    end = asyncio.create_task(stdin.read())
    await asyncio.wait({work, teller, end}, return_when=asyncio.FIRST_COMPLETED)
    for task in (teller, end, work):
        task.cancel()
    for outcome in await asyncio.gather(work, teller, end, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--depth", type=int, required=True, help="leases that it holds at most")
    child.run(_main(parser.parse_args()))
