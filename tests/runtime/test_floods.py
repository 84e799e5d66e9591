"""Hostile HTTP/2 peers: each is refused or disconnected, others are served, and nothing stays in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpc import ChannelConnectivity

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.access import Limits
from tests.harness import http2
from tests.harness.credentials import line, write
from tests.harness.http2 import Connection, connected, frame
from tests.harness.load import HonestCallers
from tests.harness.replicas import channel_to, serving
from tests.harness.waiting import PATIENCE_S, beside, wait_until_async

pytestmark = pytest.mark.contract

STREAMS, CONNECTIONS, METADATA = 50, 10, 8_192
GROWTH_MB = 64
RESOURCE_EXHAUSTED, REFUSED_STREAM = b"grpc-status\x018", (7).to_bytes(4, "big")
HONEST = [("authorization", "Bearer honest-token")]
GET_TASK = "/contentgen.v1.TaskService/GetTask"
Attack = Callable[[Connection], Awaitable[None]]
LIMITS = Limits(handshake_timeout=0.5, streams=STREAMS, connections=CONNECTIONS, metadata=METADATA)


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    return {"limits": LIMITS, "tokens_file": write(tmp_path / "tokens", line("honest", "operator"))}


def _files() -> int:
    return psutil.Process().num_fds()


def _megabytes() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


@asynccontextmanager
async def attacked(replica: Replica) -> AsyncIterator[None]:
    """For a block that attacks: an honest caller is served meanwhile, and at the end no resource is held."""
    async with HonestCallers(replica, "honest-token").calling():
        files, memory = _files(), _megabytes()
        yield
        await wait_until_async(lambda: _files() <= files, within=PATIENCE_S, what="the connections are closed")
    assert _megabytes() - memory < GROWTH_MB


async def written(peer: Connection, data: bytes, count: int = 1) -> None:
    for _ in range(count):
        await peer.write(data)


pings = partial(written, data=frame(http2.PING, payload=bytes(8)), count=2_000)
settings = partial(written, data=frame(http2.SETTINGS), count=3_000)
window_updates = partial(written, data=frame(http2.WINDOW_UPDATE, payload=(1).to_bytes(4, "big")), count=3_000)
nonsense = partial(written, data=b"nonsense" * 10_000)


async def empty_data(peer: Connection) -> None:
    await written(peer, frame(http2.DATA, 0, peer.begin(GET_TASK)), 20_000)


async def empty_continuations(peer: Connection) -> None:
    await written(peer, frame(http2.CONTINUATION, 0, peer.begin(GET_TASK, flags=0)), 20_000)


ILLEGAL: Sequence[Attack] = (pings, empty_data, empty_continuations, nonsense)


async def test_the_connection_of_a_flood_is_closed(replica: Replica) -> None:
    for attack in ILLEGAL:
        async with attacked(replica), connected(replica.port) as peer:
            await peer.greet()
            with suppress(ConnectionError):
                await attack(peer)
            await peer.closed()


async def resets(peer: Connection) -> None:
    for _ in range(1_000):
        stream = peer.begin(GET_TASK)
        await peer.write(frame(http2.RST_STREAM, 0, stream, http2.CANCEL.to_bytes(4, "big")))


async def refused_calls(peer: Connection) -> None:
    for _ in range(1_000):
        peer.call(GET_TASK)
        await peer.write(b"")


LEGAL: Sequence[Attack] = (settings, window_updates, resets, refused_calls)


async def test_a_legal_flood_does_not_delay_others(replica: Replica) -> None:
    for attack in LEGAL:
        async with attacked(replica), connected(replica.port) as peer:
            await peer.greet()
            async with beside(peer.closed(PATIENCE_S)):
                with suppress(ConnectionError):
                    await attack(peer)


async def too_many_headers(peer: Connection) -> bytes:
    stream = peer.begin(GET_TASK, [("x-more", "y" * METADATA)])
    return (await peer.first(stream)).payload


async def unending_headers(peer: Connection) -> bytes:
    stream = peer.begin(GET_TASK, flags=0)
    for i in range(2_000):
        await peer.write(frame(http2.CONTINUATION, 0, stream, http2.header_block([(f"x-{i}", "y" * 1_000)])))
    await peer.write(frame(http2.CONTINUATION, http2.END_HEADERS, stream))
    return (await peer.first(stream)).payload


async def one_header_many_times(peer: Connection) -> bytes:
    """A long header is stored in the table, and then referred to by one byte each."""
    stored, again = http2.header_block([("x-bomb", "y" * 3_000)], entered=True), b"\xbe" * 10_000
    stream = peer.begin(GET_TASK, more=stored + again)
    return (await peer.first(stream)).payload


async def test_headers_that_are_too_large_are_refused(replica: Replica) -> None:
    for attack in (too_many_headers, unending_headers, one_header_many_times):
        async with attacked(replica), connected(replica.port) as peer:
            await peer.greet()
            assert RESOURCE_EXHAUSTED in await attack(peer)


async def test_the_numbers_of_connections_and_of_the_calls_of_one_are_bounded(replica: Replica) -> None:
    async with attacked(replica), connected(replica.port) as peer:
        await peer.greet()
        streams = [peer.begin(GET_TASK, HONEST) for _ in range(STREAMS + 1)]
        refusal = await peer.first(streams[-1])
        assert (refusal.kind, refusal.payload) == (http2.RST_STREAM, REFUSED_STREAM)
    async with attacked(replica):
        async with AsyncExitStack() as peers:
            opened = [await peers.enter_async_context(connected(replica.port)) for _ in range(2 * CONNECTIONS)]
            turned_away = [asyncio.create_task(peer.closed()) for peer in opened[CONNECTIONS:]]
            await asyncio.gather(*turned_away)

        async def lets_in() -> bool:
            async with connected(replica.port) as peer:
                with suppress(ConnectionError):
                    await peer.greet()
                    return True
            return False

        await wait_until_async(lets_in, within=PATIENCE_S, what="another connection is accepted")


SILENT = {
    "nothing": b"",
    "half a preface": http2.PREFACE[:10],
    "no settings": http2.PREFACE,
    "half of the settings": http2.PREFACE + frame(http2.SETTINGS, payload=bytes(6))[:12],
}
UNFINISHED_TLS = {"nothing": b"", "half of a ClientHello": b"\x16\x03\x01\x02\x00\x01"}


async def silent(port: int, opening: bytes) -> None:
    """A peer that says no more, until it is disconnected."""
    async with connected(port) as peer:
        await peer.write(opening)
        await peer.closed()


async def test_connections_without_a_handshake_are_closed(replica: Replica) -> None:
    async with attacked(replica):
        await asyncio.gather(*(silent(replica.port, opening) for opening in SILENT.values()))


async def test_connections_with_an_unfinished_tls_handshake_are_closed(db_url: str, certificates: Path) -> None:
    tls = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    ca = certificates / "ca.pem"
    async with serving(db_url, limits=LIMITS, **tls) as replica, HonestCallers(replica, ca=ca).calling():
        await asyncio.gather(*(silent(replica.port, opening) for opening in UNFINISHED_TLS.values()))


async def test_an_idle_connection_is_closed_and_its_client_reconnects(db_url: str) -> None:
    async with (
        serving(db_url, limits=Limits(idle_timeout=0.5)) as replica,
        connected(replica.port) as peer,
        channel_to(replica) as channel,
    ):
        await peer.greet()  # at once: it is idle from here on
        accounts = AccountServiceStub(channel)
        await accounts.ListAccounts(pb.ListAccountsRequest())
        assert any(received.kind == http2.GOAWAY for received in await peer.closed())
        for _ in range(2):
            await wait_until_async(
                lambda: channel.get_state() is ChannelConnectivity.IDLE, within=PATIENCE_S, what="it is closed"
            )
            await accounts.ListAccounts(pb.ListAccountsRequest())
