"""Messages as the dicts of `results`. Layer: client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.client import results
from contentgen.v1 import (
    account_service_pb2,
    asset_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    task_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
)

TASK_STATUS: EnumDescriptor = task_pb2.TaskStatus.DESCRIPTOR
PENDING_REASON: EnumDescriptor = task_pb2.PendingReason.DESCRIPTOR
REVIEW_STATUS: EnumDescriptor = content_service_pb2.ReviewStatus.DESCRIPTOR
CATCH_UP: EnumDescriptor = schedule_service_pb2.CatchUp.DESCRIPTOR
OVERLAP: EnumDescriptor = schedule_service_pb2.Overlap.DESCRIPTOR
PUBLISH_STATUS: EnumDescriptor = content_service_pb2.PublishStatus.DESCRIPTOR
RESOLUTION: EnumDescriptor = task_service_pb2.Resolution.DESCRIPTOR
DELIVERY_STATUS: EnumDescriptor = webhook_service_pb2.DeliveryStatus.DESCRIPTOR


def task(message: task_pb2.Task) -> results.Task:
    """A status dict, the same for one task as in lists."""
    error = message.error
    return {
        "task_id": message.task_id,
        "status": task_status(message.status),
        "account_id": message.account_id,
        "topic": message.topic,
        "keywords": message.keywords or None,
        "category": message.category or None,
        "requirements": message.requirements or None,
        "tone": message.tone or None,
        "priority": message.priority,
        "auto_approve": message.auto_approve,
        "labels": dict(message.labels),
        "request_id": message.request_id or None,
        "created_at": _moment(message.create_time),
        "schedule_time": _time(message, "schedule_time"),
        "submitted_at": _time(message, "submit_time"),
        "started_at": _time(message, "start_time"),
        "completed_at": _time(message, "end_time"),
        "timeout_at": _time(message, "timeout_time"),
        "timeout": seconds(message.timeout),
        "attempt": message.attempt,
        "retry_count": message.retry_count,
        "max_retries": message.max_retries,
        "auto_retry": message.auto_retry,
        "initial_backoff": _duration(message, "initial_backoff"),
        "backoff_multiplier": message.backoff_multiplier if message.HasField("backoff_multiplier") else None,
        "max_backoff": _duration(message, "max_backoff"),
        "worker_id": message.worker_id or None,
        "lease_id": message.lease_id or None,
        "progress": _progress(message),
        "error": ": ".join(part for part in (error.reason, error.message) if part) or None,
        "error_reason": error.reason or None,
        "error_message": error.message or None,
        "error_details": dict(error.details),
        "content_id": message.content_id or None,
        "regenerates_content_id": message.regenerates_content_id or None,
        "pending_reason": _pending_reason(message),
        "schedule_id": message.schedule_id or None,
        "expire_time": _time(message, "expire_time"),
        "unique_key": message.unique_key or None,
        "unique_for": _duration(message, "unique_for"),
        "trace_id": message.trace_id or None,
    }


def task_change(message: task_service_pb2.TaskChange) -> results.TaskChange:
    """An event of a watch."""
    return {
        "task": task(message.task),
        "previous_status": task_status(message.previous_status) if message.previous_status else None,
        "event_time": _moment(message.event_time),
        "will_retry": message.will_retry,
        "resume_token": message.resume_token,
    }


def task_event(message: task_pb2.TaskEvent) -> results.TaskEvent:
    """A move of a task's history."""
    return {
        "previous_status": task_status(message.previous_status) if message.previous_status else None,
        "status": task_status(message.status),
        "event_time": _moment(message.event_time),
        "attempt": message.attempt,
        "worker_id": message.worker_id or None,
        "lease_id": message.lease_id or None,
        "reason": message.reason,
        "message": message.message or None,
    }


def attempt_log(message: task_pb2.AttemptLog) -> results.AttemptLog:
    return {
        "attempt": message.attempt,
        "worker_id": message.worker_id,
        "ended_at": _moment(message.end_time),
        "stdout": message.stdout,
        "stderr": message.stderr,
        "stdout_truncated": message.stdout_truncated,
        "stderr_truncated": message.stderr_truncated,
    }


def task_stats(message: task_service_pb2.GetTaskStatsResponse) -> results.TaskStats:
    return {
        "counts": cast("dict[results.TaskStatus, int]", dict(message.counts)),
        "oldest_pending_age": _duration(message, "oldest_pending_age"),
        "queue_depth": message.queue_depth,
    }


def task_history_point(message: task_service_pb2.TaskHistoryPoint) -> results.TaskHistoryPoint:
    return {
        "time": _moment(message.time),
        "submitted": message.submitted,
        "counts": cast("dict[results.TaskStatus, int]", dict(message.counts)),
        "duration_p50": _duration(message, "duration_p50"),
        "duration_p95": _duration(message, "duration_p95"),
        "cost": message.cost,
    }


def poll_stats(message: task_service_pb2.PollRunningTasksResponse) -> results.PollStats:
    return {
        "total": message.total,
        "completed": message.completed,
        "failed": message.failed,
        "timeout": message.timeout,
        "still_running": message.still_running,
        "error": message.error,
    }


def content(message: content_service_pb2.Content) -> results.Content:
    """A content; in lists without its texts."""
    return {
        "content_id": message.content_id,
        "account_id": message.account_id,
        "task_id": message.task_id,
        "title": message.title,
        "body": message.body,
        "html_body": message.html_body,
        "summary": message.summary,
        "category": message.category,
        "images": list(message.images),
        "cover_image": message.cover_image or None,
        "word_count": message.word_count,
        "quality_score": message.quality_score if message.HasField("quality_score") else None,
        "review_status": cast("results.ReviewStatus", label(REVIEW_STATUS, message.review_status)),
        "review_comment": message.review_comment or None,
        "created_at": _moment(message.create_time),
        "assets": [asset(each) for each in message.assets],
        "left_out_assets": [{"name": each.name, "reason": each.reason} for each in message.left_out_assets],
        "usage": dict(message.usage),
        "model": message.model or None,
        "etag": message.etag,
        "revision": message.revision,
        "reviewer": message.reviewer or None,
        "reviewed_at": _time(message, "review_time"),
        "publish_status": _publish_status(message.publish_status) if message.publish_status else None,
        "review_holder": message.review_holder or None,
        "review_claim_expires_at": _time(message, "review_claim_expire_time"),
        "superseded_by_content_id": message.superseded_by_content_id or None,
    }


def asset(message: asset_pb2.Asset) -> results.Asset:
    return {
        "name": message.name,
        "sha256": message.sha256,
        "media_type": message.media_type,
        "size": message.size,
        "width": message.width if message.HasField("width") else None,
        "height": message.height if message.HasField("height") else None,
    }


def content_revision(message: content_service_pb2.ContentRevision) -> results.ContentRevision:
    return {
        "number": message.number,
        "author": message.author or None,
        "created_at": _moment(message.create_time),
        "title": message.title,
        "body": message.body,
        "html_body": message.html_body,
        "summary": message.summary,
        "category": message.category,
        "cover_image": message.cover_image or None,
    }


def publish_pool_entry(message: content_service_pb2.PublishPoolEntry) -> results.PublishPoolEntry:
    return {
        "content_id": message.content_id,
        "account_id": message.account_id,
        "priority": message.priority,
        "scheduled_at": _time(message, "schedule_time"),
        "status": _publish_status(message.status),
        "error": message.error or None,
        "claim_id": message.claim_id or None,
        "claim_expires_at": _time(message, "claim_expire_time"),
        "publisher": message.publisher or None,
        "attempt_count": message.attempt_count,
        "max_attempts": message.max_attempts,
        "next_attempt_at": _time(message, "next_attempt_time"),
        "published_url": message.published_url or None,
        "title": message.title,
    }


def publish_attempt(message: content_service_pb2.PublishAttempt) -> results.PublishAttempt:
    return {
        "number": message.number,
        "publisher": message.publisher,
        "started_at": _time(message, "start_time"),
        "ended_at": _moment(message.end_time),
        "published": message.published,
        "error": message.error or None,
    }


def account(message: account_service_pb2.Account) -> results.Account:
    return {
        "account_id": message.account_id,
        "name": message.name,
        "max_concurrent_tasks": message.max_concurrent_tasks,
        "weight": message.weight,
        "max_pending_tasks": message.max_pending_tasks,
        "max_priority": message.max_priority,
        "max_starts_per_minute": message.max_starts_per_minute,
        "max_asset_bytes": message.max_asset_bytes,
        "active": message.active,
        "created_at": _moment(message.create_time),
    }


def schedule(message: schedule_service_pb2.Schedule) -> results.Schedule:
    return {
        "schedule_id": message.schedule_id,
        "account_id": message.account_id,
        "name": message.name,
        "cron": message.cron,
        "time_zone": message.time_zone,
        "template": template(message.template),
        "catch_up": cast("results.CatchUp", label(CATCH_UP, message.catch_up)),
        "overlap": cast("results.Overlap", label(OVERLAP, message.overlap)),
        "jitter": seconds(message.jitter),
        "paused": message.paused,
        "next_runs_at": [_moment(tick) for tick in message.next_run_times],
        "last_run_at": _time(message, "last_run_time"),
        "last_task_id": message.last_task_id or None,
        "last_error": message.last_error or None,
        "created_at": _moment(message.create_time),
    }


def template(message: task_service_pb2.SubmitTaskRequest) -> results.SubmitTemplate:
    """What a schedule submits, by the arguments of `submit_task`."""
    given = message.HasField
    return {
        "topic": message.topic,
        "keywords": message.keywords or None,
        "category": message.category or None,
        "requirements": message.requirements or None,
        "tone": message.tone or None,
        "priority": message.priority if given("priority") else None,
        "auto_approve": message.auto_approve if given("auto_approve") else None,
        "max_retries": message.max_retries if given("max_retries") else None,
        "auto_retry": message.auto_retry if given("auto_retry") else None,
        "timeout": _duration(message, "timeout"),
        "labels": dict(message.labels),
        "creator_options": dict(message.creator_options),
        "initial_backoff": _duration(message, "initial_backoff"),
        "backoff_multiplier": message.backoff_multiplier if given("backoff_multiplier") else None,
        "max_backoff": _duration(message, "max_backoff"),
    }


def worker_pool(message: worker_pool_service_pb2.GetWorkerPoolResponse) -> results.WorkerPool:
    return {
        "num_workers": message.num_workers,
        "active_workers": message.active_workers,
        "total_queue_size": message.total_queue_size,
        "total_slots": sum(each.slots for each in message.workers),
        "worker_statuses": [worker(each) for each in message.workers],
    }


def worker(message: worker_pool_service_pb2.Worker) -> results.Worker:
    return {
        "worker_id": message.worker_id,
        "hostname": message.hostname,
        "version": message.version or None,
        "creator_version": message.creator_version or None,
        "scheduler_id": message.scheduler_id,
        "running": message.running and not message.draining,
        "connected": message.connected,
        "draining": message.draining,
        "queue_size": message.queue_size,
        "slots": message.slots,
        "busy_slots": message.busy_slots,
        "labels": dict(message.labels),
        "connected_at": _moment(message.connect_time),
        "last_heartbeat_at": _moment(message.last_heartbeat_time),
        "unhealthy": message.unhealthy,
        "unhealthy_since": _time(message, "unhealthy_time"),
        "last_error": message.last_error or None,
    }


def dispatch_status(message: worker_pool_service_pb2.GetDispatchStatusResponse) -> results.DispatchStatus:
    return {"all_paused": message.all_paused, "paused_account_ids": list(message.paused_account_ids)}


def webhook(message: webhook_service_pb2.Webhook) -> results.Webhook:
    return {
        "webhook_id": message.webhook_id,
        "account_id": message.account_id,
        "url": message.url,
        "event_types": cast("list[results.EventType]", list(message.event_types)),
        "active": message.active,
        "last_error": message.last_error or None,
        "created_at": _moment(message.create_time),
        "previous_secret_expires_at": _time(message, "previous_secret_expire_time"),
    }


def webhook_with_secret(message: webhook_service_pb2.Webhook, secret: str) -> results.WebhookWithSecret:
    return {**webhook(message), "secret": secret}


def delivery(message: webhook_service_pb2.Delivery) -> results.Delivery:
    return {
        "delivery_id": message.delivery_id,
        "webhook_id": message.webhook_id,
        "event_type": cast("results.EventType", message.event_type),
        "status": cast("results.DeliveryStatus", label(DELIVERY_STATUS, message.status)),
        "attempt_count": message.attempt_count,
        "next_attempt_at": _time(message, "next_attempt_time"),
        "last_status_code": message.last_status_code or None,
        "last_error": message.last_error or None,
        "created_at": _moment(message.create_time),
        "ended_at": _time(message, "end_time"),
        "message_id": message.message_id,
        "data": message.data,
    }


def audit_event(message: audit_service_pb2.AuditEvent) -> results.AuditEvent:
    return {
        "event_time": _moment(message.event_time),
        "actor": message.actor,
        "account_id": message.account_id or None,
        "method": message.method,
        "resource": message.resource,
        "outcome": message.outcome,
    }


def system(message: system_service_pb2.GetSystemResponse) -> results.System:
    return {
        "version": message.version,
        "replicas": [_replica(replica) for replica in message.replicas],
        "lock_holders": [_lock_holder(holder) for holder in message.lock_holders],
        "database": {
            "version": message.database.version,
            "size": message.database.size,
            "weakened_settings": list(message.database.weakened_settings),
        },
        "limits": _limits(message.limits),
        "oldest_transaction": _oldest(message.oldest_transaction) if message.HasField("oldest_transaction") else None,
    }


def caller(message: system_service_pb2.GetCallerResponse) -> results.Caller:
    return {
        "name": message.name,
        "role": message.role,
        "account_ids": list(message.account_ids),
        "methods": list(message.methods),
        "token_required": message.token_required,
    }


def _replica(message: system_service_pb2.Replica) -> results.Replica:
    return {
        "scheduler_id": message.scheduler_id,
        "version": message.version,
        "started_at": _moment(message.start_time),
        "last_heartbeat_at": _moment(message.last_heartbeat_time),
        "serving": message.serving,
        "lanes": {
            lane.name: {"oldest_age": seconds(lane.oldest_age), "waiting": lane.waiting, "set_aside": lane.set_aside}
            for lane in message.lanes
        },
        "clock_offset": _duration(message, "clock_offset"),
        "settings": dict(sorted(message.settings.items())),
    }


def _lock_holder(message: system_service_pb2.LockHolder) -> results.LockHolder:
    return {
        "pid": message.pid,
        "role": message.role,
        "application": message.application,
        "address": message.address,
        "state": message.state,
        "transaction_age": _duration(message, "transaction_age"),
        "relation": message.relation,
        "waited_for": message.waited_for,
    }


def _oldest(message: system_service_pb2.OldestTransaction) -> results.OldestTransaction:
    return {
        "pid": message.pid,
        "database": message.database,
        "role": message.role,
        "application": message.application,
        "state": message.state,
        "age": _duration(message, "age"),
        "seen_for": seconds(message.seen_for),
    }


def _limits(message: system_service_pb2.Limits) -> results.Limits:
    return {
        "max_queue_size": message.max_queue_size,
        "lease_ttl": _duration(message, "lease_ttl"),
        "heartbeat_interval": _duration(message, "heartbeat_interval"),
        "max_worker_losses": message.max_worker_losses,
        "max_deferrals": message.max_deferrals,
        "lock_timeout": _duration(message, "lock_timeout"),
        "statement_timeout": _duration(message, "statement_timeout"),
        "retention": _duration(message, "retention"),
        "content_retention": _duration(message, "content_retention"),
        "max_calls": message.max_calls,
        "max_wait_calls": message.max_wait_calls,
        "max_watch_streams": message.max_watch_streams,
        "max_lease_streams": message.max_lease_streams,
    }


def seconds(length: Duration) -> float:
    """Its length."""
    return length.ToTimedelta().total_seconds()


def task_status(number: int) -> results.TaskStatus:
    return cast("results.TaskStatus", label(TASK_STATUS, number))


def label(enum: EnumDescriptor, number: int) -> str:
    """`TASK_STATUS_PENDING` → `pending`; a value that this client does not know is its number."""
    known = enum.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix(_prefix(enum)).lower()


def value(enum: EnumDescriptor, name: str) -> Any:
    """`pending` → `TASK_STATUS_PENDING`. Raises ValueError, which names those that exist."""
    numbers: Mapping[str, int] = {label(enum, each.number): each.number for each in enum.values if each.number}
    if name not in numbers:
        raise ValueError(f"{name!r} should be one of {', '.join(numbers)}")
    return numbers[name]


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def next_runs(message: schedule_service_pb2.GetNextRunsResponse) -> list[str]:
    """The ticks, in order."""
    return [_moment(tick) for tick in message.next_run_times]


def _moment(stamp: Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).isoformat()


def _time(message: Message, field: str) -> str | None:
    return _moment(getattr(message, field)) if message.HasField(field) else None


def _duration(message: Message, field: str) -> float | None:
    return seconds(getattr(message, field)) if message.HasField(field) else None


def _pending_reason(message: task_pb2.Task) -> results.PendingReason | None:
    if not message.pending_reason:
        return None
    return cast("results.PendingReason", label(PENDING_REASON, message.pending_reason))


def _publish_status(number: int) -> results.PublishStatus:
    return cast("results.PublishStatus", label(PUBLISH_STATUS, number))


def _progress(message: task_pb2.Task) -> results.TaskProgress | None:
    if not message.HasField("progress"):
        return None
    progress = message.progress
    return {"percent": progress.percent, "step": progress.step, "message": progress.message}
