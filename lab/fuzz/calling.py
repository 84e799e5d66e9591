"""Makes a case's call, whatever its shape, and tells how it ended. The client's bytes are sent as they are.

Calls that stream requests are made by gRPC's synchronous client, in threads: the asynchronous one, where it writes on
to a call that was refused meanwhile, tells of an internal error of its own in place of the server's status.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import grpc
from grpc import aio

from lab.fuzz.case import Case, Who
from lab.fuzz.rpcs import RPCS

MAX_ANSWERS = 10
"""Messages that are read of a stream before the caller hangs up."""
GRACE = 30.0
"""Seconds beyond its deadline after which a call that has no end yet is stuck."""
_STREAMS = 32
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended, as the caller sees it."""

    code: grpc.StatusCode | None
    """None where it did not end in time."""
    details: str = ""
    status_details: bytes = b""
    """`grpc-status-details-bin`."""
    answers: tuple[bytes, ...] = ()
    hung_up: bool = False
    """Whether the caller cancelled it before it had an end."""


class Caller:
    """Calls with any of the run's tokens, over two connections; to be entered."""

    def __init__(self, target: str, tokens: Mapping[Who, str]) -> None:
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        self._streams = grpc.insecure_channel(target, options=OPTIONS)
        self._threads = ThreadPoolExecutor(_STREAMS, "stream")
        self._tokens = tokens

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        self._threads.shutdown()
        self._streams.close()

    async def make(self, case: Case) -> Ending:
        """Returns the call's end; code None where it has none within its deadline and some seconds more."""
        try:
            async with asyncio.timeout(max(case.timeout, 0) + GRACE):
                return await self._make(case)
        except TimeoutError:
            return Ending(None)

    async def _make(self, case: Case) -> Ending:
        rpc = RPCS.get(case.rpc)
        metadata = (*self._authorization(case.who), *case.metadata)
        if rpc is not None and rpc.streams_requests:
            work = _Conversation(self._streams, case, metadata).run
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        kind: Any = self._channel.unary_stream if rpc and rpc.streams_answers else self._channel.unary_unary
        call = kind(case.rpc)(case.requests[0], timeout=case.timeout, metadata=metadata)
        return await _ended(call, case)

    def _authorization(self, caller: Who) -> Metadata:
        token = self._tokens.get(caller)
        return (("authorization", f"Bearer {token}"),) if token else ()


async def _ended(call: Any, case: Case) -> Ending:
    """Carries a call with one request through; the caller hangs up where the case says so."""
    answers: list[bytes] = []
    hung_up = False
    try:
        async with asyncio.timeout(case.hangs_up_after):
            await _read(call, answers)
    except TimeoutError:
        hung_up = True
    except aio.AioRpcError:
        pass
    finally:
        hung_up |= not call.done()
        call.cancel()
    details = status_details(await call.trailing_metadata())
    return Ending(await call.code(), await call.details() or "", details, tuple(answers), hung_up)


async def _read(call: Any, answers: list[bytes]) -> None:
    if isinstance(call, aio.UnaryUnaryCall):
        answers.append(await call)
        return
    while len(answers) < MAX_ANSWERS and (answer := await call.read()) is not aio.EOF:
        answers.append(answer)


def status_details(metadata: Any) -> bytes:
    """`grpc-status-details-bin` of a call's trailing metadata; empty where there is none."""
    return bytes(dict(metadata or ()).get("grpc-status-details-bin", b""))


class _Conversation:
    """One call with a stream of requests. Runs in a thread."""

    def __init__(self, channel: grpc.Channel, case: Case, metadata: Metadata) -> None:
        self._channel = channel
        self._case = case
        self._metadata = metadata
        self._over = threading.Event()
        self._hung_up = False

    def run(self) -> Ending:
        """Says what there is to say, and listens until the caller hangs up, or the call ends."""
        case = self._case
        begin: Any = self._channel.stream_stream(case.rpc)
        call = begin(self._requests(), timeout=case.timeout, metadata=self._metadata)
        timer = threading.Timer(case.hangs_up_after or 0, self._hang_up, [call])
        if case.hangs_up_after is not None:
            timer.start()
        answers: list[bytes] = []
        try:
            for answer in call:
                answers.append(answer)
                if len(answers) == MAX_ANSWERS:
                    self._hang_up(call)
        except grpc.RpcError:
            pass
        finally:
            timer.cancel()
            self._over.set()
        details = status_details(call.trailing_metadata())
        return Ending(call.code(), call.details() or "", details, tuple(answers), self._hung_up)

    def _requests(self) -> Iterator[bytes]:
        """One who is going to hang up says no goodbye; another one ends its side of the stream."""
        yield from self._case.requests
        if self._case.hangs_up_after is not None:
            self._over.wait()

    def _hang_up(self, call: Any) -> None:
        self._hung_up = True
        call.cancel()
