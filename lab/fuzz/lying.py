"""What a hostile scheduler says: one stream's messages, made from a seed, the stream's number and what it hears.

Mostly they are nearly right, so that leases are really taken, runs started, slots filled; then anything may come.
"""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from lab.fuzz import values
from lab.fuzz.case import random_of
from lab.fuzz.generating import message, spoil
from lab.fuzz.values import Known

_TTLS = (-1, 0, 1, 5, 30, 30, 30, 10**9, 315_576_000_000)
_HEARTBEATS = (-1, 0, *(1,) * 50, 315_576_000_000)
_TIMEOUTS = (-(2**40), -1, 0, 1, 60, 60, 60, 2**40)
_OPTIONS = ("seconds", "characters", "mode", "task-id", "", "a=b", "-", "\0", "人", "x" * 300)
MAX_LEASES = 300
"""Of one stream that are nearly right, and may so start a CLI."""


class Liar:
    """One stream's side of the conversation: serialized LeaseResponses."""

    def __init__(self, seed: int, stream: int) -> None:
        self._source = random_of("scheduler", seed, stream)
        self._known = Known()
        self._leases: list[tuple[str, int]] = []
        self._stream = stream
        self._state = self._assignment = 0
        self._held: list[tuple[str, int]] = []
        self._reports: list[pb.Report] = []

    def heard(self, request: pb.LeaseRequest) -> None:
        """Takes what the worker says: numbers and leases to speak of."""
        if request.HasField("heartbeat"):
            self._state = request.heartbeat.number
            self._held = [(lease.lease_id, lease.attempt) for lease in request.heartbeat.held_leases]
        elif request.HasField("report"):
            self._reports.append(request.report)
        elif request.HasField("hello"):
            self._held = [(lease.lease_id, lease.attempt) for lease in request.hello.held_leases]

    def first(self) -> bytes:
        """Returns mostly a welcome, more or less."""
        source = self._source
        if source.random() < 0.1:
            return self._anything()
        welcome = pb.Welcome(scheduler_id=values.text(self._known, source)[:1_000])
        welcome.lease_ttl.seconds = source.choice(_TTLS)
        welcome.heartbeat_interval.seconds = source.choice(_HEARTBEATS)
        welcome.heartbeat_interval.nanos = source.choice((0, 0, -(2**31), 2**31 - 1))
        welcome.keep_leases.extend(self._ids())
        welcome.drop_leases.extend(self._ids())
        welcome.accepts_report_parts = source.random() < 0.3
        welcome.desired_state.slots = source.choice((0, 1, 3, 3, 3, -1, 2**31 - 1))
        return pb.LeaseResponse(welcome=welcome).SerializeToString()

    def next(self) -> bytes:
        """Returns the next message: an answer to what was heard, an order, leases, or anything."""
        answers = (self._acknowledge_state, self._acknowledge_report, self._acknowledge_report)
        sayings = (self._assign, self._assign, *answers, self._cancel, self._poll, self._resize, self._anything)
        return self._source.choice(sayings)()

    def _assign(self) -> bytes:
        source = self._source
        self._assignment += source.choice((1, 1, 1, 0, -1, 1_000))
        state = source.choice((self._state, self._state, self._state, self._state - 1, 0, -1, 2**31 - 1))
        assignment = pb.Assignment(number=max(-(2**31), min(self._assignment, 2**31 - 1)), heartbeat_number=state)
        if source.random() < 0.01:
            return self._flood(assignment)
        for _ in range(source.choice((0, 1, 1, 2, 5))):
            if len(self._leases) < MAX_LEASES:
                self._fill(assignment.leases.add())
        return pb.LeaseResponse(assignment=assignment).SerializeToString()

    def _flood(self, assignment: pb.Assignment) -> bytes:
        """Returns more leases than any worker holds, of which none is of any use."""
        assignment.heartbeat_number = 0
        for number in range(10_000):
            assignment.leases.add(lease_id=f"flood-{self._stream}-{number}", attempt=1)
        return pb.LeaseResponse(assignment=assignment).SerializeToString()

    def _fill(self, lease: pb.AssignedLease) -> None:
        source = self._source
        lease.lease_id, lease.attempt = self._lease()
        lease.timeout.seconds = source.choice(_TIMEOUTS)
        task = lease.task
        task.MergeFromString(message(task_pb2.Task.DESCRIPTOR, self._known, source).SerializeToString())
        if source.random() < 0.6:
            task.task_id, task.topic = f"task-{self._stream}-{len(self._leases)}", "a topic"
            task.keywords = task.requirements = task.tone = ""
        for _ in range(source.choice((0, 0, 1, 3))):
            lease.creator_options[source.choice(_OPTIONS)] = source.choice(("0.05", "0.3", "16", "\0", "--x"))

    def _lease(self) -> tuple[str, int]:
        """Returns a new one mostly; or one again; or one whose id is no id."""
        source = self._source
        chance = source.random()
        if chance < 0.2 and self._leases:
            return source.choice(self._leases)
        lease_id = f"lease-{self._stream}-{len(self._leases)}" if chance < 0.8 else values.text(self._known, source)
        lease = lease_id, source.choice((1, 1, 2, 0, -1, 2**31 - 1))
        self._leases.append(lease)
        return lease

    def _acknowledge_state(self) -> bytes:
        source = self._source
        ack = pb.Acknowledgement(heartbeat_number=source.choice((self._state, self._state, self._state + 1, 0, -1)))
        ack.not_renewed_leases.extend(self._ids())
        if source.random() < 0.1:
            ack.desired_state.slots = source.choice((0, 1, 3, -5))
        return pb.LeaseResponse(acknowledgement=ack).SerializeToString()

    def _acknowledge_report(self) -> bytes:
        """Acknowledges reports that came, in any order, twice or not at all; with outcomes that fit, or don't."""
        source = self._source
        if not self._reports:
            return pb.LeaseResponse(acknowledgement=pb.Acknowledgement(report_number=3)).SerializeToString()
        report = source.choice(self._reports[-20:])
        ack = pb.Acknowledgement(report_number=report.number)
        for update in report.updates:
            outcome = source.choice((1, 1, 1, 1, 2, 3, 0, 99))
            ack.results.add(lease_id=update.lease_id, attempt=update.attempt, outcome=outcome)
        if source.random() < 0.2:
            del ack.results[source.randrange(len(ack.results) + 1) :]
        return pb.LeaseResponse(acknowledgement=ack).SerializeToString()

    def _cancel(self) -> bytes:
        lease_id, reason = (*self._ids(), "")[0], values.text(self._known, self._source)
        return pb.LeaseResponse(cancel=pb.Cancel(lease_id=lease_id, reason=reason[:5_000])).SerializeToString()

    def _poll(self) -> bytes:
        poll_id = self._source.choice(("", "1", "2", "3", "x" * 1_000, "\0"))
        return pb.LeaseResponse(poll_now=pb.PollNow(poll_id=poll_id)).SerializeToString()

    def _resize(self) -> bytes:
        slots = self._source.choice((0, 1, 3, 3, -1, 2**31 - 1, -(2**31)))
        return pb.LeaseResponse(resize=pb.Resize(slots=min(slots, 5))).SerializeToString()

    def _anything(self) -> bytes:
        """Makes a message from its descriptor, or bytes that are none; no drain order: the worker would be drained."""
        data = message(pb.LeaseResponse.DESCRIPTOR, self._known, self._source).SerializeToString()
        if self._source.random() >= 0.9:
            data = spoil(data, pb.LeaseResponse.DESCRIPTOR, self._source)[1]
        return b"" if _is_order_to_drain(data) else data

    def _ids(self) -> list[str]:
        source = self._source
        lease_ids = [lease_id for lease_id, _ in (*self._held[-9:], *self._leases[-9:])]
        sample = [lease_id for lease_id in lease_ids if source.random() < 0.1]
        return sample if source.random() < 0.9 else [*sample, values.text(self._known, source)]


def _is_order_to_drain(data: bytes) -> bool:
    """Reads it as a worker does: spoiled bytes may become one that was none before."""
    try:
        response = pb.LeaseResponse.FromString(data)
    except DecodeError:
        return False
    return (
        response.HasField("drain")
        or response.welcome.desired_state.drain
        or response.acknowledgement.desired_state.drain
    )


_ENDS = (None, None, *(code for code in StatusCode if code.value[0] in {1, 2, 3, 5, 6, 7, 8, 10, 13, 14, 15, 16}))


def how_it_ends(source: random.Random) -> tuple[StatusCode | None, str, bytes]:
    """Returns a status, or None for an end without a word, its message, and details that are some, or none."""
    code = source.choice(_ENDS)
    packed = Packed(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=source.randbytes(source.choice((0, 9))))
    status = Status(code=code.value[0] if code else 0, message="it ends", details=[packed] * source.choice((0, 1, 2)))
    descriptor: Any = Status.DESCRIPTOR
    details = spoil(status.SerializeToString(), descriptor, source)[1][:4_000]
    return code, "it ends" * source.choice((0, 1, 100)), details
