"""TaskService: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import re
from typing import Any

from grpc import StatusCode

from contentgen.submit_fields import BRIEF, BY_NAME
from tests.api.cases import NOTHING, OTHER_PAGE, OWN, Bad, Good, The, about_one, account, not_found, taking, task

NO_TASK = "task-0000000000000001"
SUBMIT = {"account_id": OWN, "topic": "a topic"}
PENDING = "TASK_STATUS_PENDING"
FILTER_CLASHES = ("filter.statuses[0]", "filter.account_id")
ZEROS = dict.fromkeys(["submitted", "processing", "completed", "failed", "timeout", "cancelled"], "0")
ENDED = dict.fromkeys(["completed", "failed", "timeout", "cancelled"], "0")


def a_task_id(text: Any) -> bool:
    """`task-` and at least 12 hex digits."""
    digits = str(text).removeprefix("task-")
    return digits != text and len(digits) >= 12 and int(digits, 16) > 0


def an_opaque_token(text: Any) -> bool:
    return isinstance(text, str) and len(text) > 0


NEW_TASK = {
    "task_id": a_task_id,
    "account_id": OWN,
    "status": PENDING,
    "priority": 5,
    "auto_approve": True,
    "max_retries": 3,
    "auto_retry": True,
    "timeout": "1800s",
    "attempt": 0,
    "retry_count": 0,
    "content_id": "0",
    "create_time": str,
    "lease_id": "",
}
EVERYTHING = {
    **SUBMIT,
    **{field.name: f"{field.name}, 未来" for field in BRIEF},
    "priority": 10,
    "auto_approve": False,
    "max_retries": 100,
    "auto_retry": False,
    "timeout": "1s",
    "schedule_time": "2999-01-01T00:00:00Z",
    "request_id": "once",
    "labels": {"k" * 63: "v" * 255, "empty": ""},
    "creator_options": {"length": "800"},
    "initial_backoff": "0.250s",
    "backoff_multiplier": 1.5,
    "max_backoff": "2592000s",
    "expire_time": "2999-01-02T00:00:00Z",
    "unique_key": "only one",
    "unique_for": "86400s",
}
CHANGED = {key: value for key, value in EVERYTHING.items() if BY_NAME[key].changeable}
REPEATED = [key for key in EVERYTHING if key != "creator_options"]
GOOD = [
    Good("SubmitTask", SUBMIT, {"task": NEW_TASK, "existing": False}),
    Good("SubmitTask", EVERYTHING, {"task": {key: EVERYTHING[key] for key in REPEATED}, "existing": False}),
    Good(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "requirements": "long"}]},
        {"tasks": [NEW_TASK, {**NEW_TASK, "requirements": ""}], "existing_indexes": []},
    ),
    Good(
        "BatchSubmitTasks",
        {"requests": [{**SUBMIT, "unique_key": "u"}, {**SUBMIT, "unique_key": "u", "topic": "another"}]},
        {"tasks": [NEW_TASK, NEW_TASK], "existing_indexes": [1]},
    ),
    Good(
        "GetTask",
        task("backoff"),
        {
            "task": {
                **task("backoff"),
                "status": PENDING,
                "pending_reason": "PENDING_REASON_BACKOFF",
                "retry_count": 1,
                "attempt": 1,
                "error": {"reason": "CREATOR_ERROR"},
            }
        },
    ),
    Good(
        "GetTask",
        task("completed"),
        {"task": {"status": "TASK_STATUS_COMPLETED", "end_time": str, "content_id": lambda number: int(number) > 0}},
    ),
    Good(
        "BatchGetTasks",
        {"task_ids": [NO_TASK, The("pending", "task_id"), "no id"]},
        {"tasks": [task("pending")], "missing_task_ids": [NO_TASK, "no id"]},
    ),
    Good(
        "ListTasks",
        {**account("cancelled"), "statuses": ["TASK_STATUS_CANCELLED"]},
        {"tasks": [{**task("cancelled"), "requirements": ""}], "next_page_token": ""},
    ),
    Good(
        "ListTasks",
        {"account_id": OWN, "page_size": 1, **OTHER_PAGE},
        {"tasks": [{"task_id": a_task_id}], "next_page_token": ""},
    ),
    Good("ListTasks", {"account_id": NOTHING, "page_size": 2_147_483_647}, {"tasks": [], "next_page_token": ""}),
    Good(
        "ListTasks",
        {
            **account("failed"),
            "filter": {
                **account("failed"),
                "statuses": ["TASK_STATUS_FAILED"],
                "error_reasons": ["CREATOR_ERROR"],
                "created_after": "0001-01-01T00:00:00Z",
                "created_before": "9999-12-31T23:59:59.999999Z",
            },
        },
        {"tasks": [task("failed")], "next_page_token": ""},
    ),
    Good(
        "ListTasks",
        {"filter": {"topic": "no topic has this", "worker_id": "none"}},
        {"tasks": [], "next_page_token": ""},
    ),
    Good(
        "BulkCancelTasks",
        {"filter": {**account("pending"), "statuses": [PENDING]}, "dry_run": True},
        {"matched_count": 1, "changed_count": 0},
    ),
    Good(
        "BulkCancelTasks",
        {"filter": account("processing"), "force": True, "limit": 2_147_483_647},
        {"matched_count": 1, "changed_count": 1},
    ),
    Good("BulkCancelTasks", {"filter": account("processing")}, {"matched_count": 0, "changed_count": 0}),
    Good(
        "CancelTask",
        task("pending"),
        {"task": {"status": "TASK_STATUS_CANCELLED", "end_time": str, "error": {"reason": "CANCELLED_BY_CLIENT"}}},
    ),
    Good(
        "UpdateTask",
        {
            "task": {**task("pending"), **CHANGED, "attempt": 7},
            "update_mask": ",".join(re.sub("_(.)", lambda match: match[1].upper(), key) for key in CHANGED),
        },
        {"task": {**CHANGED, **task("pending"), "status": PENDING, "attempt": 0}},
    ),
    Good(
        "UpdateTask",
        {"task": task("scheduled"), "update_mask": "scheduleTime,timeout,tone,labels"},
        {"task": {"timeout": "1800s", "tone": "", "labels": {}}},
    ),
    Good("RetryTask", task("failed"), {"task": {"status": PENDING, "retry_count": 1}}),
    Good(
        "BulkRetryTasks",
        {**account("failed"), "statuses": ["TASK_STATUS_FAILED"], "limit": 2_147_483_647},
        {"retried_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good(
        "BulkRetryTasks",
        {"filter": account("failed"), "dry_run": True},
        {"retried_count": 0, "matched_count": 1, "changed_count": 0},
    ),
    Good("BulkRetryTasks", {"account_id": NOTHING}, {"retried_count": 0, "matched_count": 0, "changed_count": 0}),
    Good(
        "CleanupTasks",
        {**account("cancelled"), "days": 0, "dry_run": True},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 0},
    ),
    Good(
        "CleanupTasks",
        {"filter": {**account("cancelled"), "topic": "a"}, "days": 0, "limit": 5},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good("CleanupTasks", account("cancelled"), {"deleted_count": 0, "matched_count": 0, "changed_count": 0}),
    Good("WaitTask", {**task("cancelled"), "timeout": "315576000000s"}, {"task": {"status": "TASK_STATUS_CANCELLED"}}),
    Good(
        "WaitTask",
        {**task("scheduled"), "timeout": "0.01s"},
        {"task": {"status": PENDING, "pending_reason": "PENDING_REASON_UNSPECIFIED"}},
    ),
    Good(
        "WatchTasks",
        {"task_ids": [The("scheduled", "task_id"), The("scheduled", "task_id")]},
        {
            "event": {
                "task": {**task("scheduled"), "status": PENDING, "requirements": ""},
                "previous_status": "TASK_STATUS_UNSPECIFIED",
                "event_time": str,
                "will_retry": False,
                "resume_token": an_opaque_token,
            }
        },
    ),
    Good("WatchTasks", account("scheduled"), {"event": {"task": task("scheduled")}}),
    Good(
        "ListTaskEvents",
        task("submitted"),
        {
            "events": [
                {"previous_status": "TASK_STATUS_UNSPECIFIED", "status": PENDING, "reason": "SUBMITTED", "attempt": 0},
                {"previous_status": PENDING, "status": "TASK_STATUS_SUBMITTED", "attempt": 1, "event_time": str},
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "ListTaskEvents",
        {**task("submitted"), "page_size": 1},
        {"events": [{"status": PENDING}], "next_page_token": an_opaque_token},
    ),
    Good(
        "ListAttemptLogs",
        task("logged"),
        {
            "logs": [
                {
                    "attempt": 1,
                    "worker_id": str,
                    "end_time": str,
                    "stdout": "half a page",
                    "stderr": "it failed",
                    "stdout_truncated": True,
                    "stderr_truncated": False,
                }
            ],
            "next_page_token": "",
        },
    ),
    Good("ListAttemptLogs", task("failed"), {"logs": [], "next_page_token": ""}),
    Good(
        "GetTaskStats",
        account("pending"),
        {"counts": {"pending": "1", **ZEROS}, "oldest_pending_age": str, "queue_depth": "1"},
    ),
    Good("GetTaskStats", {"account_id": OWN}, {"counts": {"pending": "0", **ZEROS}, "queue_depth": "0"}),
    Good(
        "GetTaskHistory",
        {
            "account_id": OWN,
            "resolution": "RESOLUTION_HOUR",
            "start_time": "2026-01-31T08:59:59Z",
            "end_time": "2026-01-31T09:00:01Z",
        },
        {"points": [{"time": f"2026-01-31T{hour}:00:00Z", "submitted": "0", "counts": ENDED} for hour in ("08", "09")]},
    ),
    Good(
        "GetTaskHistory",
        {"account_id": OWN, "resolution": "RESOLUTION_DAY", "end_time": "9999-12-31T23:59:59.999999999Z"},
        {"points": lambda points: len(points) == 31 and points[-1]["time"] == "9999-12-31T00:00:00Z"},
    ),
    Good("GetTaskHistory", {"account_id": OWN, "end_time": "0001-01-01T00:00:00Z"}, {"points": []}),
    Good(
        "PollRunningTasks",
        account("processing"),
        {"total": 1, "completed": 0, "failed": 0, "timeout": 0, "still_running": 1, "error": 0},
        polled=True,
    ),
    Good(
        "PollRunningTasks",
        {"account_id": NOTHING},
        dict.fromkeys(["total", "completed", "failed", "timeout", "still_running", "error"], 0),
    ),
    Good("PollTask", task("pending"), {"status": PENDING}),
    Good("HandleTimeouts", {"account_id": OWN}, {"timeout_count": 0}),
]
BAD = [
    *about_one("task", taking("task_id"), NO_TASK),
    *(not_found(name, {"task_id": "no id"}, "task", "no id") for name in sorted(taking("task_id"))),
    Bad("SubmitTask", {}, fields=("account_id", "topic")),
    Bad(
        "SubmitTask",
        {**SUBMIT, "topic": " \n", "priority": 0, "labels": {"": "v"}, "creator_options": {"mode": ""}},
        fields=("topic", 'creator_options["mode"]', 'labels[""]', "priority"),
    ),
    Bad("SubmitTask", {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}, fields=("expire_time",)),
    *(
        Bad("SubmitTask", {**SUBMIT, "creator_options": {key: ""}}, fields=(f'creator_options["{key}"]',))
        for key in ("task-id", "mode", "type", "topic", "json")
    ),
    not_found("SubmitTask", {"account_id": NOTHING, "topic": "a topic"}, "account"),
    Bad(
        "SubmitTask",
        {**account("inactive"), "topic": "a topic"},
        StatusCode.FAILED_PRECONDITION,
        "ACCOUNT_INACTIVE",
        metadata=account("inactive"),
    ),
    Bad(
        "SubmitTask",
        {**SUBMIT, "request_id": The("idempotent", "request_id"), "priority": 6},
        StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_CONFLICT",
        metadata=task("idempotent"),
    ),
    Bad("BatchSubmitTasks", {}, fields=("requests",)),
    Bad("BatchSubmitTasks", {"requests": [SUBMIT] * 1_001}, fields=("requests",)),
    Bad(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {}, {**SUBMIT, "priority": 11}]},
        fields=("requests[1].account_id", "requests[1].topic", "requests[2].priority"),
    ),
    Bad(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}]},
        fields=("requests[1].expire_time",),
    ),
    not_found("BatchSubmitTasks", {"requests": [SUBMIT, {**SUBMIT, "account_id": NOTHING}]}, "account"),
    Bad("BatchGetTasks", {}, fields=("task_ids",)),
    Bad("BatchGetTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("BatchGetTasks", {"task_ids": [NO_TASK, ""]}, fields=("task_ids[1]",)),
    Bad("ListTasks", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("ListTasks", {"statuses": ["TASK_STATUS_UNSPECIFIED"]}, fields=("statuses[0]",)),
    Bad("ListTasks", {"labels": {str(i): "" for i in range(33)}}, fields=("labels",)),
    Bad("ListTasks", OTHER_PAGE, fields=("page_token",)),
    Bad("ListTaskEvents", {**task("pending"), **OTHER_PAGE}, fields=("page_token",)),
    Bad("ListAttemptLogs", {**task("pending"), "page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("UpdateTask", {}, fields=("task.task_id", "update_mask")),
    Bad(
        "UpdateTask",
        {"task": {"task_id": NO_TASK}, "update_mask": "topic,priority,taskId,creatorOptions,requestId"},
        fields=("update_mask.paths[2]", "update_mask.paths[3]", "update_mask.paths[4]", "task.topic", "task.priority"),
    ),
    Bad(
        "UpdateTask",
        {
            "task": {
                **task("pending"),
                "timeout": "0.5s",
                "max_retries": 101,
                "labels": {"": "v"},
                "expire_time": "1999-01-01T00:00:00Z",
                "schedule_time": "2999-01-01T00:00:00Z",
            },
            "update_mask": "timeout,maxRetries,labels,expireTime,scheduleTime",
        },
        fields=("task.timeout", 'task.labels[""]', "task.max_retries", "task.expire_time"),
    ),
    Bad(
        "UpdateTask",
        {"task": {**task("pending"), "expire_time": "1999-01-01T00:00:00Z"}, "update_mask": "expireTime"},
        fields=("task.expire_time",),
    ),
    not_found("UpdateTask", {"task": {"task_id": NO_TASK}, "update_mask": "tone"}, "task", NO_TASK),
    Bad("BulkRetryTasks", {"statuses": [PENDING, "TASK_STATUS_CANCELLED"]}, fields=("statuses[0]", "statuses[1]")),
    Bad("CleanupTasks", {"account_id": 1, "filter": {"account_id": 2, "statuses": [PENDING]}}, fields=FILTER_CLASHES),
    Bad("BulkRetryTasks", {"account_id": 1, "filter": {"account_id": 2, "statuses": [PENDING]}}, fields=FILTER_CLASHES),
    Bad(
        "ListTasks",
        {
            "account_id": 1,
            "statuses": [PENDING],
            "labels": {"a": "b"},
            "schedule_id": 1,
            "filter": {
                "account_id": 2,
                "statuses": ["TASK_STATUS_FAILED"],
                "labels": {"a": "c"},
                "schedule_id": 2,
                "error_reasons": [""],
                "worker_id": "w" * 201,
                "topic": "t" * 4_001,
            },
        },
        fields=(
            "filter.worker_id",
            "filter.topic",
            "filter.statuses",
            "filter.labels",
            "filter.schedule_id",
            "filter.error_reasons[0]",
            "filter.account_id",
        ),
    ),
    Bad("ListTasks", {"filter": {"error_reasons": ["x"] * 101}}, fields=("filter.error_reasons",)),
    Bad(
        "BulkCancelTasks",
        {
            "filter": {"account_id": -1, "schedule_id": -1, "statuses": ["TASK_STATUS_PROCESSING"], "labels": {"": ""}},
            "limit": -1,
        },
        fields=("filter.statuses[0]", 'filter.labels[""]', "filter.schedule_id", "filter.account_id", "limit"),
    ),
    Bad("WatchTasks", {"task_ids": [NO_TASK], "account_id": "1"}, fields=("account_id",)),
    Bad("WatchTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("WatchTasks", {"account_id": OWN, "resume_token": "?"}, fields=("resume_token",)),
    not_found("WatchTasks", {"task_ids": [NO_TASK]}, "task", NO_TASK),
    not_found("WatchTasks", {"account_id": NOTHING}, "account"),
    not_found("GetTaskStats", {"account_id": NOTHING}, "account"),
    not_found("GetTaskHistory", {"account_id": NOTHING}, "account"),
    Bad(
        "GetTaskHistory",
        {"start_time": "2026-01-31T08:00:00Z", "end_time": "0001-01-01T00:00:00Z"},
        fields=("end_time",),
    ),
    Bad("GetTaskHistory", {"start_time": "0001-01-01T00:00:00Z"}, fields=("start_time",)),
    Bad("PollRunningTasks", {"account_id": -1}, fields=("account_id",)),
    Bad("HandleTimeouts", {"account_id": -1}, fields=("account_id",)),
]
