"""What may come of a hostile call, and what may not: the verdict on each ending."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from lab.fuzz.calling import GRACE, Ending
from lab.fuzz.case import Case
from lab.fuzz.rpcs import RPCS

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
ENDED_BY_THE_CALLER = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})
_BY_GRPC = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED})
"""What gRPC itself answers before anything of ours has seen the call: without details."""


def wrong_with(case: Case, ending: Ending) -> str | None:
    """Returns what must not be so, in words; None where the ending is in order."""
    if ending.code is None:
        return f"no end within the deadline of {case.timeout:g} s and {GRACE:g} s more"
    if ending.code == Code.OK:
        return _wrong_with_answers(case, ending)
    if ending.code in ENDED_BY_THE_CALLER:
        is_expected = ending.hung_up or case.impatient or _may_wait(case)
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


def _may_wait(case: Case) -> bool:
    """Returns whether the RPC answers only when something happens."""
    return case.rpc.endswith(("/WaitTask", "/WatchTasks", "/Watch", "/Lease"))


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
        by_others = ending.code in _BY_GRPC or rpc is None or not rpc.contract
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
