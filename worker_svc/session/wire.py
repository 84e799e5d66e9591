"""Protos to what the worker works with, and back: the one place in worker_svc that knows both.

Layer: inside session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from operator import attrgetter

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.creators.base import Job
from worker_svc.creators.brief import TEXTS, Brief
from worker_svc.outcome import Completed, Deferred, Failed, Outcome, Reason, Result, clean, failed
from worker_svc.session.leases import Lease, Stage, Stop
from worker_svc.session.outbox import Answer, Kind, Update

MAX_ENDING = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of an update that fit a message with room to spare."""
_STAGES = {
    Stage.QUEUED: pb.LEASE_STAGE_QUEUED,
    Stage.ACCEPTED: pb.LEASE_STAGE_ACCEPTED,
    Stage.PROCESSING: pb.LEASE_STAGE_PROCESSING,
    Stage.FINISHED: pb.LEASE_STAGE_FINISHED,
}
_REASONS = {
    Stop.EXPIRED: pb.RELEASE_REASON_EXPIRED,
    Stop.REVOKED: pb.RELEASE_REASON_EXPIRED,  # it ended elsewhere already: the answer is LEASE_LOST
    Stop.DRAINING: pb.RELEASE_REASON_DRAINING,
    Stop.QUEUED_TOO_LONG: pb.RELEASE_REASON_QUEUED_TOO_LONG,
    Stop.REFUSED: pb.RELEASE_REASON_REFUSED,
    Stop.UNHEALTHY: pb.RELEASE_REASON_DRAINING,  # as REFUSED it would count against the task, and have it wait
}

_texts_of = attrgetter(*TEXTS)
_SPOOLED = {"completed": Kind.COMPLETED, "failed": Kind.FAILED, "deferred": Kind.DEFERRED}


@dataclass(frozen=True, slots=True)
class Creator:
    """The CLI, as a hello shows it."""

    path: str
    version: str


def lease_of(assigned: pb.AssignedLease, now: float, deadline: float) -> Lease:
    """A lease as the worker holds it, queued."""
    timeout = seconds(assigned.timeout) if assigned.HasField("timeout") else inf
    return Lease(
        assigned.lease_id,
        assigned.attempt,
        assigned.task.task_id,
        timeout,
        now,
        deadline,
        account_id=assigned.task.account_id,
        failed_elsewhere=assigned.failed_elsewhere,
    )


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def job_of(assigned: pb.AssignedLease) -> Job:
    """What the creator needs of it."""
    task = assigned.task
    return Job(task.task_id, assigned.attempt, Brief.of(_texts_of(task), dict(assigned.creator_options)))


def accepted(lease: Lease) -> Update:
    """It is in a slot."""
    return _update(lease, Kind.ACCEPTED, pb.LeaseUpdate(accepted=pb.Accepted()))


def processing(lease: Lease) -> Update:
    """Its CLI has started."""
    return _update(lease, Kind.PROCESSING, pb.LeaseUpdate(processing=pb.Processing()))


def progress(lease: Lease, percent: int, step: str, message: str) -> Update:
    """How far it is."""
    told = task_pb2.TaskProgress(percent=percent, step=step, message=message)
    return _update(lease, Kind.PROGRESS, pb.LeaseUpdate(progress=told))


def ending_of(lease: Lease, outcome: Outcome) -> Update:
    """How it ended by itself."""
    if isinstance(outcome, Failed):
        error = task_pb2.TaskError(reason=outcome.reason, message=outcome.message, details=outcome.details)
        return _update(lease, Kind.FAILED, pb.LeaseUpdate(failed=pb.Failed(error=error)))
    if isinstance(outcome, Deferred):
        deferred = pb.Deferred(message=outcome.message)
        deferred.retry_after.FromMilliseconds(round(outcome.pause * 1e3))
        return _update(lease, Kind.DEFERRED, pb.LeaseUpdate(deferred=deferred))
    ending = _update(lease, Kind.COMPLETED, pb.LeaseUpdate(completed=pb.Completed(result=_result(outcome))))
    if ending.size <= MAX_ENDING:
        return ending
    return ending_of(lease, failed(Reason.RESULT_TOO_LARGE, f"the result has {ending.size} bytes in all"))


def ending_of_stop(lease: Lease, why: Stop, *, started: bool) -> Update:
    """How it ended because it was stopped."""
    if why is Stop.TASK_TIMEOUT:
        return ending_of(lease, failed(Reason.TASK_TIMEOUT, f"the run took longer than {lease.timeout:g} s"))
    released = pb.Released(reason=_REASONS[why], started=started)
    return _update(lease, Kind.RELEASED, pb.LeaseUpdate(released=released))


def encode(update: Update) -> bytes:
    """An update as the spool keeps it."""
    message: pb.LeaseUpdate = update.message
    return message.SerializeToString()


def decode(payload: bytes) -> Update:
    """An ending from the spool. Raises ValueError where it is none."""
    try:
        message = pb.LeaseUpdate.FromString(payload)
    except DecodeError as error:
        raise ValueError(f"no update: {error}") from error
    kind = _SPOOLED.get(message.WhichOneof("update") or "")
    if kind is None or not message.lease_id:
        raise ValueError("no update that ends a lease")
    return Update(message.lease_id, message.attempt, kind, len(payload), message)


def hello(
    *,
    identity: tuple[str, str],
    process_id: str,
    session_number: int,
    hostname: str,
    version: str,
    slots: int,
    creator: Creator,
    held: Iterable[Lease],
    lost: Iterable[str],
) -> pb.LeaseRequest:
    """The first message of a stream; `identity` is worker_id and folder_id."""
    return pb.LeaseRequest(
        hello=pb.Hello(
            worker_id=identity[0],
            folder_id=identity[1],
            process_id=process_id,
            session_number=session_number,
            hostname=hostname,
            version=version,
            slots=slots,
            creator_path=clean(creator.path, 1_000),
            creator_version=creator.version,
            held_leases=_held(held),
            lost_leases=lost,
            accepts_skipped_leases=True,
        )
    )


def state(
    number: int,
    free_slots: int,
    held: Iterable[Lease],
    *,
    last_assignment: int,
    last_poll_id: str,
    unhealthy: bool,
    last_error: str,
) -> pb.LeaseRequest:
    """The heartbeat."""
    return pb.LeaseRequest(
        heartbeat=pb.Heartbeat(
            number=number,
            free_slots=free_slots,
            held_leases=_held(held),
            last_assignment=last_assignment,
            last_poll_id=last_poll_id,
            unhealthy=unhealthy,
            last_error=last_error,
        )
    )


def report(number: int, updates: Iterable[Update], *, accepts_deferrals: bool) -> pb.LeaseRequest:
    """A batch of updates. A scheduler that does not take deferrals is told what it knows: a failure."""
    messages = [
        update.message if accepts_deferrals or update.kind is not Kind.DEFERRED else _as_failure(update.message)
        for update in updates
    ]
    return pb.LeaseRequest(report=pb.Report(number=number, updates=messages))


def part(report_number: int, data: bytes, last: bool) -> pb.LeaseRequest:
    """The next bytes of a serialized report."""
    return pb.LeaseRequest(report_part=pb.ReportPart(report_number=report_number, data=data, last=last))


def draining() -> pb.LeaseRequest:
    """Nothing new from now on."""
    return pb.LeaseRequest(draining=pb.Draining())


def answers(results: Iterable[pb.UpdateResult]) -> list[Answer]:
    """What became of a report's updates."""
    return [Answer(result.lease_id, result.attempt, result.outcome) for result in results]


def outcome_name(outcome: int) -> str:
    """For logs: `committed`, `already_committed`, `lease_lost`."""
    names: Mapping[int, str] = {value: name for name, value in pb.UpdateOutcome.items()}
    return names.get(outcome, str(outcome)).removeprefix("UPDATE_OUTCOME_").lower()


def _result(outcome: Completed) -> pb.Result:
    result: Result = outcome.result
    return pb.Result(
        body=result.content, html_body=result.html, images=result.images, quality_score=result.quality_score
    )


def _as_failure(update: pb.LeaseUpdate) -> pb.LeaseUpdate:
    said = f": {update.deferred.message}" if update.deferred.message else ""
    text = f"the CLI asked to come back later, and this scheduler knows no deferrals{said}"
    error = task_pb2.TaskError(reason=Reason.CREATOR_ERROR, message=text)
    return pb.LeaseUpdate(lease_id=update.lease_id, attempt=update.attempt, failed=pb.Failed(error=error))


def _held(leases: Iterable[Lease]) -> list[pb.HeldLease]:
    return [
        pb.HeldLease(lease_id=lease.lease_id, attempt=lease.attempt, stage=_STAGES[lease.stage]) for lease in leases
    ]


def _update(lease: Lease, kind: Kind, message: pb.LeaseUpdate) -> Update:
    message.lease_id, message.attempt = lease.lease_id, lease.attempt
    return Update(lease.lease_id, lease.attempt, kind, message.ByteSize() + 8, message)
