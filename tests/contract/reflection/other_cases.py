"""All services but TaskService and WorkerService: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

from typing import Any

from tests.contract.reflection.cases import Bad, Good, The, not_found, wrong_state
from tests.contract.reflection.task_cases import EVERYTHING, NO_ACCOUNT, an_opaque_token

NOTHING = "9007199254740993"
OWN = The("own", "account_id")


def content(name: str) -> str:
    return f"contentgen.v1.ContentService/{name}"


def account(name: str) -> str:
    return f"contentgen.v1.AccountService/{name}"


def pool(name: str) -> str:
    return f"contentgen.v1.WorkerPoolService/{name}"


def schedule(name: str) -> str:
    return f"contentgen.v1.ScheduleService/{name}"


def claim(what: str, **more: Any) -> dict[str, Any]:
    return {"content_id": The(what, "content_id"), "claim_id": The(what, "claim_id"), **more}


QUOTAS = {"max_pending_tasks": 2_147_483_647, "max_priority": 10, "max_starts_per_minute": 2_147_483_647}
ACCOUNT = {"name": "新闻", "max_concurrent_tasks": 2_147_483_647, "weight": 1_000.0, "active": True, **QUOTAS}
ALL_PATHS = "name,maxConcurrentTasks,weight,active,maxPendingTasks,maxPriority,maxStartsPerMinute"
SETTINGS = {
    "name": "n" * 200,
    "cron": "0,30 9-17/2 1-7,L JAN,jul MON#1",
    "time_zone": "Asia/Shanghai",
    "catch_up": "CATCH_UP_ALL",
    "overlap": "OVERLAP_SKIP",
    "jitter": "86400s",
    "paused": True,
}
TEMPLATE = {key: value for key, value in EVERYTHING.items() if key not in {"account_id", "request_id", "schedule_time"}}
ALL_SETTINGS = "name,cron,timeZone,template,catchUp,overlap,jitter,paused"
NEW_SCHEDULE = {
    "schedule_id": lambda it: int(it) > 0,
    "account_id": OWN,
    "name": "",
    "time_zone": "UTC",
    "catch_up": "CATCH_UP_ONE",
    "overlap": "OVERLAP_ALLOW",
    "paused": False,
    "next_run_times": lambda it: len(it) == 5,
    "last_task_id": "",
    "create_time": str,
    "last_error": "",
}
ENTRY = {"account_id": OWN, "priority": 5, "error": ""}

GOOD = [
    Good(
        content("GetContent"),
        {"content_id": The("approved", "content_id")},
        {
            "content": {
                "content_id": The("approved", "content_id"),
                "account_id": OWN,
                "task_id": The("approved", "task_id"),
                "title": "a topic",
                "body": "an article",
                "summary": "an article",
                "word_count": 10,
                "review_status": "REVIEW_STATUS_APPROVED",
                "images": [],
                "cover_image": "",
                "create_time": str,
            }
        },
    ),
    Good(
        content("ListContents"),
        {"account_id": The("unreviewed", "account_id"), "review_status": "REVIEW_STATUS_PENDING_REVIEW"},
        {"contents": [{"content_id": The("unreviewed", "content_id"), "body": ""}], "next_page_token": ""},
    ),
    Good(
        content("ReviewContent"),
        {"content_id": The("unreviewed", "content_id"), "decision": "REVIEW_DECISION_APPROVE", "comment": "字" * 2_000},
        {"content": {"review_status": "REVIEW_STATUS_APPROVED", "review_comment": "字" * 2_000}},
    ),
    Good(content("DeleteContent"), {"content_id": The("approved", "content_id")}, {}),
    Good(content("DeleteContent"), {"content_id": The("published", "content_id"), "force": True}, {}),
    Good(
        content("ListPublishPool"),
        {"account_id": The("approved", "account_id")},
        {
            "entries": [{**ENTRY, "content_id": The("approved", "content_id"), "status": "PUBLISH_STATUS_PENDING"}],
            "next_page_token": "",
        },
    ),
    Good(
        content("ClaimPublishPool"),
        {"account_id": The("approved", "account_id"), "limit": 1_000, "lease": "1s"},
        {"entries": [{**ENTRY, "status": "PUBLISH_STATUS_PUBLISHING", "claim_id": an_opaque_token}]},
    ),
    Good(content("ClaimPublishPool"), {"account_id": OWN}, {"entries": []}),
    Good(
        content("ReportPublished"),
        claim("claimed", published=True),
        {"entry": {**ENTRY, "content_id": The("claimed", "content_id"), "status": "PUBLISH_STATUS_PUBLISHED"}},
    ),
    Good(account("CreateAccount"), {"name": "n"}, {"account": {"weight": 1.0, "active": True, "create_time": str}}),
    Good(
        account("CreateAccount"),
        {key: value for key, value in ACCOUNT.items() if key != "active"},
        {"account": {**ACCOUNT, "account_id": lambda it: int(it) > 0}},
    ),
    Good(account("GetAccount"), {"account_id": OWN}, {"account": {"account_id": OWN, "max_concurrent_tasks": 0}}),
    Good(account("ListAccounts"), {"page_size": 1}, {"accounts": [{"active": bool}], "next_page_token": str}),
    Good(
        account("UpdateAccount"),
        {"account": {"account_id": The("account", "account_id"), **ACCOUNT}, "update_mask": ALL_PATHS},
        {"account": ACCOUNT},
    ),
    Good(
        account("UpdateAccount"),
        {"account": {"account_id": The("inactive", "account_id"), "active": True}, "update_mask": "active"},
        {"account": {"name": "an account", "active": True}},
    ),
    Good(account("DeactivateAccount"), {"account_id": The("account", "account_id")}, {"account": {"active": False}}),
    Good(
        schedule("CreateSchedule"),
        {"account_id": OWN, "cron": "*/5 * * * *", "template": {"topic": "a topic", "account_id": NO_ACCOUNT}},
        {"schedule": {**NEW_SCHEDULE, "template": {"topic": "a topic", "account_id": OWN}}},
    ),
    Good(
        schedule("CreateSchedule"),
        {"account_id": OWN, **SETTINGS, "template": TEMPLATE},
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}, "next_run_times": []}},
    ),
    Good(
        schedule("GetSchedule"),
        {"schedule_id": The("schedule", "schedule_id")},
        {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}},
    ),
    Good(
        schedule("ListSchedules"),
        {"account_id": The("schedule", "account_id"), "page_size": 1_000},
        {"schedules": [NEW_SCHEDULE], "next_page_token": ""},
    ),
    Good(
        schedule("UpdateSchedule"),
        {
            "schedule": {"schedule_id": The("schedule", "schedule_id"), **SETTINGS, "template": TEMPLATE},
            "update_mask": ALL_SETTINGS,
        },
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}}},
    ),
    Good(
        schedule("UpdateSchedule"),
        {"schedule": {"schedule_id": The("paused", "schedule_id")}, "update_mask": "paused"},
        {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}},
    ),
    Good(schedule("DeleteSchedule"), {"schedule_id": The("schedule", "schedule_id")}, {}),
    Good(
        schedule("PauseSchedule"),
        {"schedule_id": The("schedule", "schedule_id")},
        {"schedule": {"paused": True, "next_run_times": []}},
    ),
    Good(schedule("ResumeSchedule"), {"schedule_id": The("paused", "schedule_id")}, {"schedule": NEW_SCHEDULE}),
    Good(
        schedule("RunSchedule"),
        {"schedule_id": The("paused", "schedule_id")},
        {"task": {"account_id": OWN, "topic": "a topic", "schedule_id": The("paused", "schedule_id")}},
    ),
    Good(
        pool("GetWorkerPool"),
        {},
        {
            "num_workers": lambda it: it >= 1,
            "active_workers": int,
            "total_queue_size": str,
            "workers": lambda it: {"running", "slots", "busy_slots", "queue_size", "draining"} <= it[0].keys(),
            "next_page_token": "",
        },
    ),
    Good(
        pool("GetWorkerPool"),
        {"page_size": 1},
        {
            "num_workers": lambda it: it >= 1,
            "active_workers": int,
            "total_queue_size": str,
            "workers": [{"worker_id": str}],
            "next_page_token": str,
        },
    ),
    Good(
        pool("DrainWorker"),
        {"worker_id": The("connected", "worker_id")},
        {"worker": {"worker_id": The("connected", "worker_id"), "draining": True, "running": False}},
    ),
    Good(
        pool("ResizeWorker"),
        {"worker_id": The("connected", "worker_id"), "slots": 1_000},
        {"worker": {"worker_id": The("connected", "worker_id"), "slots": 1_000, "connect_time": str}},
    ),
    Good(pool("PauseDispatch"), {"account_id": The("account", "account_id")}, {}),
    Good(pool("ResumeDispatch"), {"account_id": The("account", "account_id")}, {}),
    Good(pool("ResumeDispatch"), {}, {}),
    Good(pool("GetDispatchStatus"), {}, {"all_paused": bool, "paused_account_ids": list}),
    Good(
        pool("UndrainWorker"),
        {"worker_id": The("draining", "worker_id")},
        {"worker": {"worker_id": The("connected", "worker_id"), "draining": False, "running": True, "connected": True}},
    ),
    Good(
        "contentgen.v1.SystemService/GetSystem",
        {},
        {
            "version": str,
            "replicas": lambda it: {"scheduler_id", "version", "start_time", "serving", "lanes"} <= it[0].keys(),
            "lock_holders": list,
            "database": {"version": str, "size": str},
            "limits": {"max_queue_size": str, "lease_ttl": str, "max_calls": 1_000},
        },
    ),
]

BAD = [
    *(Bad(content(name), {}, fields=("content_id",)) for name in ("GetContent",)),
    not_found(content("GetContent"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(content("ListContents"), {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad(content("ListContents"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(content("ListPublishPool"), {"account_id": -1, "page_token": "?"}, fields=("account_id", "page_token")),
    Bad(content("ReviewContent"), {"comment": "字" * 2_001}, fields=("content_id", "decision", "comment")),
    not_found(
        content("ReviewContent"), {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"}, "content", NOTHING
    ),
    wrong_state(
        content("ReviewContent"),
        {"content_id": The("rejected", "content_id"), "decision": "REVIEW_DECISION_APPROVE"},
        "rejected",
        "pending_review",
    ),
    Bad(content("DeleteContent"), {"force": True}, fields=("content_id",)),
    not_found(content("DeleteContent"), {"content_id": NOTHING}, "content", NOTHING),
    wrong_state(content("DeleteContent"), {"content_id": The("claimed", "content_id")}, "publishing", "pending,failed"),
    Bad(
        content("ClaimPublishPool"),
        {"account_id": -1, "limit": 1_001, "lease": "0.999s"},
        fields=("account_id", "limit", "lease"),
    ),
    Bad(content("ReportPublished"), {"error": "字" * 2_001}, fields=("content_id", "claim_id", "error")),
    not_found(content("ReportPublished"), {"content_id": NOTHING, "claim_id": "claim"}, "content", NOTHING),
    wrong_state(content("ReportPublished"), claim("published"), "published", "publishing"),
    Bad(account("CreateAccount"), {"max_concurrent_tasks": -1}, fields=("name", "max_concurrent_tasks")),
    Bad(account("CreateAccount"), {"name": "n" * 201, "weight": 0}, fields=("name", "weight")),
    Bad(account("GetAccount"), {}, fields=("account_id",)),
    not_found(account("GetAccount"), {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad(account("ListAccounts"), {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad(account("ListAccounts"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(account("UpdateAccount"), {}, fields=("account.account_id", "update_mask")),
    Bad(
        account("UpdateAccount"),
        {"account": {"account_id": OWN}, "update_mask": "name,accountId,createTime"},
        fields=("update_mask.paths[1]", "update_mask.paths[2]", "account.name"),
    ),
    not_found(
        account("UpdateAccount"),
        {"account": {"account_id": NO_ACCOUNT}, "update_mask": "active"},
        "account",
        NO_ACCOUNT,
    ),
    Bad(account("DeactivateAccount"), {}, fields=("account_id",)),
    not_found(account("DeactivateAccount"), {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad(schedule("CreateSchedule"), {}, fields=("account_id", "cron", "template", "template.topic")),
    Bad(
        schedule("CreateSchedule"),
        {
            "account_id": OWN,
            "name": "n" * 201,
            "cron": "0 0 30 2 *",
            "time_zone": "Mars/Phobos",
            "jitter": "86400.001s",
            "template": {
                "topic": "a topic",
                "priority": 11,
                "request_id": "r",
                "schedule_time": "2999-01-01T00:00:00Z",
            },
        },
        fields=(
            "name",
            "cron",
            "time_zone",
            "template.priority",
            "template.request_id",
            "template.schedule_time",
            "jitter",
        ),
    ),
    not_found(
        schedule("CreateSchedule"),
        {"account_id": NO_ACCOUNT, "cron": "* * * * *", "template": {"topic": "a topic"}},
        "account",
        NO_ACCOUNT,
    ),
    Bad(
        schedule("ListSchedules"),
        {"account_id": -1, "page_size": -1, "page_token": "?"},
        fields=("account_id", "page_size", "page_token"),
    ),
    Bad(schedule("UpdateSchedule"), {}, fields=("schedule.schedule_id", "update_mask")),
    Bad(
        schedule("UpdateSchedule"),
        {"schedule": {"schedule_id": 1, "cron": "x"}, "update_mask": "cron,accountId,lastError,template"},
        fields=(
            "update_mask.paths[1]",
            "update_mask.paths[2]",
            "schedule.cron",
            "schedule.template",
            "schedule.template.topic",
        ),
    ),
    not_found(
        schedule("UpdateSchedule"),
        {"schedule": {"schedule_id": NOTHING}, "update_mask": "paused"},
        "schedule",
        NOTHING,
    ),
    *(
        case
        for name in ("GetSchedule", "DeleteSchedule", "PauseSchedule", "ResumeSchedule", "RunSchedule")
        for case in (
            Bad(schedule(name), {}, fields=("schedule_id",)),
            not_found(schedule(name), {"schedule_id": NOTHING}, "schedule", NOTHING),
        )
    ),
    Bad(pool("GetWorkerPool"), {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad(pool("GetWorkerPool"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(pool("DrainWorker"), {}, fields=("worker_id",)),
    not_found(pool("DrainWorker"), {"worker_id": "nobody"}, "worker", "nobody"),
    Bad(pool("UndrainWorker"), {}, fields=("worker_id",)),
    not_found(pool("UndrainWorker"), {"worker_id": "nobody"}, "worker", "nobody"),
    Bad(pool("ResizeWorker"), {"worker_id": " ", "slots": 1_001}, fields=("worker_id", "slots")),
    Bad(pool("ResizeWorker"), {"worker_id": The("connected", "worker_id")}, fields=("slots",)),
    not_found(pool("ResizeWorker"), {"worker_id": "nobody", "slots": 1}, "worker", "nobody"),
    Bad(pool("PauseDispatch"), {"account_id": -1}, fields=("account_id",)),
    not_found(pool("PauseDispatch"), {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad(pool("ResumeDispatch"), {"account_id": -1}, fields=("account_id",)),
    not_found(pool("ResumeDispatch"), {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
]
