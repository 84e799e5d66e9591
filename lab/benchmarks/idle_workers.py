"""Many workers that wait: a connection and a session each, heartbeats and nothing else."""

from __future__ import annotations

import argparse
import asyncio

from lab.benchmarks import child
from lab.benchmarks.quick_worker import QuickWorker

MAX_CONNECTING = 20


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    places = asyncio.Semaphore(MAX_CONNECTING)
    connected = asyncio.Event()
    waiting = arguments.count

    async def idle(number: int) -> None:
        nonlocal waiting
        async with places:
            stream = await QuickWorker(arguments.target, f"{arguments.prefix}-{number}", arguments.depth).__aenter__()
        try:
            waiting -= 1
            if not waiting:
                connected.set()
            async for _ in stream.messages():
                pass
        finally:
            await stream.__aexit__()

    streams = [asyncio.create_task(idle(number)) for number in range(arguments.count)]
    await connected.wait()
    child.say(ready=True)
    await stdin.read()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--count", type=int, required=True, help="how many workers")
    parser.add_argument("--prefix", default="idle", help="of their ids")
    parser.add_argument("--depth", type=int, default=4, help="leases that each would take")
    child.run(_main(parser.parse_args()))
