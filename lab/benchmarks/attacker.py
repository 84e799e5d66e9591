"""What an attacker does to a scheduler, from an address of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from lab.benchmarks.child import say
from tests.harness import http2
from tests.harness.http2 import Connection, connected, frame
from tests.harness.waiting import beside

ADDRESS = "127.0.0.2"
"""Honest callers have another one: where no token is asked, limits are counted by address."""
MAX_S = 120.0
GET_TASK = "/contentgen.v1.TaskService/GetTask"
_BATCH_SIZE = 100

Attack = Callable[[Connection], Awaitable[None]]


async def slow_messages(peer: Connection) -> None:
    """Begins calls, and dribbles their messages."""
    await peer.greet()
    streams = [peer.begin(GET_TASK) for _ in range(45)]
    for byte in http2.frame(http2.DATA)[:5] + bytes(100):
        await peer.write(b"".join(frame(http2.DATA, 0, stream, bytes([byte])) for stream in streams))
        await asyncio.sleep(1)


async def half_handshakes(peer: Connection) -> None:
    await peer.write(http2.PREFACE[:10])
    await peer.closed(MAX_S)


async def pings(peer: Connection) -> None:
    await peer.greet()
    while True:
        await peer.write(_BATCH_SIZE * frame(http2.PING, payload=bytes(8)))


async def settings(peer: Connection) -> None:
    await peer.greet()
    async with beside(peer.closed(MAX_S)) as (reading,):
        while not reading.done():
            await peer.write(_BATCH_SIZE * frame(http2.SETTINGS))


async def resets(peer: Connection) -> None:
    """Begins calls and takes them back at once; answers pings, so as not to be taken for dead."""
    await peer.greet()
    async with beside(_answer_pings(peer)) as (answering,):
        while not answering.done():
            stream = peer.begin(GET_TASK)
            await peer.write(frame(http2.RST_STREAM, 0, stream, http2.CANCEL.to_bytes(4, "big")))


async def _answer_pings(peer: Connection) -> None:
    async for received in peer.frames():
        if received.kind == http2.PING and not received.flags & http2.ACK:
            await peer.write(frame(http2.PING, http2.ACK, payload=received.payload))


async def endless_headers(peer: Connection) -> None:
    await peer.greet()
    stream = peer.begin(GET_TASK, flags=0)
    while True:
        await peer.write(frame(http2.CONTINUATION, 0, stream, http2.header_block([("x-more", "y" * 1_000)])))


ATTACKS: dict[str, tuple[int, Attack]] = {
    "slow messages": (20, slow_messages),
    "half handshakes": (300, half_handshakes),
    "pings": (4, pings),
    "settings": (4, settings),
    "resets": (4, resets),
    "endless headers": (4, endless_headers),
}
"""How many connections each has at once, made anew when they are cut off, and what it does on one of them."""
IDLING = "nothing, on a busy core"
"""No attack, but as much work: what of a latency is the machine's doing."""


async def _again_and_again(attack: Attack, port: int) -> None:
    while True:
        with suppress(OSError, TimeoutError):
            async with connected(port, ADDRESS) as peer:
                await attack(peer)


async def _busy() -> None:
    while True:
        sum(range(10_000))
        await asyncio.sleep(0)


async def attack_scheduler(stdin: asyncio.StreamReader, *, port: int, attack: str) -> None:
    say(ready=True)
    await stdin.readline()
    if attack == IDLING:
        attacks = [_busy()]
    else:
        count, act = ATTACKS[attack]
        attacks = [_again_and_again(act, port) for _ in range(count)]
    with suppress(TimeoutError):
        async with beside(*attacks), asyncio.timeout(MAX_S):
            await stdin.read()
