"""All services but TaskService, and uploads of assets: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from grpc import StatusCode

from tests.api.cases import (
    NOTHING,
    OTHER_PAGE,
    OWN,
    Bad,
    Good,
    The,
    about_one,
    account,
    content,
    delivery,
    not_found,
    schedule,
    taking,
    task,
    webhook,
    worker,
    wrong_state,
)
from tests.api.task_cases import EVERYTHING, an_opaque_token

LATER = "2999-01-01T00:00:00Z"


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
POOL_COUNTS = {"num_workers": lambda count: count >= 1, "active_workers": int, "total_queue_size": str}
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
        "GetContent",
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
        "ListContents",
        {**account("unreviewed"), "review_status": "REVIEW_STATUS_PENDING_REVIEW"},
        {"contents": [{**content("unreviewed"), "body": ""}], "next_page_token": ""},
    ),
    Good(
        "ListContents",
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
        "ListContents",
        {**account("edited"), "query": "EDIT topic", "publish_status": "PUBLISH_STATUS_PENDING"},
        {"contents": [content("edited")], "next_page_token": ""},
    ),
    Good(
        "ReviewContent",
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
        "BatchReviewContents",
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
            "ReopenContent",
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
        "ClaimReview",
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
        "ClaimReview",
        {**content("unreviewed"), "reviewer": "anna"},
        {"content": {**content("unreviewed"), "review_holder": "anna"}},
    ),
    Good(
        "RegenerateContent",
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
    Good("ReleaseReview", content("held"), {"content": {**content("held"), "review_holder": ""}}),
    Good(
        "UpdateContent",
        {
            "content": {**content("approved"), **TEXTS},
            "update_mask": "title,body,htmlBody,summary,category,coverImage",
            "etag": The("approved", "etag"),
            "reviewer": "编辑",
        },
        {"content": {**TEXTS, "word_count": 4, "revision": 2, "etag": an_opaque_token}},
    ),
    Good(
        "UpdateContent",
        {"content": {**content("approved"), "body": "a new text"}, "update_mask": "body"},
        {"content": {"title": "a topic", "body": "a new text", "summary": "a new text", "html_body": ""}},
    ),
    Good(
        "ListContentRevisions",
        {**content("approved"), "page_size": 1},
        {"revisions": [{"number": 1, "author": "", "body": "an article", "create_time": str}], "next_page_token": ""},
    ),
    Good(
        "ListContentRevisions",
        content("edited"),
        {
            "revisions": [{"number": 1, "title": "a topic"}, {"number": 2, "author": "anonymous", "title": "edited"}],
            "next_page_token": "",
        },
    ),
    Good("DeleteContent", content("approved"), {}),
    Good("DeleteContent", {**content("published"), "force": True}, {}),
    Good(
        "ListPublishPool",
        {
            **account("approved"),
            "statuses": ["PUBLISH_STATUS_PENDING"],
            "scheduled_after": "2030-01-31T00:00:00Z",
            "scheduled_before": "2030-02-01T00:00:00Z",
        },
        {"entries": [], "next_page_token": ""},
    ),
    Good(
        "ListPublishPool",
        account("approved"),
        {"entries": [{**ENTRY, **content("approved"), "status": "PUBLISH_STATUS_PENDING"}], "next_page_token": ""},
    ),
    Good(
        "ListPublishPool",
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
        "ClaimPublishPool",
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
    Good("ClaimPublishPool", {"account_id": OWN}, {"entries": []}),
    Good(
        "ReportPublished",
        claim("claimed", published=True),
        {"entry": {**ENTRY, **content("claimed"), "status": "PUBLISH_STATUS_PUBLISHED"}},
    ),
    Good(
        "ReportPublished",
        claim("claimed", published=True, published_url="https://" + "字" * 1_992),
        {"entry": {"attempt_count": 1, "published_url": "https://" + "字" * 1_992}},
    ),
    Good(
        "RenewPublishClaim",
        claim("claimed", lease="315576000000s"),
        {"entry": {"status": "PUBLISH_STATUS_PUBLISHING", "claim_expire_time": "9999-12-31T00:00:00Z"}},
    ),
    Good("RetryPublish", content("unpublishable"), {"entry": {"status": "PUBLISH_STATUS_PENDING", "attempt_count": 0}}),
    Good(
        "UpdatePublishPoolEntry",
        {
            "entry": {**content("approved"), "priority": 10, "schedule_time": LATER},
            "update_mask": "priority,scheduleTime",
        },
        {"entry": {"priority": 10, "schedule_time": LATER, "status": "PUBLISH_STATUS_PENDING"}},
    ),
    Good("RemoveFromPublishPool", content("approved"), {}),
    Good(
        "ListPublishAttempts",
        content("unpublishable"),
        {
            "attempts": [
                {"number": 1, "publisher": "anonymous", "start_time": str, "end_time": str, "published": False}
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "GetAsset",
        {"sha256": The("pictured", "sha256"), "offset": 1, "length": 3},
        {"chunk": base64.b64encode(b"PNG").decode()},
    ),
    Good(
        "GetAssetInfo",
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
        "PutAsset",
        {
            "lease_id": The("leased", "lease_id"),
            "attempt": The("leased", "attempt"),
            "sha256": hashlib.sha256(b"a file").hexdigest(),
            "size": 6,
            "chunk": base64.b64encode(b"a file").decode(),
        },
        {"known": bool},
    ),
    Good("CreateAccount", {"name": "n"}, {"account": {"weight": 1.0, "active": True, "create_time": str}}),
    Good(
        "CreateAccount",
        {key: value for key, value in ACCOUNT.items() if key != "active"},
        {"account": {**ACCOUNT, "account_id": lambda number: int(number) > 0}},
    ),
    Good("GetAccount", {"account_id": OWN}, {"account": {"account_id": OWN, "max_concurrent_tasks": 0}}),
    Good("ListAccounts", {"page_size": 1}, {"accounts": [{"active": bool}], "next_page_token": str}),
    Good(
        "UpdateAccount", {"account": {**account("account"), **ACCOUNT}, "update_mask": ALL_PATHS}, {"account": ACCOUNT}
    ),
    Good(
        "UpdateAccount",
        {"account": {**account("inactive"), "active": True}, "update_mask": "active"},
        {"account": {"name": "an account", "active": True}},
    ),
    Good("DeactivateAccount", account("account"), {"account": {"active": False}}),
    Good(
        "CreateSchedule",
        {"account_id": OWN, "cron": "*/5 * * * *", "template": {"topic": "a topic", "account_id": NOTHING}},
        {"schedule": {**NEW_SCHEDULE, "template": {"topic": "a topic", "account_id": OWN}}},
    ),
    Good(
        "CreateSchedule",
        {"account_id": OWN, **SETTINGS, "template": TEMPLATE},
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}, "next_run_times": []}},
    ),
    Good("GetSchedule", schedule("schedule"), {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}}),
    Good(
        "GetNextRuns",
        {"cron": "0 0 29 2 *", "time_zone": "Asia/Shanghai"},
        {"next_run_times": lambda times: len(times) == 5},
    ),
    Good(
        "ListSchedules",
        {**account("schedule"), "page_size": 1_000},
        {"schedules": [NEW_SCHEDULE], "next_page_token": ""},
    ),
    Good(
        "UpdateSchedule",
        {"schedule": {**schedule("schedule"), **SETTINGS, "template": TEMPLATE}, "update_mask": ALL_SETTINGS},
        {"schedule": {**SETTINGS, "template": {**TEMPLATE, "account_id": OWN}}},
    ),
    Good(
        "UpdateSchedule",
        {"schedule": schedule("paused"), "update_mask": "paused"},
        {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}},
    ),
    Good("DeleteSchedule", schedule("schedule"), {}),
    Good("PauseSchedule", schedule("schedule"), {"schedule": {"paused": True, "next_run_times": []}}),
    Good("ResumeSchedule", schedule("paused"), {"schedule": NEW_SCHEDULE}),
    Good("RunSchedule", schedule("paused"), {"task": {"account_id": OWN, "topic": "a topic", **schedule("paused")}}),
    Good(
        "GetWorkerPool",
        {"page_size": The("workers", "all")},
        {
            **POOL_COUNTS,
            "workers": lambda workers: (
                {"running", "slots", "busy_slots", "queue_size", "draining"} <= workers[0].keys()
            ),
            "next_page_token": "",
        },
    ),
    Good(
        "GetWorkerPool",
        {"page_size": The("workers", "one")},
        {**POOL_COUNTS, "workers": [{"worker_id": str}], "next_page_token": str},
    ),
    Good("DrainWorker", worker("connected"), {"worker": {**worker("connected"), "draining": True, "running": False}}),
    Good(
        "ResizeWorker",
        {**worker("connected"), "slots": 1_000},
        {"worker": {**worker("connected"), "slots": 1_000, "connect_time": str}},
    ),
    Good("PauseDispatch", account("account"), {}),
    Good("ResumeDispatch", account("account"), {}),
    Good("ResumeDispatch", {}, {}),
    Good("GetDispatchStatus", {}, {"all_paused": bool, "paused_account_ids": list}),
    Good(
        "UndrainWorker",
        worker("draining"),
        {"worker": {**worker("connected"), "draining": False, "running": True, "connected": True}},
    ),
    Good(
        "CreateWebhook",
        {"account_id": OWN, "url": URL, "event_types": EVENTS},
        {
            "webhook": {"account_id": OWN, "url": URL, "event_types": EVENTS, "active": True, "last_error": ""},
            "secret": lambda secret: secret.startswith("whsec_"),
        },
    ),
    Good("GetWebhook", HOOK, {"webhook": {**HOOK, "account_id": OWN, "create_time": str}}),
    Good("ListWebhooks", account("hook"), {"webhooks": [HOOK], "next_page_token": ""}),
    Good(
        "UpdateWebhook",
        {
            "webhook": {**HOOK, "url": URL, "event_types": EVENTS, "active": False},
            "update_mask": "url,eventTypes,active",
        },
        {"webhook": {**HOOK, "active": False}},
    ),
    Good("DeleteWebhook", HOOK, {}),
    Good(
        "RotateWebhookSecret",
        {**HOOK, "overlap": "604800s"},
        {"webhook": {**HOOK, "previous_secret_expire_time": str}, "secret": lambda secret: secret.startswith("whsec_")},
    ),
    Good(
        "PingWebhook",
        HOOK,
        {"delivery": {**HOOK, "event_type": "webhook.ping", "status": "DELIVERY_STATUS_EXHAUSTED", "attempt_count": 1}},
    ),
    Good(
        "ListDeliveries",
        {**webhook("pinged"), "status": "DELIVERY_STATUS_EXHAUSTED"},
        {"deliveries": [{**delivery("pinged"), "message_id": str, "data": str}], "next_page_token": ""},
    ),
    Good(
        "RedeliverWebhook",
        delivery("pinged"),
        {"delivery": {"status": "DELIVERY_STATUS_PENDING", "next_attempt_time": str}},
    ),
    Good(
        "ListAuditEvents",
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
        "GetSystem",
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
        sometimes="oldest_transaction",  # of any session of the server
    ),
    Good(
        "GetCaller",
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
MORE_THAN_AN_ID = {"ReviewContent", "RegenerateContent", "ReportPublished", "RenewPublishClaim", "ResizeWorker"}
"""Without the rest they are refused, too."""
OPTIONAL_ID = {"ClaimReview", "ListTasks"}
OTHER_LISTS = taking("page_token") - taking("task_id") - taking("content_id") - taking("webhook_id") - {"ListTasks"}
"""Of all things, or of an account's."""
BAD = [
    *about_one("content", taking("content_id") - MORE_THAN_AN_ID - OPTIONAL_ID),
    *about_one("account", {"GetAccount", "DeactivateAccount"}),
    *about_one("schedule", taking("schedule_id") - OPTIONAL_ID),
    *about_one("worker", taking("worker_id") - MORE_THAN_AN_ID, "nobody"),
    *about_one("webhook", taking("webhook_id")),
    *about_one("delivery", taking("delivery_id")),
    not_found("ClaimReview", {"content_id": NOTHING}, "content"),
    *(Bad(name, OTHER_PAGE, fields=("page_token",)) for name in sorted(OTHER_LISTS)),
    Bad(
        "ListContents",
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
        "ListPublishPool",
        {"account_id": -1, "page_token": "?", "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_UNSPECIFIED"]},
        fields=("account_id", "statuses[1]", "page_token"),
    ),
    Bad("ReviewContent", {"comment": "字" * 2_001}, fields=("content_id", "decision", "comment")),
    not_found("ReviewContent", {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"}, "content"),
    Bad(
        "ReviewContent",
        {**content("edited"), "decision": "REVIEW_DECISION_REJECT", "etag": "e" * 201},
        fields=("etag",),
    ),
    Bad("BatchReviewContents", {}, fields=("requests",)),
    Bad(
        "BatchReviewContents",
        {"requests": [{"content_id": 1, "decision": 1}, {"content_id": 1}], "reviewer": "n" * 201},
        fields=("reviewer", "requests[1].decision", "requests[1].content_id"),
    ),
    not_found(
        "BatchReviewContents",
        {
            "requests": [
                {**content("unreviewed"), "decision": "REVIEW_DECISION_REJECT"},
                {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"},
            ]
        },
        "content",
    ),
    wrong_state(
        "BatchReviewContents",
        {"requests": [{**content("rejected"), "decision": "REVIEW_DECISION_APPROVE"}]},
        "rejected",
        "pending_review",
    ),
    wrong_state("ReopenContent", content("claimed"), "publishing", "pending,failed"),
    wrong_state("ReopenContent", content("published"), "published", "pending,failed"),
    Bad(
        "ClaimReview",
        {"account_id": -1, "lease": "0.999s", "reviewer": "n" * 201, "content_id": -1},
        fields=("account_id", "lease", "reviewer", "content_id"),
    ),
    Bad("RegenerateContent", {}, fields=("content_id", "feedback")),
    Bad("RegenerateContent", {**content("approved"), "feedback": "字" * 2_001}, fields=("feedback",)),
    not_found("RegenerateContent", {"content_id": NOTHING, "feedback": "shorter"}, "content"),
    Bad("UpdateContent", {}, fields=("content.content_id", "update_mask")),
    Bad(
        "UpdateContent",
        {
            "content": {"content_id": NOTHING, "title": " ", "summary": "字" * 2_001},
            "update_mask": "title,body,summary,reviewStatus",
            "etag": "e" * 201,
            "reviewer": "n" * 201,
        },
        fields=("update_mask.paths[3]", "content.title", "content.body", "content.summary", "etag", "reviewer"),
    ),
    not_found(
        "UpdateContent", {"content": {"content_id": NOTHING, "title": "a title"}, "update_mask": "title"}, "content"
    ),
    Bad(
        "UpdateContent",
        {
            "content": {**content("edited"), "title": "another"},
            "update_mask": "title",
            "etag": The("edited", "stale_etag"),
        },
        StatusCode.ABORTED,
        "ETAG_MISMATCH",
        metadata={"etag": The("edited", "etag")},
    ),
    Bad("ListContentRevisions", {"page_size": -1, "page_token": "?"}, fields=("content_id", "page_size", "page_token")),
    Bad("DeleteContent", {"force": True}, fields=("content_id",)),
    wrong_state("DeleteContent", content("claimed"), "publishing", "pending,failed"),
    Bad(
        "ClaimPublishPool",
        {"account_id": -1, "limit": 1_001, "lease": "0.999s", "publisher": "字" * 201},
        fields=("account_id", "limit", "lease", "publisher"),
    ),
    Bad(
        "ReportPublished",
        {"error": "字" * 2_001, "published_url": "字" * 2_001},
        fields=("content_id", "claim_id", "error", "published_url"),
    ),
    not_found("ReportPublished", {"content_id": NOTHING, "claim_id": "claim"}, "content"),
    Bad("RenewPublishClaim", {"lease": "0s"}, fields=("content_id", "claim_id", "lease")),
    not_found("RenewPublishClaim", {"content_id": NOTHING, "claim_id": "claim"}, "content"),
    Bad("UpdatePublishPoolEntry", {}, fields=("entry.content_id", "update_mask")),
    Bad(
        "UpdatePublishPoolEntry",
        {"entry": {**content("approved"), "priority": 11}, "update_mask": "status,priority"},
        fields=("update_mask.paths[0]", "entry.priority"),
    ),
    not_found("UpdatePublishPoolEntry", {"entry": {"content_id": NOTHING}, "update_mask": "scheduleTime"}, "content"),
    Bad("ListPublishAttempts", {"page_size": -1}, fields=("content_id", "page_size")),
    Bad("GetAsset", {"offset": -1, "length": -1}, fields=("sha256", "offset", "length")),
    Bad("GetAsset", {"sha256": The("pictured", "sha256"), "offset": 9_000}, fields=("offset",)),
    not_found("GetAsset", {"sha256": "5" * 64}, "asset", "5" * 64),
    Bad("GetAssetInfo", {"sha256": "5" * 63}, fields=("sha256",)),
    Bad(
        "GetAssetInfo",
        {"sha256": The("unnamed_asset", "sha256")},
        StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        metadata={"resource_type": "asset", "resource_id": The("unnamed_asset", "sha256")},
    ),
    Bad("PutAsset", {}, fields=("lease_id", "attempt", "sha256", "size")),
    Bad(
        "PutAsset",
        {"lease_id": "l", "attempt": 1, "sha256": "A" * 64, "size": 32 * 1024 * 1024 + 1},
        fields=("sha256", "size"),
    ),
    Bad(
        "PutAsset",
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
    Bad("CreateAccount", {"max_concurrent_tasks": -1}, fields=("name", "max_concurrent_tasks")),
    Bad("CreateAccount", {"name": "n" * 201, "weight": 0}, fields=("name", "weight")),
    Bad("ListAccounts", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("UpdateAccount", {}, fields=("account.account_id", "update_mask")),
    Bad(
        "UpdateAccount",
        {"account": {"account_id": OWN}, "update_mask": "name,accountId,createTime"},
        fields=("update_mask.paths[1]", "update_mask.paths[2]", "account.name"),
    ),
    not_found("UpdateAccount", {"account": {"account_id": NOTHING}, "update_mask": "active"}, "account"),
    Bad("CreateSchedule", {}, fields=("account_id", "cron", "template", "template.topic")),
    Bad(
        "CreateSchedule",
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
        "CreateSchedule", {"account_id": NOTHING, "cron": "* * * * *", "template": {"topic": "a topic"}}, "account"
    ),
    Bad(
        "ListSchedules",
        {"account_id": -1, "page_size": -1, "page_token": "?"},
        fields=("account_id", "page_size", "page_token"),
    ),
    Bad("UpdateSchedule", {}, fields=("schedule.schedule_id", "update_mask")),
    Bad(
        "UpdateSchedule",
        {"schedule": {"schedule_id": 1, "cron": "x"}, "update_mask": "cron,accountId,lastError,template"},
        fields=(
            "update_mask.paths[1]",
            "update_mask.paths[2]",
            "schedule.cron",
            "schedule.template",
            "schedule.template.topic",
        ),
    ),
    not_found("UpdateSchedule", {"schedule": {"schedule_id": NOTHING}, "update_mask": "paused"}, "schedule"),
    Bad("GetNextRuns", {"cron": "0 0 30 2 *", "time_zone": "Mars"}, fields=("cron", "time_zone")),
    Bad("GetWorkerPool", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("ResizeWorker", {"worker_id": " ", "slots": 1_001}, fields=("worker_id", "slots")),
    Bad("ResizeWorker", worker("connected"), fields=("slots",)),
    not_found("ResizeWorker", {"worker_id": "nobody", "slots": 1}, "worker", "nobody"),
    not_found("PauseDispatch", {"account_id": NOTHING}, "account"),
    not_found("ResumeDispatch", {"account_id": NOTHING}, "account"),
    Bad("ListAuditEvents", {"actor": "a" * 201, "method": "\0"}, fields=("actor", "method")),
    Bad("CreateWebhook", {"account_id": -1}, fields=("account_id", "url", "event_types")),
    Bad(
        "CreateWebhook",
        {"url": "https://10.0.0.1/", "event_types": ["task.ended", "webhook.ping"]},
        fields=("url", "event_types[1]"),
    ),
    not_found("CreateWebhook", {"account_id": NOTHING, "url": URL, "event_types": EVENTS}, "account"),
    Bad("RotateWebhookSecret", {**HOOK, "overlap": "604801s"}, fields=("overlap",)),
    Bad("UpdateWebhook", {}, fields=("webhook.webhook_id", "update_mask")),
    Bad(
        "UpdateWebhook",
        {"webhook": HOOK, "update_mask": "url,eventTypes,accountId"},
        fields=("update_mask.paths[2]", "webhook.url", "webhook.event_types"),
    ),
    not_found("UpdateWebhook", {"webhook": {"webhook_id": NOTHING}, "update_mask": "active"}, "webhook"),
    Bad("ListDeliveries", {"status": 9, "page_size": -1}, fields=("webhook_id", "status", "page_size")),
    Bad("ListDeliveries", {**HOOK, **OTHER_PAGE}, fields=("page_token",)),
    wrong_state("RedeliverWebhook", delivery("undeliverable"), "inactive", "active"),
]
