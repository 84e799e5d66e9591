"""Cases: `case(target, seed, number, known)` is the same case each time, live ids apart."""

from __future__ import annotations

import random

from lab.fuzz.case import PATIENT, Case, Who, random_of
from lab.fuzz.known import Known
from lab.fuzz.messages import message
from lab.fuzz.rpcs import RPCS, UNKNOWN, Rpc
from lab.fuzz.wire import spoil

RAW_CHANCE = 0.3
"""Of a case to hold a message whose bytes are spoilt."""
_WRONGFUL_CHANCE = 0.08
_SHORT_DEADLINES = (0.0, -1.0, 0.001, 0.01, 0.1, 1.0)
_WAITS = 0.3
"""Seconds that a call may take which would wait for minutes for something to happen."""
_MAX_REQUESTS = 6


def case(rpc_path: str, seed: int, number: int, known: Known) -> Case:
    """Returns the case of that number of an RPC, or of a path that leads nowhere."""
    source = random_of(rpc_path, seed, number)
    rpc = RPCS.get(rpc_path)
    if rpc is None:
        return Case(rpc_path, seed, number, "nowhere", Who.OPERATOR, (source.randbytes(9),), PATIENT)
    shape, requests = _requests(rpc, known, source)
    timeout, hangs_up_after = _patience(rpc, source)
    return Case(
        rpc=rpc_path,
        seed=seed,
        number=number,
        shape=shape,
        who=_who(rpc, source),
        requests=requests,
        timeout=timeout,
        hangs_up_after=hangs_up_after,
        metadata=_metadata(source),
    )


def every_path() -> list[str]:
    """Returns what a campaign calls: each RPC, and some that are not there."""
    return [*RPCS, *UNKNOWN]


def _requests(rpc: Rpc, known: Known, source: random.Random) -> tuple[str, tuple[bytes, ...]]:
    """What is sent, and how it was made: messages, of which one may be spoilt."""
    count = source.randint(1, _MAX_REQUESTS) if rpc.streams_requests else 1
    requests = [message(rpc.request, known, source).SerializeToString() for _ in range(count)]
    if source.random() >= RAW_CHANCE:
        return "structured", tuple(requests)
    index = source.randrange(count)
    shape, requests[index] = spoil(requests[index], rpc.request, source)
    return shape, tuple(requests)


def _who(rpc: Rpc, source: random.Random) -> Who:
    """Mostly one who may; those who may not are refused at the door. None of them reaches what is the honest ones'."""
    if source.random() >= _WRONGFUL_CHANCE:
        return source.choice(rpc.rightful)
    return source.choice((Who.CLIENT, Who.TIED, Who.STRANGER, Who.NOBODY, Who.WORKER if rpc.contract else Who.NOBODY))


def _patience(rpc: Rpc, source: random.Random) -> tuple[float, float | None]:
    """Returns the deadline, and when the caller hangs up."""
    if source.random() < 0.03:
        return source.choice(_SHORT_DEADLINES), None
    if source.random() < 0.03:
        return PATIENT, source.choice((0.0, 0.002, 0.02))
    if rpc.streams_answers or rpc.name in _SLOW:
        return PATIENT, _WAITS
    return PATIENT, None


_SLOW = frozenset({"TaskService/WaitTask", "TaskService/PollRunningTasks", "TaskService/PollTask"})
"""They wait: for a task, or for what workers say that say nothing."""


def _metadata(source: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    if source.random() >= 0.03:
        return ()
    return source.choice(
        (
            (("x-request-id", "a" * 1_000),),
            (("x-many", "1"),) * 40,
            (("x-bytes-bin", source.randbytes(100)),),
            (("x-large", "a" * 20_000),),
            (("authorization", "Bearer another"),),
            (("content-encoding", "gzip"), ("traceparent", "~")),
            (("te", "gzip"), ("user-agent", "another/1")),
        )
    )
