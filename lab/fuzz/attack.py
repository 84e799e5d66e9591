"""A stretch of hostile calls by one process of a campaign's pool: how they are made, and the verdict on each ending.

The client's bytes are sent as they are, by threads with gRPC's synchronous client: where the asynchronous one writes on
to a call that was refused meanwhile, it tells of an internal error of its own instead of the server's status.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from lab.fuzz.case import RPCS, Case, Who
from lab.fuzz.generating import case
from lab.fuzz.tally import Finding, Tally
from lab.fuzz.values import Known

MAX_ANSWERS = 10
"""Messages that are read of a stream before the caller hangs up."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("SingleThreadedUnaryStream", 1),  # the thread that makes a call with one request is all that it needs
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Ending:
    code: grpc.StatusCode
    details: str = ""
    status_details: bytes = b""
    answers: tuple[bytes, ...] = ()
    hung_up: bool = False
    """Whether the caller cancelled it before it had an end."""


def status_details(metadata: Any) -> bytes:
    return bytes(dict(metadata or ()).get("grpc-status-details-bin", b""))


def ending_of(channel: grpc.Channel, case: Case, token: str | None) -> Ending:
    """Says what there is to say, and listens until the caller hangs up or the call ends."""
    over, hung_up = threading.Event(), threading.Event()

    def requests() -> Iterator[bytes]:
        """One who is going to hang up says no goodbye; another one ends its side of the stream."""
        yield from case.requests
        if case.hangs_up_after is not None:
            over.wait()

    def hang_up() -> None:
        hung_up.set()
        call.cancel()

    rpc = RPCS.get(case.rpc)
    streams = rpc is not None and rpc.method.client_streaming
    begin: Any = channel.stream_stream(case.rpc) if streams else channel.unary_stream(case.rpc)
    metadata = (("authorization", f"Bearer {token}"), *case.metadata) if token else case.metadata
    call = begin(requests() if streams else case.requests[0], timeout=case.timeout, metadata=metadata)
    timer = threading.Timer(case.hangs_up_after or 0, hang_up)
    if case.hangs_up_after is not None:
        timer.start()
    answers: list[bytes] = []
    try:
        for answer in call:  # one answer is a stream of one
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
    if ending.code == Code.OK:
        return _wrong_with_answers(case, ending)
    if ending.code in {Code.CANCELLED, Code.DEADLINE_EXCEEDED}:
        waits = case.rpc.endswith(("/WaitTask", "/WatchTasks", "/Watch", "/Lease"))  # by name: a judge follows no row
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
    if not (rpc.method.server_streaming or ending.hung_up or len(ending.answers) == 1):
        return f"{len(ending.answers)} answers of an RPC that has one"
    try:
        for answer in ending.answers:
            rpc.answer_class.FromString(answer)
    except DecodeError:
        return "an answer that is no message"
    return None


def _wrong_with_details(case: Case, ending: Ending) -> str | None:
    """A refusal of ours has ErrorInfo; one of bad fields names them."""
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
    tally, lock = Tally(known=known), threading.Lock()
    with grpc.insecure_channel(target, options=OPTIONS) as channel, ThreadPoolExecutor(100) as threads:

        def make_call(number: int) -> None:
            with lock:
                item = case(paths[number % len(paths)], seed, number // len(paths), known)
            ending = ending_of(channel, item, tokens.get(item.who))
            with lock:
                note(item, ending, tally)

        list(threads.map(make_call, numbers))
    return tally


def note(case: Case, ending: Ending, tally: Tally) -> None:
    """Counts an ending, judges it, and learns from it."""
    rpc = RPCS.get(case.rpc)
    name = rpc.name if rpc else "no such RPC"
    tally.count(name, ending.code.name)
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
