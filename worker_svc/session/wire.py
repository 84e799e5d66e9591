"""Converts between protos and the worker's own types; the only module that knows both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import inf

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from contentgen.v1 import asset_pb2, task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.creators.base import TEXTS, Brief, Job
from worker_svc.outcome import Article, Deferred, Failed, Outcome, Reason, RunOutput, failed
from worker_svc.references import SCHEME, renamed
from worker_svc.session.leases import Lease, StopReason, TraceContext
from worker_svc.session.outbox import PendingUpdate, UpdateKind

MAX_ENDING = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of the largest update; a message has to hold it with some overhead."""
_REASONS = {
    StopReason.EXPIRED: pb.RELEASE_REASON_EXPIRED,
    StopReason.REVOKED: pb.RELEASE_REASON_EXPIRED,  # it has ended already: the outcome is LEASE_LOST
    StopReason.DRAINING: pb.RELEASE_REASON_DRAINING,
    StopReason.QUEUED_TOO_LONG: pb.RELEASE_REASON_QUEUED_TOO_LONG,
    StopReason.REFUSED: pb.RELEASE_REASON_REFUSED,
    StopReason.UNHEALTHY: pb.RELEASE_REASON_DRAINING,  # REFUSED would count against the task, and delay it
}

_SPOOLED = {"completed": UpdateKind.COMPLETED, "failed": UpdateKind.FAILED, "deferred": UpdateKind.DEFERRED}


def lease_of(assigned: pb.AssignedLease, now: float, deadline: float) -> Lease:
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
        trace=TraceContext.of(assigned.traceparent, assigned.tracestate),
    )


def seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def job_of(assigned: pb.AssignedLease) -> Job:
    task = assigned.task
    texts = {name: getattr(task, name) for name in TEXTS}
    return Job(task.task_id, assigned.attempt, Brief(texts.pop("topic"), texts, dict(assigned.creator_options)))


def accepted(lease: Lease) -> PendingUpdate:
    return _update(lease, UpdateKind.ACCEPTED, pb.LeaseUpdate(accepted=pb.Accepted()))


def processing(lease: Lease) -> PendingUpdate:
    return _update(lease, UpdateKind.PROCESSING, pb.LeaseUpdate(processing=pb.Processing()))


def progress(lease: Lease, percent: int, step: str, message: str) -> PendingUpdate:
    message_pb = task_pb2.TaskProgress(percent=percent, step=step, message=message)
    return _update(lease, UpdateKind.PROGRESS, pb.LeaseUpdate(progress=message_pb))


def ending_of(lease: Lease, outcome: Outcome) -> PendingUpdate:
    """Returns the update that ends a lease whose run ended by itself."""
    if isinstance(outcome, Failed):
        error = task_pb2.TaskError(reason=outcome.reason, message=outcome.message, details=outcome.details)
        return _update(lease, UpdateKind.FAILED, pb.LeaseUpdate(failed=pb.Failed(error=error)))
    if isinstance(outcome, Deferred):
        deferred = pb.Deferred(message=outcome.message)
        deferred.retry_after.FromMilliseconds(round(outcome.pause * 1e3))
        return _update(lease, UpdateKind.DEFERRED, pb.LeaseUpdate(deferred=deferred))
    ending = _update(lease, UpdateKind.COMPLETED, pb.LeaseUpdate(completed=pb.Completed(result=_result(outcome))))
    if ending.size <= MAX_ENDING:
        return ending
    return ending_of(lease, failed(Reason.RESULT_TOO_LARGE, f"the result has {ending.size} bytes in all"))


def ending_of_stop(lease: Lease, why: StopReason, *, started: bool) -> PendingUpdate:
    if why is StopReason.TASK_TIMEOUT:
        return ending_of(lease, failed(Reason.TASK_TIMEOUT, f"the run took longer than {lease.timeout:g} s"))
    released = pb.Released(reason=_REASONS[why], started=started)
    return _update(lease, UpdateKind.RELEASED, pb.LeaseUpdate(released=released))


def has_run(ending: PendingUpdate) -> bool:
    """Returns whether a lease that ends so has had its run: it was not released before its CLI started."""
    message: pb.LeaseUpdate = ending.message
    return ending.kind is not UpdateKind.RELEASED or message.released.started


def reason_of(ending: PendingUpdate) -> str:
    """Returns why a lease ended without a result, for a tracer; empty if it has one."""
    message: pb.LeaseUpdate = ending.message
    if ending.kind is UpdateKind.FAILED:
        return message.failed.error.reason
    if ending.kind is UpdateKind.RELEASED:
        return pb.ReleaseReason.Name(message.released.reason).removeprefix("RELEASE_REASON_")
    return "DEFERRED" if ending.kind is UpdateKind.DEFERRED else ""


def with_output(ending: PendingUpdate, output: RunOutput) -> PendingUpdate:
    """Returns the update that ends a lease, with what the CLI printed added to its message."""
    if not output.stdout and not output.stderr:
        return ending
    message: pb.LeaseUpdate = ending.message
    message.output.CopyFrom(pb.RunOutput(**asdict(output)))
    return replace(ending, size=_size(message))


def encode(update: PendingUpdate) -> bytes:
    message: pb.LeaseUpdate = update.message
    return message.SerializeToString()


def decode(payload: bytes) -> PendingUpdate:
    """Returns an update that ends a lease, from the spool. Raises ValueError."""
    try:
        message = pb.LeaseUpdate.FromString(payload)
    except DecodeError as error:
        raise ValueError(f"not an update: {error}") from error
    kind = _SPOOLED.get(message.WhichOneof("update") or "")
    if kind is None or not message.lease_id:
        raise ValueError("not an update that ends a lease")
    return PendingUpdate(message.lease_id, message.attempt, kind, len(payload), message)


def assets_of(update: PendingUpdate) -> Sequence[pb.ResultAsset]:
    message: pb.LeaseUpdate = update.message
    return message.completed.result.assets


def without_assets(update: PendingUpdate) -> PendingUpdate:
    """Returns the same result with the names that the CLI gave, for a scheduler that knows no assets."""
    message = _without(update, assets_of(update))
    del message.completed.result.left_out_assets[:]
    return replace(update, message=message, size=_size(message))


def with_left_out(update: PendingUpdate, missing: Collection[str], reason: str) -> PendingUpdate:
    """Returns the same result with the names that the CLI gave for these assets, by SHA-256, which are left out."""
    left_out = [asset for asset in assets_of(update) if asset.sha256 in missing]
    message = _without(update, left_out)
    message.completed.result.left_out_assets.extend(
        asset_pb2.LeftOutAsset(name=asset.source, reason=reason) for asset in left_out
    )
    return replace(update, message=message, size=_size(message))


def _without(update: PendingUpdate, assets: Sequence[pb.ResultAsset]) -> pb.LeaseUpdate:
    message = pb.LeaseUpdate()
    message.CopyFrom(update.message)
    result = message.completed.result
    names = {SCHEME + asset.name: asset.source for asset in assets}
    article = renamed(Article(result.body, result.html_body, tuple(result.images)), names)
    remaining = [asset for asset in result.assets if SCHEME + asset.name not in names]
    result.body, result.html_body = article.content, article.html
    del result.images[:], result.assets[:]
    result.images.extend(article.images)
    result.assets.extend(remaining)
    return message


def held(leases: Iterable[Lease]) -> list[pb.HeldLease]:
    return [
        pb.HeldLease(lease_id=lease.lease_id, attempt=lease.attempt, stage=pb.LeaseStage.ValueType(lease.stage))
        for lease in leases
    ]


def report(number: int, updates: Iterable[PendingUpdate], *, accepts_deferrals: bool) -> pb.LeaseRequest:
    """Returns a batch of updates. A scheduler that does not accept deferrals gets failures instead."""
    messages = [
        update.message if accepts_deferrals or update.kind is not UpdateKind.DEFERRED else _as_failure(update.message)
        for update in updates
    ]
    return pb.LeaseRequest(report=pb.Report(number=number, updates=messages))


def outcome_name(outcome: int) -> str:
    """Returns the name of an outcome for logs: `committed`, `already_committed`, `lease_lost`."""
    names: Mapping[int, str] = {value: name for name, value in pb.UpdateOutcome.items()}
    return names.get(outcome, str(outcome)).removeprefix("UPDATE_OUTCOME_").lower()


def _result(article: Article) -> pb.Result:
    return pb.Result(
        body=article.content,
        html_body=article.html,
        images=article.images,
        quality_score=article.quality_score,
        title=article.title,
        usage=article.usage,
        model=article.model,
        assets=[pb.ResultAsset(**asset._asdict()) for asset in article.assets],
        left_out_assets=[asset_pb2.LeftOutAsset(name=name, reason=reason) for name, reason in article.left_out],
    )


def _as_failure(update: pb.LeaseUpdate) -> pb.LeaseUpdate:
    reason = f": {update.deferred.message}" if update.deferred.message else ""
    text = f"the CLI asked to come back later, and this scheduler knows no deferrals{reason}"
    error = task_pb2.TaskError(reason=Reason.CREATOR_ERROR, message=text)
    return pb.LeaseUpdate(lease_id=update.lease_id, attempt=update.attempt, failed=pb.Failed(error=error))


def _update(lease: Lease, kind: UpdateKind, message: pb.LeaseUpdate) -> PendingUpdate:
    message.lease_id, message.attempt = lease.lease_id, lease.attempt
    return PendingUpdate(lease.lease_id, lease.attempt, kind, _size(message), message)


def _size(message: pb.LeaseUpdate) -> int:
    return message.ByteSize() + 8
