"""A stretch of hostile calls by one process of a campaign's pool: how they are made, and the verdict on each ending.

The client's bytes are sent as they are. Calls that stream requests are made by gRPC's synchronous client, in threads:
the asynchronous one, where it writes on to a call that was refused meanwhile, tells of an internal error of its own
instead of the server's status.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from lab.fuzz.case import RPCS, Case, Who
from lab.fuzz.generating import case
from lab.fuzz.tally import Finding, Tally
from lab.fuzz.values import Known

MAX_ANSWERS = 10
"""Messages that are read of a stream before the caller hangs up."""
GRACE = 30.0
"""Seconds beyond its deadline after which a call that has no end yet is stuck."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Ending:
    code: grpc.StatusCode | None
    """None where it did not end in time."""
    details: str = ""
    status_details: bytes = b""
    answers: tuple[bytes, ...] = ()
    hung_up: bool = False
    """Whether the caller cancelled it before it had an end."""

    @property
    def status(self) -> str:
        return self.code.name if self.code else "no end"


class Caller:
    """Calls with any of the run's tokens, over two connections."""

    def __init__(self, target: str, tokens: Mapping[Who, str]) -> None:
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        self._streams = grpc.insecure_channel(target, options=OPTIONS)
        self._threads = ThreadPoolExecutor(32, "stream")
        self._tokens = tokens

    async def aclose(self) -> None:
        await self._channel.close()
        self._threads.shutdown()
        self._streams.close()

    async def make(self, case: Case) -> Ending:
        try:
            async with asyncio.timeout(max(case.timeout, 0) + GRACE):
                return await self._make(case)
        except TimeoutError:
            return Ending(None)

    async def _make(self, case: Case) -> Ending:
        rpc = RPCS.get(case.rpc)
        token = self._tokens.get(case.who)
        metadata: Metadata = (("authorization", f"Bearer {token}"), *case.metadata) if token else case.metadata
        if rpc is not None and rpc.streams_requests:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, _converse, self._streams, case, metadata)
        begin: Any = self._channel.unary_stream(case.rpc)  # one answer is a stream of one
        return await _ended(begin(case.requests[0], timeout=case.timeout, metadata=metadata), case)


async def _ended(call: Any, case: Case) -> Ending:
    """Carries a call with one request through; the caller hangs up where the case says so."""
    answers: list[bytes] = []
    hung_up = False
    try:
        async with asyncio.timeout(case.hangs_up_after):
            while len(answers) < MAX_ANSWERS and (answer := await call.read()) is not aio.EOF:
                answers.append(answer)
    except TimeoutError:
        hung_up = True
    except aio.AioRpcError:
        pass
    finally:
        hung_up |= not call.done()
        call.cancel()
    details = status_details(await call.trailing_metadata())
    return Ending(await call.code(), await call.details() or "", details, tuple(answers), hung_up)


def status_details(metadata: Any) -> bytes:
    return bytes(dict(metadata or ()).get("grpc-status-details-bin", b""))


def _converse(channel: grpc.Channel, case: Case, metadata: Metadata) -> Ending:
    """Says what there is to say, and listens until the caller hangs up or the call ends. Runs in a thread."""
    over, hung_up = threading.Event(), threading.Event()

    def requests() -> Iterator[bytes]:
        """One who is going to hang up says no goodbye; another one ends its side of the stream."""
        yield from case.requests
        if case.hangs_up_after is not None:
            over.wait()

    def hang_up() -> None:
        hung_up.set()
        call.cancel()

    begin: Any = channel.stream_stream(case.rpc)
    call = begin(requests(), timeout=case.timeout, metadata=metadata)
    timer = threading.Timer(case.hangs_up_after or 0, hang_up)
    if case.hangs_up_after is not None:
        timer.start()
    answers: list[bytes] = []
    try:
        for answer in call:
            answers.append(answer)
            if len(answers) == MAX_ANSWERS:
                hang_up()
    except grpc.RpcError:
        pass
    finally:
        timer.cancel()
        over.set()
    details = status_details(call.trailing_metadata())
    return Ending(call.code(), call.details() or "", details, tuple(answers), hung_up.is_set())


Code = grpc.StatusCode

REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.UNAUTHENTICATED,
        Code.FAILED_PRECONDITION,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.RESOURCE_EXHAUSTED,
    }
)
"""What a caller may be told of its own mistakes, or of a bound. Each has details where it is ours."""


def wrong_with(case: Case, ending: Ending) -> str | None:
    """Returns what must not be so, in words; None where the ending is in order."""
    if ending.code is None:
        return f"no end within the deadline of {case.timeout:g} s and {GRACE:g} s more"
    if ending.code == Code.OK:
        return _wrong_with_answers(case, ending)
    if ending.code in {Code.CANCELLED, Code.DEADLINE_EXCEEDED}:
        waits = case.rpc.endswith(("/WaitTask", "/WatchTasks", "/Watch", "/Lease"))
        is_expected = ending.hung_up or case.impatient or waits
        return None if is_expected else f"{ending.code.name} although nobody hung up"
    if ending.code == Code.UNIMPLEMENTED:
        return None if case.rpc not in RPCS else "UNIMPLEMENTED, of an RPC that is there"
    if ending.code not in REFUSALS and not met_a_lock(ending):
        return f"{ending.code.name}: {ending.details}"
    return _wrong_with_details(case, ending)


def met_a_lock(ending: Ending) -> bool:
    """Returns whether a call waited for a lock until its bound, as on a busy machine a call in a thousand may."""
    if ending.code != Code.UNAVAILABLE:
        return False
    reason = ErrorInfo()
    details = Status.FromString(ending.status_details).details
    return any(detail.Unpack(reason) and reason.reason == "LOCK_TIMEOUT" for detail in details)


def _wrong_with_answers(case: Case, ending: Ending) -> str | None:
    rpc = RPCS.get(case.rpc)
    if rpc is None:
        return "an answer of an RPC that is not there"
    try:
        for answer in ending.answers:
            rpc.answer_class.FromString(answer)
    except DecodeError:
        return "an answer that is no message"
    return None


def _wrong_with_details(case: Case, ending: Ending) -> str | None:
    """A refusal of ours has ErrorInfo; one of bad fields names them."""
    assert ending.code is not None
    if not ending.status_details:
        rpc = RPCS.get(case.rpc)
        by_grpc = ending.code in {Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED}  # before we have seen the call
        by_others = by_grpc or rpc is None or not rpc.contract
        return None if by_others else f"{ending.code.name} without details: {ending.details}"
    status = Status.FromString(ending.status_details)
    kinds = {detail.TypeName() for detail in status.details}
    if ErrorInfo.DESCRIPTOR.full_name not in kinds:
        return f"{ending.code.name} without ErrorInfo: {ending.details}"
    if ending.code == Code.INVALID_ARGUMENT and BadRequest.DESCRIPTOR.full_name not in kinds:
        return f"INVALID_ARGUMENT without BadRequest: {ending.details}"
    if status.code != ending.code.value[0]:
        return f"{ending.code.name}, but {status.code} in its details"
    return None


def attack(
    target: str, tokens: Mapping[Who, str], known: Known, *, paths: Sequence[str], seed: int, numbers: range
) -> Tally:
    """Makes the calls of these numbers, which take turns at the paths; what they came to."""
    cases = (case(paths[number % len(paths)], seed, number // len(paths), known) for number in numbers)
    tally = Tally(known=known)

    async def take_turns(caller: Caller) -> None:
        for item in cases:
            note(item, await caller.make(item), tally)

    async def make_calls() -> None:
        async with aclosing(Caller(target, tokens)) as caller, asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(take_turns(caller))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(make_calls())
    return tally


def note(case: Case, ending: Ending, tally: Tally) -> None:
    """Counts an ending, judges it, and learns from it."""
    rpc = RPCS.get(case.rpc)
    name = rpc.name if rpc else "no such RPC"
    tally.count(name, ending.status)
    if problem := wrong_with(case, ending):
        hangs_up = "" if case.hangs_up_after is None else f", hangs up after {case.hangs_up_after:g} s"
        how = f"{case.shape}, as {case.who}, deadline {case.timeout:g} s{hangs_up}, metadata {case.metadata}"
        tally.find(Finding(name, problem, case.seed, case.number, how, case.requests))
    if ending.answers:
        tally.answered.add(name)
    if rpc is None:
        return
    for answer in ending.answers:
        try:
            tally.known.learn(rpc.answer_class.FromString(answer))
        except DecodeError:  # has become a finding
            continue
