"""TaskService: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import re
from typing import Any

from grpc import StatusCode

from contentgen.submit_fields import BRIEF, BY_NAME
from tests.api.cases import OTHER_PAGE, OWN, Bad, Good, The, account, not_found, task

NO_TASK = "task-0000000000000001"
NO_ACCOUNT = "9007199254740993"
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
    Good("TaskService/SubmitTask", SUBMIT, {"task": NEW_TASK, "existing": False}),
    Good("TaskService/SubmitTask", EVERYTHING, {"task": {key: EVERYTHING[key] for key in REPEATED}, "existing": False}),
    Good(
        "TaskService/BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "requirements": "long"}]},
        {"tasks": [NEW_TASK, {**NEW_TASK, "requirements": ""}], "existing_indexes": []},
    ),
    Good(
        "TaskService/BatchSubmitTasks",
        {"requests": [{**SUBMIT, "unique_key": "u"}, {**SUBMIT, "unique_key": "u", "topic": "another"}]},
        {"tasks": [NEW_TASK, NEW_TASK], "existing_indexes": [1]},
    ),
    Good(
        "TaskService/GetTask",
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
        "TaskService/GetTask",
        task("completed"),
        {"task": {"status": "TASK_STATUS_COMPLETED", "end_time": str, "content_id": lambda number: int(number) > 0}},
    ),
    Good(
        "TaskService/BatchGetTasks",
        {"task_ids": [NO_TASK, The("pending", "task_id"), "no id"]},
        {"tasks": [task("pending")], "missing_task_ids": [NO_TASK, "no id"]},
    ),
    Good(
        "TaskService/ListTasks",
        {**account("cancelled"), "statuses": ["TASK_STATUS_CANCELLED"]},
        {"tasks": [{**task("cancelled"), "requirements": ""}], "next_page_token": ""},
    ),
    Good(
        "TaskService/ListTasks",
        {"account_id": OWN, "page_size": 1, **OTHER_PAGE},
        {"tasks": [{"task_id": a_task_id}], "next_page_token": ""},
    ),
    Good(
        "TaskService/ListTasks",
        {"account_id": NO_ACCOUNT, "page_size": 2_147_483_647},
        {"tasks": [], "next_page_token": ""},
    ),
    Good(
        "TaskService/ListTasks",
        {
            **account("failed"),
            "filter": {
                **account("failed"),
                "statuses": ["TASK_STATUS_FAILED"],
                "error_reasons": ["CREATOR_ERROR"],
                "created_after": "2020-01-01T00:00:00Z",
                "created_before": "2100-01-01T00:00:00Z",
            },
        },
        {"tasks": [task("failed")], "next_page_token": ""},
    ),
    Good(
        "TaskService/ListTasks",
        {"filter": {"topic": "no topic has this", "worker_id": "none"}},
        {"tasks": [], "next_page_token": ""},
    ),
    Good(
        "TaskService/BulkCancelTasks",
        {"filter": {**account("pending"), "statuses": [PENDING]}, "dry_run": True},
        {"matched_count": 1, "changed_count": 0},
    ),
    Good(
        "TaskService/BulkCancelTasks",
        {"filter": account("processing"), "force": True, "limit": 2_147_483_647},
        {"matched_count": 1, "changed_count": 1},
    ),
    Good("TaskService/BulkCancelTasks", {"filter": account("processing")}, {"matched_count": 0, "changed_count": 0}),
    Good(
        "TaskService/CancelTask",
        task("pending"),
        {"task": {"status": "TASK_STATUS_CANCELLED", "end_time": str, "error": {"reason": "CANCELLED_BY_CLIENT"}}},
    ),
    Good(
        "TaskService/UpdateTask",
        {
            "task": {**task("pending"), **CHANGED, "attempt": 7},
            "update_mask": ",".join(re.sub("_(.)", lambda match: match[1].upper(), key) for key in CHANGED),
        },
        {"task": {**CHANGED, **task("pending"), "status": PENDING, "attempt": 0}},
    ),
    Good(
        "TaskService/UpdateTask",
        {"task": task("scheduled"), "update_mask": "scheduleTime,timeout,tone,labels"},
        {"task": {"timeout": "1800s", "tone": "", "labels": {}}},
    ),
    Good("TaskService/RetryTask", task("failed"), {"task": {"status": PENDING, "retry_count": 1}}),
    Good(
        "TaskService/BulkRetryTasks",
        {**account("failed"), "statuses": ["TASK_STATUS_FAILED"], "limit": 2_147_483_647},
        {"retried_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good(
        "TaskService/BulkRetryTasks",
        {"filter": account("failed"), "dry_run": True},
        {"retried_count": 0, "matched_count": 1, "changed_count": 0},
    ),
    Good(
        "TaskService/BulkRetryTasks",
        {"account_id": NO_ACCOUNT},
        {"retried_count": 0, "matched_count": 0, "changed_count": 0},
    ),
    Good(
        "TaskService/CleanupTasks",
        {**account("cancelled"), "days": 0, "dry_run": True},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 0},
    ),
    Good(
        "TaskService/CleanupTasks",
        {"filter": {**account("cancelled"), "topic": "a"}, "days": 0, "limit": 5},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good(
        "TaskService/CleanupTasks", account("cancelled"), {"deleted_count": 0, "matched_count": 0, "changed_count": 0}
    ),
    Good(
        "TaskService/WaitTask",
        {**task("cancelled"), "timeout": "315576000000s"},
        {"task": {"status": "TASK_STATUS_CANCELLED"}},
    ),
    Good(
        "TaskService/WaitTask",
        {**task("scheduled"), "timeout": "0.01s"},
        {"task": {"status": PENDING, "pending_reason": "PENDING_REASON_UNSPECIFIED"}},
    ),
    Good(
        "TaskService/WatchTasks",
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
    Good("TaskService/WatchTasks", account("scheduled"), {"event": {"task": task("scheduled")}}),
    Good(
        "TaskService/ListTaskEvents",
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
        "TaskService/ListTaskEvents",
        {**task("submitted"), "page_size": 1},
        {"events": [{"status": PENDING}], "next_page_token": an_opaque_token},
    ),
    Good(
        "TaskService/ListAttemptLogs",
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
    Good("TaskService/ListAttemptLogs", task("failed"), {"logs": [], "next_page_token": ""}),
    Good(
        "TaskService/GetTaskStats",
        account("pending"),
        {"counts": {"pending": "1", **ZEROS}, "oldest_pending_age": str, "queue_depth": "1"},
    ),
    Good("TaskService/GetTaskStats", {"account_id": OWN}, {"counts": {"pending": "0", **ZEROS}, "queue_depth": "0"}),
    Good(
        "TaskService/GetTaskHistory",
        {
            "account_id": OWN,
            "resolution": "RESOLUTION_HOUR",
            "start_time": "2026-01-31T08:59:59Z",
            "end_time": "2026-01-31T09:00:01Z",
        },
        {"points": [{"time": f"2026-01-31T{hour}:00:00Z", "submitted": "0", "counts": ENDED} for hour in ("08", "09")]},
    ),
    Good(
        "TaskService/GetTaskHistory",
        {"account_id": OWN, "resolution": "RESOLUTION_DAY", "end_time": "9999-12-31T23:59:59.999999999Z"},
        {"points": lambda points: len(points) == 31 and points[-1]["time"] == "9999-12-31T00:00:00Z"},
    ),
    Good("TaskService/GetTaskHistory", {"account_id": OWN, "end_time": "0001-01-01T00:00:00Z"}, {"points": []}),
    Good(
        "TaskService/PollRunningTasks",
        account("processing"),
        {"total": 1, "completed": 0, "failed": 0, "timeout": 0, "still_running": 1, "error": 0},
        polled=True,
    ),
    Good(
        "TaskService/PollRunningTasks",
        {"account_id": NO_ACCOUNT},
        dict.fromkeys(["total", "completed", "failed", "timeout", "still_running", "error"], 0),
    ),
    Good("TaskService/PollTask", task("pending"), {"status": PENDING}),
    Good("TaskService/HandleTimeouts", {"account_id": OWN}, {"timeout_count": 0}),
]
BY_TASK_ID = ["GetTask", "CancelTask", "RetryTask", "WaitTask", "ListTaskEvents", "ListAttemptLogs", "PollTask"]
BAD = [
    *(Bad(f"TaskService/{name}", {}, fields=("task_id",)) for name in BY_TASK_ID),
    *(not_found(f"TaskService/{name}", {"task_id": NO_TASK}, "task", NO_TASK) for name in BY_TASK_ID),
    *(not_found(f"TaskService/{name}", {"task_id": "no id"}, "task", "no id") for name in BY_TASK_ID),
    Bad("TaskService/SubmitTask", {}, fields=("account_id", "topic")),
    Bad("TaskService/SubmitTask", {**SUBMIT, "topic": " \n"}, fields=("topic",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "topic": "题" * 4_001}, fields=("topic",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "requirements": "x" * 20_001}, fields=("requirements",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "requirements": "😀" * 16_500}, fields=("requirements",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "keywords": "x" * 2_001}, fields=("keywords",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "request_id": "x" * 201}, fields=("request_id",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "category": "x" * 201, "tone": "x" * 201}, fields=("category", "tone")),
    Bad("TaskService/SubmitTask", {**SUBMIT, "priority": 0}, fields=("priority",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "priority": 11}, fields=("priority",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "max_retries": 101}, fields=("max_retries",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "timeout": "0.999s"}, fields=("timeout",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "timeout": "315360001s"}, fields=("timeout",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "initial_backoff": "0s"}, fields=("initial_backoff",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "max_backoff": "2592001s"}, fields=("max_backoff",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "backoff_multiplier": 0.99}, fields=("backoff_multiplier",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "initial_backoff": "9s", "max_backoff": "8s"}, fields=("max_backoff",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}, fields=("expire_time",)),
    Bad(
        "TaskService/SubmitTask",
        {**SUBMIT, "schedule_time": "2999-01-02T00:00:00Z", "expire_time": "2999-01-01T00:00:00Z"},
        fields=("expire_time",),
    ),
    Bad("TaskService/SubmitTask", {**SUBMIT, "unique_key": "x" * 201}, fields=("unique_key",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "unique_for": "1s"}, fields=("unique_for",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "unique_key": "u", "unique_for": "315360001s"}, fields=("unique_for",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "labels": {str(i): "" for i in range(33)}}, fields=("labels",)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "labels": {"a": "v" * 256}}, fields=('labels["a"]',)),
    Bad("TaskService/SubmitTask", {**SUBMIT, "labels": {"": "v"}}, fields=('labels[""]',)),
    Bad(
        "TaskService/SubmitTask",
        {**SUBMIT, "creator_options": {f"k{i}": "" for i in range(33)}},
        fields=("creator_options",),
    ),
    *(
        Bad("TaskService/SubmitTask", {**SUBMIT, "creator_options": {key: ""}}, fields=(f'creator_options["{key}"]',))
        for key in ("", "A", "-a", "a_b", "task-id", "mode", "type", "topic", "json")
    ),
    not_found("TaskService/SubmitTask", {"account_id": NO_ACCOUNT, "topic": "a topic"}, "account", NO_ACCOUNT),
    Bad(
        "TaskService/SubmitTask",
        {**account("inactive"), "topic": "a topic"},
        StatusCode.FAILED_PRECONDITION,
        "ACCOUNT_INACTIVE",
        metadata=account("inactive"),
    ),
    Bad(
        "TaskService/SubmitTask",
        {**SUBMIT, "request_id": The("idempotent", "request_id"), "priority": 6},
        StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_CONFLICT",
        metadata=task("idempotent"),
    ),
    Bad("TaskService/BatchSubmitTasks", {}, fields=("requests",)),
    Bad("TaskService/BatchSubmitTasks", {"requests": [SUBMIT] * 1_001}, fields=("requests",)),
    Bad(
        "TaskService/BatchSubmitTasks",
        {"requests": [SUBMIT, {}, {**SUBMIT, "priority": 11}]},
        fields=("requests[1].account_id", "requests[1].topic", "requests[2].priority"),
    ),
    Bad(
        "TaskService/BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}]},
        fields=("requests[1].expire_time",),
    ),
    not_found(
        "TaskService/BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "account_id": NO_ACCOUNT}]},
        "account",
        NO_ACCOUNT,
    ),
    Bad("TaskService/BatchGetTasks", {}, fields=("task_ids",)),
    Bad("TaskService/BatchGetTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("TaskService/BatchGetTasks", {"task_ids": [NO_TASK, ""]}, fields=("task_ids[1]",)),
    Bad("TaskService/ListTasks", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("TaskService/ListTasks", {"statuses": ["TASK_STATUS_UNSPECIFIED"]}, fields=("statuses[0]",)),
    Bad("TaskService/ListTasks", {"labels": {str(i): "" for i in range(33)}}, fields=("labels",)),
    Bad("TaskService/ListTasks", OTHER_PAGE, fields=("page_token",)),
    Bad("TaskService/ListTaskEvents", {**task("pending"), **OTHER_PAGE}, fields=("page_token",)),
    Bad(
        "TaskService/ListAttemptLogs",
        {**task("pending"), "page_size": -1, "page_token": "?"},
        fields=("page_size", "page_token"),
    ),
    Bad("TaskService/UpdateTask", {}, fields=("task.task_id", "update_mask")),
    Bad(
        "TaskService/UpdateTask",
        {"task": {"task_id": NO_TASK}, "update_mask": "topic,priority,taskId,creatorOptions,requestId"},
        fields=("update_mask.paths[2]", "update_mask.paths[3]", "update_mask.paths[4]", "task.topic", "task.priority"),
    ),
    Bad(
        "TaskService/UpdateTask",
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
        "TaskService/UpdateTask",
        {"task": {**task("pending"), "expire_time": "1999-01-01T00:00:00Z"}, "update_mask": "expireTime"},
        fields=("task.expire_time",),
    ),
    not_found("TaskService/UpdateTask", {"task": {"task_id": NO_TASK}, "update_mask": "tone"}, "task", NO_TASK),
    Bad(
        "TaskService/BulkRetryTasks",
        {"statuses": [PENDING, "TASK_STATUS_CANCELLED"]},
        fields=("statuses[0]", "statuses[1]"),
    ),
    Bad("TaskService/BulkRetryTasks", {"account_id": -1, "limit": -1}, fields=("account_id", "limit")),
    Bad(
        "TaskService/CleanupTasks", {"account_id": -1, "days": -1, "limit": -1}, fields=("account_id", "days", "limit")
    ),
    Bad(
        "TaskService/CleanupTasks",
        {"account_id": 1, "filter": {"account_id": 2, "statuses": [PENDING]}},
        fields=FILTER_CLASHES,
    ),
    Bad(
        "TaskService/BulkRetryTasks",
        {"account_id": 1, "filter": {"account_id": 2, "statuses": [PENDING]}},
        fields=FILTER_CLASHES,
    ),
    Bad(
        "TaskService/ListTasks",
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
    Bad("TaskService/ListTasks", {"filter": {"error_reasons": ["x"] * 101}}, fields=("filter.error_reasons",)),
    Bad(
        "TaskService/BulkCancelTasks",
        {
            "filter": {"account_id": -1, "schedule_id": -1, "statuses": ["TASK_STATUS_PROCESSING"], "labels": {"": ""}},
            "limit": -1,
        },
        fields=("filter.statuses[0]", 'filter.labels[""]', "filter.schedule_id", "filter.account_id", "limit"),
    ),
    Bad("TaskService/WatchTasks", {"task_ids": [NO_TASK], "account_id": "1"}, fields=("account_id",)),
    Bad("TaskService/WatchTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("TaskService/WatchTasks", {"account_id": OWN, "resume_token": "?"}, fields=("resume_token",)),
    not_found("TaskService/WatchTasks", {"task_ids": [NO_TASK]}, "task", NO_TASK),
    not_found("TaskService/WatchTasks", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    not_found("TaskService/GetTaskStats", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad("TaskService/GetTaskStats", {"account_id": -1}, fields=("account_id",)),
    not_found("TaskService/GetTaskHistory", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad("TaskService/GetTaskHistory", {"account_id": -1, "resolution": 9}, fields=("account_id", "resolution")),
    Bad(
        "TaskService/GetTaskHistory",
        {"start_time": "2026-01-31T08:00:00Z", "end_time": "0001-01-01T00:00:00Z"},
        fields=("end_time",),
    ),
    Bad("TaskService/GetTaskHistory", {"start_time": "0001-01-01T00:00:00Z"}, fields=("start_time",)),
    Bad("TaskService/PollRunningTasks", {"account_id": -1}, fields=("account_id",)),
    Bad("TaskService/HandleTimeouts", {"account_id": -1}, fields=("account_id",)),
]
