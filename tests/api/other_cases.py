"""All services but TaskService, and uploads of assets: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from grpc import StatusCode

from tests.api.cases import (
    OTHER_PAGE,
    OWN,
    Bad,
    Good,
    The,
    account,
    content,
    delivery,
    not_found,
    schedule,
    task,
    webhook,
    worker,
    wrong_state,
)
from tests.api.task_cases import EVERYTHING, NO_ACCOUNT, an_opaque_token

LATER = "2999-01-01T00:00:00Z"
NOTHING = "9007199254740993"
PUT_ASSET = "WorkerService/PutAsset"


AUDIT = "AuditService/ListAuditEvents"


def claim(what: str, **more: Any) -> dict[str, Any]:
    return {**content(what), "claim_id": The(what, "claim_id"), **more}


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
HOOK = webhook("hook")
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
        "ContentService/GetContent",
        content("approved"),
        {
            "content": {
                **content("approved"),
                "account_id": OWN,
                **task("approved"),
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
        "ContentService/ListContents",
        {**account("unreviewed"), "review_status": "REVIEW_STATUS_PENDING_REVIEW"},
        {"contents": [{**content("unreviewed"), "body": ""}], "next_page_token": ""},
    ),
    Good(
        "ContentService/ListContents",
        {
            **account("approved"),
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
        "ContentService/ListContents",
        {**account("edited"), "query": "EDIT topic", "publish_status": "PUBLISH_STATUS_PENDING"},
        {"contents": [content("edited")], "next_page_token": ""},
    ),
    Good(
        "ContentService/ReviewContent",
        {
            **content("unreviewed"),
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
        "ContentService/BatchReviewContents",
        {
            "requests": [
                {
                    **content("unreviewed"),
                    "decision": "REVIEW_DECISION_APPROVE",
                    "comment": "good",
                    "etag": The("unreviewed", "etag"),
                    "reviewer": "anna",
                },
                {**content("held"), "decision": "REVIEW_DECISION_REJECT"},
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
            "ContentService/ReopenContent",
            content(what),
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
        "ContentService/ClaimReview",
        {**account("unreviewed"), "lease": "1s", "reviewer": "审" * 200},
        {
            "content": {
                **content("unreviewed"),
                "body": "an article",
                "review_holder": "审" * 200,
                "review_claim_expire_time": str,
            }
        },
    ),
    Good(
        "ContentService/ClaimReview",
        {**content("unreviewed"), "reviewer": "anna"},
        {"content": {**content("unreviewed"), "review_holder": "anna"}},
    ),
    Good(
        "ContentService/RegenerateContent",
        {**content("approved"), "feedback": "短" * 2_000},
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
    Good("ContentService/ReleaseReview", content("held"), {"content": {**content("held"), "review_holder": ""}}),
    Good(
        "ContentService/UpdateContent",
        {
            "content": {**content("approved"), **TEXTS},
            "update_mask": "title,body,htmlBody,summary,category,coverImage",
            "etag": The("approved", "etag"),
            "reviewer": "编辑",
        },
        {"content": {**TEXTS, "word_count": 4, "revision": 2, "etag": an_opaque_token}},
    ),
    Good(
        "ContentService/UpdateContent",
        {"content": {**content("approved"), "body": "a new text"}, "update_mask": "body"},
        {"content": {"title": "a topic", "body": "a new text", "summary": "a new text", "html_body": ""}},
    ),
    Good(
        "ContentService/ListContentRevisions",
        {**content("approved"), "page_size": 1},
        {"revisions": [{"number": 1, "author": "", "body": "an article", "create_time": str}], "next_page_token": ""},
    ),
    Good(
        "ContentService/ListContentRevisions",
        content("edited"),
        {
            "revisions": [{"number": 1, "title": "a topic"}, {"number": 2, "author": "anonymous", "title": "edited"}],
            "next_page_token": "",
        },
    ),
    Good("ContentService/DeleteContent", content("approved"), {}),
    Good("ContentService/DeleteContent", {**content("published"), "force": True}, {}),
    Good(
        "ContentService/ListPublishPool",
        {
            **account("approved"),
            "statuses": ["PUBLISH_STATUS_PENDING"],
            "scheduled_after": "2030-01-31T00:00:00Z",
            "scheduled_before": "2030-02-01T00:00:00Z",
        },
        {"entries": [], "next_page_token": ""},
    ),
    Good(
        "ContentService/ListPublishPool",
        account("approved"),
        {"entries": [{**ENTRY, **content("approved"), "status": "PUBLISH_STATUS_PENDING"}], "next_page_token": ""},
    ),
    Good(
        "ContentService/ListPublishPool",
        {**account("unpublishable"), "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_PENDING"]},
        {
            "entries": [
                {
                    **content("unpublishable"),
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
        "ContentService/ClaimPublishPool",
        {**account("approved"), "limit": 1_000, "lease": "1s", "publisher": "字" * 200},
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
    Good("ContentService/ClaimPublishPool", {"account_id": OWN}, {"entries": []}),
    Good(
        "ContentService/ReportPublished",
        claim("claimed", published=True),
        {"entry": {**ENTRY, **content("claimed"), "status": "PUBLISH_STATUS_PUBLISHED"}},
    ),
    Good(
        "ContentService/ReportPublished",
        claim("claimed", published=True, published_url="https://" + "字" * 1_992),
        {"entry": {"attempt_count": 1, "published_url": "https://" + "字" * 1_992}},
    ),
    Good(
        "ContentService/RenewPublishClaim",
        claim("claimed", lease="315576000000s"),
        {"entry": {"status": "PUBLISH_STATUS_PUBLISHING", "claim_expire_time": "9999-12-31T00:00:00Z"}},
    ),
    Good(
        "ContentService/RetryPublish",
        content("unpublishable"),
        {"entry": {"status": "PUBLISH_STATUS_PENDING", "attempt_count": 0}},
    ),
    Good(
        "ContentService/UpdatePublishPoolEntry",
        {
            "entry": {**content("approved"), "priority": 10, "schedule_time": LATER},
            "update_mask": "priority,scheduleTime",
        },
        {"entry": {"priority": 10, "schedule_time": LATER, "status": "PUBLISH_STATUS_PENDING"}},
    ),
    Good("ContentService/RemoveFromPublishPool", content("approved"), {}),
    Good(
        "ContentService/ListPublishAttempts",
        content("unpublishable"),
        {
            "attempts": [
                {"number": 1, "publisher": "anonymous", "start_time": str, "end_time": str, "published": False}
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "AssetService/GetAsset",
        {"sha256": The("pictured", "sha256"), "offset": 1, "length": 3},
        {"chunk": base64.b64encode(b"PNG").decode()},
    ),
    Good(
        "AssetService/GetAssetInfo",
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
    Good(
        "AccountService/CreateAccount", {"name": "n"}, {"account": {"weight": 1.0, "active": True, "create_time": str}}
    ),
    Good(
        "AccountService/CreateAccount",
        {key: value for key, value in ACCOUNT.items() if key != "active"},
        {"account": {**ACCOUNT, "account_id": lambda number: int(number) > 0}},
    ),
    Good("AccountService/GetAccount", {"account_id": OWN}, {"account": {"account_id": OWN, "max_concurrent_tasks": 0}}),
    Good("AccountService/ListAccounts", {"page_size": 1}, {"accounts": [{"active": bool}], "next_page_token": str}),
    Good(
        "AccountService/UpdateAccount",
        {"account": {**account("account"), **ACCOUNT}, "update_mask": ALL_PATHS},
        {"account": ACCOUNT},
    ),
    Good(
        "AccountService/UpdateAccount",
        {"account": {**account("inactive"), "active": True}, "update_mask": "active"},
        {"account": {"name": "an account", "active": True}},
    ),
    Good("AccountService/DeactivateAccount", account("account"), {"account": {"active": False}}),
    Good(
        "ScheduleService/CreateSchedule",
        {"account_id": OWN, "cron": "*/5 * * * *", "template": {"topic": "a topic", "account_id": NO_ACCOUNT}},
        {"schedule": {**NEW_SCHEDULE, "template": {"topic": "a topic", "account_id": OWN}}},
    ),
    Good(
        "ScheduleService/CreateSchedule",
        {"account_id": OWN, **SETTINGS, "template": TEMPLATE},
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}, "next_run_times": []}},
    ),
    Good("ScheduleService/GetSchedule", schedule("schedule"), {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}}),
    Good(
        "ScheduleService/GetNextRuns",
        {"cron": "0 0 29 2 *", "time_zone": "Asia/Shanghai"},
        {"next_run_times": lambda times: len(times) == 5},
    ),
    Good(
        "ScheduleService/ListSchedules",
        {**account("schedule"), "page_size": 1_000},
        {"schedules": [NEW_SCHEDULE], "next_page_token": ""},
    ),
    Good(
        "ScheduleService/UpdateSchedule",
        {"schedule": {**schedule("schedule"), **SETTINGS, "template": TEMPLATE}, "update_mask": ALL_SETTINGS},
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}}},
    ),
    Good(
        "ScheduleService/UpdateSchedule",
        {"schedule": schedule("paused"), "update_mask": "paused"},
        {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}},
    ),
    Good("ScheduleService/DeleteSchedule", schedule("schedule"), {}),
    Good("ScheduleService/PauseSchedule", schedule("schedule"), {"schedule": {"paused": True, "next_run_times": []}}),
    Good("ScheduleService/ResumeSchedule", schedule("paused"), {"schedule": NEW_SCHEDULE}),
    Good(
        "ScheduleService/RunSchedule",
        schedule("paused"),
        {"task": {"account_id": OWN, "topic": "a topic", **schedule("paused")}},
    ),
    Good(
        "WorkerPoolService/GetWorkerPool",
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
        "WorkerPoolService/GetWorkerPool",
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
        "WorkerPoolService/DrainWorker",
        worker("connected"),
        {"worker": {**worker("connected"), "draining": True, "running": False}},
    ),
    Good(
        "WorkerPoolService/ResizeWorker",
        {**worker("connected"), "slots": 1_000},
        {"worker": {**worker("connected"), "slots": 1_000, "connect_time": str}},
    ),
    Good("WorkerPoolService/PauseDispatch", account("account"), {}),
    Good("WorkerPoolService/ResumeDispatch", account("account"), {}),
    Good("WorkerPoolService/ResumeDispatch", {}, {}),
    Good("WorkerPoolService/GetDispatchStatus", {}, {"all_paused": bool, "paused_account_ids": list}),
    Good(
        "WorkerPoolService/UndrainWorker",
        worker("draining"),
        {"worker": {**worker("connected"), "draining": False, "running": True, "connected": True}},
    ),
    Good(
        "WebhookService/CreateWebhook",
        {"account_id": OWN, "url": URL, "event_types": EVENTS},
        {
            "webhook": {"account_id": OWN, "url": URL, "event_types": EVENTS, "active": True, "last_error": ""},
            "secret": lambda secret: secret.startswith("whsec_"),
        },
    ),
    Good("WebhookService/GetWebhook", HOOK, {"webhook": {**HOOK, "account_id": OWN, "create_time": str}}),
    Good("WebhookService/ListWebhooks", account("hook"), {"webhooks": [HOOK], "next_page_token": ""}),
    Good(
        "WebhookService/UpdateWebhook",
        {
            "webhook": {**HOOK, "url": URL, "event_types": EVENTS, "active": False},
            "update_mask": "url,eventTypes,active",
        },
        {"webhook": {**HOOK, "active": False}},
    ),
    Good("WebhookService/DeleteWebhook", HOOK, {}),
    Good(
        "WebhookService/RotateWebhookSecret",
        {**HOOK, "overlap": "604800s"},
        {"webhook": {**HOOK, "previous_secret_expire_time": str}, "secret": lambda secret: secret.startswith("whsec_")},
    ),
    Good(
        "WebhookService/PingWebhook",
        HOOK,
        {"delivery": {**HOOK, "event_type": "webhook.ping", "status": "DELIVERY_STATUS_EXHAUSTED", "attempt_count": 1}},
    ),
    Good(
        "WebhookService/ListDeliveries",
        {**webhook("pinged"), "status": "DELIVERY_STATUS_EXHAUSTED"},
        {"deliveries": [{**delivery("pinged"), "message_id": str, "data": str}], "next_page_token": ""},
    ),
    Good(
        "WebhookService/RedeliverWebhook",
        delivery("pinged"),
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
        "SystemService/GetSystem",
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
        "SystemService/GetCaller",
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
BY_CONTENT_ID = ("GetContent", "ReopenContent", "ReleaseReview", "RetryPublish", "RemoveFromPublishPool")
BY_IT_AND_MORE = ("ClaimReview", "ListContentRevisions", "DeleteContent", "ListPublishAttempts")
BAD = [
    *(Bad(f"ContentService/{name}", {}, fields=("content_id",)) for name in BY_CONTENT_ID),
    *(
        not_found(f"ContentService/{name}", {"content_id": NOTHING}, "content", NOTHING)
        for name in (*BY_CONTENT_ID, *BY_IT_AND_MORE)
    ),
    Bad("ContentService/ListContents", {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad("ContentService/ListContents", OTHER_PAGE, fields=("page_token",)),
    Bad(
        "ContentService/ListContents",
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
        "ContentService/ListPublishPool",
        {"account_id": -1, "page_token": "?", "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_UNSPECIFIED"]},
        fields=("account_id", "statuses[1]", "page_token"),
    ),
    Bad("ContentService/ListPublishPool", OTHER_PAGE, fields=("page_token",)),
    Bad("ContentService/ReviewContent", {"comment": "字" * 2_001}, fields=("content_id", "decision", "comment")),
    not_found(
        "ContentService/ReviewContent",
        {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"},
        "content",
        NOTHING,
    ),
    Bad(
        "ContentService/ReviewContent",
        {**content("edited"), "decision": "REVIEW_DECISION_REJECT", "etag": "e" * 201},
        fields=("etag",),
    ),
    Bad("ContentService/BatchReviewContents", {}, fields=("requests",)),
    Bad(
        "ContentService/BatchReviewContents",
        {"requests": [{"content_id": 1, "decision": 1}, {"content_id": 1}], "reviewer": "n" * 201},
        fields=("reviewer", "requests[1].decision", "requests[1].content_id"),
    ),
    not_found(
        "ContentService/BatchReviewContents",
        {
            "requests": [
                {**content("unreviewed"), "decision": "REVIEW_DECISION_REJECT"},
                {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"},
            ]
        },
        "content",
        NOTHING,
    ),
    wrong_state(
        "ContentService/BatchReviewContents",
        {"requests": [{**content("rejected"), "decision": "REVIEW_DECISION_APPROVE"}]},
        "rejected",
        "pending_review",
    ),
    wrong_state("ContentService/ReopenContent", content("claimed"), "publishing", "pending,failed"),
    wrong_state("ContentService/ReopenContent", content("published"), "published", "pending,failed"),
    Bad(
        "ContentService/ClaimReview",
        {"account_id": -1, "lease": "0.999s", "reviewer": "n" * 201, "content_id": -1},
        fields=("account_id", "lease", "reviewer", "content_id"),
    ),
    Bad("ContentService/RegenerateContent", {}, fields=("content_id", "feedback")),
    Bad("ContentService/RegenerateContent", {**content("approved"), "feedback": "字" * 2_001}, fields=("feedback",)),
    not_found("ContentService/RegenerateContent", {"content_id": NOTHING, "feedback": "shorter"}, "content", NOTHING),
    Bad("ContentService/UpdateContent", {}, fields=("content.content_id", "update_mask")),
    Bad(
        "ContentService/UpdateContent",
        {
            "content": {"content_id": NOTHING, "title": " ", "summary": "字" * 2_001},
            "update_mask": "title,body,summary,reviewStatus",
            "etag": "e" * 201,
            "reviewer": "n" * 201,
        },
        fields=("update_mask.paths[3]", "content.title", "content.body", "content.summary", "etag", "reviewer"),
    ),
    not_found(
        "ContentService/UpdateContent",
        {"content": {"content_id": NOTHING, "title": "a title"}, "update_mask": "title"},
        "content",
        NOTHING,
    ),
    Bad(
        "ContentService/UpdateContent",
        {
            "content": {**content("edited"), "title": "another"},
            "update_mask": "title",
            "etag": The("edited", "stale_etag"),
        },
        StatusCode.ABORTED,
        "ETAG_MISMATCH",
        metadata={"etag": The("edited", "etag")},
    ),
    Bad(
        "ContentService/ListContentRevisions",
        {"page_size": -1, "page_token": "?"},
        fields=("content_id", "page_size", "page_token"),
    ),
    Bad("ContentService/DeleteContent", {"force": True}, fields=("content_id",)),
    wrong_state("ContentService/DeleteContent", content("claimed"), "publishing", "pending,failed"),
    Bad(
        "ContentService/ClaimPublishPool",
        {"account_id": -1, "limit": 1_001, "lease": "0.999s", "publisher": "字" * 201},
        fields=("account_id", "limit", "lease", "publisher"),
    ),
    Bad(
        "ContentService/ReportPublished",
        {"error": "字" * 2_001, "published_url": "字" * 2_001},
        fields=("content_id", "claim_id", "error", "published_url"),
    ),
    not_found("ContentService/ReportPublished", {"content_id": NOTHING, "claim_id": "claim"}, "content", NOTHING),
    Bad("ContentService/RenewPublishClaim", {"lease": "0s"}, fields=("content_id", "claim_id", "lease")),
    not_found("ContentService/RenewPublishClaim", {"content_id": NOTHING, "claim_id": "claim"}, "content", NOTHING),
    Bad("ContentService/UpdatePublishPoolEntry", {}, fields=("entry.content_id", "update_mask")),
    Bad(
        "ContentService/UpdatePublishPoolEntry",
        {"entry": {**content("approved"), "priority": 11}, "update_mask": "status,priority"},
        fields=("update_mask.paths[0]", "entry.priority"),
    ),
    not_found(
        "ContentService/UpdatePublishPoolEntry",
        {"entry": {"content_id": NOTHING}, "update_mask": "scheduleTime"},
        "content",
        NOTHING,
    ),
    Bad("ContentService/ListPublishAttempts", {"page_size": -1}, fields=("content_id", "page_size")),
    Bad("AssetService/GetAsset", {"offset": -1, "length": -1}, fields=("sha256", "offset", "length")),
    Bad("AssetService/GetAsset", {"sha256": The("pictured", "sha256"), "offset": 9_000}, fields=("offset",)),
    not_found("AssetService/GetAsset", {"sha256": "5" * 64}, "asset", "5" * 64),
    Bad("AssetService/GetAssetInfo", {"sha256": "5" * 63}, fields=("sha256",)),
    Bad(
        "AssetService/GetAssetInfo",
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
    Bad("AccountService/CreateAccount", {"max_concurrent_tasks": -1}, fields=("name", "max_concurrent_tasks")),
    Bad("AccountService/CreateAccount", {"name": "n" * 201, "weight": 0}, fields=("name", "weight")),
    Bad("AccountService/GetAccount", {}, fields=("account_id",)),
    not_found("AccountService/GetAccount", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad("AccountService/ListAccounts", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("AccountService/ListAccounts", OTHER_PAGE, fields=("page_token",)),
    Bad("AccountService/UpdateAccount", {}, fields=("account.account_id", "update_mask")),
    Bad(
        "AccountService/UpdateAccount",
        {"account": {"account_id": OWN}, "update_mask": "name,accountId,createTime"},
        fields=("update_mask.paths[1]", "update_mask.paths[2]", "account.name"),
    ),
    not_found(
        "AccountService/UpdateAccount",
        {"account": {"account_id": NO_ACCOUNT}, "update_mask": "active"},
        "account",
        NO_ACCOUNT,
    ),
    Bad("AccountService/DeactivateAccount", {}, fields=("account_id",)),
    not_found("AccountService/DeactivateAccount", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad("ScheduleService/CreateSchedule", {}, fields=("account_id", "cron", "template", "template.topic")),
    Bad(
        "ScheduleService/CreateSchedule",
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
        "ScheduleService/CreateSchedule",
        {"account_id": NO_ACCOUNT, "cron": "* * * * *", "template": {"topic": "a topic"}},
        "account",
        NO_ACCOUNT,
    ),
    Bad(
        "ScheduleService/ListSchedules",
        {"account_id": -1, "page_size": -1, "page_token": "?"},
        fields=("account_id", "page_size", "page_token"),
    ),
    Bad("ScheduleService/UpdateSchedule", {}, fields=("schedule.schedule_id", "update_mask")),
    Bad(
        "ScheduleService/UpdateSchedule",
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
        "ScheduleService/UpdateSchedule",
        {"schedule": {"schedule_id": NOTHING}, "update_mask": "paused"},
        "schedule",
        NOTHING,
    ),
    Bad("ScheduleService/GetNextRuns", {"cron": "0 0 30 2 *", "time_zone": "Mars"}, fields=("cron", "time_zone")),
    *(
        case
        for name in ("GetSchedule", "DeleteSchedule", "PauseSchedule", "ResumeSchedule", "RunSchedule")
        for case in (
            Bad(f"ScheduleService/{name}", {}, fields=("schedule_id",)),
            not_found(f"ScheduleService/{name}", {"schedule_id": NOTHING}, "schedule", NOTHING),
        )
    ),
    Bad("WorkerPoolService/GetWorkerPool", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("WorkerPoolService/GetWorkerPool", OTHER_PAGE, fields=("page_token",)),
    Bad("WorkerPoolService/DrainWorker", {}, fields=("worker_id",)),
    not_found("WorkerPoolService/DrainWorker", {"worker_id": "nobody"}, "worker", "nobody"),
    Bad("WorkerPoolService/UndrainWorker", {}, fields=("worker_id",)),
    not_found("WorkerPoolService/UndrainWorker", {"worker_id": "nobody"}, "worker", "nobody"),
    Bad("WorkerPoolService/ResizeWorker", {"worker_id": " ", "slots": 1_001}, fields=("worker_id", "slots")),
    Bad("WorkerPoolService/ResizeWorker", worker("connected"), fields=("slots",)),
    not_found("WorkerPoolService/ResizeWorker", {"worker_id": "nobody", "slots": 1}, "worker", "nobody"),
    Bad("WorkerPoolService/PauseDispatch", {"account_id": -1}, fields=("account_id",)),
    not_found("WorkerPoolService/PauseDispatch", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad("WorkerPoolService/ResumeDispatch", {"account_id": -1}, fields=("account_id",)),
    not_found("WorkerPoolService/ResumeDispatch", {"account_id": NO_ACCOUNT}, "account", NO_ACCOUNT),
    Bad(AUDIT, {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad(AUDIT, {"actor": "a" * 201, "method": "\0"}, fields=("actor", "method")),
    Bad(AUDIT, OTHER_PAGE, fields=("page_token",)),
    Bad("WebhookService/CreateWebhook", {"account_id": -1}, fields=("account_id", "url", "event_types")),
    Bad(
        "WebhookService/CreateWebhook",
        {"url": "https://10.0.0.1/", "event_types": ["task.ended", "webhook.ping"]},
        fields=("url", "event_types[1]"),
    ),
    not_found(
        "WebhookService/CreateWebhook",
        {"account_id": NO_ACCOUNT, "url": URL, "event_types": EVENTS},
        "account",
        NO_ACCOUNT,
    ),
    *(
        Bad(f"WebhookService/{name}", {}, fields=("webhook_id",))
        for name in ("GetWebhook", "DeleteWebhook", "RotateWebhookSecret", "PingWebhook")
    ),
    *(
        not_found(f"WebhookService/{name}", {"webhook_id": NOTHING}, "webhook", NOTHING)
        for name in ("GetWebhook", "DeleteWebhook", "RotateWebhookSecret", "PingWebhook", "ListDeliveries")
    ),
    Bad("WebhookService/RotateWebhookSecret", {**HOOK, "overlap": "604801s"}, fields=("overlap",)),
    Bad("WebhookService/ListWebhooks", {"account_id": -1, "page_size": -1}, fields=("account_id", "page_size")),
    Bad("WebhookService/ListWebhooks", OTHER_PAGE, fields=("page_token",)),
    Bad("WebhookService/UpdateWebhook", {}, fields=("webhook.webhook_id", "update_mask")),
    Bad(
        "WebhookService/UpdateWebhook",
        {"webhook": HOOK, "update_mask": "url,eventTypes,accountId"},
        fields=("update_mask.paths[2]", "webhook.url", "webhook.event_types"),
    ),
    not_found(
        "WebhookService/UpdateWebhook",
        {"webhook": {"webhook_id": NOTHING}, "update_mask": "active"},
        "webhook",
        NOTHING,
    ),
    Bad("WebhookService/ListDeliveries", {"status": 9, "page_size": -1}, fields=("webhook_id", "status", "page_size")),
    Bad("WebhookService/ListDeliveries", {**HOOK, **OTHER_PAGE}, fields=("page_token",)),
    Bad("WebhookService/RedeliverWebhook", {}, fields=("delivery_id",)),
    not_found("WebhookService/RedeliverWebhook", {"delivery_id": NOTHING}, "delivery", NOTHING),
    wrong_state("WebhookService/RedeliverWebhook", delivery("undeliverable"), "inactive", "active"),
]
