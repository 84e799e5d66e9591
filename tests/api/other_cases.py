"""All services but TaskService, and uploads of assets: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from grpc import StatusCode

from tests.api.cases import Bad, Good, The, not_found, wrong_state
from tests.api.task_cases import EVERYTHING, NO_ACCOUNT, an_opaque_token

LATER = "2999-01-01T00:00:00Z"
NOTHING = "9007199254740993"
PUT_ASSET = "contentgen.v1.WorkerService/PutAsset"
OWN = The("own", "account_id")


def content(name: str) -> str:
    return f"contentgen.v1.ContentService/{name}"


def asset(name: str) -> str:
    return f"contentgen.v1.AssetService/{name}"


def account(name: str) -> str:
    return f"contentgen.v1.AccountService/{name}"


def pool(name: str) -> str:
    return f"contentgen.v1.WorkerPoolService/{name}"


def schedule(name: str) -> str:
    return f"contentgen.v1.ScheduleService/{name}"


def webhook(name: str) -> str:
    return f"contentgen.v1.WebhookService/{name}"


AUDIT = "contentgen.v1.AuditService/ListAuditEvents"


def claim(what: str, **more: Any) -> dict[str, Any]:
    return {"content_id": The(what, "content_id"), "claim_id": The(what, "claim_id"), **more}


QUOTAS = {
    "max_pending_tasks": 2_147_483_647,
    "max_priority": 10,
    "max_starts_per_minute": 2_147_483_647,
    "max_asset_bytes": "9223372036854775807",
}
ACCOUNT = {"name": "新闻", "max_concurrent_tasks": 2_147_483_647, "weight": 1_000.0, "active": True, **QUOTAS}
ALL_PATHS = "name,maxConcurrentTasks,weight,active,maxPendingTasks,maxPriority,maxStartsPerMinute,maxAssetBytes"
SETTINGS = {
    "name": "n" * 200,
    "cron": "0,30 9-17/2 1-7,L JAN,jul MON#1",
    "time_zone": "Asia/Shanghai",
    "catch_up": "CATCH_UP_ALL",
    "overlap": "OVERLAP_SKIP",
    "jitter": "86400s",
    "paused": True,
}
ONCE = {"account_id", "request_id", "schedule_time", "expire_time", "unique_key", "unique_for"}
TEMPLATE = {key: value for key, value in EVERYTHING.items() if key not in ONCE}
ALL_SETTINGS = "name,cron,timeZone,template,catchUp,overlap,jitter,paused"
NEW_SCHEDULE = {
    "schedule_id": lambda number: int(number) > 0,
    "account_id": OWN,
    "name": "",
    "time_zone": "UTC",
    "catch_up": "CATCH_UP_ONE",
    "overlap": "OVERLAP_ALLOW",
    "paused": False,
    "next_run_times": lambda times: len(times) == 5,
    "last_task_id": "",
    "create_time": str,
    "last_error": "",
}
URL = "https://news.example/hook"
EVENTS = ["task.ended", "publish.failed"]
HOOK = {"webhook_id": The("hook", "webhook_id")}
ENTRY = {"account_id": OWN, "priority": 5, "error": ""}
TEXTS = {
    "title": "题" * 255,
    "body": "新的正文",
    "html_body": "<p>新的正文",
    "summary": "要" * 2_000,
    "category": "c" * 200,
    "cover_image": "two.png",
}
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
        content("ListContents"),
        {
            "account_id": The("approved", "account_id"),
            "review_status": "REVIEW_STATUS_APPROVED",
            "publish_status": "PUBLISH_STATUS_PENDING",
            "category": "新闻",
            "labels": {"run": "7"},
            "min_quality_score": 8.5,
            "created_after": "2020-01-01T00:00:00Z",
            "created_before": "2999-01-01T00:00:00Z",
            "query": "topic a",
            "oldest_first": True,
        },
        {"contents": [], "next_page_token": ""},
    ),
    Good(
        content("ListContents"),
        {"account_id": The("edited", "account_id"), "query": "EDIT topic", "publish_status": "PUBLISH_STATUS_PENDING"},
        {"contents": [{"content_id": The("edited", "content_id")}], "next_page_token": ""},
    ),
    Good(
        content("ReviewContent"),
        {
            "content_id": The("unreviewed", "content_id"),
            "decision": "REVIEW_DECISION_APPROVE",
            "comment": "字" * 2_000,
            "etag": The("unreviewed", "etag"),
            "reviewer": "审" * 200,
            "schedule_time": "2030-01-31T12:00:00Z",
        },
        {
            "content": {
                "review_status": "REVIEW_STATUS_APPROVED",
                "review_comment": "字" * 2_000,
                "reviewer": "审" * 200,
                "review_time": str,
                "publish_status": "PUBLISH_STATUS_PENDING",
            }
        },
    ),
    Good(
        content("BatchReviewContents"),
        {
            "requests": [
                {
                    "content_id": The("unreviewed", "content_id"),
                    "decision": "REVIEW_DECISION_APPROVE",
                    "comment": "good",
                    "etag": The("unreviewed", "etag"),
                    "reviewer": "anna",
                },
                {"content_id": The("held", "content_id"), "decision": "REVIEW_DECISION_REJECT"},
            ],
            "reviewer": "boris",
        },
        {
            "contents": [
                {"review_status": "REVIEW_STATUS_APPROVED", "reviewer": "anna", "body": ""},
                {"review_status": "REVIEW_STATUS_REJECTED", "reviewer": "boris", "review_holder": ""},
            ]
        },
    ),
    *(
        Good(
            content("ReopenContent"),
            {"content_id": The(what, "content_id")},
            {
                "content": {
                    "review_status": "REVIEW_STATUS_PENDING_REVIEW",
                    "publish_status": "PUBLISH_STATUS_UNSPECIFIED",
                    "reviewer": "",
                    "review_comment": "",
                }
            },
        )
        for what in ("approved", "approved_by_review", "rejected", "unreviewed", "unpublishable", "lapsed")
    ),
    Good(
        content("ClaimReview"),
        {"account_id": The("unreviewed", "account_id"), "lease": "1s", "reviewer": "审" * 200},
        {
            "content": {
                "content_id": The("unreviewed", "content_id"),
                "body": "an article",
                "review_holder": "审" * 200,
                "review_claim_expire_time": str,
            }
        },
    ),
    Good(
        content("ClaimReview"),
        {"content_id": The("unreviewed", "content_id"), "reviewer": "anna"},
        {"content": {"content_id": The("unreviewed", "content_id"), "review_holder": "anna"}},
    ),
    Good(
        content("RegenerateContent"),
        {"content_id": The("approved", "content_id"), "feedback": "短" * 2_000},
        {
            "task": {
                "account_id": OWN,
                "topic": "a topic",
                "requirements": "",
                "auto_approve": False,
                "status": "TASK_STATUS_PENDING",
                "regenerates_content_id": The("approved", "content_id"),
            }
        },
    ),
    Good(
        content("ReleaseReview"),
        {"content_id": The("held", "content_id")},
        {"content": {"content_id": The("held", "content_id"), "review_holder": ""}},
    ),
    Good(
        content("UpdateContent"),
        {
            "content": {"content_id": The("approved", "content_id"), **TEXTS},
            "update_mask": "title,body,htmlBody,summary,category,coverImage",
            "etag": The("approved", "etag"),
            "reviewer": "编辑",
        },
        {"content": {**TEXTS, "word_count": 4, "revision": 2, "etag": an_opaque_token}},
    ),
    Good(
        content("UpdateContent"),
        {"content": {"content_id": The("approved", "content_id"), "body": "a new text"}, "update_mask": "body"},
        {"content": {"title": "a topic", "body": "a new text", "summary": "a new text", "html_body": ""}},
    ),
    Good(
        content("ListContentRevisions"),
        {"content_id": The("approved", "content_id"), "page_size": 1},
        {"revisions": [{"number": 1, "author": "", "body": "an article", "create_time": str}], "next_page_token": ""},
    ),
    Good(
        content("ListContentRevisions"),
        {"content_id": The("edited", "content_id")},
        {
            "revisions": [{"number": 1, "title": "a topic"}, {"number": 2, "author": "anonymous", "title": "edited"}],
            "next_page_token": "",
        },
    ),
    Good(content("DeleteContent"), {"content_id": The("approved", "content_id")}, {}),
    Good(content("DeleteContent"), {"content_id": The("published", "content_id"), "force": True}, {}),
    Good(
        content("ListPublishPool"),
        {
            "account_id": The("approved", "account_id"),
            "statuses": ["PUBLISH_STATUS_PENDING"],
            "scheduled_after": "2030-01-31T00:00:00Z",
            "scheduled_before": "2030-02-01T00:00:00Z",
        },
        {"entries": [], "next_page_token": ""},
    ),
    Good(
        content("ListPublishPool"),
        {"account_id": The("approved", "account_id")},
        {
            "entries": [{**ENTRY, "content_id": The("approved", "content_id"), "status": "PUBLISH_STATUS_PENDING"}],
            "next_page_token": "",
        },
    ),
    Good(
        content("ListPublishPool"),
        {
            "account_id": The("unpublishable", "account_id"),
            "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_PENDING"],
        },
        {
            "entries": [
                {
                    "content_id": The("unpublishable", "content_id"),
                    "status": "PUBLISH_STATUS_PENDING",
                    "attempt_count": 1,
                    "max_attempts": 3,
                    "next_attempt_time": str,
                    "title": "a topic",
                }
            ],
            "next_page_token": "",
        },
    ),
    Good(
        content("ClaimPublishPool"),
        {"account_id": The("approved", "account_id"), "limit": 1_000, "lease": "1s", "publisher": "字" * 200},
        {
            "entries": [
                {
                    **ENTRY,
                    "status": "PUBLISH_STATUS_PUBLISHING",
                    "claim_id": an_opaque_token,
                    "claim_expire_time": str,
                    "publisher": "字" * 200,
                }
            ]
        },
    ),
    Good(content("ClaimPublishPool"), {"account_id": OWN}, {"entries": []}),
    Good(
        content("ReportPublished"),
        claim("claimed", published=True),
        {"entry": {**ENTRY, "content_id": The("claimed", "content_id"), "status": "PUBLISH_STATUS_PUBLISHED"}},
    ),
    Good(
        content("ReportPublished"),
        claim("claimed", published=True, published_url="https://" + "字" * 1_992),
        {"entry": {"attempt_count": 1, "published_url": "https://" + "字" * 1_992}},
    ),
    Good(
        content("RenewPublishClaim"),
        claim("claimed", lease="315576000000s"),
        {"entry": {"status": "PUBLISH_STATUS_PUBLISHING", "claim_expire_time": "9999-12-31T00:00:00Z"}},
    ),
    Good(
        content("RetryPublish"),
        {"content_id": The("unpublishable", "content_id")},
        {"entry": {"status": "PUBLISH_STATUS_PENDING", "attempt_count": 0}},
    ),
    Good(
        content("UpdatePublishPoolEntry"),
        {
            "entry": {"content_id": The("approved", "content_id"), "priority": 10, "schedule_time": LATER},
            "update_mask": "priority,scheduleTime",
        },
        {"entry": {"priority": 10, "schedule_time": LATER, "status": "PUBLISH_STATUS_PENDING"}},
    ),
    Good(content("RemoveFromPublishPool"), {"content_id": The("approved", "content_id")}, {}),
    Good(
        content("ListPublishAttempts"),
        {"content_id": The("unpublishable", "content_id")},
        {
            "attempts": [
                {"number": 1, "publisher": "anonymous", "start_time": str, "end_time": str, "published": False}
            ],
            "next_page_token": "",
        },
    ),
    Good(
        asset("GetAsset"),
        {"sha256": The("pictured", "sha256"), "offset": 1, "length": 3},
        {"chunk": base64.b64encode(b"PNG").decode()},
    ),
    Good(
        asset("GetAssetInfo"),
        {"sha256": The("pictured", "sha256")},
        {
            "asset": {
                "name": "cover.png",
                "sha256": The("pictured", "sha256"),
                "media_type": "image/png",
                "width": 3,
                "height": 2,
            }
        },
    ),
    Good(
        PUT_ASSET,
        {
            "lease_id": The("leased", "lease_id"),
            "attempt": The("leased", "attempt"),
            "sha256": hashlib.sha256(b"a file").hexdigest(),
            "size": 6,
            "chunk": base64.b64encode(b"a file").decode(),
        },
        {"known": bool},
    ),
    Good(account("CreateAccount"), {"name": "n"}, {"account": {"weight": 1.0, "active": True, "create_time": str}}),
    Good(
        account("CreateAccount"),
        {key: value for key, value in ACCOUNT.items() if key != "active"},
        {"account": {**ACCOUNT, "account_id": lambda number: int(number) > 0}},
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
        schedule("GetNextRuns"),
        {"cron": "0 0 29 2 *", "time_zone": "Asia/Shanghai"},
        {"next_run_times": lambda times: len(times) == 5},
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
        {"page_size": The("workers", "all")},
        {
            "num_workers": lambda count: count >= 1,
            "active_workers": int,
            "total_queue_size": str,
            "workers": lambda workers: (
                {"running", "slots", "busy_slots", "queue_size", "draining"} <= workers[0].keys()
            ),
            "next_page_token": "",
        },
    ),
    Good(
        pool("GetWorkerPool"),
        {"page_size": The("workers", "one")},
        {
            "num_workers": lambda count: count >= 1,
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
        webhook("CreateWebhook"),
        {"account_id": OWN, "url": URL, "event_types": EVENTS},
        {
            "webhook": {"account_id": OWN, "url": URL, "event_types": EVENTS, "active": True, "last_error": ""},
            "secret": lambda secret: secret.startswith("whsec_"),
        },
    ),
    Good(webhook("GetWebhook"), HOOK, {"webhook": {**HOOK, "account_id": OWN, "create_time": str}}),
    Good(
        webhook("ListWebhooks"), {"account_id": The("hook", "account_id")}, {"webhooks": [HOOK], "next_page_token": ""}
    ),
    Good(
        webhook("UpdateWebhook"),
        {
            "webhook": {**HOOK, "url": URL, "event_types": EVENTS, "active": False},
            "update_mask": "url,eventTypes,active",
        },
        {"webhook": {**HOOK, "active": False}},
    ),
    Good(webhook("DeleteWebhook"), HOOK, {}),
    Good(
        webhook("RotateWebhookSecret"),
        {**HOOK, "overlap": "604800s"},
        {"webhook": {**HOOK, "previous_secret_expire_time": str}, "secret": lambda secret: secret.startswith("whsec_")},
    ),
    Good(
        webhook("PingWebhook"),
        HOOK,
        {"delivery": {**HOOK, "event_type": "webhook.ping", "status": "DELIVERY_STATUS_EXHAUSTED", "attempt_count": 1}},
    ),
    Good(
        webhook("ListDeliveries"),
        {"webhook_id": The("pinged", "webhook_id"), "status": "DELIVERY_STATUS_EXHAUSTED"},
        {
            "deliveries": [{"delivery_id": The("pinged", "delivery_id"), "message_id": str, "data": str}],
            "next_page_token": "",
        },
    ),
    Good(
        webhook("RedeliverWebhook"),
        {"delivery_id": The("pinged", "delivery_id")},
        {"delivery": {"status": "DELIVERY_STATUS_PENDING", "next_attempt_time": str}},
    ),
    Good(
        AUDIT,
        {
            "account_id": OWN,
            "actor": "anonymous",
            "method": "AccountService/DeactivateAccount",
            "start_time": "0001-01-01T00:00:00Z",
            "end_time": "9999-12-31T23:59:59.999999999Z",
            "page_size": 2_147_483_647,
        },
        {"events": [], "next_page_token": ""},
    ),
    Good(
        "contentgen.v1.SystemService/GetSystem",
        {},
        {
            "version": str,
            "replicas": lambda replicas: (
                {"scheduler_id", "version", "start_time", "serving", "lanes"} <= replicas[0].keys()
            ),
            "lock_holders": list,
            "database": {"version": str, "size": str},
            "limits": {"max_queue_size": str, "lease_ttl": str, "max_calls": 1_000},
        },
    ),
    Good(
        "contentgen.v1.SystemService/GetCaller",
        {},
        {
            "name": "",
            "role": "operator",
            "account_ids": [],
            "methods": lambda methods: (
                methods == sorted(methods) and {"TaskService/SubmitTask", "WorkerService/Lease"} < set(methods)
            ),
            "token_required": False,
        },
    ),
]
BAD = [
    *(Bad(content(name), {}, fields=("content_id",)) for name in ("GetContent",)),
    not_found(content("GetContent"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(content("ListContents"), {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad(content("ListContents"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(
        content("ListContents"),
        {
            "category": "c" * 201,
            "query": "0 1 2 3 4 5 6 7 8 9 10",
            "min_quality_score": "NaN",
            "labels": {"": "v"},
            "publish_status": 9,
        },
        fields=("category", "min_quality_score", "query", "publish_status", 'labels[""]'),
    ),
    Bad(
        content("ListPublishPool"),
        {"account_id": -1, "page_token": "?", "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_UNSPECIFIED"]},
        fields=("account_id", "statuses[1]", "page_token"),
    ),
    Bad(content("ListPublishPool"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
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
    Bad(
        content("ReviewContent"),
        {"content_id": The("edited", "content_id"), "decision": "REVIEW_DECISION_REJECT", "etag": "e" * 201},
        fields=("etag",),
    ),
    Bad(content("BatchReviewContents"), {}, fields=("requests",)),
    Bad(
        content("BatchReviewContents"),
        {"requests": [{"content_id": 1, "decision": 1}, {"content_id": 1}], "reviewer": "n" * 201},
        fields=("reviewer", "requests[1].decision", "requests[1].content_id"),
    ),
    not_found(
        content("BatchReviewContents"),
        {
            "requests": [
                {"content_id": The("unreviewed", "content_id"), "decision": "REVIEW_DECISION_REJECT"},
                {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"},
            ]
        },
        "content",
        NOTHING,
    ),
    wrong_state(
        content("BatchReviewContents"),
        {"requests": [{"content_id": The("rejected", "content_id"), "decision": "REVIEW_DECISION_APPROVE"}]},
        "rejected",
        "pending_review",
    ),
    Bad(content("ReopenContent"), {}, fields=("content_id",)),
    not_found(content("ReopenContent"), {"content_id": NOTHING}, "content", NOTHING),
    wrong_state(content("ReopenContent"), {"content_id": The("claimed", "content_id")}, "publishing", "pending,failed"),
    wrong_state(
        content("ReopenContent"), {"content_id": The("published", "content_id")}, "published", "pending,failed"
    ),
    Bad(
        content("ClaimReview"),
        {"account_id": -1, "lease": "0.999s", "reviewer": "n" * 201, "content_id": -1},
        fields=("account_id", "lease", "reviewer", "content_id"),
    ),
    not_found(content("ClaimReview"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(content("RegenerateContent"), {}, fields=("content_id", "feedback")),
    Bad(
        content("RegenerateContent"),
        {"content_id": The("approved", "content_id"), "feedback": "字" * 2_001},
        fields=("feedback",),
    ),
    not_found(content("RegenerateContent"), {"content_id": NOTHING, "feedback": "shorter"}, "content", NOTHING),
    Bad(content("ReleaseReview"), {}, fields=("content_id",)),
    not_found(content("ReleaseReview"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(content("UpdateContent"), {}, fields=("content.content_id", "update_mask")),
    Bad(
        content("UpdateContent"),
        {
            "content": {"content_id": NOTHING, "title": " ", "summary": "字" * 2_001},
            "update_mask": "title,body,summary,reviewStatus",
            "etag": "e" * 201,
            "reviewer": "n" * 201,
        },
        fields=(
            "update_mask.paths[3]",
            "content.title",
            "content.body",
            "content.summary",
            "etag",
            "reviewer",
        ),
    ),
    not_found(
        content("UpdateContent"),
        {"content": {"content_id": NOTHING, "title": "a title"}, "update_mask": "title"},
        "content",
        NOTHING,
    ),
    Bad(
        content("UpdateContent"),
        {
            "content": {"content_id": The("edited", "content_id"), "title": "another"},
            "update_mask": "title",
            "etag": The("edited", "stale_etag"),
        },
        StatusCode.ABORTED,
        "ETAG_MISMATCH",
        metadata={"etag": The("edited", "etag")},
    ),
    Bad(
        content("ListContentRevisions"),
        {"page_size": -1, "page_token": "?"},
        fields=("content_id", "page_size", "page_token"),
    ),
    not_found(content("ListContentRevisions"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(content("DeleteContent"), {"force": True}, fields=("content_id",)),
    not_found(content("DeleteContent"), {"content_id": NOTHING}, "content", NOTHING),
    wrong_state(content("DeleteContent"), {"content_id": The("claimed", "content_id")}, "publishing", "pending,failed"),
    Bad(
        content("ClaimPublishPool"),
        {"account_id": -1, "limit": 1_001, "lease": "0.999s", "publisher": "字" * 201},
        fields=("account_id", "limit", "lease", "publisher"),
    ),
    Bad(
        content("ReportPublished"),
        {"error": "字" * 2_001, "published_url": "字" * 2_001},
        fields=("content_id", "claim_id", "error", "published_url"),
    ),
    not_found(content("ReportPublished"), {"content_id": NOTHING, "claim_id": "claim"}, "content", NOTHING),
    wrong_state(content("ReportPublished"), claim("published"), "published", "publishing"),
    Bad(content("RenewPublishClaim"), {"lease": "0s"}, fields=("content_id", "claim_id", "lease")),
    not_found(content("RenewPublishClaim"), {"content_id": NOTHING, "claim_id": "claim"}, "content", NOTHING),
    wrong_state(content("RenewPublishClaim"), claim("published"), "published", "publishing"),
    Bad(content("RetryPublish"), {}, fields=("content_id",)),
    not_found(content("RetryPublish"), {"content_id": NOTHING}, "content", NOTHING),
    wrong_state(content("RetryPublish"), {"content_id": The("approved", "content_id")}, "pending", "failed"),
    Bad(content("UpdatePublishPoolEntry"), {}, fields=("entry.content_id", "update_mask")),
    Bad(
        content("UpdatePublishPoolEntry"),
        {"entry": {"content_id": The("approved", "content_id"), "priority": 11}, "update_mask": "status,priority"},
        fields=("update_mask.paths[0]", "entry.priority"),
    ),
    not_found(
        content("UpdatePublishPoolEntry"),
        {"entry": {"content_id": NOTHING}, "update_mask": "scheduleTime"},
        "content",
        NOTHING,
    ),
    wrong_state(
        content("UpdatePublishPoolEntry"),
        {"entry": {"content_id": The("published", "content_id")}, "update_mask": "scheduleTime"},
        "published",
        "pending,failed",
    ),
    Bad(content("RemoveFromPublishPool"), {}, fields=("content_id",)),
    not_found(content("RemoveFromPublishPool"), {"content_id": NOTHING}, "content", NOTHING),
    wrong_state(
        content("RemoveFromPublishPool"),
        {"content_id": The("claimed", "content_id")},
        "publishing",
        "pending,published,failed",
    ),
    Bad(content("ListPublishAttempts"), {"page_size": -1}, fields=("content_id", "page_size")),
    not_found(content("ListPublishAttempts"), {"content_id": NOTHING}, "content", NOTHING),
    Bad(asset("GetAsset"), {"offset": -1, "length": -1}, fields=("sha256", "offset", "length")),
    Bad(asset("GetAsset"), {"sha256": The("pictured", "sha256"), "offset": 9_000}, fields=("offset",)),
    not_found(asset("GetAsset"), {"sha256": "5" * 64}, "asset", "5" * 64),
    Bad(asset("GetAssetInfo"), {"sha256": "5" * 63}, fields=("sha256",)),
    Bad(
        asset("GetAssetInfo"),
        {"sha256": The("unnamed_asset", "sha256")},
        StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        metadata={"resource_type": "asset", "resource_id": The("unnamed_asset", "sha256")},
    ),
    Bad(PUT_ASSET, {}, fields=("lease_id", "attempt", "sha256", "size")),
    Bad(
        PUT_ASSET,
        {"lease_id": "l", "attempt": 1, "sha256": "A" * 64, "size": 32 * 1024 * 1024 + 1},
        fields=("sha256", "size"),
    ),
    Bad(
        PUT_ASSET,
        {
            "lease_id": The("lost_lease", "lease_id"),
            "attempt": The("lost_lease", "attempt"),
            "sha256": "5" * 64,
            "size": 1,
        },
        StatusCode.FAILED_PRECONDITION,
        "LEASE_LOST",
        metadata={"lease_id": The("lost_lease", "lease_id")},
    ),
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
                "expire_time": "2999-01-02T00:00:00Z",
                "unique_key": "u",
            },
        },
        fields=(
            "name",
            "cron",
            "time_zone",
            "template.priority",
            "template.request_id",
            "template.schedule_time",
            "template.expire_time",
            "template.unique_key",
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
    Bad(schedule("GetNextRuns"), {"cron": "0 0 30 2 *", "time_zone": "Mars"}, fields=("cron", "time_zone")),
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
    Bad(AUDIT, {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad(AUDIT, {"actor": "a" * 201, "method": "\0"}, fields=("actor", "method")),
    Bad(AUDIT, {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(webhook("CreateWebhook"), {"account_id": -1}, fields=("account_id", "url", "event_types")),
    Bad(
        webhook("CreateWebhook"),
        {"url": "https://10.0.0.1/", "event_types": ["task.ended", "webhook.ping"]},
        fields=("url", "event_types[1]"),
    ),
    not_found(
        webhook("CreateWebhook"),
        {"account_id": NO_ACCOUNT, "url": URL, "event_types": EVENTS},
        "account",
        NO_ACCOUNT,
    ),
    *(
        Bad(webhook(name), {}, fields=("webhook_id",))
        for name in ("GetWebhook", "DeleteWebhook", "RotateWebhookSecret", "PingWebhook")
    ),
    *(
        not_found(webhook(name), {"webhook_id": NOTHING}, "webhook", NOTHING)
        for name in ("GetWebhook", "DeleteWebhook", "RotateWebhookSecret", "PingWebhook", "ListDeliveries")
    ),
    Bad(webhook("RotateWebhookSecret"), {**HOOK, "overlap": "604801s"}, fields=("overlap",)),
    Bad(webhook("ListWebhooks"), {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad(webhook("ListWebhooks"), {"page_token": The("page_of_tasks", "next_page_token")}, fields=("page_token",)),
    Bad(webhook("UpdateWebhook"), {}, fields=("webhook.webhook_id", "update_mask")),
    Bad(
        webhook("UpdateWebhook"),
        {"webhook": HOOK, "update_mask": "url,eventTypes,accountId"},
        fields=("update_mask.paths[2]", "webhook.url", "webhook.event_types"),
    ),
    not_found(
        webhook("UpdateWebhook"), {"webhook": {"webhook_id": NOTHING}, "update_mask": "active"}, "webhook", NOTHING
    ),
    Bad(webhook("ListDeliveries"), {"status": 9, "page_size": -1}, fields=("webhook_id", "status", "page_size")),
    Bad(
        webhook("ListDeliveries"),
        {**HOOK, "page_token": The("page_of_tasks", "next_page_token")},
        fields=("page_token",),
    ),
    Bad(webhook("RedeliverWebhook"), {}, fields=("delivery_id",)),
    not_found(webhook("RedeliverWebhook"), {"delivery_id": NOTHING}, "delivery", NOTHING),
    wrong_state(
        webhook("RedeliverWebhook"), {"delivery_id": The("undeliverable", "delivery_id")}, "inactive", "active"
    ),
]
