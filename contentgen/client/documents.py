"""The plain dicts that the client returns, made of messages.

Layer: client. Times are ISO 8601 with zone, or None; states are lower-case names; what is not there is None.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.v1 import (
    account_service_pb2,
    content_service_pb2,
    system_service_pb2,
    task_pb2,
    task_service_pb2,
    worker_pool_service_pb2,
)

Document = dict[str, Any]

TASK_STATUS: EnumDescriptor = task_pb2.TaskStatus.DESCRIPTOR
REVIEW_STATUS: EnumDescriptor = content_service_pb2.ReviewStatus.DESCRIPTOR
PUBLISH_STATUS: EnumDescriptor = content_service_pb2.PublishStatus.DESCRIPTOR


def task(message: task_pb2.Task) -> Document:
    """A status dict, the same for one task as in lists."""
    return {
        "task_id": message.task_id,
        "status": label(TASK_STATUS, message.status),
        "account_id": message.account_id,
        "topic": message.topic,
        "priority": message.priority,
        "auto_approve": message.auto_approve,
        "created_at": _time(message, "create_time"),
        "submitted_at": _time(message, "submit_time"),
        "started_at": _time(message, "start_time"),
        "completed_at": _time(message, "end_time"),
        "timeout_at": _time(message, "timeout_time"),
        "error": _error(message),
        "content_id": message.content_id or None,
        "retry_count": message.retry_count,
        "attempt": message.attempt,
        "progress": _progress(message),
        "worker_id": message.worker_id or None,
    }


def task_change(message: task_service_pb2.TaskChange) -> Document:
    """An event of a watch."""
    return {
        "task": task(message.task),
        "previous_status": label(TASK_STATUS, message.previous_status) if message.previous_status else None,
        "event_time": _time(message, "event_time"),
        "will_retry": message.will_retry,
        "resume_token": message.resume_token,
    }


def content(message: content_service_pb2.Content) -> Document:
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
        "review_status": label(REVIEW_STATUS, message.review_status),
        "review_comment": message.review_comment or None,
        "created_at": _time(message, "create_time"),
    }


def publish_pool_entry(message: content_service_pb2.PublishPoolEntry) -> Document:
    """An entry of the publish pool; `claim_id` is its present or last claim."""
    return {
        "content_id": message.content_id,
        "account_id": message.account_id,
        "priority": message.priority,
        "scheduled_at": _time(message, "schedule_time"),
        "status": label(PUBLISH_STATUS, message.status),
        "error": message.error or None,
        "claim_id": message.claim_id or None,
    }


def account(message: account_service_pb2.Account) -> Document:
    return {
        "account_id": message.account_id,
        "name": message.name,
        "max_concurrent_tasks": message.max_concurrent_tasks,
        "weight": message.weight,
        "max_pending_tasks": message.max_pending_tasks,
        "max_priority": message.max_priority,
        "max_starts_per_minute": message.max_starts_per_minute,
        "active": message.active,
        "created_at": _time(message, "create_time"),
    }


def worker_pool(message: worker_pool_service_pb2.GetWorkerPoolResponse) -> Document:
    """The pool across all schedulers; a worker counts as running while it is connected and not draining."""
    return {
        "num_workers": message.num_workers,
        "active_workers": message.active_workers,
        "total_queue_size": message.total_queue_size,
        "total_slots": sum(worker.slots for worker in message.workers),
        "worker_statuses": [_worker(worker) for worker in message.workers],
    }


def _worker(message: worker_pool_service_pb2.Worker) -> Document:
    return {
        "worker_id": message.worker_id,
        "running": message.running and not message.draining,
        "queue_size": message.queue_size,
        "slots": message.slots,
        "busy_slots": message.busy_slots,
    }


def system(message: system_service_pb2.GetSystemResponse) -> Document:
    """The schedulers, how their lanes stand, who holds locks that they wait for. Ages and durations are in seconds."""
    return {
        "version": message.version,
        "replicas": [_replica(replica) for replica in message.replicas],
        "lock_holders": [_lock_holder(holder) for holder in message.lock_holders],
        "database": {"version": message.database.version, "size": message.database.size},
        "limits": {field.name: _limit(message.limits, field.name) for field in message.limits.DESCRIPTOR.fields},
    }


def _replica(message: system_service_pb2.Replica) -> Document:
    return {
        "scheduler_id": message.scheduler_id,
        "version": message.version,
        "started_at": _time(message, "start_time"),
        "last_heartbeat_at": _time(message, "last_heartbeat_time"),
        "serving": message.serving,
        "lanes": {
            lane.name: {"oldest_age": seconds(lane.oldest_age), "waiting": lane.waiting, "set_aside": lane.set_aside}
            for lane in message.lanes
        },
    }


def _lock_holder(message: system_service_pb2.LockHolder) -> Document:
    return {
        "pid": message.pid,
        "role": message.role,
        "application": message.application,
        "address": message.address,
        "state": message.state,
        "transaction_age": seconds(message.transaction_age),
        "relation": message.relation,
        "waited_for": message.waited_for,
    }


def _limit(message: system_service_pb2.Limits, name: str) -> float | None:
    value = getattr(message, name)
    if not isinstance(value, Duration):
        return int(value)
    return seconds(value) if message.HasField(name) else None  # type: ignore[arg-type] # the stubs want it literal


def seconds(length: Duration) -> float:
    """Its length."""
    return length.ToTimedelta().total_seconds()


def label(enum: EnumDescriptor, number: int) -> str:
    """`TASK_STATUS_PENDING` → `pending`; a value that this client does not know yet is its number."""
    known = enum.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix(_prefix(enum)).lower()


def value(enum: EnumDescriptor, name: str) -> Any:
    """`pending` → `TASK_STATUS_PENDING`. Raises ValueError, naming what there is."""
    numbers = {label(enum, each.number): each.number for each in enum.values if each.number}
    if name not in numbers:
        raise ValueError(f"{name!r} should be one of {', '.join(numbers)}")
    return numbers[name]


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _time(message: Message, field: str) -> str | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC).isoformat()


def _error(message: task_pb2.Task) -> str | None:
    if not message.HasField("error"):
        return None
    return ": ".join(part for part in (message.error.reason, message.error.message) if part)


def _progress(message: task_pb2.Task) -> Document | None:
    if not message.HasField("progress"):
        return None
    progress = message.progress
    return {"percent": progress.percent, "step": progress.step, "message": progress.message}
