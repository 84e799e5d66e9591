"""How long a hello takes to its welcome: one worker says hello again and again, on one connection.

Says each sample in milliseconds of the monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid

from grpc import aio

from lab.benchmarks import child
from tests.harness.scripted_worker import LeaseStream, hello

PAUSE_S = 0.005


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    folder_id = uuid.uuid4().hex
    async with aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await channel.channel_ready()
        child.say(ready=True)
        await stdin.readline()
        for number in range(1, arguments.samples + 1):
            greeting = hello(
                worker_id=arguments.worker_id,
                folder_id=folder_id,
                session_number=number,
                process_id=folder_id,
                hostname="benchmark",
                version="0",
                slots=1,
            )
            begin = time.monotonic()
            async with LeaseStream(channel, greeting):
                child.say(ms=(time.monotonic() - begin) * 1e3)
            await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--samples", type=int, required=True, help="how many")
    child.run(_main(parser.parse_args()))
