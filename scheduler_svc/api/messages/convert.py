"""Domain objects as messages. Part of `api`.

Tasks are filled in place, since lists have a thousand of them; the other messages are built by keyword.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import asset_pb2 as asset_pb
from contentgen.v1 import audit_service_pb2 as audit_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_service_pb
from contentgen.v1 import webhook_service_pb2 as webhook_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from scheduler_svc.api.messages.briefs import LISTED_TEXTS, fill_brief
from scheduler_svc.api.messages.times import duration, set_duration, set_timestamp, timestamp
from scheduler_svc.domain.account import Account
from scheduler_svc.domain.asset import Asset
from scheduler_svc.domain.audit import AuditEvent
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.content import Content, ContentRevision, PoolEntry
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.poll import PollResult
from scheduler_svc.domain.publishing import PublishAttempt
from scheduler_svc.domain.retry import DEFAULT_BACKOFF, RetryBackoff
from scheduler_svc.domain.rollup import HistoryPoint
from scheduler_svc.domain.schedule import Schedule
from scheduler_svc.domain.task import (
    AttemptLog,
    AttemptProgress,
    PendingReason,
    Task,
    TaskError,
    TaskEvent,
    TaskStats,
)
from scheduler_svc.domain.webhook import Delivery, Webhook
from scheduler_svc.domain.worker import PoolWorker

_status = pb.TaskStatus.ValueType
_pending_reason = pb.PendingReason.ValueType
_COUNTED = tuple(status for status in Status if status is not Status.NONE)


def task(it: Task, reason: PendingReason = PendingReason.NONE) -> pb.Task:
    """A whole task; `reason` is for GetTask only."""
    message = listed_task(it)
    message.requirements = it.brief.requirements
    message.pending_reason = _pending_reason(reason)
    return message


def listed_task(it: Task) -> pb.Task:
    """A task without `requirements`."""
    message = pb.Task()
    fill_task(message, it)
    return message


def fill_task(message: pb.Task, it: Task) -> None:
    """Sets the fields of a task but `requirements`: half the cost of a constructor."""
    message.task_id = it.task_id
    message.account_id = it.account_id
    fill_brief(message, it.brief, LISTED_TEXTS)
    message.priority = it.priority
    message.auto_approve = it.auto_approve
    message.status = _status(it.status)
    set_timestamp(message.create_time, it.create_time)
    if it.schedule_time:
        set_timestamp(message.schedule_time, it.schedule_time)
    set_duration(message.timeout, it.timeout)
    message.max_retries = it.max_retries
    message.auto_retry = it.auto_retry
    if it.backoff != DEFAULT_BACKOFF:
        _fill_backoff(message, it.backoff)
    if it.labels:
        message.labels.update(it.labels)
    message.request_id = it.request_id
    message.regenerates_content_id = it.regenerates_content_id
    if it.attempt:
        _fill_attempts(message, it)
    if it.error is not None:
        message.error.CopyFrom(task_error(it.error))
    if it.end_time:
        set_timestamp(message.end_time, it.end_time)
    if it.schedule_id:
        message.schedule_id = it.schedule_id
    if it.expire_time:
        set_timestamp(message.expire_time, it.expire_time)
    if it.unique_key or it.trace:
        _fill_rare(message, it)


def _fill_rare(message: pb.Task, it: Task) -> None:
    message.unique_key = it.unique_key
    if it.unique_for:
        set_duration(message.unique_for, it.unique_for)
    if it.trace:
        message.trace_id = it.trace.trace_id


def _fill_backoff(message: pb.Task, it: RetryBackoff) -> None:
    if it.initial_ms is not None:
        message.initial_backoff.FromMilliseconds(it.initial_ms)
    if it.multiplier is not None:
        message.backoff_multiplier = it.multiplier
    if it.max_ms is not None:
        message.max_backoff.FromMilliseconds(it.max_ms)


def _fill_attempts(message: pb.Task, it: Task) -> None:
    message.attempt = it.attempt
    message.retry_count = it.retry_count
    message.worker_id = it.worker_id
    message.lease_id = it.lease_id
    if it.submit_time:
        set_timestamp(message.submit_time, it.submit_time)
    if it.start_time:
        set_timestamp(message.start_time, it.start_time)
    if it.timeout_time:
        set_timestamp(message.timeout_time, it.timeout_time)
    if it.progress is not None:
        message.progress.CopyFrom(progress(it.progress))
    message.content_id = it.content_id


def progress(it: AttemptProgress) -> pb.TaskProgress:
    return pb.TaskProgress(percent=it.percent, step=it.step, message=it.message)


def task_error(it: TaskError) -> pb.TaskError:
    return pb.TaskError(reason=it.reason, message=it.message, details=it.details)


def task_event(it: TaskEvent) -> pb.TaskEvent:
    return pb.TaskEvent(
        previous_status=_status(it.previous_status),
        status=_status(it.status),
        event_time=timestamp(it.event_time),
        attempt=it.attempt,
        worker_id=it.worker_id,
        reason=it.reason,
        message=it.message,
        lease_id=it.lease_id,
    )


def attempt_log(it: AttemptLog) -> pb.AttemptLog:
    return pb.AttemptLog(
        attempt=it.attempt, worker_id=it.worker_id, end_time=timestamp(it.end_time), **it.output._asdict()
    )


def task_change(it: TaskChange, resume_token: str) -> task_service_pb.TaskChange:
    message = task_service_pb.TaskChange(
        previous_status=_status(it.previous_status),
        event_time=timestamp(it.event_time),
        will_retry=it.will_retry,
        resume_token=resume_token,
    )
    fill_task(message.task, it.task)
    return message


def task_stats(it: TaskStats) -> task_service_pb.GetTaskStatsResponse:
    """Counts of all seven states, zeros included."""
    return task_service_pb.GetTaskStatsResponse(
        counts={status.label: it.counts.get(status, 0) for status in _COUNTED},
        oldest_pending_age=duration(it.oldest_pending_age),
        queue_depth=it.queue_depth,
    )


def history_point(it: HistoryPoint) -> task_service_pb.TaskHistoryPoint:
    return task_service_pb.TaskHistoryPoint(
        time=timestamp(it.time),
        submitted=it.submitted,
        counts={status.label: n for status, n in it.counts.items()},
        duration_p50=duration(it.duration_p50),
        duration_p95=duration(it.duration_p95),
        cost=it.cost,
    )


def status(it: Status) -> pb.TaskStatus.ValueType:
    return _status(it)


def poll_result(it: PollResult) -> task_service_pb.PollRunningTasksResponse:
    return task_service_pb.PollRunningTasksResponse(
        total=it.total,
        completed=it.completed,
        failed=it.failed,
        timeout=it.timeout,
        still_running=it.still_running,
        error=it.error,
    )


def asset(it: Asset) -> asset_pb.Asset:
    return asset_pb.Asset(
        name=it.name,
        sha256=it.sha256,
        media_type=it.media_type,
        size=it.size,
        width=it.width,
        height=it.height,
    )


def content(it: Content) -> content_pb.Content:
    return content_pb.Content(
        content_id=it.content_id,
        account_id=it.account_id,
        task_id=it.task_id,
        title=it.title,
        body=it.body,
        html_body=it.html_body,
        summary=it.summary,
        category=it.category,
        images=it.images,
        cover_image=it.cover_image,
        word_count=it.word_count,
        quality_score=it.quality_score,
        review_status=content_pb.ReviewStatus.ValueType(it.review_status),
        create_time=timestamp(it.create_time),
        review_comment=it.review_comment,
        assets=map(asset, it.assets),
        left_out_assets=[asset_pb.LeftOutAsset(name=left.name, reason=left.reason) for left in it.left_out],
        usage=it.usage,
        model=it.model,
        etag=it.etag,
        revision=it.revision,
        reviewer=it.reviewer,
        review_time=timestamp(it.review_time),
        publish_status=content_pb.PublishStatus.ValueType(it.publish_status or 0),
        review_holder=it.review_holder,
        review_claim_expire_time=timestamp(it.review_claim_expire_time),
        superseded_by_content_id=it.superseded_by_content_id,
    )


def content_revision(it: ContentRevision) -> content_pb.ContentRevision:
    return content_pb.ContentRevision(
        number=it.number, author=it.author, create_time=timestamp(it.create_time), **it.texts._asdict()
    )


def listed_content(it: Content) -> content_pb.Content:
    """A content without body and HTML."""
    message = content(it)
    message.ClearField("body")
    message.ClearField("html_body")
    return message


def pool_entry(it: PoolEntry, max_attempts: int, *, claim_shown: bool) -> content_pb.PublishPoolEntry:
    return content_pb.PublishPoolEntry(
        content_id=it.content_id,
        account_id=it.account_id,
        priority=it.priority,
        schedule_time=timestamp(it.schedule_time),
        status=content_pb.PublishStatus.ValueType(it.status),
        error=it.error,
        claim_id=it.claim_id if claim_shown else "",
        attempt_count=it.attempt_count,
        max_attempts=max_attempts,
        next_attempt_time=timestamp(it.next_attempt_time),
        published_url=it.published_url,
        title=it.title,
        claim_expire_time=timestamp(it.claim_expire_time),
        publisher=it.publisher,
    )


def publish_attempt(it: PublishAttempt) -> content_pb.PublishAttempt:
    return content_pb.PublishAttempt(
        number=it.number,
        publisher=it.publisher,
        start_time=timestamp(it.start_time),
        end_time=timestamp(it.end_time),
        published=it.published,
        error=it.error,
    )


def account(it: Account) -> account_pb.Account:
    return account_pb.Account(
        account_id=it.account_id,
        name=it.name,
        max_concurrent_tasks=it.max_concurrent_tasks,
        weight=it.weight,
        active=it.active,
        create_time=timestamp(it.create_time),
        max_pending_tasks=it.max_pending_tasks,
        max_priority=it.max_priority,
        max_starts_per_minute=it.max_starts_per_minute,
        max_asset_bytes=it.max_asset_bytes,
    )


def schedule(it: Schedule, next_ticks: Sequence[datetime]) -> schedule_pb.Schedule:
    settings = it.settings
    message = schedule_pb.Schedule(
        schedule_id=it.schedule_id,
        account_id=it.account_id,
        name=settings.name,
        cron=settings.cron,
        time_zone=settings.time_zone,
        catch_up=schedule_pb.CatchUp.ValueType(settings.catch_up),
        overlap=schedule_pb.Overlap.ValueType(settings.overlap),
        jitter=duration(settings.jitter) if settings.jitter else None,
        paused=settings.paused,
        last_run_time=timestamp(it.last_run_time),
        last_task_id=it.last_task_id,
        create_time=timestamp(it.create_time),
        last_error=it.last_error,
    )
    for tick in next_ticks:
        set_timestamp(message.next_run_times.add(), tick)
    message.template.ParseFromString(settings.template)
    message.template.account_id = it.account_id
    return message


def next_runs(ticks: Sequence[datetime]) -> schedule_pb.GetNextRunsResponse:
    message = schedule_pb.GetNextRunsResponse()
    for tick in ticks:
        set_timestamp(message.next_run_times.add(), tick)
    return message


def listed_schedule(it: Schedule, next_ticks: Sequence[datetime]) -> schedule_pb.Schedule:
    """A schedule whose template has no `requirements`."""
    message = schedule(it, next_ticks)
    message.template.ClearField("requirements")
    return message


def worker(it: PoolWorker) -> pool_pb.Worker:
    return pool_pb.Worker(
        worker_id=it.worker_id,
        hostname=it.hostname,
        version=it.version,
        running=it.connected and not it.draining,
        slots=it.slots,
        busy_slots=it.busy_slots,
        queue_size=it.queue_size,
        labels=it.labels,
        draining=it.draining,
        connect_time=timestamp(it.connect_time),
        last_heartbeat_time=timestamp(it.last_heartbeat_time),
        scheduler_id=it.scheduler_id,
        creator_version=it.creator_version,
        unhealthy=it.unhealthy_time is not None,
        last_error=it.last_error,
        unhealthy_time=timestamp(it.unhealthy_time),
        connected=it.connected,
    )


def webhook(it: Webhook, *, url_shown: bool) -> webhook_pb.Webhook:
    return webhook_pb.Webhook(
        webhook_id=it.webhook_id,
        account_id=it.account_id,
        url=it.url if url_shown else "",
        event_types=it.event_types,
        active=it.active,
        last_error=it.last_error,
        create_time=timestamp(it.create_time),
        previous_secret_expire_time=timestamp(it.previous_secret_expire_time),
    )


def delivery(it: Delivery) -> webhook_pb.Delivery:
    return webhook_pb.Delivery(
        delivery_id=it.delivery_id,
        webhook_id=it.webhook_id,
        event_type=it.event_type,
        status=webhook_pb.DeliveryStatus.ValueType(it.status),
        attempt_count=it.attempt_count,
        next_attempt_time=timestamp(it.next_attempt_time),
        last_status_code=it.last_status_code,
        last_error=it.last_error,
        create_time=timestamp(it.create_time),
        end_time=timestamp(it.end_time),
        message_id=it.message_id,
        data=it.data,
    )


def audit_event(it: AuditEvent) -> audit_pb.AuditEvent:
    return audit_pb.AuditEvent(
        event_time=timestamp(it.time),
        actor=it.actor,
        account_id=it.account_id,
        method=it.method,
        resource=it.resource,
        outcome=it.outcome,
    )
