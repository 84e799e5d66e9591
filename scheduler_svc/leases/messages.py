"""The messages of WorkerService.Lease, from and to domain objects.

A worker is trusted no more than a client: its texts are cut and made storable here. A result that can't be stored
becomes the failure of its attempt; it is never dropped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from contentgen.v1 import asset_pb2, task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.config import Settings
from scheduler_svc.dispatch import streams
from scheduler_svc.domain import content
from scheduler_svc.domain.content import MAX_RESULT_BYTES, TITLE_LENGTH, LeftOut, NamedAsset, TaskResult
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import format_lease_id, format_task_id, parse_lease_id
from scheduler_svc.domain.lease import (
    AttemptAccepted,
    AttemptCompleted,
    AttemptDeferred,
    AttemptFailed,
    AttemptReleased,
    AttemptStarted,
    Change,
    Grant,
    LeaseUpdate,
    Release,
)
from scheduler_svc.domain.lifecycle import DEFAULT_PAUSE
from scheduler_svc.domain.task import AttemptProgress, RunOutput, TaskError, trace_id
from scheduler_svc.domain.worker import DesiredState, Heartbeat, HeldLease, Hello
from scheduler_svc.leases.sessions import OpenedSession
from scheduler_svc.runtime.signals import Printed
from scheduler_svc.runtime.validation import (
    MAX_INT64,
    MAX_ITEMS,
    MAX_NAME,
    Violations,
    duration,
    fill_brief,
    is_sha256,
    set_milliseconds,
)

MAX_HELD = 10_000
MAX_IMAGES = 1_000
MAX_IMAGE_CHARACTERS = 128 * 1024
MAX_STEP = 200
MAX_MESSAGE = 2_000
MAX_DEFERRAL_MESSAGE = 1_000
MAX_DETAILS = 20
MAX_DETAIL = 8_000
MAX_LAST_ERROR = 1_000
MAX_OUTPUT = 8_192
MAX_OUTPUT_BYTES = 6_000
MAX_USAGE = 32
MAX_USAGE_NAME = 63


def hello(message: pb.Hello) -> Hello:
    """Reads a hello. Raises InvalidArgument, naming every bad field."""
    with Violations() as violations:
        violations.text("hello.worker_id", message.worker_id, MAX_NAME, required=True)
        violations.text("hello.folder_id", message.folder_id, MAX_NAME, required=True)
        for field in ("hostname", "version", "creator_version", "process_id"):
            violations.text(f"hello.{field}", getattr(message, field), MAX_NAME)
        violations.text("hello.creator_path", message.creator_path, 4_096)
        violations.labels("hello.labels", message.labels)
        if message.session_number < 1:
            violations.add("hello.session_number", "must be 1 or more")
        if not 0 <= message.slots <= MAX_ITEMS:
            violations.add("hello.slots", f"must be 0 to {MAX_ITEMS:,}")
        _check_count(violations, "hello.held_leases", message.held_leases)
        _check_count(violations, "hello.lost_leases", message.lost_leases)
    return Hello(
        worker_id=message.worker_id,
        folder_id=message.folder_id,
        session_number=message.session_number,
        hostname=message.hostname,
        version=message.version,
        slots=message.slots,
        labels=dict(message.labels),
        creator_path=message.creator_path,
        creator_version=message.creator_version,
        process_id=message.process_id,
        held=_held(message.held_leases),
        lost=tuple(message.lost_leases),
        accepts_skipped=message.accepts_skipped_leases,
    )


def heartbeat(message: pb.Heartbeat) -> Heartbeat:
    """Reads a heartbeat. Raises InvalidArgument, naming every bad field."""
    with Violations() as violations:
        if message.number < 1:
            violations.add("heartbeat.number", "must be 1 or more, and increase")
        if message.free_slots < 0:
            violations.add("heartbeat.free_slots", "must be 0 or more")
        _check_count(violations, "heartbeat.held_leases", message.held_leases)
    return Heartbeat(
        number=message.number,
        free_slots=message.free_slots,
        held=_held(message.held_leases),
        last_assignment=message.last_assignment,
        last_poll=int(message.last_poll_id) if _POLL_ID.fullmatch(message.last_poll_id) else 0,
        unhealthy=message.unhealthy,
        last_error=_text(message.last_error, MAX_LAST_ERROR),
    )


_POLL_ID = re.compile("[1-9][0-9]{0,17}")


def _check_count(violations: Violations, field: str, items: Sequence[object]) -> None:
    if len(items) > MAX_HELD:
        violations.add(field, f"must name at most {MAX_HELD:,} leases")


def _held(leases: Sequence[pb.HeldLease]) -> tuple[HeldLease, ...]:
    return tuple(HeldLease(lease.lease_id, parse_lease_id(lease.lease_id, lease.attempt)) for lease in leases)


def updates(report: pb.Report) -> tuple[LeaseUpdate, ...]:
    """Returns the updates of a report, in order. Raises InvalidArgument."""
    lease_updates: list[LeaseUpdate] = []
    lease_id, attempt, ref = "", 0, None
    for i, update in enumerate(report.updates):
        if update.lease_id != lease_id or update.attempt != attempt:  # the updates of a lease usually follow each other
            lease_id, attempt = update.lease_id, update.attempt
            ref = parse_lease_id(lease_id, attempt)
        kind = update.WhichOneof("update")
        if stage := _STAGES.get(kind):
            lease_updates.append(LeaseUpdate(lease_id, attempt, ref, stage))
        else:
            lease_updates.append(LeaseUpdate(lease_id, attempt, ref, _change(i, kind, update), _output(update)))
    return tuple(lease_updates)


_STAGES: dict[str | None, Change] = {"accepted": AttemptAccepted(), "processing": AttemptStarted()}


def _change(index: int, kind: str | None, update: pb.LeaseUpdate) -> Change:
    match kind:
        case "progress":
            percent = min(100, max(0, update.progress.percent))
            return AttemptProgress(
                percent, _text(update.progress.step, MAX_STEP), _text(update.progress.message, MAX_MESSAGE)
            )
        case "completed":
            return _completed(update.completed.result)
        case "failed":
            return AttemptFailed(_error(update.failed.error))
        case "released":
            return _released(index, update.released)
        case "deferred":
            return _deferred(update.deferred)
        case _:
            raise InvalidArgument.of(f"report.updates[{index}].update", "must be set")


def _completed(result: pb.Result) -> AttemptCompleted | AttemptFailed:
    body, html_body = result.body, result.html_body
    maybe_large = len(body) + len(html_body) > MAX_RESULT_BYTES // 4
    if maybe_large and len(body.encode()) + len(html_body.encode()) > MAX_RESULT_BYTES:
        return AttemptFailed(TaskError("RESULT_TOO_LARGE", f"body and HTML have more than {MAX_RESULT_BYTES} bytes"))
    body, html_body = _storable(body), _storable(html_body)
    if not body:
        return AttemptFailed(TaskError("CREATOR_INVALID_RESPONSE", "the result has no text"))
    score = result.quality_score if result.HasField("quality_score") else None
    if score is not None and not math.isfinite(score):
        score = None
    # Most results have none of these, and whatever is made of nothing costs as much as the rest of a result.
    images, assets, left_out = result.images, result.assets, result.left_out_assets
    title, usage, model = result.title, result.usage, result.model
    if images and (len(images) > MAX_IMAGES or sum(map(len, images)) > MAX_IMAGE_CHARACTERS):
        return AttemptFailed(
            TaskError("RESULT_TOO_LARGE", f"more than {MAX_IMAGES:,} images, or names that are too long")
        )
    return AttemptCompleted(
        TaskResult(
            body,
            html_body,
            tuple(map(_storable, images)) if images else (),
            score,
            title and _text(title, TITLE_LENGTH).strip(),
            _usage(usage) if usage else None,
            model and _text(model, MAX_NAME),
            _assets(assets) if assets else (),
            _left_out(assets, left_out) if assets or left_out else (),
        )
    )


def _usage(usage: Mapping[str, float]) -> dict[str, float]:
    """Returns the entries that can be stored."""
    entries = {
        name: number
        for name, number in sorted(usage.items())
        if name and "\0" not in name and len(name) <= MAX_USAGE_NAME and math.isfinite(number)
    }
    return dict(list(entries.items())[:MAX_USAGE])


def _assets(assets: Sequence[pb.ResultAsset]) -> tuple[NamedAsset, ...]:
    """Returns the assets that can be stored, each name once."""
    by_name: dict[str, NamedAsset] = {}
    for entry in assets[: content.MAX_NAMED]:
        if (
            entry.name
            and len(entry.name) <= content.MAX_NAME
            and is_sha256(entry.sha256)
            and content.stays_below(entry.name)
        ):
            by_name.setdefault(entry.name, NamedAsset(entry.name, entry.sha256))
    return tuple(by_name.values())


def _left_out(assets: Sequence[pb.ResultAsset], reported: Sequence[asset_pb2.LeftOutAsset]) -> tuple[LeftOut, ...]:
    """Returns what the worker left out, and the assets whose names lead out of a folder."""
    left_out = [LeftOut(_text(entry.name, content.MAX_SOURCE), _text(entry.reason, MAX_STEP)) for entry in reported]
    outside = [entry.name for entry in assets if not content.stays_below(entry.name)]
    left_out += [LeftOut(_text(name, content.MAX_SOURCE), content.OUTSIDE) for name in outside]
    return tuple(left_out[: content.MAX_NAMED])


def _error(error: task_pb2.TaskError) -> TaskError:
    details = {
        _text(key, MAX_STEP): _text(value, MAX_DETAIL) for key, value in list(error.details.items())[:MAX_DETAILS]
    }
    return TaskError(_text(error.reason, MAX_STEP) or "CREATOR_ERROR", _text(error.message, MAX_MESSAGE), details)


def _released(index: int, released: pb.Released) -> AttemptReleased:
    if released.reason not in _RELEASES:
        raise InvalidArgument.of(f"report.updates[{index}].released.reason", "must be a known reason")
    return AttemptReleased(_RELEASES[released.reason], released.started)


def _deferred(deferred: pb.Deferred) -> AttemptDeferred:
    """Takes any Duration: who uses the pause bounds it."""
    wait = deferred.retry_after
    pause = wait.seconds + wait.nanos / 1e9 if deferred.HasField("retry_after") else DEFAULT_PAUSE
    return AttemptDeferred(pause, _text(deferred.message, MAX_DEFERRAL_MESSAGE))


_RELEASES = {int(reason): reason for reason in Release}


def _output(update: pb.LeaseUpdate) -> RunOutput | None:
    """Returns the end of what the CLI printed; None if nothing."""
    if not update.HasField("output"):
        return None
    stdout, stderr = _storable(update.output.stdout), _storable(update.output.stderr)
    if not stdout and not stderr:
        return None
    return RunOutput(
        stdout[-MAX_OUTPUT:],
        stderr[-MAX_OUTPUT:],
        update.output.stdout_truncated or len(stdout) > MAX_OUTPUT,
        update.output.stderr_truncated or len(stderr) > MAX_OUTPUT,
    )


def _text(text: str, limit: int) -> str:
    return _storable(text)[:limit]


def _storable(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text  # to find that there is none takes a tenth of a replace


def welcome(opened: OpenedSession, settings: Settings, scheduler_id: str) -> pb.LeaseResponse:
    return pb.LeaseResponse(
        welcome=pb.Welcome(
            lease_ttl=duration(timedelta(seconds=settings.lease_ttl)),
            heartbeat_interval=duration(timedelta(seconds=settings.heartbeat_interval)),
            keep_leases=opened.keep,
            drop_leases=opened.drop,
            desired_state=_desired_state(opened.desired_state),
            scheduler_id=scheduler_id,
            accepts_deferrals=True,
            accepts_report_parts=True,
            skipped_leases=opened.skipped,
            accepts_assets=True,
        )
    )


def printed(output: pb.Output) -> Printed:
    """Reads an output. Raises InvalidArgument: it has to fit a notification."""
    text = _storable(output.text)
    size = len(json.dumps(text, ensure_ascii=False).encode())
    with Violations() as violations:
        violations.text("output.tail_id", output.tail_id, MAX_NAME, required=True)
        if size > MAX_OUTPUT_BYTES:
            violations.add("output.text", f"must have, as a JSON string, at most {MAX_OUTPUT_BYTES:,} bytes")
        if not 0 <= output.offset <= MAX_INT64 - output.size or output.size < 0:
            violations.add("output.offset", "must be, as size, 0 or more")
    return Printed(output.tail_id, output.stderr, output.offset, output.size, text, output.ended)


def outgoing(message: streams.Outgoing) -> pb.LeaseResponse:
    match message:
        case streams.Assign(number, heartbeat_number, grants):
            response = pb.LeaseResponse(assignment=pb.Assignment(number=number, heartbeat_number=heartbeat_number))
            for grant in grants:
                _fill(response.assignment.leases.add(), grant)
            return response
        case streams.AcknowledgeHeartbeat(number, not_renewed, skipped, desired):
            return pb.LeaseResponse(
                acknowledgement=pb.Acknowledgement(
                    heartbeat_number=number,
                    not_renewed_leases=not_renewed,
                    skipped_leases=skipped,
                    desired_state=_desired_state(desired),
                )
            )
        case streams.AcknowledgeReport(number, outcomes):
            response = pb.LeaseResponse(acknowledgement=pb.Acknowledgement(report_number=number))
            add = response.acknowledgement.results.add
            for lease_id, attempt, outcome in outcomes:
                add(lease_id=lease_id, attempt=attempt, outcome=_OUTCOMES[outcome])
            return response
        case streams.PartReceived(number, received):
            return pb.LeaseResponse(part_received=pb.PartReceived(report_number=number, received_bytes=received))
        case streams.OutputReceived():
            return pb.LeaseResponse(output_received=pb.OutputReceived())
        case _:
            return _order(message)


def _order(message: streams.Order) -> pb.LeaseResponse:
    match message:
        case streams.CancelLease(lease_id, reason):
            return pb.LeaseResponse(cancel=pb.Cancel(lease_id=lease_id, reason=reason))
        case streams.PollOrder(poll):
            return pb.LeaseResponse(poll_now=pb.PollNow(poll_id=str(poll)))
        case streams.ResizeOrder(slots):
            return pb.LeaseResponse(resize=pb.Resize(slots=slots))
        case streams.DrainOrder():
            return pb.LeaseResponse(drain=pb.Drain())
        case streams.ReconnectOrder():
            return pb.LeaseResponse(reconnect=pb.Reconnect())
        case streams.TailOrder(tail_id, lease_id, stdout, stderr):
            return pb.LeaseResponse(
                tail=pb.Tail(tail_id=tail_id, lease_id=lease_id, stdout_offset=stdout, stderr_offset=stderr)
            )


_OUTCOMES = (
    pb.UPDATE_OUTCOME_UNSPECIFIED,
    pb.UPDATE_OUTCOME_COMMITTED,
    pb.UPDATE_OUTCOME_ALREADY_COMMITTED,
    pb.UPDATE_OUTCOME_LEASE_LOST,
)


def _desired_state(desired: DesiredState) -> pb.DesiredState:
    return pb.DesiredState(slots=desired.slots, drain=desired.drain)


def _fill(lease: pb.AssignedLease, grant: Grant) -> None:
    """Sets the fields in place, since protobuf would copy a message that is built separately."""
    task_key, attempt, fence = grant.ref
    task = lease.task
    lease.lease_id = task.lease_id = format_lease_id(task_key, fence)
    lease.attempt = task.attempt = attempt
    for timeout in (lease.timeout, task.timeout):
        set_milliseconds(timeout, grant.timeout_ms)
    if grant.failed_elsewhere:
        lease.failed_elsewhere = True
    if grant.brief.creator_options:
        lease.creator_options.update(grant.brief.creator_options)
    task.task_id = format_task_id(task_key)
    task.account_id = grant.account_id
    fill_brief(task, grant.brief)
    task.priority = grant.priority
    task.auto_approve = grant.auto_approve
    task.status = task_pb2.TASK_STATUS_SUBMITTED
    task.worker_id = grant.worker_id
    if grant.labels:
        task.labels.update(grant.labels)
    if grant.traceparent:
        lease.traceparent = grant.traceparent
        lease.tracestate = grant.tracestate or ""
        task.trace_id = trace_id(grant.traceparent)
