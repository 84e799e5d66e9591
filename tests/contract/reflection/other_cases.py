"""All services but TaskService, and uploads of assets: the requests that each RPC takes, and those that it refuses."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from grpc import StatusCode

from tests.contract.reflection.cases import Bad, Good, The, not_found, wrong_state
from tests.contract.reflection.task_cases import NO_ACCOUNT, an_opaque_token

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


def claim(what: str, **more: Any) -> dict[str, Any]:
    return {"content_id": The(what, "content_id"), "claim_id": The(what, "claim_id"), **more}


QUOTAS = {"max_pending_tasks": 2_147_483_647, "max_priority": 10, "max_starts_per_minute": 2_147_483_647}
ACCOUNT = {"name": "新闻", "max_concurrent_tasks": 2_147_483_647, "weight": 1_000.0, "active": True, **QUOTAS}
ALL_PATHS = "name,maxConcurrentTasks,weight,active,maxPendingTasks,maxPriority,maxStartsPerMinute"
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
